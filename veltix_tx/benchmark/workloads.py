"""The workloads, as a table: what each does with a peer's server and client, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers import Peer
from veltix_tx.benchmark.processes import Program
from veltix_tx.benchmark.stage import Figures, Stage

__all__ = ["GROUPS", "WORKLOADS", "Workload", "find_workloads"]

_MESSAGE = 64
_MIB = 2**20
_PATIENCE = 20.0


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in tables.
        unit: of its value.
        measure: does it once.
        falls: whether less is better.
        wants: ``"raw"`` or ``"own"``: the client it needs; ``"codec"`` for none.
        most: bytes of its largest message where that is over the usual limit.
    """

    name: str
    title: str
    unit: str
    measure: Callable[[Stage], Figures]
    falls: bool = False
    wants: str = "raw"
    most: int | None = None

    def can(self, peer: Peer) -> bool:
        """Whether a peer can do it."""
        needs = {"raw": peer.wire, "own": True, "codec": peer.codec}[self.wants]
        return bool(needs) and self.name not in peer.lacks and (self.most or 0) <= peer.most


# One way.


def _delivered(stage: Stage, client: Program, command: str, arguments: tuple[int, ...], number: int, size: int) -> Figures:
    """Let a client send, and wait until the server's handler has had it all."""
    server = stage.server
    server.call("expect", number)
    before = server.call("cpu"), client.call("cpu")
    sent = client.call(command, *arguments)
    came = server.call("wait", number, _PATIENCE)
    seconds = came["at"] - sent["begun"]
    return {
        "value": came["got"] / seconds,
        "sent": number / sent["sent"],
        "bytes": came["got"] * size / seconds,
        "lost": max(0, number - came["got"]),
        "of": number,
        "server_cpu": (server.call("cpu") - before[0]) / number * 1e6,
        "client_cpu": (client.call("cpu") - before[1]) / number * 1e6,
    }


def _oneway(number: int, size: int, own: bool, least: int = 1) -> Callable[[Stage], Figures]:
    def measure(stage: Stage) -> Figures:
        stage.serve("sink")
        client = stage.own_client() if own else stage.raw_client()
        count = max(least, stage.many(number))
        _delivered(stage, client, "oneway", (max(1, count // 10), size), max(1, count // 10), size)
        return _delivered(stage, client, "oneway", (count, size), count, size)

    return measure


def _burst(stage: Stage) -> Figures:
    sizes = stage.sizes
    stage.serve("sink")
    client = stage.own_client()
    return _delivered(stage, client, "oneway", (sizes.burst_count, sizes.burst_payload), sizes.burst_count, sizes.burst_payload)


def _stress(stage: Stage) -> Figures:
    sizes = stage.sizes
    stage.serve("sink")
    client = stage.own_client(sizes.stress_clients)
    return _delivered(stage, client, "stress", (sizes.stress_msgs, 32), sizes.stress_clients * sizes.stress_msgs, 32)


def _fps(second: bool) -> Callable[[Stage], Figures]:
    def measure(stage: Stage) -> Figures:
        sizes = stage.sizes
        players = sizes.fps2_players if second else sizes.fps_players
        rate = sizes.fps2_tick_rate if second else sizes.fps_tick_rate
        server = stage.serve("sink")
        client = stage.own_client(players)
        server.call("expect", 0)
        before = server.call("cpu")
        played = client.call("fps", rate, sizes.fps_duration)
        came = server.call("wait", played["sent"], _PATIENCE)
        return {
            "value": came["got"] / played["seconds"],
            "lost": max(0, played["sent"] - came["got"]),
            "of": played["sent"],
            "ticks": played["ticks"] / played["seconds"],
            "late": played["late"],
            "server_cpu": (server.call("cpu") - before) / played["sent"] * 1e6,
        }

    return measure


# There and back.


def _answered(stage: Stage, client: Program, command: str, arguments: tuple[int, ...], number: int, size: int = 0) -> Figures:
    """Let a client ask, and tell how long that took."""
    server = stage.server
    before = server.call("cpu"), client.call("cpu")
    took = client.call(command, *arguments)
    cpu = server.call("cpu") - before[0], client.call("cpu") - before[1]
    times = Histogram(took.get("times"))
    figures = {
        "value": (number - took["lost"]) / took["seconds"],
        "bytes": (number - took["lost"]) * size / took["seconds"],
        "lost": took["lost"],
        "of": number,
        "server_cpu": cpu[0] / number * 1e6,
        "client_cpu": cpu[1] / number * 1e6,
        "cpu": sum(cpu) / number * 1e6,
    }
    return figures | {f"p{percent:g}": times.percentile(percent) / 1000 for percent in (50, 95, 99, 99.9) if len(times)}


def _echo(number: int, in_flight: int, size: int, own: bool, least: int = 1) -> Callable[[Stage], Figures]:
    command = "ask" if own else "echo"

    def measure(stage: Stage) -> Figures:
        stage.serve("echo")
        client = stage.own_client() if own else stage.raw_client()
        count = max(least, in_flight, stage.many(number))
        client.call(command, max(1, count // 10), in_flight, size)
        return _answered(stage, client, command, (count, in_flight, size), count, size)

    return measure


def _latency(stage: Stage) -> Figures:
    number = stage.sizes.latency_iterations
    stage.serve("echo")
    client = stage.own_client()
    client.call("ping", max(1, number // 10))
    figures = _answered(stage, client, "ping", (number,), number)
    return figures | {"value": figures.get("p50", 0.0)}


def _p50(measure: Callable[[Stage], Figures]) -> Callable[[Stage], Figures]:
    def measured(stage: Stage) -> Figures:
        figures = measure(stage)
        return figures | {"rate": figures["value"], "value": figures.get("p50", 0.0)}

    return measured


def _growth(clients: int) -> Callable[[Stage], Figures]:
    each = 100  # for any number of connections, so that a read brings about as many messages

    def measure(stage: Stage) -> Figures:
        volleys = max(1, round(stage.many(100_000) / clients / each))
        server = stage.serve("echo")
        client = stage.raw_client()
        before = server.call("rss")
        client.call("connect", clients - 1)
        memory = (server.call("rss") - before) / clients / 1024
        client.call("spread", max(1, each // 10), _MESSAGE)
        number = each * clients * volleys
        return _answered(stage, client, "spread", (each, _MESSAGE, volleys), number) | {"memory": max(0.0, memory)}

    return measure


def _clients(clients: int, each: int = 100) -> Callable[[Stage], Figures]:
    def measure(stage: Stage) -> Figures:
        stage.serve("echo")
        client = stage.raw_client(max(1, round(clients * min(1.0, stage.sizes.scale))))
        client.call("spread", max(1, each // 10), _MESSAGE)
        number = max(1, round(clients * min(1.0, stage.sizes.scale))) * each
        return _answered(stage, client, "spread", (each, _MESSAGE), number)

    return measure


# To all, coming and going, memory.


def _broadcast(in_a_row: int) -> Callable[[Stage], Figures]:
    def measure(stage: Stage) -> Figures:
        clients = max(2, round(1000 * min(1.0, stage.sizes.scale)))
        rounds = max(1, round((50 if in_a_row == 1 else 10) * min(1.0, stage.peer.pace * 4)))
        stage.serve("broadcast", in_a_row=in_a_row)
        client = stage.raw_client(clients)
        client.call("broadcast", 1, in_a_row, _MESSAGE)
        return _answered(stage, client, "broadcast", (rounds, in_a_row, _MESSAGE), clients * in_a_row * rounds)

    return measure


def _churn(stage: Stage) -> Figures:
    stage.serve("sink")
    client = stage.raw_client()
    number = max(20, stage.many(4000))
    client.call("churn", max(1, number // 10), 16)
    return _answered(stage, client, "churn", (number, 16), number)


def _idle(clients: int) -> Callable[[Stage], Figures]:
    def measure(stage: Stage) -> Figures:
        number = max(1, round(clients * min(1.0, stage.sizes.scale)))
        server = stage.serve("sink")
        client = stage.raw_client(max(1, number // 10))
        before = server.call("rss")
        client.call("connect", number)
        return {"value": max(0.0, (server.call("rss") - before) / number / 1024), "lost": 0, "server": before / _MIB}

    return measure


def _memory(stage: Stage) -> Figures:
    server = stage.serve("sink")
    idle = server.call("rss")
    client = stage.own_client()
    before, own = server.call("rss"), client.call("rss")
    client.call("connect", 50)
    after, own_after = server.call("rss"), client.call("rss")
    return {
        "value": idle / _MIB,
        "lost": 0,
        "client": max(0.0, (own_after - own) / 50 / 1024),
        "connection": max(0.0, (after - before) / 50 / 1024),
    }


def _codec(command: str) -> Callable[[Stage], Figures]:
    def measure(stage: Stage) -> Figures:
        codec = stage.codec()
        number = max(2000, stage.many(300_000) // 1000 * 1000)
        codec.call(command, number // 2, _MESSAGE)
        return {"value": number / codec.call(command, number, _MESSAGE)["seconds"], "lost": 0}

    return measure


def _large(workload: Workload) -> Workload:
    """A workload whose figure is MB/s."""
    measure = workload.measure

    def measured(stage: Stage) -> Figures:
        figures = measure(stage)
        return figures | {"value": figures["bytes"] / 1e6}

    return replace(workload, measure=measured, unit="MB/s")


_BIG = 64 * _MIB

_ALL = (
    # As upstream defines them.
    Workload("memory", "memory of an idle server", "MiB", _memory, falls=True, wants="own"),
    Workload("latency", "ping, one at a time, p50", "µs", _latency, falls=True, wants="own"),
    Workload("fps_1", "players in ticks", "msg/s", _fps(False), wants="own"),
    Workload("fps_2", "more players in slower ticks", "msg/s", _fps(True), wants="own"),
    Workload("burst", "upstream's burst, own client", "msg/s", _burst, wants="own"),
    Workload("stress", "upstream's stress, own clients", "msg/s", _stress, wants="own"),
    # One connection.
    Workload("receive", "burst receive, one connection", "msg/s", _oneway(200_000, _MESSAGE, False)),
    Workload("oneway", "own client to own server, one way", "msg/s", _oneway(200_000, _MESSAGE, True), wants="own"),
    Workload("echo_1", "echo, raw client, one in flight, p50", "µs", _p50(_echo(5000, 1, _MESSAGE, False)), falls=True),
    Workload("echo_64", "echo, raw client, 64 in flight", "msg/s", _echo(100_000, 64, _MESSAGE, False)),
    Workload(
        *("pipeline_1", "send_and_wait, one in flight, p50", "µs", _p50(_echo(5000, 1, _MESSAGE, True))), falls=True, wants="own"
    ),
    *(
        Workload(f"pipeline_{each}", f"send_and_wait, {each} in flight", "msg/s", _echo(20_000, each, _MESSAGE, True), wants="own")
        for each in (4, 16)
    ),
    Workload("pipeline_64", "send_and_wait, 64 in flight", "msg/s", _echo(40_000, 64, _MESSAGE, True), wants="own"),
    Workload("pipeline_256", "send_and_wait, 256 in flight", "msg/s", _echo(40_000, 256, _MESSAGE, True), wants="own"),
    # Many connections.
    Workload("clients_100", "echo, 100 clients x 100 messages", "msg/s", _clients(100)),
    Workload("clients_1000", "echo, 1,000 clients x 100 messages", "msg/s", _clients(1000)),
    # Large messages.
    _large(Workload("large_1", "1 MiB, one way", "", _oneway(500, _MIB, False, 20))),
    _large(Workload("large_1_echo", "1 MiB, echo, own client", "", _echo(200, 1, _MIB, True, 20), wants="own")),
    _large(Workload("large_64", "64 MiB, one way", "", _oneway(10, _BIG, False, 3), most=_BIG + 64)),
    _large(Workload("large_64_echo", "64 MiB, echo, own client", "", _echo(4, 1, _BIG, True, 2), wants="own", most=_BIG + 64)),
    # The rest.
    Workload("broadcast_1", "broadcast to 1,000, one at a time", "msg/s", _broadcast(1)),
    Workload("broadcast_50", "broadcast to 1,000, 50 in a row", "msg/s", _broadcast(50)),
    Workload("churn", "connect, handshake, close", "1/s", _churn),
    Workload("codec_encode", "messages to bytes, no network", "msg/s", _codec("encode"), wants="codec"),
    Workload("codec_decode", "bytes to messages, no network", "msg/s", _codec("decode"), wants="codec"),
    Workload("idle", "memory of an idle connection", "KiB", _idle(2000), falls=True),
    *(
        Workload(f"growth_{clients}", f"echo, {clients:,} connections", "msg/s", _growth(clients))
        for clients in (1, 10, 100, 1000, 5000)
    ),
)

WORKLOADS = {workload.name: workload for workload in _ALL}
"""The workloads by name."""


def _named(*names: str) -> tuple[str, ...]:
    return tuple(name for name in WORKLOADS if name.rpartition("_")[0] in names or name in names)


GROUPS: dict[str, tuple[str, ...]] = {
    "fps": _named("fps"),
    "echo": _named("echo", "clients"),
    "pipeline": _named("pipeline"),
    "large": tuple(name for name in WORKLOADS if name.startswith("large")),
    "broadcast": _named("broadcast"),
    "codec": _named("codec"),
    "growth": _named("growth"),
}
"""What names several workloads."""


def find_workloads(names: list[str]) -> list[Workload]:
    """Return the workloads of these names and groups, in the table's order.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    wanted: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in WORKLOADS:
            raise ValueError(f"there is no workload {name!r}: choose from {', '.join([*GROUPS, *WORKLOADS])}")
        wanted.update(GROUPS.get(name, (name,)))
    return [workload for workload in _ALL if workload.name in wanted]
