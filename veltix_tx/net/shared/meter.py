"""Meter of one listener's traffic: sums are counted for each read and write, types by a sample of the messages."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice

from veltix_tx.wire.events import Event
from veltix_tx.wire.messages import Response

__all__ = ["LOOKS", "MOST_KEYS", "SAMPLE", "Meter", "Sample"]

LOOKS = 8
"""Messages of one read or write that are all looked at. Of 16 and more, evenly many are, each of which stands for those up to the
next."""

MOST_KEYS = 1024
"""Types counted one by one; of more, which peers may choose, only the sum is kept."""

SAMPLE = 32
"""Messages of one direction that are looked at until :meth:`Meter.settle` is called again; later ones count as alike."""

_OTHERS = None
"""Key under which the messages of further types are counted."""


class Sample:
    """Sample of the messages of one direction, by which all of them are shared out among their types.

    Attributes:
        left: messages that are still looked at until the next :meth:`share`.
        messages: messages by their types' keys, None for those of types beyond the first 1024.
        bytes: bytes likewise, those among None that are of no message.
    """

    __slots__ = ("_is_whole", "_parts", "_sizes", "bytes", "left", "messages")

    def __init__(self) -> None:
        self.messages: dict[Hashable, float] = {}
        self.bytes: dict[Hashable, float] = {}
        self._begin()

    def add(self, key: Hashable, size: int, parts: int = 1) -> None:
        """Look at a message, which stands for so many and their bytes; with 0 parts for the bytes alone."""
        if key not in self._sizes and key not in self.bytes and len(self._sizes) + len(self.bytes) >= MOST_KEYS:
            key = _OTHERS
        self._parts[key] = self._parts.get(key, 0) + parts
        self._sizes[key] = self._sizes.get(key, 0) + size
        self._is_whole &= parts < 2
        self.left -= 1

    def share(self, parts: int, size: int) -> None:
        """Share out what has gone by since the last time, as what was looked at of it; begin to look anew.

        Args:
            parts: how many messages that was.
            size: how many bytes.
        """
        whole = (self._is_whole and self.left > 0) or not self._sizes
        known = sum(self._sizes.values()) if whole else size
        _share(self.messages, self._parts, sum(self._parts.values()) if whole else parts)
        _share(self.bytes, self._sizes, known)
        if size > known:  # handshakes and pings
            self.bytes[_OTHERS] = self.bytes.get(_OTHERS, 0.0) + size - known
        self._begin()

    def _begin(self) -> None:
        self.left = SAMPLE
        self._is_whole = True
        self._parts: dict[Hashable, int] = {}
        self._sizes: dict[Hashable, int] = {}


def _share(totals: dict[Hashable, float], seen: dict[Hashable, int], went: int) -> None:
    known = sum(seen.values())
    for key, each in seen.items():
        totals[key] = totals.get(key, 0.0) + each * went / (known or 1)


class Meter:
    """Counts of what goes through one listener's connections. A listener without one pays nothing.

    Args:
        listener: where it listens, for people.
        wire: name of what it speaks.

    Attributes:
        open: connections that are open.
        ready: those of them whose handshake is complete.
        bytes_in: bytes read, of the wire (not of TLS below it).
        bytes_out: bytes written or queued for that.
        buffers_out: parts in which they were handed out: one for each message, two for one that is long.
        messages_in: messages received.
        received: sample of these.
        sent: sample of what goes.
        observe_round_trip: called with the seconds between a heartbeat's ping and its pong.
    """

    __slots__ = (
        *("_in_shared", "_out_shared", "buffers_out", "bytes_in", "bytes_out", "listener", "messages_in", "observe_round_trip"),
        *("open", "ready", "received", "sent", "wire"),
    )

    def __init__(self, listener: str, wire: str, observe_round_trip: Callable[[float], None]) -> None:
        self.listener = listener
        self.wire = wire
        self.open = self.ready = self.messages_in = self.bytes_in = self.bytes_out = self.buffers_out = 0
        self.observe_round_trip = observe_round_trip
        self.received, self.sent = Sample(), Sample()
        self._in_shared = self._out_shared = (0, 0)

    def look_at_received(self, events: list[Event], overhead: int) -> None:
        """Look at messages of one read, each of which has so many bytes beside its content."""
        step = max(1, len(events) // LOOKS)
        for event in islice(events, 0, None, step):
            if isinstance(event, Response):
                self.received.add(event.type.key, (len(event.content) + overhead) * step, step)

    def look_at_sent(self, buffers: list[bytes], key_of: Callable[[bytes], Hashable]) -> None:
        """Look at messages of one write.

        Args:
            buffers: what is written, one or two for each message.
            key_of: returns the key of a message's type, by its first buffer.
        """
        step = max(1, len(buffers) // LOOKS)
        key: Hashable = None
        for buffer in islice(buffers, 0, None, step):
            found = key_of(buffer)
            if found is not None:
                self.sent.add(found, len(buffer) * step, step)
            elif key is not None and step == 1:  # the content behind its header
                self.sent.add(key, len(buffer), 0)
            key = found

    def settle(self) -> None:
        """Share out what has gone through since the last time among the types of what was looked at."""
        for sample, now, before in (
            (self.received, (self.messages_in, self.bytes_in), self._in_shared),
            (self.sent, (self.buffers_out, self.bytes_out), self._out_shared),
        ):
            sample.share(now[0] - before[0], now[1] - before[1])
        self._in_shared, self._out_shared = (self.messages_in, self.bytes_in), (self.buffers_out, self.bytes_out)
