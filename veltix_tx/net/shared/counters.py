"""Counters that the connections of one server or client share, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["COUNTERS", "MOST_TYPES", "Unhandled"]

COUNTERS = {
    "accepted": "connections taken, by a server",
    "ready": "handshakes completed",
    "sessions_rejected": "sessions closed because `on_connect` failed, was not done in time, or refused them",
    "sessions_unclassified": "sessions closed because the `classifier` failed, was not done in time, or refused them",
    "refused": "connections refused because there were too many, of one source or in all",
    "evicted": "half-open connections, and sessions over UDP, that had to give way to newer ones",
    "authentications_failed": "credentials refused: of connections, which end with it, and new ones of sessions, which go on",
    "authentications_held_off": "those of them that were refused unasked, because of too many others from the same source",
    "messages_forbidden": "messages whose route's `allow` refused them",
    "messages_dropped": "messages that middleware dropped, or `before_send` kept from being sent",
    "messages_throttled": "messages that had to wait because their peer sent more than `limits.messages` a second",
    "frames_refused": "frames refused and dropped: bad checksum, unknown type, garbage",
    "unhandled": "messages dropped because their type has no route and there is no `on_recv`; `unhandled_` and a key, of one type",
    "frames_timed_out": "messages that had begun and did not come to their end in time, which ends their connections",
    "late_replies": "replies dropped because their request had been given up, or was never made",
    "reads_paused": "times that reading from a peer was paused: it does not read, or its messages are not handled fast enough",
    "writes_paused": "times that more than `write_high` waited for a peer, and whoever sends was asked to wait",
    "queues_full": "messages not sent because too much waited for their peer",
    "broadcasts_dropped": "broadcasts left out for one slow peer",
    "requests_refused": "requests not sent because too many waited for their replies",
    "requests_timed_out": "requests and pings whose replies did not come in time",
    "handlers_failed": "handlers that raised, returned what is no answer, or were not done in time",
    "handlers_refused": "handlers that refused a message with an `RpcError`",
    "contents_invalid": "messages not handled because their content does not fit the type that their message type names",
    "handlers_slow": "handlers that blocked everything for longer than they may",
    "handlers_late": "handlers that were done after they had been given up",
    "closes_aborted": "closes that were aborted because their peer did not read what waited for it, or did not close, too",
    "cut_off": "connections that a stopping server did not get done with in time",
    "datagrams_dropped": "datagrams dropped unread: empty, of a new peer for which there is no room, of one whose messages wait",
    "datagrams_withheld": "datagrams not sent because they would have been too much for an address that is not validated",
    "datagrams_unsent": "datagrams that the system did not take",
    "rooms_joined": "joins of rooms",
    "rooms_left": "members that left a room, or were in one when they ended",
    "room_broadcasts": "broadcasts to rooms",
    "room_messages_uncarried": "messages of rooms left out for a member, whose wire cannot carry them, or of an unknown type",
    "room_messages_repeated": "messages of rooms that a client had already, and dropped",
    "rooms_resumed": "rooms in which a session that came back got what it had missed, or was told what it could not get",
    "room_gaps": "messages of rooms, or runs of them, that were lost for a session or, on a client, for it",
    "envelopes_unreadable": "what another node said and cannot be read: another version's, or made with another key",
    "lines_left_out": "lines left out of the log because their source caused too many",
}
"""Counters by name, beside ``closed_`` and a disconnect reason for each connection that has ended."""


MOST_TYPES = 64
"""Message types without a handler that are counted and named one by one; of more, which peers may choose, only the sum is kept."""


class Unhandled:
    """Message types that nothing handles, on all connections of one server or client: counted by type, named in the log once.

    Args:
        counters: where messages are counted, as ``unhandled`` and, for the first types, ``unhandled_`` and the key.
    """

    __slots__ = ("_counters", "_named")

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._named: set[object] = set()

    def count(self, key: int | str) -> None:
        """Count a message of a type that has no handler."""
        counters, of_type = self._counters, f"unhandled_{key}"
        counters["unhandled"] += 1
        if of_type in counters or sum(name.startswith("unhandled_") for name in counters) < MOST_TYPES:
            counters[of_type] += 1

    def first(self, key: object, may_log: Callable[[], bool]) -> bool:
        """Return True if the log is to name a type now, that is once: a line must follow.

        Args:
            key: the type's, or whatever else stands for it.
            may_log: asked only for a type that has not been named; while it says no, the type is not.
        """
        if key in self._named or len(self._named) >= MOST_TYPES or not may_log():
            return False
        self._named.add(key)
        return True
