"""One measurement: a peer's server and a client, and how much they are to do."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from veltix_tx.benchmark.peers import Peer
from veltix_tx.benchmark.processes import Program

__all__ = ["Figures", "Sizes", "Stage"]

Figures: TypeAlias = "dict[str, float]"
"""What one measurement tells: ``value`` and what else there is, ``lost`` always."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything, upstream's numbers under upstream's names.

    Attributes:
        scale: the part of the messages that workloads without an option of their own send.
    """

    latency_iterations: int = 2000
    fps_players: int = 64
    fps_tick_rate: int = 64
    fps_duration: float = 5.0
    fps2_players: int = 128
    fps2_tick_rate: int = 20
    burst_count: int = 10_000
    burst_payload: int = 64
    stress_clients: int = 100
    stress_msgs: int = 100
    scale: float = 1.0


@dataclass
class Stage:
    """One measurement of one peer: starts its programs, and ends them.

    Args:
        peer: what is measured.
        folder: where it is installed.
        sizes: how much of everything.
        most: bytes of the largest message, None for the peer's own limit.
        profiled: whether the peer's programs note what they spend their time on.

    Attributes:
        programs: the peer's programs, started so far.
    """

    peer: Peer
    folder: Path | None
    sizes: Sizes
    most: int | None = None
    profiled: bool = False
    programs: list[Program] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    server: Program = field(init=False)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def serve(self, mode: str, **more: Any) -> Program:
        """Start the peer's server."""
        self.server = self._start(self.peer.program, {"role": "server", "mode": mode, **more})
        return self.server

    def own_client(self, connections: int = 1) -> Program:
        """Start the peer's own client, connected to the server."""
        client = self._start(self.peer.program, {"role": "client", "port": self.server.ready})
        client.call("connect", connections)
        return client

    def raw_client(self, connections: int = 1) -> Program:
        """Start the raw client, connected to the server."""
        task = {"wire": self.peer.wire, "port": self.server.ready}
        client = self._stack.enter_context(Program("raw", task))
        client.call("connect", connections)
        return client

    def many(self, number: int) -> int:
        """Return how many messages this peer is given where the fastest ones get so many."""
        return max(1, round(number * self.sizes.scale * self.peer.pace))

    def codec(self) -> Program:
        """Start the peer's codec, alone."""
        return self._stack.enter_context(Program("codecs", {"role": "codec", "codec": self.peer.codec}))

    def _start(self, program: str, task: dict[str, Any]) -> Program:
        most = {"most": self.most} if self.most else {}
        task = {**task, **self.peer.task, **most, "profiled": self.profiled}
        started = self._stack.enter_context(Program(program, task, self.folder))
        self.programs.append(started)
        return started
