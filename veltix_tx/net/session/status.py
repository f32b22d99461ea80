"""Status of a session: where its messages and bytes are held up, as numbers."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SessionStatus"]


class SessionStatus(NamedTuple):
    """Status of a session at one moment.

    Attributes:
        closing: True if it is being closed, or is gone.
        blocked: True if the peer does not take what is sent.
        pause_reasons: reasons for which nothing is read from the peer at present; none while it is read from.
        queued: bytes that wait for the peer to take them.
        waiting: messages that wait for their turn to be handled.
        inbox_bytes: bytes of these.
        pending: own requests and pings that wait for their replies.
        idle: seconds since something came from the peer.
        silent: True if nothing has come since a ping of the heartbeat.
        busy: True while one of its messages is being handled.
        mode: name of the mode in which its messages are taken, ``FAST``, ``CHECKED``, ``TIMED``, ``CLOSING`` or ``GONE``.
        unfinished_bytes: bytes kept of the message of which only a part has come.
    """

    closing: bool
    blocked: bool
    pause_reasons: tuple[str, ...]
    queued: int
    waiting: int
    inbox_bytes: int
    pending: int
    idle: float
    silent: bool
    busy: bool
    mode: str
    unfinished_bytes: int

    @property
    def slow(self) -> bool:
        """True if anything of it is held up."""
        return bool(self.closing or self.blocked or self.pause_reasons or self.queued or self.waiting or self.silent)
