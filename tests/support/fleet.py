"""Several servers in memory, administered as the workers of a supervisor are."""

from __future__ import annotations

from typing import Any

from tests.support.administration import TYPES
from veltix_tx import Client, Server
from veltix_tx.backplane.memory import MemoryBackplane
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.turn_queue import TurnQueue
from veltix_tx.ops.admin_api import Call
from veltix_tx.ops.channel import WorkerCalls, WorkerChannel
from veltix_tx.ops.fleet import Fleet
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.ops.recent import RecentEvents
from veltix_tx.ops.supervisor import WorkerState
from veltix_tx.ops.worker import WorkerAdministration
from veltix_tx.testing import MemoryNetwork

__all__ = ["FleetWorld", "Worker"]


class Worker:
    """A worker: a server with its channel to the supervisor, in place of a process."""

    def __init__(self, world: FleetWorld, number: int, pid: int, *, measured: bool = True) -> None:
        self.number, self.pid, self.label = number, pid, str(number)
        self.state = WorkerState.STARTING
        self.hangs = False
        self._clock = world.network.clock
        self._requests: list[bytes] = []
        self.server = Server(types=TYPES, backplane=MemoryBackplane(node_id=str(pid)))
        self.levels = LogLevels("info", {})
        administration = WorkerAdministration(self.server, measured, self.levels)
        self.metrics: Any = administration._metrics
        world.network.serve(self.server)
        turns = TurnQueue(self._clock, self._clock.seconds)
        self.channel = WorkerChannel(administration.api, self.server.backplane.node_id, lambda: None, turns)
        self.calls = WorkerCalls(f"worker {number}", self._clock, self._ask, lambda: self._listen(world))  # type: ignore[arg-type]

    def start(self) -> Worker:
        """Come to listen."""
        self.channel.makeConnection(self)  # type: ignore[arg-type]
        return self

    def write(self, data: bytes) -> None:
        """Hand an answer on, in a later turn, in two parts."""
        for part in (data[:3], data[3:]):
            self._clock.callLater(0, self.calls.receive, part)

    def go_on(self) -> None:
        """Answer what was asked while it hung."""
        self.hangs = False
        for each in self._requests:
            self.channel.dataReceived(each)
        self._requests.clear()

    def _ask(self, data: bytes) -> None:
        if self.hangs:
            self._requests.append(data)
        else:
            self._clock.callLater(0, self.channel.dataReceived, data)

    def _listen(self, world: FleetWorld) -> None:
        self.state = WorkerState.READY
        world.on_worker_ready(self)


class FleetWorld:
    """Workers, and what the administration asks of them together; it stands in for their supervisor."""

    running = True

    def __init__(self, network: MemoryNetwork, workers: int = 2) -> None:
        self.network, self.reactor = network, network.clock
        self.on_worker_ready: Any = None
        self.events, self.levels = RecentEvents(), LogLevels("info", {})
        self.fleet = Fleet(self, self.events, self.levels)  # type: ignore[arg-type]
        self.processes = [Worker(self, number, 100 + number) for number in range(1, workers + 1)]
        for each in self.processes:
            each.start()
        network.advance(0)

    def connect(self, worker: int, count: int = 1) -> list[Session]:
        """Connect clients to a worker; return its sessions."""
        server = self.processes[worker - 1].server
        for _ in range(count):
            self.network.connect(Client(types=TYPES), server)
        return server.clients

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **query: object) -> Any:
        """Return the answer to a request; raise its ApiError."""
        call = Call({name: str(value) for name, value in query.items()}, body or {}, "the operator")
        answer = self.fleet.answer(method, path, call)
        if not hasattr(answer, "addCallback"):
            return answer
        for _ in range(20):
            if answer.called:
                break
            self.network.advance(0)
        return self.network.result(answer)

    def get(self, path: str, **query: object) -> Any:
        """Return what a path of the API shows."""
        return self.ask("GET", f"api/v1/{path}", **query)
