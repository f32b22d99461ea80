"""Fleet: the workers of a supervisor, administered as one server is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx._version import __version__
from veltix_tx.net.clock import Clocks
from veltix_tx.ops.admin_api import (
    METRICS_TYPE,
    MOST_ROWS,
    PING_SECONDS,
    ApiError,
    Call,
    Text,
    Watch,
    find_path,
    log_levels,
    recent_events,
    set_log_level,
    watch_of,
)
from veltix_tx.ops.answers import Event
from veltix_tx.ops.channel import DEADLINE, NoAnswer
from veltix_tx.ops.exposition import merge_expositions
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.ops.recent import RecentEvents
from veltix_tx.ops.sessions import merged
from veltix_tx.ops.supervisor import Supervisor, WorkerProcess, WorkerState
from veltix_tx.wire.registry import build_description

__all__ = ["Fleet"]

_log = Logger()


class Fleet:
    """Workers of a supervisor, asked as one server is: an :class:`~veltix_tx.ops.interface.Administered`.

    Lists are merged, counts are added up, a session is found by its id. Workers that are replaced are among them until they are
    gone. A worker that does not answer within a second is left out until it does, and ``api/v1/server`` says so.

    Args:
        supervisor: has the workers.
        events: the recent events, those that workers have logged among them.
        levels: the levels of the supervisor's log, with which the workers' are changed; None where they may not be.

    Attributes:
        ready: False once no new clients are to be sent.
        began: uptime at which the supervisor began.
    """

    def __init__(self, supervisor: Supervisor, events: RecentEvents, levels: LogLevels | None = None) -> None:
        self._supervisor = supervisor
        self._events = events
        self._levels = levels
        self._set_levels: dict[str, str] = {}
        self.ready = True
        self.began = 0.0
        supervisor.on_worker_ready = self._worker_ready

    @property
    def clocks(self) -> Clocks:
        """Sources of time, those of the supervisor's reactor."""
        return Clocks(self._supervisor.reactor)

    @property
    def last_event(self) -> int:
        """Number of the last of the recent events."""
        return self._events.last

    def answer(self, method: str, path: str, call: Call) -> object:
        """Return the answer to a request; see :meth:`Administered.answer <veltix_tx.ops.interface.Administered.answer>`.

        A path that is not known here is asked of any worker where it shows something, and of all where it does something.
        """
        pattern, call.name = find_path(method, path)
        if (pattern, method) in _ANSWERS:
            answer = _ANSWERS[pattern, method](self, call)
            return Deferred.fromCoroutine(answer) if isinstance(answer, Coroutine) else answer
        if call.name:
            return Deferred.fromCoroutine(self._of_session(method, path, call))
        return Deferred.fromCoroutine(self._of_any(path, call) if method == "GET" else self._of_all(method, path, call))

    # The supervisor's own answers.

    def _healthz(self, _: Call) -> Text:
        return Text(b"ok\n")

    async def _readyz(self, _: Call) -> Text:
        if not (self.ready and self._supervisor.running):
            return Text(b"stopping\n", status=503)
        serving = [each for each in self._asked if each.state is WorkerState.READY]
        asked = [each.calls.ask("GET", "readyz", Call()).addCallback(_need_ready) for each in serving]
        first = DeferredList(asked, fireOnOneCallback=True, consumeErrors=True)
        if not asked or isinstance(await first, list):  # of failures
            return Text(b"no worker serves\n", status=503)
        return Text(b"ready\n")

    def _recent(self, call: Call) -> list[Event]:
        return recent_events(self._events, call)

    def _watch(self, call: Call) -> Watch:
        return watch_of(call)

    def _log_levels(self, _: Call) -> dict[str, str]:
        return log_levels(self._levels)

    async def _set_log_level(self, call: Call) -> dict[str, str]:
        found = set_log_level(self._levels, call)
        namespace = call.given("namespace", str, "")
        self._set_levels[namespace] = found[namespace]
        await self._of_all("POST", "api/v1/log", Call(body={"namespace": namespace, "level": found[namespace]}, who=call.who))
        return found

    # What is merged.

    async def _server(self, _: Call) -> dict[str, Any]:
        found = await self._ask_all("api/v1/server")
        said = [each for _, each in found]
        return {
            "version": __version__,
            "build": build_description(),
            "pid": os.getpid(),
            "uptime": round(self.clocks.uptime() - self.began, 3),
            "ready": self.ready and self._supervisor.running and any(each["ready"] for each in said),
            "addresses": list(dict.fromkeys(chain.from_iterable(each["addresses"] for each in said))),
            "sessions": sum(each["sessions"] for each in said),
            "counters": dict(sorted(_sums(each["counters"] for each in said).items())),
            "traffic": _traffic(said),
            "workers": [self._shown(process, dict(found).get(process)) for process in self._supervisor.processes],
        }

    def _shown(self, process: WorkerProcess, said: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a worker process, with what it has said; None where it has not answered."""
        shown = {"worker": process.number, "pid": process.pid, "state": process.state.value, "answers": said is not None}
        return shown if said is None else shown | {"uptime": said["uptime"], "sessions": said["sessions"]}

    async def _now(self, _: Call) -> dict[str, Any]:
        said = [each for _, each in await self._ask_all("api/v1/now")]
        names = ("paused", "blocked", "slow", "waiting", "pending", "queued", "sessions", "half_open")
        sums = _sums({name: each[name] for name in names} for each in said)
        return (
            dict.fromkeys(names, 0)
            | sums
            | {
                "uptime": round(self.clocks.uptime() - self.began, 3),
                "cpu": time.process_time() + sum(each["cpu"] for each in said),
                "late": max((each["late"] for each in said), default=0.0),
                "traffic": _traffic(said),
            }
        )

    async def _listeners(self, _: Call) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for _process, listeners in await self._ask_all("api/v1/listeners"):
            for each in listeners:
                before = found.setdefault((each["listener"], each["wire"]), each)
                if before is not each:
                    before |= _sums({name: of.get(name, 0) for name in _OF_LISTENER if name in each} for of in (before, each))
        return list(found.values())

    async def _sessions(self, call: Call) -> dict[str, Any]:
        query = call.query_of_sessions(MOST_ROWS)
        wide = dict(call.query) | {"offset": "0", "limit": str(query.offset + query.limit)}
        pages = await self._ask_all("api/v1/sessions", wide)
        for process, each in pages:
            each["sessions"] = [row | {"worker": process.number} for row in each["sessions"]]
        return merged((each for _, each in pages), query)

    async def _routes(self, call: Call) -> dict[str, Any]:
        first, most = call.number("offset", 0, 10**9), call.number("limit", MOST_ROWS, MOST_ROWS)
        wide = dict(call.query) | {"offset": "0", "limit": str(first + most)}
        said = [each for _, each in await self._ask_all("api/v1/routes", wide)]
        return {kind: _merge_handlers(each[kind] for each in said)[first : first + most] for kind in ("routes", "methods")}

    async def _limits(self, _: Call) -> dict[str, Any]:
        found = await self._ask_all("api/v1/limits")
        if not found:
            raise NoAnswer("no worker answers")
        in_use: dict[str, dict[str, Any]] = {}
        for process, said in found:
            for name, use in said["in_use"].items():
                in_use[name] = _add_use(in_use.get(name), use | {"worker": process.number})
        return {**found[0][1], "in_use": in_use}

    async def _metrics(self, _: Call) -> Text:
        said = await self._settled("GET", "metrics", Call())
        for _process, answer in said:
            if isinstance(answer, ApiError) and not isinstance(answer, NoAnswer):
                raise answer
        texts = {process.label: answer.content if isinstance(answer, Text) else None for process, answer in said}
        return Text(merge_expositions(texts), METRICS_TYPE)

    # What is asked of workers.

    @property
    def _asked(self) -> Sequence[WorkerProcess]:
        """Processes that have come to listen."""
        return [each for each in self._supervisor.processes if each.state is not WorkerState.STARTING]

    async def _settled(self, method: str, path: str, call: Call) -> list[tuple[WorkerProcess, Any]]:
        """Return each worker's answer, or the ApiError in its place; all are asked at once."""
        asked = [(each, each.calls.ask(method, path, call).addErrback(_trap)) for each in self._asked]
        return [(process, await answer) for process, answer in asked]

    async def _ask_all(self, path: str, query: Mapping[str, str] | None = None) -> list[tuple[WorkerProcess, Any]]:
        """Return what each worker shows at a path, of those that answer; raises ApiError for what a worker refuses."""
        return _answered(await self._settled("GET", path, Call(query or {})))

    async def _of_all(self, method: str, path: str, call: Call) -> Any:
        """Have all workers do something, and return the first one's answer."""
        found = _answered(await self._settled(method, path, call))
        if not found:
            raise NoAnswer("no worker answers")
        return found[0][1]

    async def _of_any(self, path: str, call: Call) -> Any:
        """Return the answer of the first worker that has one."""
        for each in self._asked:
            if each.calls.answers:
                return await each.calls.ask("GET", path, call)
        raise NoAnswer("no worker answers")

    async def _of_session(self, method: str, path: str, call: Call) -> Any:
        """Return the answer of the worker that has a session."""
        node = call.name.rpartition("-")[0]
        for each in self._asked:
            if each.calls.node == node:
                seconds = DEADLINE + (PING_SECONDS if path.endswith("/ping") else 0.0)
                said = await each.calls.ask(method, path, call, seconds)
                return said | {"worker": each.number} if method == "GET" and isinstance(said, dict) else said
        raise ApiError(404, "there is no open session with this id")

    def _worker_ready(self, process: WorkerProcess) -> None:
        """Have a new worker log at the levels that were set since the last reload."""
        levels = {} if self._levels is None else self._levels.levels
        for namespace, level in self._set_levels.items():
            if levels.get(namespace) == level:
                call = Call(body={"namespace": namespace, "level": level}, who="the supervisor")
                process.calls.ask("POST", "api/v1/log", call).addErrback(_log_refusal, process.number)


def _need_ready(answer: object) -> None:
    if not (isinstance(answer, Text) and answer.status == 200):
        raise ApiError(503, "it is not ready")


def _log_refusal(failure: Failure, worker: int) -> None:
    _log.warn("worker {worker} has other log levels than set: {said}", worker=worker, said=_trap(failure).said)


def _trap(failure: Failure) -> ApiError:
    failure.trap(ApiError)
    error: Any = failure.value
    return error  # type: ignore[no-any-return]


def _answered(settled: Iterable[tuple[WorkerProcess, Any]]) -> list[tuple[WorkerProcess, Any]]:
    """Return the answers without those that did not come; raises ApiError for what a worker refuses."""
    found = [(process, answer) for process, answer in settled if not isinstance(answer, NoAnswer)]
    for _process, answer in found:
        if isinstance(answer, ApiError):
            raise answer
    return found


_OF_LISTENER = ("open", "ready", "bytes_in", "bytes_out")
_OF_HANDLER = ("received", "failed", "timed")
"""Counts of a row that are added up."""

_Answer = Callable[[Fleet, Call], object]

_ANSWERS: dict[tuple[str, str], _Answer] = {
    ("healthz", "GET"): Fleet._healthz,
    ("readyz", "GET"): Fleet._readyz,
    ("metrics", "GET"): Fleet._metrics,
    ("events", "GET"): Fleet._watch,
    ("api/v1/server", "GET"): Fleet._server,
    ("api/v1/now", "GET"): Fleet._now,
    ("api/v1/listeners", "GET"): Fleet._listeners,
    ("api/v1/sessions", "GET"): Fleet._sessions,
    ("api/v1/routes", "GET"): Fleet._routes,
    ("api/v1/events", "GET"): Fleet._recent,
    ("api/v1/limits", "GET"): Fleet._limits,
    ("api/v1/log", "GET"): Fleet._log_levels,
    ("api/v1/log", "POST"): Fleet._set_log_level,
}
"""Paths whose answers are the supervisor's own, or are merged."""


def _sums(of: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of values by their names."""
    found: dict[str, int] = {}
    for each in of:
        for name, value in each.items():
            found[name] = found.get(name, 0) + value
    return found


def _traffic(said: Iterable[Mapping[str, Any]]) -> dict[str, int] | None:
    measured = [each["traffic"] for each in said if each["traffic"] is not None]
    return _sums(measured) if measured else None


def _merge_handlers(lists: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return routes or methods of all workers, in the first one's order: counts added up, means weighed."""
    found: dict[str, dict[str, Any]] = {}
    for each in chain.from_iterable(lists):
        before = found.setdefault(each["name"], each)
        if before is each:
            continue
        sums: dict[str, Any] = _sums({name: of[name] for name in _OF_HANDLER if name in of} for of in (before, each))
        timed = sums.get("timed", 0)
        if timed:
            spent = sum(of.get("timed", 0) * of.get("mean_ms", 0.0) for of in (before, each))
            sums["mean_ms"] = round(spent / timed, 3)
        before |= sums
    return list(found.values())


def _add_use(before: dict[str, Any] | None, use: dict[str, Any]) -> dict[str, Any]:
    """Return the use of a limit that every worker has for itself: sums, and the worker that uses the most of it."""
    if before is None:
        return {"used": use["used"], "limit": use["limit"], "fullest": use}
    limit = -1 if -1 in (before["limit"], use["limit"]) else before["limit"] + use["limit"]
    fullest = max(before["fullest"], use, key=lambda each: each["used"])
    return {"used": before["used"] + use["used"], "limit": limit, "fullest": fullest}
