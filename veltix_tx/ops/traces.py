"""Traces: the frames of single sessions as they come and go, for a while, for an operator who asks."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from veltix_tx.errors import SettingsError
from veltix_tx.net.clock import Clocks
from veltix_tx.net.session.session import Session
from veltix_tx.ops.answers import Frame
from veltix_tx.sanitize import escape_controls
from veltix_tx.wire.annotation import HIDDEN, Piece
from veltix_tx.wire.events import (
    CallCancelled,
    ConnectionFailed,
    Event,
    FrameRejected,
    PingsAnswered,
    Pong,
    RequestFailed,
)
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import MessageRegistry, Response
from veltix_tx.wire.registry import annotate_stream

__all__ = ["MOST_FRAMES", "MOST_SECONDS", "MOST_TRACES", "TooManyTraces", "Trace", "Traces"]

MOST_TRACES = 16
"""Traces of one server, those among them that have ended and can still be read."""

MOST_FRAMES = 500
"""Frames of one trace that are kept; the oldest give way."""

MOST_SECONDS = 3600
"""Seconds that a trace goes on at most."""

_MOST_CONTENT = 256
"""Bytes of a content that are shown."""

_MOST_LOOKED_AT = 16 * 1024
"""Bytes of what is sent at once that are cut into frames; how many more there are is told."""

_log = Logger()


class TooManyTraces(Exception):
    """As many sessions are traced as may be."""


class Traces:
    """Traces of the sessions of one server. A session that is not traced pays nothing.

    Args:
        clocks: returns where time comes from.
        types: the message types that the server knows.
    """

    def __init__(self, clocks: Callable[[], Clocks], types: MessageRegistry) -> None:
        self._clocks = clocks
        self._types = types
        self._traces: dict[str, Trace] = {}

    def begin(self, session: Session, seconds: float, *, contents: bool = False, log: bool = False) -> None:
        """Trace a session anew, for so many seconds, or until it is closed.

        Args:
            session: the session.
            seconds: how long.
            contents: True to keep the begin of each content; credentials are never kept.
            log: True for a line in the log for each frame, as far as the log's limits of lines let it.

        Raises:
            TooManyTraces: there are as many as may be, and all of them go on.
        """
        self.end(session.id)
        self._traces.pop(session.id, None)
        if len(self._traces) >= MOST_TRACES:
            ended = next((known for known, trace in self._traces.items() if not trace.is_on), None)
            if ended is None:
                raise TooManyTraces(MOST_TRACES)
            del self._traces[ended]
        self._traces[session.id] = Trace(session, self._clocks(), self._types, seconds, contents=contents, log=log)

    def end(self, session_id: str) -> None:
        """End a trace, if there is one; its frames can still be read."""
        trace = self._traces.get(session_id)
        if trace is not None:
            trace.end()

    def find(self, session_id: str) -> Trace | None:
        """Return the trace of a session, which may have ended; None without one."""
        return self._traces.get(session_id)


class Trace:
    """Trace of one session.

    Attributes:
        is_on: True until it ends, or the session has.
        last: number of the last frame, of which there were as many.
    """

    def __init__(
        self, session: Session, clocks: Clocks, types: MessageRegistry, seconds: float, *, contents: bool, log: bool
    ) -> None:
        self._session = session
        self._clocks = clocks
        self._types = types
        self._contents = contents
        self._logged = log
        self._frames: deque[Frame] = deque(maxlen=MOST_FRAMES)
        self.last = 0
        self._until = clocks.uptime() + seconds
        link: Any = session._transport
        self._wire: str = link.context.wire.name
        self._has_ids: bool = link.connection.supports_requests
        self._traced = link.connection
        link.connection = _TracedConnection(link.connection, self._received, self._sent)
        self.is_on = True
        self._end: IDelayedCall = clocks.reactor.callLater(seconds, self.end)
        self._closing = session.when_closed()
        self._closing.addCallbacks(lambda _: self.end(), lambda _: None)

    @property
    def remaining(self) -> float:
        """Seconds that it still goes on."""
        return max(0.0, self._until - self._clocks.uptime()) if self.is_on else 0.0

    def end(self) -> None:
        """End it: the session has its own connection again."""
        if not self.is_on:
            return
        self.is_on = False
        self._closing.cancel()  # else the session would keep it
        link: Any = self._session._transport
        link.connection = self._traced
        if self._end.active():
            self._end.cancel()

    def after(self, number: int, most: int) -> list[Frame]:
        """Return the last frames with higher numbers, the oldest first.

        Args:
            number: the number; 0 for all.
            most: how many.
        """
        found = [frame for frame in self._frames if frame["number"] > number]
        return found[-most:] if most else []

    def _received(self, events: list[Event]) -> None:
        for event in events:
            self._add("in", **_shown(event))

    def _sent(self, buffers: list[bytes]) -> None:
        data = b"".join(buffers)
        try:
            pieces = annotate_stream(self._wire, data[:_MOST_LOOKED_AT])
        except SettingsError:  # a wire of the program's own
            pieces = []
        left = len(data) - sum(len(piece.data) for piece in pieces if piece.complete)
        for frame in _frames(pieces, self._traced.key_of, self._types):
            self._add("out", **frame)
        if left:
            self._add("out", name="bytes that are not looked at", size=left)

    def _add(self, direction: str, *, content: bytes | str | None = None, **said: Any) -> None:
        self.last += 1
        if not self._has_ids:
            said.pop("id", None)
        if self._contents and content is not None:
            said["content"] = _readable(content)
        frame: Any = {"number": self.last, "time": self._clocks.calendar(), "direction": direction, "size": 0}
        frame |= {name: each for name, each in said.items() if each is not None}
        self._frames.append(frame)
        if self._logged and self._session._may_log():
            shown = f": {frame['content']}" if "content" in frame else ""
            fields = {"way": direction, "name": frame["name"], "size": frame["size"], "shown": shown}
            _log.info("{connection} {way} {name}, {size} bytes{shown}", connection=self._session.id, **fields)


class _TracedConnection:
    """Proxy of a WireConnection that tells what comes and goes, while a trace goes on.

    Args:
        connection: the connection.
        received: takes the events of a read.
        sent: takes what is written.
    """

    def __init__(
        self, connection: WireConnection, received: Callable[[list[Event]], None], sent: Callable[[list[bytes]], None]
    ) -> None:
        self._connection = connection
        self._received = received
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Receive, and tell."""
        events = self._connection.receive_data(data, received_at)
        self._received(events)
        return events

    def receive_eof(self, received_at: int) -> list[Event]:
        """Receive the end of the stream, and tell."""
        events = self._connection.receive_eof(received_at)
        self._received(events)
        return events

    def data_to_send(self) -> list[bytes]:
        """Return what is to be written, and tell."""
        out = self._connection.data_to_send()
        if out:
            self._sent(out)
        return out


def _shown(event: Event) -> dict[str, Any]:
    """Return what is shown of an event; of one that has no frame to show, or one with credentials, what it is."""
    if isinstance(event, Response):
        own = {"type": event.type.key, "name": event.type.name, "id": event.request_id}
        return own | {"size": len(event.content), "content": event.content}
    shown = _SHOWN.get(type(event))
    return {"name": type(event).__name__} if shown is None else shown(event)


def _shown_rejection(event: FrameRejected) -> dict[str, Any]:
    code = event.code if event.code >= 0 else None
    return {"type": event.name or code, "name": f"rejected: {event.reason.value}", "id": event.request_id}


_SHOWN: dict[type, Callable[[Any], dict[str, Any]]] = {
    PingsAnswered: lambda event: {"name": "PING" if event.count == 1 else f"PING, {event.count} times"},
    Pong: lambda event: {"name": "PONG", "id": event.request_id},
    RequestFailed: lambda event: {"name": "ERROR", "id": event.request_id, "size": len(event.detail), "content": event.detail},
    CallCancelled: lambda event: {"name": "CANCEL", "id": event.request_id},
    FrameRejected: _shown_rejection,
    ConnectionFailed: lambda event: {"name": f"fault: {escape_controls(str(event.error))}"},
}
"""What is shown of events that are no messages, by their types."""


def _frames(pieces: Iterable[Piece], key_of: Callable[[bytes], Hashable], types: MessageRegistry) -> Iterator[dict[str, Any]]:
    """Yield what is shown of annotated frames: of each header with the content behind it, or of each message in one piece.

    Args:
        pieces: the frames.
        key_of: returns the key of the type of one that is a message.
        types: the message types that the server knows.
    """
    whole = (piece for piece in pieces if piece.complete)
    for piece in whole:
        said = piece.fields
        is_header = "type" in said
        body = next(whole) if is_header and said["size"] else piece
        apart = body is not piece
        key = key_of(piece.data + body.data if apart else piece.data)
        known = types.named(key) if isinstance(key, str) else types.get(key) if isinstance(key, int) else None
        content = HIDDEN if body.secret else body.fields.get("value", body.data)
        yield {
            "type": key if known is None else known.key,
            "name": str(said.get("name", piece.title)) if known is None else known.name,
            "id": said.get("request id", said.get("correlation id")),
            "size": said.get("size", len(piece.data)),
            "content": content if apart or not is_header else None,
        }


def _readable(content: bytes | str) -> str:
    """Return the begin of a content as a text on one line."""
    if isinstance(content, str):
        return escape_controls(content[:_MOST_CONTENT])
    begin = content[:_MOST_CONTENT]
    try:
        return escape_controls(getincrementaldecoder("utf-8")().decode(begin, begin == content))
    except UnicodeDecodeError:
        return f"hex:{begin.hex()}"
