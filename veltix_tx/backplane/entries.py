"""Entries that a node has on topics, kept where the node lives, within its limits."""

from __future__ import annotations

from collections.abc import Iterator

from veltix_tx.backplane.interface import BackplaneLimits
from veltix_tx.errors import BackplaneRefused

__all__ = ["OwnEntries"]


class OwnEntries:
    """Members of one node and their infos, by topic.

    Args:
        limits: maxima of the node.
    """

    def __init__(self, limits: BackplaneLimits) -> None:
        self._limits = limits
        self._topics: dict[str, dict[str, bytes]] = {}
        self._count = self._bytes = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the topics that have members."""
        return iter(self._topics)

    def on(self, topic: str) -> dict[str, bytes]:
        """Return the members on a topic and their infos, not to be changed."""
        return self._topics.get(topic, {})

    def add(self, topic: str, member: str, info: bytes) -> None:
        """Enter a member on a topic, or change its info.

        Raises:
            BackplaneRefused: the topic is too long, or there would be too many entries, or too many bytes of them.
        """
        limits = self._limits
        error = limits.refusal(topic=topic)
        if error is not None:
            raise error
        members = self._topics.get(topic, {})
        before = members.get(member)
        added = len(info) - len(before) if before is not None else _size(topic, member, info)
        if before is None and self._count >= limits.presence:
            raise BackplaneRefused("presence", limits.presence)
        if self._bytes + added > limits.presence_bytes:
            raise BackplaneRefused("presence_bytes", limits.presence_bytes)
        self._count += before is None
        self._bytes += added
        self._topics.setdefault(topic, members)[member] = info

    def discard(self, topic: str, member: str) -> bool:
        """Take a member out of a topic; return False if it was not there."""
        members = self._topics.get(topic, {})
        info = members.pop(member, None)
        if info is None:
            return False
        self._count -= 1
        self._bytes -= _size(topic, member, info)
        if not members:
            del self._topics[topic]
        return True

    def clear(self) -> None:
        """Take out all."""
        self._topics.clear()
        self._count = self._bytes = 0


def _size(topic: str, member: str, info: bytes) -> int:
    return len(topic) + len(member) + len(info)
