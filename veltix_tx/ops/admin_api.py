"""Administration of a server as a table of paths: what is shown as JSON, and what is done."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, NoReturn, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx._version import __version__
from veltix_tx.errors import RequestTimeout, SettingsError, VeltixError
from veltix_tx.net.addresses import shown
from veltix_tx.net.clock import Clocks
from veltix_tx.net.session.session import Session
from veltix_tx.ops.answers import (
    Closing,
    Event,
    LimitsAnswer,
    Listener,
    MembersAnswer,
    NodesAnswer,
    NowAnswer,
    RoomsAnswer,
    RoundTrip,
    RoutesAnswer,
    Sent,
    ServerAnswer,
    SessionDetail,
    SessionsAnswer,
    TraceAnswer,
    Traffic,
)
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.ops.openapi import document
from veltix_tx.ops.recent import MOST_EVENTS, RecentEvents
from veltix_tx.ops.rooms import members, nodes, rooms
from veltix_tx.ops.sessions import SORTS, STATES, Query, detail, half_open_page, page, totals
from veltix_tx.ops.settings import LEVELS
from veltix_tx.ops.traces import MOST_FRAMES, MOST_SECONDS, MOST_TRACES, TooManyTraces, Traces
from veltix_tx.server import Server
from veltix_tx.wire.registry import build_description

__all__ = [
    "ANSWERS",
    "METRICS_TYPE",
    "MOST_ROWS",
    "PING_SECONDS",
    "AdminApi",
    "ApiError",
    "Call",
    "Text",
    "Watch",
    "find_path",
    "log_levels",
    "recent_events",
    "set_log_level",
    "watch_of",
]

MOST_ROWS = 1000
"""Sessions, or events, in one answer."""

MOST_WATCHED = 50
"""Rows in a snapshot: what a screen shows."""

PING_SECONDS = 5.0
"""Seconds for which the answer to an operator's ping is waited for."""

_BACKPLANE_SECONDS = 0.8
"""Seconds for what all servers of a backplane know together: less than a supervisor waits for a worker."""

_NAMESPACE = re.compile(r"[\w.]{0,200}")

_ID = r"[!-.0-~]+-\d+"
"""Id of a session: a node's, which is of printable characters, and a number."""

_WATCHED = re.compile(rf"(sessions(/{_ID}(/trace)?)?|routes|listeners|limits)?")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of what Prometheus reads."""

_log = Logger()

T = TypeVar("T")


class ApiError(Exception):
    """A request cannot be answered.

    Attributes:
        status: HTTP's.
        said: one line for whoever asked.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON.

    Attributes:
        content: its bytes.
        content_type: HTTP's.
        status: HTTP's.
    """

    content: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


@dataclass(frozen=True, slots=True)
class Watch:
    """An answer that goes on: snapshots with a page of the API in them.

    Attributes:
        path: the page's, below ``/api/v1/``; empty for none.
        query: parameters for it.
    """

    path: str
    query: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Call:
    """A request of the API.

    Attributes:
        query: parameters of the URL, the last of each name.
        body: JSON object of the body; empty without one.
        who: who asks, for the log.
        name: part of the path that is a name.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    who: str = ""
    name: str = ""

    def number(self, name: str, default: int, most: int) -> int:
        """Return a whole number from 0 of the query; raises ApiError."""
        text = self.query.get(name, str(default))
        if not (text.isascii() and text.isdecimal()) or len(text) > 12:
            raise ApiError(400, f"{name} must be a whole number from 0, not {text[:20]!r}")
        return min(int(text), most)

    def query_of_sessions(self, most: int) -> Query:
        """Return which sessions are asked for; raises ApiError.

        Args:
            most: how many there may be in an answer.
        """
        sort, state = self.query.get("sort", "id"), self.query.get("state", "")
        if sort.removeprefix("-") not in SORTS:
            raise ApiError(400, f"sort must be one of {', '.join(SORTS)}, with - in front for the highest first")
        if state and state not in STATES:
            raise ApiError(400, f"state must be one of {', '.join(STATES)}")
        return Query(
            search=self.query.get("search", "")[:200],
            state=state,
            sort=sort.removeprefix("-"),
            descending=sort.startswith("-"),
            offset=self.number("offset", 0, 10**9),
            limit=self.number("limit", min(100, most), most),
        )

    def given(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Return a field of the body; raises ApiError for one of another kind."""
        value = self.body.get(name, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = kind.__name__ if isinstance(kind, type) else "number"
            raise ApiError(400, f"{name} must be given in the body, a {wanted}")
        return value


class MetricsSource(Protocol):
    """Metrics as the administration shows them."""

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""

    def handler_times(self) -> dict[str, tuple[int, float]]:
        """Return how often each handler was timed, and the mean of its seconds."""


class AdminApi:
    """Administration of one server.

    Args:
        server: the server.
        metrics: what is measured; None where nothing is.
        events: the recent events.
        levels: the log's levels.
        most_rows: how many sessions, or routes, an answer may have.

    Attributes:
        ready: False once the server is to be sent no new clients.
        began: uptime at which it began to serve.
    """

    def __init__(
        self,
        server: Server,
        metrics: MetricsSource | None,
        events: RecentEvents,
        levels: LogLevels | None = None,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._events = events
        self._levels = levels
        self._traces = Traces(lambda: server.clocks, server.types)
        self._most_rows = most_rows
        self.ready = True
        self.began = 0.0

    @property
    def clocks(self) -> Clocks:
        """Sources of time: the server's, as they are by now."""
        return self._server.clocks

    @property
    def last_event(self) -> int:
        """Number of the last of the recent events."""
        return self._events.last

    def _traffic(self) -> Traffic | None:
        """Return what has gone through all listeners; None where nothing is measured."""
        meters = self._server.meters
        if not meters:
            return None
        return {
            "bytes_in": sum(meter.bytes_in for meter in meters),
            "bytes_out": sum(meter.bytes_out for meter in meters),
            "buffers_out": sum(meter.buffers_out for meter in meters),
            "messages_in": sum(meter.messages_in for meter in meters),
        }

    def answer(self, method: str, path: str, call: Call) -> object:
        """Return the answer to a request: what JSON has, a :class:`Text`, or a Deferred of one.

        Args:
            method: GET or POST.
            path: without a slash in front.
            call: the rest of it; ``name`` is set here.

        Raises:
            ApiError: there is no such path, it knows no such method, or the request is wrong.
        """
        pattern, call.name = find_path(method, path)
        return ANSWERS[pattern][method](self, call)

    def _healthz(self, _: Call) -> Text:
        """Answer as long as the process does; needs no token."""
        return Text(b"ok\n")

    def _readyz(self, _: Call) -> Text:
        """Tell with 200 or 503 whether new clients are to be sent here; needs no token."""
        listens = bool(self._server.addresses)
        if self.ready and listens and not self._server.stopping:
            return Text(b"ready\n")
        return Text(b"stopping\n" if listens else b"not listening\n", status=503)

    def _metrics_text(self, _: Call) -> Text:
        """Return the metrics, for Prometheus."""
        if self._metrics is None:
            raise ApiError(404, "nothing is measured: metrics is off, or veltix-tx[metrics] not installed")
        return Text(self._metrics.text(), METRICS_TYPE)

    def _show_server(self, _: Call) -> ServerAnswer:
        """Return version, uptime, addresses, counters and, where it is measured, traffic."""
        server = self._server
        return {
            "version": __version__,
            "build": build_description(),
            "pid": os.getpid(),
            "uptime": round(server.clocks.uptime() - self.began, 3),
            "ready": self.ready and not server.stopping,
            "addresses": list(map(shown, server.addresses)),
            "sessions": len(server.sessions),
            "counters": {name: count for name, count in sorted(server.counters.items()) if count},
            "traffic": self._traffic(),
        }

    def _now(self, _: Call) -> Deferred[NowAnswer]:
        """Return numbers for charts: what is so now, and sums of which the growth tells something."""
        return Deferred.fromCoroutine(self._numbers())

    async def _numbers(self) -> NowAnswer:
        """Return what is so now, with all sessions looked at in slices."""
        server, uptime = self._server, self.clocks.uptime
        asked = uptime()
        await deferLater(self.clocks.reactor, 0)
        late = uptime() - asked
        return {
            **await totals(server.sessions, self.clocks.reactor),
            "sessions": len(server.sessions),
            "half_open": len(server.half_open),
            "uptime": round(uptime() - self.began, 3),
            "cpu": time.process_time(),
            "late": late,
            "traffic": self._traffic(),
        }

    def _listeners(self, _: Call) -> list[Listener]:
        """Return where the server listens, with what is spoken there and its traffic."""
        meters = {(meter.listener, meter.wire): meter for meter in self._server.meters}
        found = []
        for where, address, wire, encrypted in self._server.listeners:
            row: Listener = {"listener": where, "address": shown(address), "wire": wire, "encrypted": encrypted}
            meter = meters.get((where, wire))
            if meter is not None:
                row |= {"open": meter.open, "ready": meter.ready, "bytes_in": meter.bytes_in, "bytes_out": meter.bytes_out}
            found.append(row)
        return found

    def _sessions(self, call: Call) -> Deferred[SessionsAnswer]:
        """Return a page of sessions: ``search``, ``state``, ``sort`` (- in front: the highest first), ``offset``, ``limit``."""
        return Deferred.fromCoroutine(self._page(call.query_of_sessions(self._most_rows)))

    async def _page(self, query: Query) -> SessionsAnswer:
        """Return a page of sessions, or of connections that are still in their handshake."""
        if query.state == "half-open":
            return half_open_page(self._server.half_open, self.clocks.uptime(), query)
        return await page(self._server.sessions, self.clocks.reactor, query)

    def _session(self, call: Call) -> SessionDetail:
        """Return all that is known of a session now."""
        return detail(self._find(call))

    def _ping(self, call: Call) -> Deferred[RoundTrip]:
        """Measure the round trip to a session's peer."""

        def failed(failure: Failure) -> NoReturn:
            failure.trap(VeltixError)
            raise ApiError(504 if failure.check(RequestTimeout) else 409, str(failure.value))

        def measured(milliseconds: float) -> RoundTrip:
            return {"milliseconds": round(milliseconds, 3)}

        return self._find(call).ping(PING_SECONDS).addCallback(measured).addErrback(failed)

    def _send(self, call: Call) -> Sent:
        """Send a message to a session's peer: ``type``, a code or a name, and ``text`` or ``hex``."""
        session, key = self._find(call), call.body.get("type", 0)
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise ApiError(400, "type must be a code or a name")
        try:
            content = bytes.fromhex(call.given("hex", str)) if "hex" in call.body else call.given("text", str, "").encode()
        except ValueError:
            raise ApiError(400, "hex must be hexadecimal digits in pairs, and text what UTF-8 has") from None
        types = self._server.types
        message_type = types.get(key) if isinstance(key, int) else types.named(key)
        if message_type is None:
            raise ApiError(400, f"the server knows no type {key!r:.40}")
        try:
            session.send(message_type, content)
        except (VeltixError, TypeError) as error:
            raise ApiError(409, " ".join(str(error).split())) from None
        _log.warn("{who} sent {size} bytes of type {key} to {session}", who=call.who, size=len(content), key=key, session=session)
        return {"sent": len(content)}

    def _disconnect(self, call: Call) -> Closing:
        """Close a session politely."""
        session = self._find(call)
        _log.warn("{who} disconnects {session}", who=call.who, session=session, connection=session.id)
        session.disconnect()
        return {"closing": session.id}

    def _trace(self, call: Call) -> TraceAnswer:
        """Return a session's trace: ``after`` a number, ``limit``; 404 where it has none."""
        trace = self._traces.find(call.name)
        if trace is None:
            raise ApiError(404, "this session is not traced")
        frames = trace.after(call.number("after", 0, 10**12), call.number("limit", MOST_FRAMES, MOST_FRAMES))
        return {"remaining": round(trace.remaining, 3), "last": trace.last, "frames": frames}

    def _set_trace(self, call: Call) -> TraceAnswer:
        """Trace a session's frames for so many ``seconds``, 0 to end: ``contents`` to keep these, ``log`` to log each frame."""
        seconds = call.given("seconds", (int, float))
        contents, log = (call.given(name, bool, False) for name in ("contents", "log"))
        if not 0 <= seconds <= MOST_SECONDS:
            raise ApiError(400, f"seconds must be from 0 to {MOST_SECONDS}")
        if not seconds:
            self._traces.end(call.name)
            return self._trace(call)
        session = self._find(call)
        try:
            self._traces.begin(session, seconds, contents=contents, log=log)
        except TooManyTraces:
            raise ApiError(409, f"there are {MOST_TRACES} traces already") from None
        said = {"who": call.who, "seconds": seconds, "session": session, "connection": session.id}
        _log.warn("{who} traces the frames of {session} for {seconds} s" + (", with contents" if contents else ""), **said)
        return self._trace(call)

    def _nodes(self, call: Call) -> Deferred[NodesAnswer]:
        """Return the servers that share the backplane, its state and its counters: ``limit``."""
        return self._shared(nodes(self._server, call.number("limit", MOST_ROWS, MOST_ROWS)))

    def _rooms(self, call: Call) -> Deferred[RoomsAnswer]:
        """Return the rooms that have members on any server, the largest first: ``pattern`` (* is any text), ``limit``."""
        return self._shared(rooms(self._server, call.query.get("pattern", "*"), call.number("limit", 100, MOST_ROWS)))

    def _members(self, call: Call) -> Deferred[MembersAnswer]:
        """Return the members of a ``room`` on all servers: ``limit``."""
        room = call.query.get("room")
        if room is None:
            raise ApiError(400, "room must be given")
        return self._shared(members(self._server, room, call.number("limit", 100, MOST_ROWS)))

    def _shared(self, asking: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Return a Deferred of what the backplane tells; it errbacks with ApiError where that does not tell it."""

        def failed(failure: Failure) -> NoReturn:
            error = failure.trap(VeltixError, DeferredTimeout)
            if error is DeferredTimeout:
                raise ApiError(504, f"the backplane did not answer within {_BACKPLANE_SECONDS:g} s")
            raise ApiError(400 if failure.check(SettingsError) else 503, str(failure.value))

        return Deferred.fromCoroutine(asking).addTimeout(_BACKPLANE_SECONDS, self.clocks.reactor).addErrback(failed)

    def _routes(self, call: Call) -> RoutesAnswer:
        """Return routes and methods: what came, failures, how often timed, and the mean: ``search``, ``offset``, ``limit``."""
        server = self._server
        received: dict[object, int] = {}
        for meter in self._server.meters:
            meter.settle()
            for key, count in meter.received.messages.items():
                received[key] = received.get(key, 0) + round(count)
        times = {} if self._metrics is None else self._metrics.handler_times()

        def timed(kind: str, name: str) -> dict[str, Any]:
            count, mean = times.get(f"{kind} {name}", (0, 0.0))
            return {"timed": count, "mean_ms": round(mean * 1000, 3)} if times else {}

        routes = [
            {"type": key, "name": known.name}
            | ({"received": received.get(key, 0)} if received else {})
            | timed("route", known.name)
            for key, known in server.routed_types.items()
        ]
        methods = [{"name": each.name, "concurrent": each.concurrent} | timed("method", each.name) for each in server.methods]
        return {"routes": self._handlers("route", routes, call), "methods": self._handlers("method", methods, call)}

    def _handlers(self, kind: str, rows: list[dict[str, Any]], call: Call) -> list[Any]:
        """Return a page of the handlers that are searched for, with how often each has failed."""
        text, failures = call.query.get("search", ""), self._server.handler_failures
        first, most = call.number("offset", 0, 10**9), call.number("limit", MOST_ROWS, self._most_rows)
        found = [each for each in rows if text in each["name"]][first : first + most]
        return [each | {"failed": failures.get(f"{kind} {each['name']}", 0)} for each in found]

    def _recent(self, call: Call) -> list[Event]:
        """Return the last lines of the log: ``after`` a number, ``search``, ``connection`` an id, ``limit``."""
        return recent_events(self._events, call)

    def _watch(self, call: Call) -> Watch:
        """Stream a snapshot a second (server-sent events): ``show`` a path below ``/api/v1/``, with that path's parameters."""
        return watch_of(call)

    def _limits(self, _: Call) -> LimitsAnswer:
        """Return the limits and timeouts, and what is used of those that all connections share."""
        config = self._server.config
        return {
            "in_use": {name: {"used": used, "limit": most} for name, (used, most) in self._server.limits_in_use.items()},
            "limits": asdict(config.limits),
            "timeouts": {name: value if value != float("inf") else "inf" for name, value in asdict(config.timeouts).items()},
            "max_message_size": config.max_message_size,
        }

    def _log_levels(self, _: Call) -> dict[str, str]:
        """Return the log's levels by namespace."""
        return log_levels(self._levels)

    def _set_log_level(self, call: Call) -> dict[str, str]:
        """Set the level of a ``namespace``, or without one of all others, until the next reload: ``level``."""
        return set_log_level(self._levels, call)

    def _openapi(self, _: Call) -> dict[str, Any]:
        """Return the description of all paths, an OpenAPI document."""
        return _document()

    def _find(self, call: Call) -> Session:
        for session in self._server.sessions:
            if session.id == call.name:
                if session.is_gone:
                    break
                return session
        raise ApiError(404, "there is no open session with this id")


def recent_events(events: RecentEvents, call: Call) -> list[Event]:
    """Return the last lines of the log that are asked for; raises ApiError."""
    after, most = call.number("after", 0, 10**12), call.number("limit", 100, MOST_EVENTS)
    search, connection = (call.query.get(name, "")[:200] for name in ("search", "connection"))
    return events.after(after, most, search, connection)


def watch_of(call: Call) -> Watch:
    """Return the stream that is asked for; raises ApiError."""
    path = call.query.get("show", "")
    if not _WATCHED.fullmatch(path):
        raise ApiError(400, "show must be sessions, sessions/ID, sessions/ID/trace, routes, listeners or limits")
    query = {name: value[:200] for name, value in call.query.items() if name in ("search", "state", "sort", "offset")}
    return Watch(path, (*sorted(query.items()), ("limit", str(call.number("limit", MOST_WATCHED, MOST_WATCHED)))))


def log_levels(levels: LogLevels | None) -> dict[str, str]:
    """Return the log's levels by namespace; raises ApiError where there are none to be changed."""
    return dict(_need(levels).levels)


def set_log_level(levels: LogLevels | None, call: Call) -> dict[str, str]:
    """Set the level that is asked for, and return all of them; raises ApiError."""
    namespace, level = call.given("namespace", str, ""), call.given("level", str)
    known = _need(levels)
    if level not in LEVELS:
        raise ApiError(400, f"level must be one of {', '.join(LEVELS)}")
    if not _NAMESPACE.fullmatch(namespace):
        raise ApiError(400, "namespace must be a dotted name of at most 200 characters")
    if namespace not in known.levels and len(known.levels) >= MOST_ROWS:
        raise ApiError(409, f"there are levels of {MOST_ROWS} namespaces already")
    known.set_level(namespace, level)
    _log.warn("{who} set the log level of {name!r} to {wanted}", who=call.who, name=namespace, wanted=level)
    return dict(known.levels)


def _need(levels: LogLevels | None) -> LogLevels:
    if levels is None:
        raise ApiError(404, "this program sets its log's levels itself")
    return levels


_Answer = Callable[[AdminApi, Call], object]

ANSWERS: dict[str, dict[str, _Answer]] = {
    "healthz": {"GET": AdminApi._healthz},
    "readyz": {"GET": AdminApi._readyz},
    "metrics": {"GET": AdminApi._metrics_text},
    "events": {"GET": AdminApi._watch},
    "api/v1/server": {"GET": AdminApi._show_server},
    "api/v1/now": {"GET": AdminApi._now},
    "api/v1/listeners": {"GET": AdminApi._listeners},
    "api/v1/sessions": {"GET": AdminApi._sessions},
    f"api/v1/sessions/({_ID})": {"GET": AdminApi._session},
    f"api/v1/sessions/({_ID})/ping": {"POST": AdminApi._ping},
    f"api/v1/sessions/({_ID})/send": {"POST": AdminApi._send},
    f"api/v1/sessions/({_ID})/disconnect": {"POST": AdminApi._disconnect},
    f"api/v1/sessions/({_ID})/trace": {"GET": AdminApi._trace, "POST": AdminApi._set_trace},
    "api/v1/nodes": {"GET": AdminApi._nodes},
    "api/v1/rooms": {"GET": AdminApi._rooms},
    "api/v1/members": {"GET": AdminApi._members},
    "api/v1/routes": {"GET": AdminApi._routes},
    "api/v1/events": {"GET": AdminApi._recent},
    "api/v1/limits": {"GET": AdminApi._limits},
    "api/v1/log": {"GET": AdminApi._log_levels, "POST": AdminApi._set_log_level},
    r"api/v1/openapi\.json": {"GET": AdminApi._openapi},
}
"""Paths, and what answers each method there. What is shown is asked with GET, and changes nothing."""

_PATHS = [(re.compile(path), path) for path in ANSWERS]


@cache
def _document() -> dict[str, Any]:
    return document(ANSWERS, {Text: "text/plain", Watch: "text/event-stream"})


def find_path(method: str, path: str) -> tuple[str, str]:
    """Return which of :data:`ANSWERS` a path is, and the name in it, empty for none; raises ApiError."""
    for expression, pattern in _PATHS:
        found = expression.fullmatch(path)
        if found is not None:
            if method not in ANSWERS[pattern]:
                raise ApiError(405, f"it takes {' and '.join(ANSWERS[pattern])} only")
            return pattern, found[1] if expression.groups else ""
    raise ApiError(404, "there is no such path")
