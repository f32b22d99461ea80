"""Supervisor: one server as several processes, restarted when they die and replaced one after another when asked to."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from veltix_tx.hosted.private import PrivateBackplane
from veltix_tx.net.addresses import join_address
from veltix_tx.net.transport.endpoints import ListenSpec
from veltix_tx.net.transport.inherited import bind_sockets, check_inheritable
from veltix_tx.net.waiters import Waiters
from veltix_tx.ops.channel import WorkerCalls
from veltix_tx.ops.settings import variable_of
from veltix_tx.ops.worker import FIRST_SOCKET, LAME_DUCK, LIFELINE, STATUS, WORKER_VARIABLE
from veltix_tx.ops.worker_log import LONGEST_LINE, event_of
from veltix_tx.sanitize import one_line
from veltix_tx.settings import RetryPolicy

__all__ = ["FIRST_STARTS", "RESTARTS", "START_SECONDS", "Supervisor", "WorkerProcess", "WorkerState"]

_log = Logger()

RESTARTS = RetryPolicy(initial_delay=0.5, max_delay=30.0, jitter=False, stable_after=10.0)
"""Policy by which a worker that died is started again; one that has listened for so long has its count begin anew."""

FIRST_STARTS = 3
"""Tries of every worker to come to listen for the first time, after which the supervisor gives up: the fault is not theirs."""

START_SECONDS = 30.0
"""Seconds that a worker has until it listens, when it is to replace another."""

_MARGIN = LAME_DUCK + 5.0
"""Seconds beyond those of a drain, after which a worker that should have ended is killed."""


class WorkerState(Enum):
    """State of a worker process.

    ========  ===========================================================================
    STARTING  it has not said yet that it listens
    READY     it listens
    STOPPING  it was told to end: it drains, and its end is expected
    GONE      it has ended
    ========  ===========================================================================
    """

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    GONE = "gone"


class WorkerProcess(ProcessProtocol):
    """One worker process.

    Args:
        number: the worker's.
        when_ended: called with it when it has ended.
        reactor: tells the time.

    Attributes:
        number: as given.
        state: its state.
        started_at: seconds of the reactor's time.
        pid: its process id; None until it has been started.
        calls: asks its administration.
        replaced: True once a successor has taken its number over.
        killer: kills it, if it does not end.
    """

    def __init__(self, number: int, when_ended: Callable[[WorkerProcess], object], reactor: Any) -> None:
        self.number = number
        self.state = WorkerState.STARTING
        self.started_at: float = reactor.seconds()
        self.pid: int | None = None
        self.calls = WorkerCalls(f"worker {number}", reactor, self._write, self._listens)
        self.replaced = False
        self.killer: IDelayedCall | None = None
        self._when_ended = when_ended
        self._ready: Waiters[bool] = Waiters()
        self._gone: Waiters[None] = Waiters()
        self._lines = {1: b"", 2: b""}
        self._last = {1: "", 2: ""}

    @property
    def label(self) -> str:
        """Name that no other process has at the same time: the worker's number; with the process id once it is replaced."""
        return f"{self.number}-{self.pid}" if self.replaced else str(self.number)

    @property
    def last_error(self) -> str:
        """Last line that it wrote to standard error; without one, to standard output."""
        return self._last[2] or self._last[1]

    def when_ready(self) -> Deferred[bool]:
        """Return a new Deferred that fires with True once it listens, with False if it ends before."""
        return self._ready.wait()

    def when_gone(self) -> Deferred[None]:
        """Return a new Deferred that fires when it has ended."""
        return self._gone.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.state is not WorkerState.GONE:
            try:
                self.transport.signalProcess(number)  # type: ignore[union-attr]
            except ProcessExitedAlready:
                return

    def connectionMade(self) -> None:
        """Record its process id, which the transport forgets at its end."""
        self.pid = self.transport.pid  # type: ignore[union-attr]

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass on what it writes, line by line; on STATUS it says that it listens, and answers."""
        if childFD == STATUS:
            self.calls.receive(data)
            return
        *lines, self._lines[childFD] = (self._lines[childFD] + data).split(b"\n")
        for line in lines:
            self._pass_on(childFD, line)
        if len(self._lines[childFD]) > LONGEST_LINE:
            self._pass_on(childFD, self._lines[childFD])
            self._lines[childFD] = b""

    def processEnded(self, reason: Failure) -> None:
        """Record its end."""
        for source, rest in self._lines.items():
            self._pass_on(source, rest)
        self.calls.end()
        if self.state is not WorkerState.STOPPING:
            how = one_line(str(reason.value))
            _log.error("worker {number} (process {pid}) has ended: {how}", number=self.number, pid=self.pid, how=how)
        self.state = WorkerState.GONE
        if self.killer is not None and self.killer.active():
            self.killer.cancel()
        self._ready.fire(False)
        self._gone.fire(None)
        self._when_ended(self)

    def _listens(self) -> None:
        if self.state is WorkerState.STARTING:
            self.state = WorkerState.READY
            self._ready.fire(True)

    def _write(self, data: bytes) -> None:
        self.transport.writeToChild(LIFELINE, data)  # type: ignore[union-attr]

    def _pass_on(self, source: int, line: bytes) -> None:
        """Log the event in a line that it has written, and as a line of its own what else is there, as of a print."""
        text, event = event_of(line.decode("utf-8", "backslashreplace"), self.number)
        if text:
            self._last[source] = text
            _log.info("worker {worker}: {worker_line}", worker=self.number, worker_line=text)
        if event is not None:
            self._last[source] = event["worker_line"]
            globalLogPublisher(event)


class Supervisor(Service):
    """Service that runs one server as several processes, each of which listens on sockets that this one keeps.

    No connection that the kernel has accepted for a worker is lost with it: the socket stays, and the worker's successor serves
    its queue.

    Args:
        places: where the server listens.
        workers: number of processes.
        command: command line of a worker.
        environment: its environment.
        reactor: runs the processes.
        drain_seconds: seconds that a worker may take to end.
        backplane: what the workers share, while this one runs; None where they have something else, or nothing.
        random: for the waits before restarts.

    Attributes:
        reactor: as given.
        on_worker_ready: called with each worker process that comes to listen.

    Raises:
        SettingsError: several processes cannot listen on a place.
    """

    def __init__(
        self,
        places: Sequence[ListenSpec],
        workers: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        reactor: Any,
        drain_seconds: float,
        backplane: PrivateBackplane | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        for place in places:
            check_inheritable(place)
        self.reactor = reactor
        self._places = places
        self._command = command
        self._environment = environment
        self._drain_seconds = drain_seconds
        self._backplane = backplane
        self._random = random or Random().random
        self._sockets: list[list[socket.socket]] = []  # by place, one for each worker
        self._current: list[WorkerProcess | None] = [None] * workers
        self._others: set[WorkerProcess] = set()  # successors that do not listen yet, and predecessors that drain
        self._failures = [0] * workers
        self._has_served = False
        self.on_worker_ready: Callable[[WorkerProcess], object] = lambda _: None
        self._restarts: dict[int, IDelayedCall] = {}
        self._rolling = False
        self._ready: Waiters[None] = Waiters()
        self._failed: Waiters[str] = Waiters()

    def when_failed(self) -> Deferred[str]:
        """Return a new Deferred that fires when no worker has come to listen in its first FIRST_STARTS tries, with the reason."""
        return self._failed.wait()

    def when_ready(self) -> Deferred[None]:
        """Return a new Deferred that fires when every worker listens, at once where they do."""
        return succeed(None) if self._all_ready() else self._ready.wait()

    @property
    def workers(self) -> list[tuple[int, WorkerState, int | None]]:
        """Number, state and process id of each worker, None for one that is about to be started again."""
        return [
            (number, WorkerState.GONE, None) if each is None else (number, each.state, each.pid)
            for number, each in enumerate(self._current, 1)
        ]

    @property
    def processes(self) -> list[WorkerProcess]:
        """Processes of the workers by their numbers: those that serve, and that are to serve or have served in their place."""
        return sorted([*filter(None, self._current), *self._others], key=lambda each: (each.number, each.started_at))

    def privilegedStartService(self) -> None:
        """Make the listening sockets, while a low port may still be bound.

        Raises:
            CannotListenError: a port is taken.
        """
        if not self._sockets:
            self._sockets = [bind_sockets(place, len(self._current)) for place in self._places]

    def startService(self) -> None:
        """Start the workers; raises as :meth:`privilegedStartService` and :meth:`PrivateBackplane.startService` do."""
        self.privilegedStartService()
        if self._backplane is not None:
            self._backplane.startService()
        super().startService()
        for made in self._sockets:
            interface, port = made[0].getsockname()[:2]
            where = join_address(interface, port)
            _log.info("{workers} workers are started for {where}", workers=len(self._current), where=where)
        self.when_ready().addCallback(self._log_ready)
        for index in range(len(self._current)):
            self._start(index)

    def stopService(self) -> Deferred[Any]:
        """Stop: every worker drains as a server that stops does, and is killed when it takes too long.

        The sockets are closed here at once, too: as long as any process has them the kernel accepts connections that nobody serves.

        Returns:
            a Deferred that fires when every worker has ended.
        """
        super().stopService()
        for restart in self._restarts.values():
            restart.cancel()
        self._restarts.clear()
        running = self.processes
        _log.info("{workers} workers are stopped", workers=len(running))
        ended = DeferredList([each.when_gone() for each in running])
        for each in running:
            self._end(each, signal.SIGTERM)
        self._close_sockets()
        return ended.addCallback(self._stop_backplane)

    def abort(self) -> None:
        """End at once what a stop that is under way still waits for."""
        for each in self.processes:
            each.send_signal(signal.SIGKILL)

    def reload(self) -> None:
        """Have every worker read its files again; one that is being started, once it listens: before, the signal would end it."""
        for each in self.processes:
            if each.state is WorkerState.STARTING:
                each.when_ready().addCallback(partial(_reload_if_ready, each))
            elif each.state is WorkerState.READY:
                each.send_signal(signal.SIGHUP)

    @inlineCallbacks
    def roll(self) -> Any:
        """Replace the workers one after another: each successor listens before its predecessor is told to drain.

        Returns:
            a Deferred that fires with the number of workers that were replaced. One whose successor does not come to listen
            within START_SECONDS stays, and so do those after it.
        """
        if self._rolling or not self.running:
            _log.warn("the workers are not rolled: that is under way already, or they stop")
            return 0
        self._rolling = True
        _log.info("the workers are replaced, one after another")
        replaced = 0
        try:
            for index in range(len(self._current)):
                successor = self._spawn(index)
                late = self.reactor.callLater(START_SECONDS, successor.send_signal, signal.SIGKILL)
                ready = yield successor.when_ready()
                if late.active():
                    late.cancel()
                if not (ready and self.running):
                    text = "worker {number} stays, and those after it: its successor did not come to listen"
                    _log.error(text, number=index + 1)
                    break
                self._replace(index, successor)
                replaced += 1
        finally:
            self._rolling = False
        _log.info("{replaced} of {workers} workers were replaced", replaced=replaced, workers=len(self._current))
        return replaced

    # Inside.

    def _all_ready(self) -> bool:
        return all(each is not None and each.state is WorkerState.READY for each in self._current)

    def _worker_ready(self, ready: bool) -> None:
        if ready and self._all_ready():
            self._ready.fire(None)

    def _log_ready(self, _: object) -> None:
        _log.info("{workers} workers serve", workers=len(self._current))

    def _start(self, index: int) -> None:
        self._restarts.pop(index, None)
        process = self._spawn(index)
        self._others.discard(process)
        self._current[index] = process
        process.when_ready().addCallback(self._worker_ready)

    def _process_ready(self, ready: bool, process: WorkerProcess) -> None:
        if ready:
            self._has_served = True
            self.on_worker_ready(process)

    def _spawn(self, index: int) -> WorkerProcess:
        process = WorkerProcess(index + 1, partial(self._ended, index), self.reactor)
        process.when_ready().addCallback(self._process_ready, process)
        self._others.add(process)
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r", STATUS: "r", LIFELINE: "w"}
        for number, made in enumerate(self._sockets, FIRST_SOCKET):
            descriptors[number] = made[index].fileno()
        environment = {**self._environment, WORKER_VARIABLE: f"{index + 1}:{len(self._sockets)}"}
        if self._backplane is not None:
            environment[WORKER_VARIABLE] += f":{self._backplane.folder}"
            environment[variable_of("backplane")] = self._backplane.url
        command, folder = self._command, os.getcwd()
        transport = self.reactor.spawnProcess(process, command[0], command, environment, folder, childFDs=descriptors)
        transport.closeChildFD(0)
        return process

    def _replace(self, index: int, successor: WorkerProcess) -> None:
        predecessor = self._current[index]
        self._others.discard(successor)
        self._current[index] = successor
        restart = self._restarts.pop(index, None)
        if restart is not None:
            restart.cancel()
        if predecessor is not None:
            predecessor.replaced = True
            self._others.add(predecessor)
            self._end(predecessor, signal.SIGUSR2)

    def _end(self, process: WorkerProcess, how: signal.Signals) -> None:
        if process.state is not WorkerState.GONE:
            process.state = WorkerState.STOPPING
            process.send_signal(how)
            if process.killer is None:
                process.killer = self.reactor.callLater(self._drain_seconds + _MARGIN, process.send_signal, signal.SIGKILL)

    def _ended(self, index: int, process: WorkerProcess) -> None:
        self._others.discard(process)
        if self._current[index] is not process:
            return
        self._current[index] = None
        if not self.running:
            return
        lived = self.reactor.seconds() - process.started_at
        was_stable = self._has_served and lived >= RESTARTS.stable_after
        self._failures[index] = 1 if was_stable else self._failures[index] + 1
        if not self._has_served and min(self._failures) >= FIRST_STARTS:
            for restart in self._restarts.values():
                restart.cancel()
            self._restarts.clear()
            self._failed.fire(process.last_error or f"worker {index + 1} ended without a word")
            return
        wait = RESTARTS.delay(self._failures[index], self._random)
        _log.warn("worker {number} is started again in {wait:g} s", number=index + 1, wait=wait)
        self._restarts[index] = self.reactor.callLater(wait, self._start, index)

    def _close_sockets(self) -> None:
        for each in {each for made in self._sockets for each in made}:
            each.close()
        self._sockets = []

    def _stop_backplane(self, _: object) -> Deferred[Any] | None:
        return None if self._backplane is None else self._backplane.stopService()


def _reload_if_ready(process: WorkerProcess, ready: bool) -> None:
    if ready:
        process.send_signal(signal.SIGHUP)
