"""Frames: an incremental, bounded decoder that yields a batch of events for each read.

What happens to a frame that cannot be taken (design decision 7; a refused frame's content
is never looked into):

=====================  ========================================================
bad checksum           dropped whole, :data:`RejectReason.BAD_CHECKSUM`; but where the same header
                       comes again inside (W16, W15), the frame begins again there,
                       :data:`RejectReason.REPEATED`: releases 1.7.0 to 3.0.0 send a message again
                       from its start when the socket took a part of it
unknown type           dropped whole, :data:`RejectReason.UNKNOWN_TYPE`
no ``VX`` where one    scan on to the next ``VX``, one :data:`RejectReason.GARBAGE`
is due (W16, W15)      for the whole run, or for each ``max_message_size`` of it
too many of the first  :class:`~veltix_tx.errors.TooManyProtocolErrors`; the stream ends here
and the third
size over the limit    :class:`~veltix_tx.errors.FrameTooLarge`, before anything of it is
                       buffered; the stream ends here
=====================  ========================================================
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from veltix_tx.errors import FrameTooLarge, RemoteProtocolError, TooManyProtocolErrors
from veltix_tx.wire.events import FrameRejected, RejectReason
from veltix_tx.wire.foreign import QUOTED, signature_of
from veltix_tx.wire.messages import FIRST_USER_CODE, MessageType, Response
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.content_buffer import ContentBuffer
from veltix_tx.wire.veltix.fast_path import batch_decoder
from veltix_tx.wire.veltix.layouts import Layout

__all__ = ["FrameDecoder"]

_LONG = 4096
"""Content longer than this (bytes) is filled in place while it arrives; a shorter frame waits in
the tail, which is joined to the next read."""

_REPEATS = 16
"""Times that one frame may begin again; each time costs its checksum."""

_TO_SIZE = 9
"""Bytes of a W15 or W16 header that hold its magic, type code and size."""


def _again(header: bytes, content: bytes) -> int:
    """Return where in a frame's content the same header begins again, -1 for nowhere.

    At the very end its first bytes are enough, down to the size: a frame that begins there is
    checked like any other.
    """
    found = content.find(header)
    for length in range(len(header) - 1, _TO_SIZE - 1, -1) if found < 0 else ():
        if content.endswith(header[:length]):
            return len(content) - length
    return found


class FrameDecoder:
    """Turns the bytes of one direction of one connection into messages.

    Args:
        layout: the header layout.
        lookup: type code -> message type, None for an unknown one.
        max_message_size: the most bytes a message may have, header included.
        max_violations: bad checksums and runs of garbage at which the stream ends; no end without.
        first_plain: the first type code of messages that are no system messages.

    Attributes:
        error: what ended the stream, None while it is sound. After an error nothing more is decoded.
        violations: refusals that count against the peer so far.
        system_seen: whether the last batch holds a message with a code below ``first_plain``.
    """

    __slots__ = (
        "_content",
        "_first_plain",
        "_garbage",
        "_in_garbage",
        "_layout",
        "_lookup",
        "_max_message_size",
        "_max_violations",
        "_repeats",
        "_run",
        "_tail",
        "compiled",
        "error",
        "system_seen",
        "violations",
    )

    def __init__(
        self,
        layout: Layout,
        lookup: Callable[[int], MessageType | None],
        max_message_size: int,
        max_violations: float = inf,
        first_plain: int = FIRST_USER_CODE,
    ) -> None:
        self._layout = layout
        self._lookup = lookup
        self._first_plain = first_plain
        self._max_message_size = max_message_size
        max_content = max_message_size - layout.header_size
        compiled = codec.compiled_decoder(layout, lookup, max_content, first_plain, Response)
        self.compiled = compiled is not None
        self._run = compiled or batch_decoder(layout, lookup, max_content, first_plain)
        self._tail = b""
        self._content: ContentBuffer | None = None
        self._in_garbage = False
        self._garbage = 0
        self._repeats = 0
        self._max_violations = max_violations
        self.violations = 0
        self.error: RemoteProtocolError | None = None
        self.system_seen = False

    @property
    def buffered_size(self) -> int:
        """Bytes of an unfinished frame kept so far."""
        return len(self._tail) + (0 if self._content is None else self._content.received)

    @property
    def incoming_size(self) -> int:
        """Bytes of the whole frame of which only a part has come, or of what there is of a short one; 0 without one."""
        filling = self._content
        return len(self._tail) if filling is None else filling.received + filling.missing

    @property
    def beginning(self) -> bytes:
        """The first bytes of an unfinished frame that is short, or of which little has come."""
        return self._tail[:QUOTED]

    def receive_data(self, data: bytes, received_at: int) -> list[Response | FrameRejected]:
        """Return what ``data`` completes, in the order of the stream.

        The per-message path of the package: one pass by offset, nothing sliced but the
        content, names bound once for the batch. Where the compiled codec is in use it takes
        every run of ordinary frames.

        Args:
            data: the next bytes.
            received_at: this side's clock in ms, for the messages' ``received_at``.
        """
        events: list[Response | FrameRejected] = []
        self.system_seen = False
        if self.error is not None:
            return events
        position = 0
        run = self._run
        if run is not None and not self._tail and self._content is None:
            position = run(data, 0, received_at, events)
            if position:
                self._in_garbage, self._repeats = False, 0
            if position == len(data):  # all of it was ordinary: a third of the time for a read of one message
                return events
        layout = self._layout
        magic, header_size, checksum, wide_id = layout.magic, layout.header_size, layout.checksum, layout.wide_id
        unpack, pack, lookup = layout.header.unpack_from, layout.header.pack, self._lookup
        max_content = self._max_message_size - header_size
        content: bytes | None = None
        message_type: MessageType | None = None
        timestamp: int | None = None
        found: int | bytes = 0
        last_code = start = -1
        if self._content is not None:
            filling = self._content
            position = filling.fill(data)
            if filling.missing:
                return events
            content, found = filling.content(), filling.digest()
            code, digest, timestamp, request_id = filling.header
            self._content = None
        elif self._tail:
            data = self._tail + data
            self._tail = b""
        end = len(data)
        while True:
            if content is None:
                if run is not None:
                    start, position = position, run(data, position, received_at, events)
                    if position == start:
                        run = None  # two frames in a row that are out of the ordinary: the rest is left to this loop
                    else:
                        self._in_garbage, self._repeats = False, 0
                if end - position < header_size:
                    if magic and not magic.startswith(data[position : position + 2]):
                        position = self._skip_garbage(data, position, events)
                        if position < 0:
                            break
                        continue
                    self._tail = data[position:]
                    break
                if magic:
                    mark, code, size, digest, request_id = unpack(data, position)
                    if mark != magic:
                        position = self._skip_garbage(data, position, events)
                        if position < 0:
                            break
                        continue
                    self._in_garbage = False
                else:
                    code, size, digest, timestamp, request_id = unpack(data, position)
                start = position + header_size
                if size > max_content:
                    first = b"" if magic else signature_of(data[position:start])  # of a connection without a handshake
                    self.error = FrameTooLarge(size + header_size, max_content + header_size, first)
                    break
                stop = start + size
                if stop > end:
                    if size > _LONG:
                        self._content = ContentBuffer(layout, (code, digest, timestamp, request_id), size)
                        self._content.fill(memoryview(data)[start:])
                    else:
                        self._tail = data[position:]
                    break
                content = data[start:stop]
                found = checksum(content)
                position = stop
            if code != last_code:
                last_code, message_type = code, lookup(code)
            if found != digest:
                again = _again(pack(magic, code, len(content), digest, request_id), content) if magic else -1
                if again >= 0 and self._repeats < _REPEATS:
                    self._repeats += 1
                    events.append(FrameRejected(RejectReason.REPEATED, code))
                    if start < 0:  # it was filled in place: what there is of it joins the read again, once
                        data = content + data[position:]
                        start, end = 0, len(data)
                    position, content = start + again, None
                    continue
                self._repeats = 0
                if self._count_violation(FrameRejected(RejectReason.BAD_CHECKSUM, code), events):
                    break
            elif message_type is None:
                wire_id = int.from_bytes(request_id, "big") if wide_id else request_id
                events.append(FrameRejected(RejectReason.UNKNOWN_TYPE, code, wire_id))
            else:
                if code < self._first_plain:
                    self.system_seen = True
                if wide_id:
                    request_id = int.from_bytes(request_id, "big")
                events.append(Response(message_type, content, request_id, digest, received_at, timestamp or None))
                if self._repeats:
                    self._repeats = 0
            content = None
        return events

    def _count_violation(self, refused: FrameRejected, events: list[Response | FrameRejected]) -> bool:
        """Count a refusal against the peer; return whether the stream ends with it."""
        events.append(refused)
        self.violations += 1
        if self.violations < self._max_violations:
            return False
        self.error = TooManyProtocolErrors(self.violations)
        return True

    def _skip_garbage(self, data: bytes, position: int, events: list[Response | FrameRejected]) -> int:
        """Return where the next magic may start, at the end but for a lone first byte of it; -1 for the end of the stream."""
        magic = self._layout.magic
        found = data.find(magic, position)
        next_position = found if found >= 0 else len(data) - data.endswith(magic[:1])
        due = not self._in_garbage
        self._garbage = next_position - position + (0 if due else self._garbage)
        self._in_garbage = True
        most = self._max_message_size
        while due or self._garbage > most:
            if not due:
                self._garbage -= most
            if self._count_violation(FrameRejected(RejectReason.GARBAGE), events):
                return -1
            due = False
        return next_position
