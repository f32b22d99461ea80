"""Rule of an ACL user of Redis that may do what a node does, and nothing else."""

from __future__ import annotations

__all__ = ["COMMANDS", "acl_rule"]

COMMANDS = (
    *("ping", "select", "info", "script|load", "evalsha", "publish", "subscribe", "unsubscribe", "sscan"),
    *("exists", "set", "get", "del", "pexpire", "time", "sadd", "srem", "smembers", "srandmember"),
    *("hset", "hget", "hmget", "hgetall", "hdel", "hlen", "xadd", "xrange"),
)
"""Commands that a node sends, and in the second and third line those that its scripts call."""


def acl_rule(prefix: str) -> str:
    """Return the rule, as ``ACL SETUSER`` takes it behind the user's name and password.

    Args:
        prefix: the backplane's.
    """
    return f"on resetkeys resetchannels -@all ~{prefix}:* &{prefix}:* " + " ".join(f"+{each}" for each in COMMANDS)
