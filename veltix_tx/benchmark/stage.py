"""One measurement: a peer's server and a client, and how much they are to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from veltix_tx.benchmark.noise import Noise
from veltix_tx.benchmark.peers import Peer
from veltix_tx.benchmark.processes import Program

__all__ = ["Figures", "Sizes", "Stage"]

Figures: TypeAlias = "dict[str, float]"
"""Figures of one measurement: ``value`` and what else there is, ``lost`` always."""

T = TypeVar("T")

_WARM = 0.2
"""The part of a window that is sent beforehand."""

_SURE = 1.15
"""Factor by which more is sent than a window takes, so that it is long enough."""

_TRIES = 4
"""Tries of a window that was too short."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the workloads, upstream's numbers under upstream's names.

    Attributes:
        window: the seconds that what is measured takes, at least.
        scale: the part of that, and of the connections of workloads with many, for a quick look.
        noise: the part of the machine that others may use while it is measured.
        repeats: how often a measurement is repeated in which they used more.
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
    window: float = 0.5
    scale: float = 1.0
    noise: float = 0.05
    repeats: int = 2

    @property
    def seconds(self) -> float:
        """Seconds of a window."""
        return self.window * self.scale

    def connections(self, number: int) -> int:
        """Return how many connections stand for so many."""
        return max(1, round(number * min(1.0, self.scale)))


@dataclass
class Stage:
    """One measurement of one peer: starts its programs, and ends them.

    Args:
        peer: what is measured.
        header: bytes of the header it is to speak with.
        folder: where it is installed.
        sizes: how much of everything.
        most: bytes of the largest message, None for the peer's own limit.
        profiled: whether the peer's programs note what they spend their time on.
        root: the checkout that the peer's programs are of; this one by default.

    Attributes:
        programs: the peer's programs, started so far.
    """

    peer: Peer
    header: int
    folder: Path | None
    sizes: Sizes
    most: int | None = None
    profiled: bool = False
    root: Path | None = None
    programs: list[Program] = field(default_factory=list)
    _watched: list[Program] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    server: Program = field(init=False)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def serve(self, mode: str, raw: bool = True, program: str = "", **more: Any) -> Program:
        """Start the peer's server.

        Args:
            mode: what it does with messages.
            raw: whether the raw client comes.
            program: the module that is its server, the peer's own by default.
            more: of its task.
        """
        self.server = self.start(program or self.peer.program, {"role": "server", "mode": mode, "raw": raw, **more})
        return self.server

    def own_client(self, connections: int = 1, program: str = "", **more: Any) -> Program:
        """Start the peer's own client, connected to the server.

        Args:
            connections: how many.
            program: the module that is the client, the peer's own by default.
            more: of its task.
        """
        client = self.start(program or self.peer.program, {"role": "client", **more})
        client.call("connect", self.server.port, connections)
        return client

    def raw_client(self, connections: int = 1, wire: str = "", program: str = "raw") -> Program:
        """Start the raw client, connected to the server.

        Args:
            connections: how many.
            wire: what it speaks, the peer's by default.
            program: the module that it is.
        """
        spoken = wire or self.peer.wires[self.peer.spoken(self.header)]
        client = self._enter(Program(program, {"role": "client", "wire": spoken}))
        client.call("connect", self.server.port, connections)
        return client

    def program(self, module: str, **task: Any) -> Program:
        """Start another program for the peer."""
        return self._enter(self._program(module, {"role": module, "header": self.header, **task}))

    def window(self, run: Callable[[int], Figures], first: int, least: int = 1) -> Figures:
        """Measure for as long as a window, after a warm-up, without noise if that can be had.

        Args:
            run: sends so many messages, or does what else there is to do, and returns figures, ``seconds`` among them.
            first: the number to begin with, for the warm-up; the rate found is what the window's number follows from.
            least: the least number in a window.
        """
        seconds = self.sizes.seconds
        figures = run(first)
        rate = first / max(figures["seconds"], 1e-9)
        if figures["seconds"] < seconds * _WARM and _sound(figures):
            number = ceil(rate * seconds * _WARM)
            figures = run(number)
            rate = number / max(figures["seconds"], 1e-9)
        best: Figures = figures
        repeats = tries = 0
        while _sound(figures):
            number = max(least, ceil(rate * seconds * _SURE))
            noise = Noise(self._used)
            figures = run(number)
            others = noise.share()
            rate = number / max(figures["seconds"], 1e-9)
            if figures["seconds"] < seconds and tries < _TRIES:
                tries += 1
                continue
            if others is None or not _sound(figures):
                return figures
            figures |= {"others": others, "noisy": float(others > self.sizes.noise)}
            if "others" not in best or others < best["others"]:
                best = figures
            if not figures["noisy"] or repeats >= self.sizes.repeats:
                return best | {"repeats": repeats}
            repeats += 1
        return figures

    def _used(self) -> float:
        return float(sum(each.call("usage") for each in self._watched))

    def start(self, program: str, task: dict[str, Any]) -> Program:
        """Start a program of the peer, of which the time counts."""
        most = {"most": self.most} if self.most else {}
        task = {"header": self.peer.spoken(self.header), **task, **self.peer.task, **most, "profiled": self.profiled}
        started = self._enter(self._program(program, task))
        self.programs.append(started)
        return started

    def _program(self, module: str, task: dict[str, Any]) -> Program:
        return Program(module, task, self.folder, self.peer.environment, self.root)

    def enter(self, what: AbstractContextManager[T]) -> T:
        """Have something that the measurement needs, until its end."""
        return self._stack.enter_context(what)

    def _enter(self, program: Program) -> Program:
        self._watched.append(program)
        return self._stack.enter_context(program)


def _sound(figures: Figures) -> bool:
    """Return True if everything arrived as it was sent."""
    return not figures.get("lost") and not figures.get("wrong")
