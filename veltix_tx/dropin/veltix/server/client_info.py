"""A client as its server sees it."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from veltix_tx.dropin.veltix.network.connection import Connection

__all__ = ["ClientInfo"]


_adding = Lock()


class ClientInfo:
    """A connected client. Two are equal when they are the same.

    Args:
        conn: its connection, to send on.
        addr: its address and port.
        thread_id: its number, counted from 1.
        handshake_done: whether its handshake is complete; always so for a server's.

    Attributes:
        tags: what has been noted about it, by name.
    """

    __slots__ = ("addr", "conn", "handshake_done", "tags", "thread_id")

    def __init__(self, conn: Connection, addr: tuple[str, int], thread_id: int, handshake_done: bool = False) -> None:
        self.conn = conn
        self.addr = addr
        self.thread_id = thread_id
        self.handshake_done = handshake_done
        self.tags: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"ClientInfo(addr={self.addr!r}, thread_id={self.thread_id})"

    @property
    def ip(self) -> str:
        """Its address."""
        return self.addr[0]

    @property
    def port(self) -> int:
        """Its port."""
        return self.addr[1]

    def add_tag(self, name: str, value: object = None) -> bool:
        """Set a tag; return False, and leave its value as it is, where it is set already."""
        with _adding:  # of two threads one sets it
            if name in self.tags:
                return False
            self.tags[name] = value
            return True

    def has_tag(self, name: str) -> bool:
        """Return True if a tag is set."""
        return name in self.tags

    def has_all_tags(self, names: Iterable[str]) -> bool:
        """Return True if all of these are set, or there are none."""
        return all(name in self.tags for name in names)

    def has_any_tags(self, names: Iterable[str]) -> bool:
        """Return True if any of these is set."""
        return any(name in self.tags for name in names)

    def get_tag(self, name: str) -> object:
        """Return a tag's value, None where it is not set."""
        return self.tags.get(name)

    def remove_tag(self, name: str) -> bool:
        """Take a tag away; return whether it was set."""
        missing = object()
        return self.tags.pop(name, missing) is not missing

    def clear_tags(self) -> None:
        """Take every tag away."""
        self.tags.clear()
