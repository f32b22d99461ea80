"""The workloads, as a table: what each does with a peer's server and client, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from time import sleep

from veltix_tx.benchmark.engine import Redis
from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers import COSTS, Peer
from veltix_tx.benchmark.processes import Program, run_python
from veltix_tx.benchmark.stage import Figures, Stage

__all__ = ["COMPARED", "GROUPS", "WORKLOADS", "Workload", "find_workloads"]

_MESSAGE = 64

_TYPED = 100
"""Bytes of a value of five fields in JSON, about."""

_CROSSING = 100
"""Bytes of a message to another node."""

_MIB = 2**20
_PATIENCE = 20.0

Measure = Callable[[Stage], Figures]


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in tables.
        unit: of its value.
        measure: does it once.
        falls: whether less is better.
        wants: ``"raw"`` or ``"own"``: the client it needs, ``"calls"`` for an own one that calls methods, ``"values"`` for one
            that sends values, ``"conduit"`` for one on netconduit's wire; ``"codec"`` for none, ``"package"`` for this package
            alone, ``"plain"`` and ``"nodes"`` for this package and the peers that are there for it.
        most: bytes of its largest message where that is over the usual limit.
        costs: measures what the benchmark itself costs in it, by the names of these rows.
        headers: True if it depends on the header.
    """

    name: str
    title: str
    unit: str
    measure: Measure
    falls: bool = False
    wants: str = "raw"
    most: int | None = None
    costs: Mapping[str, Measure] = field(default_factory=dict)
    headers: bool = True

    @property
    def by_own_client(self) -> bool:
        """True if each peer's own client drives it."""
        return self.wants in ("own", "calls", "values")

    def can(self, peer: Peer) -> bool:
        """Return True if a peer can do it."""
        if peer.name in COSTS:
            return peer.name in self.costs
        if peer.rows or self.wants in ("plain", "nodes"):
            return self.name in peer.rows or (self.wants in ("plain", "nodes") and peer.ours)
        has = {"raw": peer.raw, "own": peer.client, "calls": peer.calls, "values": peer.values}
        has |= {"codec": bool(peer.codec), "package": peer.ours, "conduit": peer.ours or "conduit" in peer.wires.values()}
        return has[self.wants] and self.name not in peer.lacks and (self.most or 0) <= peer.most

    def measuring(self, peer: Peer) -> Measure:
        """Return what measures a peer."""
        return self.costs.get(peer.name, self.measure)


def _cpu(server: float, client: float, number: int) -> Figures:
    each = 1e6 / number
    return {"server_cpu": server * each, "client_cpu": client * each, "cpu": (server + client) * each}


# One way.


def _delivered(
    stage: Stage, client: Program, command: str, arguments: tuple[int, ...], number: int, size: int, compared: bool = True
) -> Figures:
    """Make a client send, and wait until the server's handler has had it all.

    Args:
        stage: where.
        client: which.
        command: what it does.
        arguments: of that.
        number: how many messages that are.
        size: the bytes of each.
        compared: whether they are of one connection.
    """
    server = stage.server
    server.call("expect", number, size if compared else 0)
    before = server.call("usage")
    sent = client.call(command, *arguments)
    came = server.call("wait", number, _PATIENCE)
    seconds = came["at"] - sent["begun"]
    return {
        "value": came["got"] / seconds,
        "seconds": seconds,
        "sent": number / sent["sent"],
        "bytes": came["got"] * size / seconds,
        "lost": max(0, number - came["got"]),
        "wrong": came["wrong"],
        "reordered": came["reordered"],
        "of": number,
        **_cpu(server.call("usage") - before, sent["cpu"], number),
    }


def _oneway(first: int, size: int, own: bool, least: int = 1, speaks: str = "") -> Measure:
    def measure(stage: Stage) -> Figures:
        stage.serve("sink", raw=not own, speaks=speaks)
        client = stage.own_client(speaks=speaks) if own else stage.raw_client()
        return stage.window(lambda number: _delivered(stage, client, "oneway", (number, size), number, size), first, least)

    return measure


def _lines(stage: Stage) -> Figures:
    """Measure lines that arrive on one connection."""
    stage.serve("sink", plain="lines")
    client = stage.raw_client(wire="lines")
    return stage.window(lambda number: _delivered(stage, client, "oneway", (number, _MESSAGE), number, _MESSAGE), 2000)


def _again(laps: int, lap: Callable[[], Figures]) -> Figures:
    """Do something so many times; return the figures of all together."""
    found = [lap() for _ in range(laps)]
    seconds, number = sum(each["seconds"] for each in found), sum(each["of"] for each in found)
    summed = {name: sum(each[name] for each in found) for name in ("lost", "wrong", "reordered", "of", "seconds")}
    cpu = {name: sum(each[name] * each["of"] for each in found) / number for name in ("server_cpu", "client_cpu", "cpu")}
    return {"value": (number - summed["lost"]) / seconds, **summed, **cpu}


def _burst(stage: Stage) -> Figures:
    number, size = stage.sizes.burst_count, stage.sizes.burst_payload
    stage.serve("sink", raw=False)
    client = stage.own_client()
    return stage.window(lambda laps: _again(laps, lambda: _delivered(stage, client, "oneway", (number, size), number, size)), 1)


def _stress(stage: Stage) -> Figures:
    clients, each, size = stage.sizes.stress_clients, stage.sizes.stress_msgs, 32
    stage.serve("streams", raw=False)
    client = stage.own_client(clients)
    return stage.window(
        lambda laps: _again(laps, lambda: _delivered(stage, client, "stress", (each, size), clients * each, size, False)), 1
    )


def _fps(second: bool) -> Measure:
    def measure(stage: Stage) -> Figures:
        sizes = stage.sizes
        players = sizes.fps2_players if second else sizes.fps_players
        rate = sizes.fps2_tick_rate if second else sizes.fps_tick_rate
        server = stage.serve("streams", raw=False)
        client = stage.own_client(players)
        server.call("expect", 0, 0)
        before = server.call("usage")
        played = client.call("fps", rate, sizes.fps_duration)
        came = server.call("wait", played["sent"], _PATIENCE)
        return {
            "value": came["got"] / played["seconds"],
            "seconds": played["seconds"],
            "lost": max(0, played["sent"] - came["got"]),
            "wrong": came["wrong"],
            "reordered": came["reordered"],
            "of": played["sent"],
            "ticks": played["ticks"] / played["seconds"],
            "late": played["late"],
            **_cpu(server.call("usage") - before, played["cpu"], played["sent"]),
        }

    return measure


# There and back.


def _answered(stage: Stage, client: Program, command: str, arguments: tuple[int, ...], number: int, size: int = 0) -> Figures:
    """Make a client ask, and return how long that took."""
    before = stage.server.call("usage")
    took = client.call(command, *arguments)
    used = stage.server.call("usage") - before
    times = Histogram(took.get("times"))
    figures = {
        "value": (number - took["lost"]) / took["seconds"],
        "seconds": took["seconds"],
        "bytes": (number - took["lost"]) * size / took["seconds"],
        "lost": took["lost"],
        "wrong": took.get("wrong", 0),
        "reordered": took.get("reordered", 0),
        "of": number,
        **_cpu(used, took["cpu"], number),
    }
    return figures | {f"p{percent:g}": times.percentile(percent) / 1000 for percent in (50, 95, 99, 99.9) if len(times)}


def _echo(
    first: int,
    in_flight: int,
    size: int,
    own: bool,
    least: int = 1,
    content: str = "bytes",
    awaited: bool = False,
    speaks: str = "",
) -> Measure:
    """Measure messages that come back.

    Args:
        first: the number to begin with.
        in_flight: how many are under way at once.
        size: bytes of each.
        own: whether the peer's own client asks, in place of the raw one.
        least: the least number in a window.
        content: what this package's own client sends: ``"bytes"``, ``"json"`` or ``"msgpack"``, values of a type, or ``"call"``.
        awaited: whether this package is at its door for asyncio.
        speaks: the wire of this package, where that is another than Veltix's.
    """
    command = "ask" if own else "echo"

    def measure(stage: Stage) -> Figures:
        program = "awaited" if awaited and stage.peer.ours else ""
        stage.serve("echo", raw=not own, program=program, content=content, speaks=speaks)
        client = stage.own_client(program=program, content=content, speaks=speaks) if own else stage.raw_client()

        def run(number: int) -> Figures:
            return _answered(stage, client, command, (number, in_flight, size), number, size)

        return stage.window(run, max(first, in_flight), max(least, in_flight))

    return measure


def _plain(wire: str, program: str) -> Measure:
    """Measure messages that come back on a plain wire, 64 in flight.

    Args:
        wire: ``"lines"`` or ``"udp"``.
        program: the raw client's.
    """

    def measure(stage: Stage) -> Figures:
        stage.serve("echo", plain=wire)
        client = stage.raw_client(wire=wire, program=program)
        return stage.window(lambda number: _answered(stage, client, "echo", (number, 64, _MESSAGE), number, _MESSAGE), 2000)

    return measure


def _latency(stage: Stage) -> Figures:
    number = stage.sizes.latency_iterations
    stage.serve("echo", raw=False)
    client = stage.own_client()
    found: list[Figures] = []

    def lap() -> Figures:
        found.append(_answered(stage, client, "ping", (number,), number))
        return found[-1]

    def laps(times: int) -> Figures:
        found.clear()
        figures = _again(times, lap)
        percentiles = {name: median(each.get(name, 0.0) for each in found) for name in ("p50", "p95", "p99", "p99.9")}
        return figures | percentiles | {"value": percentiles["p50"]}

    return stage.window(laps, 1)


def _p50(measure: Measure) -> Measure:
    def measured(stage: Stage) -> Figures:
        figures = measure(stage)
        return figures | {"rate": figures["value"], "value": figures.get("p50", 0.0)}

    return measured


def _spread(stage: Stage, client: Program, clients: int, each: int, number: int) -> Figures:
    """Make every connection ask at once, and again, until about so many requests are answered."""
    volleys = -(-number // (each * clients))
    return _answered(stage, client, "spread", (each, _MESSAGE, volleys), each * clients * volleys)


def _growth(clients: int) -> Measure:
    each = 100  # for any number of connections, so that a read brings about as many messages

    def measure(stage: Stage) -> Figures:
        server = stage.serve("echo")
        client = stage.raw_client()
        before = server.call("rss")
        client.call("connect", server.port, clients - 1)
        memory = (server.call("rss") - before) / clients / 1024
        client.call("spread", max(1, each // 10), _MESSAGE)
        figures = stage.window(lambda number: _spread(stage, client, clients, each, number), 1)
        return figures | {"memory": max(0.0, memory)}

    return measure


def _clients(clients: int, each: int = 100) -> Measure:
    def measure(stage: Stage) -> Figures:
        stage.serve("echo")
        connections = stage.sizes.connections(clients)
        client = stage.raw_client(connections)
        client.call("spread", max(1, each // 10), _MESSAGE)
        return stage.window(lambda number: _spread(stage, client, connections, each, number), 1)

    return measure


def _workers(mode: str, workers: int, each: int) -> Measure:
    """Measure messages that come back to 100 clients of several worker processes.

    Args:
        mode: ``"burn"``, of a handler that takes 50 µs of the processor, or ``"echo"``.
        workers: how many processes.
        each: messages in a row of one client.
    """

    def measure(stage: Stage) -> Figures:
        stage.serve(mode, program="workers", workers=workers)
        connections = stage.sizes.connections(100)
        client = stage.raw_client(connections)
        client.call("spread", max(1, each // 10), _MESSAGE)
        return stage.window(lambda number: _spread(stage, client, connections, each, number), 1)

    return measure


# To all, coming and going, memory.


def _broadcast(in_a_row: int, mode: str = "broadcast") -> Measure:
    def measure(stage: Stage) -> Figures:
        clients = max(2, stage.sizes.connections(1000))
        stage.serve(mode, in_a_row=in_a_row)
        client = stage.raw_client(clients)

        def run(rounds: int) -> Figures:
            return _answered(stage, client, "broadcast", (rounds, in_a_row, _MESSAGE), clients * in_a_row * rounds)

        return stage.window(run, 1)

    return measure


def _churn(stage: Stage) -> Figures:
    stage.serve("sink")
    client = stage.raw_client()
    return stage.window(lambda number: _answered(stage, client, "churn", (number, 16), number), 50, 20)


def _idle(clients: int, speaks: str = "", said: str = "") -> Measure:
    def measure(stage: Stage) -> Figures:
        number = stage.sizes.connections(clients)
        server = stage.serve("sink", speaks=speaks)
        client = stage.raw_client(number, said)  # as many again fill what the start has left free
        before = server.call("rss")
        client.call("connect", server.port, number)
        if speaks:
            sleep(1.0)  # a client that says nothing is let in after a while
        return {"value": max(0.0, (server.call("rss") - before) / number / 1024), "lost": 0, "server": before / _MIB}

    return measure


def _memory(stage: Stage) -> Figures:
    server = stage.serve("sink", raw=False)
    idle = server.call("rss")
    client = stage.own_client()
    alone = client.call("rss")
    client.call("connect", server.port, 49)
    return {
        "value": idle / _MIB,
        "lost": 0,
        "connection": (server.call("rss") - idle) / 50 / 1024,
        "client": (client.call("rss") - alone) / 49 / 1024,
    }


# Rooms over nodes.


_STEADY = 25_000.0
"""Messages per second between nodes at which times are taken, unless that is more than half of what can be reached."""


def _cross_node(rooms: int) -> Measure:
    """Measure messages from a node to the client of another: the rate, and the times at half of that, or at 25,000 a second."""

    def measure(stage: Stage) -> Figures:
        redis = stage.enter(Redis())
        program = stage.peer.program if stage.peer.rows else "nodes"
        there = stage.serve("rooms", program=program, backplane=redis.url, rooms=rooms)
        client = stage.own_client(program=program)
        here = stage.start(program, {"role": "publisher", "backplane": redis.url, "rooms": rooms})
        there.call("members")

        def crossed(command: str, number: int, *arguments: float) -> Figures:
            client.call("expect", number)
            before = there.call("usage")
            sent = here.call(command, *arguments, number, rooms, _CROSSING)
            came = client.call("wait", _PATIENCE)
            seconds = came["at"] - sent["begun"]
            times = Histogram(came["times"])
            return {
                "value": came["got"] / seconds,
                "seconds": seconds,
                "lost": max(0, number - came["got"]),
                "wrong": came["wrong"],
                "reordered": came["reordered"],
                "of": number,
                **_cpu(sent["cpu"] + there.call("usage") - before, came["cpu"], number),
                **{f"p{percent:g}": times.percentile(percent) / 1000 for percent in (50, 99) if len(times)},
            }

        burst = stage.window(lambda number: crossed("publish", number), 500)
        rate = min(_STEADY, burst["value"] / 2)
        steady = crossed("paced", max(100, round(rate * stage.sizes.seconds)), rate)
        lost = burst["lost"] + steady["lost"]
        return burst | {"p50": steady.get("p50", 0.0), "p99": steady.get("p99", 0.0), "lost": lost}

    return measure


def _join_leave(redis: bool) -> Measure:
    def measure(stage: Stage) -> Figures:
        backplane = {"backplane": stage.enter(Redis()).url} if redis else {}
        node = stage.start("nodes", {"role": "joins", **backplane})

        def run(number: int) -> Figures:
            number = -(-number // 100) * 100
            told = node.call("join_leave", number)
            figures = {"value": number / told["seconds"], "seconds": told["seconds"], "lost": 0, "of": number}
            return figures | {"server_cpu": told["cpu"] / number * 1e6}

        return stage.window(run, 200)

    return measure


# No network.


def _codec(command: str) -> Measure:
    def measure(stage: Stage) -> Figures:
        codec = stage.program("codecs", codec=stage.peer.codec, size=_MESSAGE)
        wrong = codec.call("check")

        def run(thousands: int) -> Figures:
            seconds = codec.call(command, thousands * 1000)["seconds"]
            return {"value": thousands * 1000 / seconds, "seconds": seconds, "lost": 0, "wrong": wrong, "of": thousands * 1000}

        return stage.window(run, 2)

    return measure


_IMPORT = """
import json, time
begun = time.perf_counter(), time.process_time()
from veltix_tx import Client, Server
print(json.dumps([time.perf_counter() - begun[0], time.process_time() - begun[1]]))
"""


def _import(stage: Stage) -> Figures:
    def once() -> list[float]:
        found: list[float] = run_python(_IMPORT, stage.peer.environment, stage.root)
        return found

    once()  # compiles what is not compiled yet
    found = [once() for _ in range(max(1, round(7 * min(1.0, stage.sizes.scale))))]
    seconds, used = (median(each[at] for each in found) for at in (0, 1))
    return {"value": seconds * 1000, "lost": 0, "server_cpu": used * 1e6, "cpu": used * 1e6}


# What the benchmark itself costs.


def _handler(size: int, streams: bool = False) -> dict[str, Measure]:
    def measure(stage: Stage) -> Figures:
        program = stage.program("costs")
        connections = stage.sizes.stress_clients if streams else 0
        most = max(20, 2**24 // max(size, 64))

        def run(number: int) -> Figures:
            told = program.call("handle", min(number, most), size, connections)
            times = number / min(number, most)
            return {
                "seconds": told["seconds"] * times,
                "lost": told["lost"],
                "wrong": told["wrong"],
                "of": number,
                "server_cpu": told["cpu"] * times / number * 1e6,
            }

        return stage.window(run, 100)

    return {"handler": measure}


def _driver(command: str, size: int, in_flight: int = 0) -> dict[str, Measure]:
    def measure(stage: Stage) -> Figures:
        program = stage.program("costs")
        connections = stage.sizes.stress_clients if command == "stress" else 1
        program.call("connect", 0, connections)

        def run(number: int) -> Figures:
            each = -(-number // connections)
            arguments = {"ask": (number, in_flight, size), "ping": (number,)}.get(command, (each, size))
            told = program.call(command, *arguments)
            number = each * connections
            return {"seconds": told["seconds"], "lost": 0, "of": number, "client_cpu": told["cpu"] / number * 1e6}

        return stage.window(run, 100)

    return {"driver": measure}


def _large(workload: Workload) -> Workload:
    """A workload whose figure is MB/s."""

    def measured(stage: Stage) -> Figures:
        figures = workload.measure(stage)
        return figures | {"value": figures["bytes"] / 1e6}

    return replace(workload, measure=measured, unit="MB/s")


_BIG = 64 * _MIB


def _asking(in_flight: int, awaited: bool = False) -> Workload:
    """``send_and_wait`` with so many in flight, more than one; this package's in asyncio where it is to be awaited."""
    measure, costs = _echo(1000, in_flight, _MESSAGE, True, awaited=awaited), _driver("ask", _MESSAGE, in_flight)
    name, title = f"pipeline_{in_flight}", f"send_and_wait, {in_flight} in flight"
    if awaited:
        name, title = f"aio_{name}", f"{title}, in asyncio"
    return Workload(name, title, "msg/s", measure, wants="own", costs=costs)


def _asking_once(name: str, title: str, own: bool) -> Workload:
    """One request at a time."""
    measure, costs = _p50(_echo(300, 1, _MESSAGE, own)), _driver("ask", _MESSAGE, 1) if own else {}
    return Workload(name, title, "µs", measure, falls=True, wants="own" if own else "raw", costs=costs)


def _typed(form: str) -> Workload:
    """Values of five fields that come back as values."""
    measure = _echo(1000, 64, _TYPED, True, content=form)
    return Workload(f"typed_{form}", f"values in {form}, 64 in flight", "msg/s", measure, wants="values")


def _calls_on_conduit(in_flight: int) -> Measure:
    """Calls of a method on netconduit's wire, so many in flight."""
    return _echo(300 if in_flight == 1 else 1000, in_flight, _MESSAGE, True, content="call", speaks="netconduit")


_ALL = (
    # As upstream defines them.
    Workload("memory", "memory of an idle server", "MiB", _memory, falls=True, wants="own", headers=False),
    Workload(*("latency", "ping, one at a time, p50", "µs", _latency), falls=True, wants="own", costs=_driver("ping", 0)),
    Workload("fps_1", "players in ticks", "msg/s", _fps(False), wants="own"),
    Workload("fps_2", "more players in slower ticks", "msg/s", _fps(True), wants="own"),
    Workload(
        *("burst", "upstream's burst, own client", "msg/s", _burst),
        wants="own",
        costs=_handler(_MESSAGE) | _driver("oneway", _MESSAGE),
    ),
    Workload(
        *("stress", "upstream's stress, own clients", "msg/s", _stress),
        wants="own",
        costs=_handler(32, True) | _driver("stress", 32),
    ),
    # One connection.
    Workload("receive", "burst receive, one connection", "msg/s", _oneway(2000, _MESSAGE, False), costs=_handler(_MESSAGE)),
    Workload(
        *("oneway", "own client to own server, one way", "msg/s", _oneway(2000, _MESSAGE, True)),
        wants="own",
        costs=_handler(_MESSAGE) | _driver("oneway", _MESSAGE),
    ),
    _asking_once("echo_1", "echo, raw client, one in flight, p50", False),
    *(
        Workload(f"echo_{each}", f"echo, raw client, {each} in flight", "msg/s", _echo(2000, each, _MESSAGE, False))
        for each in (64, 256)
    ),
    _asking_once("pipeline_1", "send_and_wait, one in flight, p50", True),
    *map(_asking, (4, 16, 64, 256)),
    _asking(64, awaited=True),
    # Values and calls.
    *map(_typed, ("json", "msgpack")),
    Workload(
        *("rpc_1", "call of a method, one in flight, p50", "µs", _p50(_echo(300, 1, _MESSAGE, True, content="call"))),
        falls=True,
        wants="calls",
    ),
    Workload("rpc_64", "call of a method, 64 in flight", "msg/s", _echo(1000, 64, _MESSAGE, True, content="call"), wants="calls"),
    Workload(
        "rpc_100", "call of a method, 100 in flight", "msg/s", _echo(1000, 100, _MESSAGE, True, content="call"), wants="calls"
    ),
    # Plain wires.
    Workload("lines", "lines, burst receive, one connection", "msg/s", _lines, wants="plain", headers=False),
    Workload("lines_echo", "lines, echo, raw client, 64 in flight", "msg/s", _plain("lines", "raw"), wants="plain", headers=False),
    Workload("udp", "datagrams, echo, raw client, 64 in flight", "msg/s", _plain("udp", "datagrams"), wants="plain", headers=False),
    # On netconduit's wire.
    Workload(
        *("conduit_rpc_1", "call on netconduit's wire, one in flight, p50", "µs", _p50(_calls_on_conduit(1))),
        falls=True,
        wants="conduit",
        headers=False,
    ),
    Workload(
        *("conduit_rpc_100", "call on netconduit's wire, 100 in flight", "msg/s", _calls_on_conduit(100)),
        wants="conduit",
        headers=False,
    ),
    Workload(
        *("conduit_oneway", "message on netconduit's wire, 100 bytes, one way", "msg/s"),
        _oneway(2000, _TYPED, True, speaks="netconduit"),
        wants="conduit",
        headers=False,
    ),
    _large(
        Workload(
            *("conduit_1m", "1 MiB on netconduit's wire, one way", "", _oneway(4, _MIB, True, 20, speaks="netconduit")),
            wants="conduit",
            headers=False,
        )
    ),
    Workload(
        *("conduit_idle", "memory of an idle connection on netconduit's wire", "KiB", _idle(2000, "netconduit", "conduit")),
        falls=True,
        wants="conduit",
        headers=False,
    ),
    # Many connections.
    Workload("clients_100", "echo, 100 clients x 100 messages", "msg/s", _clients(100)),
    Workload("clients_1000", "echo, 1,000 clients x 100 messages", "msg/s", _clients(1000)),
    # Several processes.
    *(
        Workload(
            f"workers{suffix}_{count}",
            f"{title}, 100 clients, {count} worker{'s' * (count > 1)}",
            "msg/s",
            _workers(mode, count, each),
            wants="package",
            headers=False,
        )
        for suffix, title, mode, each in (("", "handler of 50 µs", "burn", 20), ("_echo", "echo", "echo", 100))
        for count in (1, 2)
    ),
    # Large messages.
    _large(Workload("large_1", "1 MiB, one way", "", _oneway(4, _MIB, False, 20), costs=_handler(_MIB))),
    _large(
        Workload(
            *("large_1_echo", "1 MiB, echo, own client", "", _echo(4, 1, _MIB, True, 20)),
            wants="own",
            costs=_driver("ask", _MIB, 1),
        )
    ),
    _large(Workload("large_64", "64 MiB, one way", "", _oneway(1, _BIG, False, 3), most=_BIG + 64)),
    _large(Workload("large_64_echo", "64 MiB, echo, own client", "", _echo(1, 1, _BIG, True, 2), wants="own", most=_BIG + 64)),
    # The rest.
    Workload("broadcast_1", "broadcast to 1,000, one at a time", "msg/s", _broadcast(1)),
    Workload("broadcast_50", "broadcast to 1,000, 50 in a row", "msg/s", _broadcast(50)),
    Workload("rooms_1000", "broadcast to a room of 1,000, one at a time", "msg/s", _broadcast(1, "room"), wants="package"),
    *(
        Workload(
            *(f"cross_node_{rooms}", f"100 B to another node, {rooms:,} room{'s' * (rooms > 1)}", "msg/s", _cross_node(rooms)),
            wants="nodes",
            headers=False,
        )
        for rooms in (1, 1000)
    ),
    *(
        Workload(
            *(f"join_leave{name}", f"join a room and leave it, {title}", "1/s", _join_leave(bool(name))),
            wants="package",
            headers=False,
        )
        for name, title in (("", "in one process"), ("_redis", "on Redis"))
    ),
    Workload("churn", "connect, handshake, close", "1/s", _churn),
    Workload("codec_encode", "messages to bytes, no network", "msg/s", _codec("encode"), wants="codec"),
    Workload("codec_decode", "bytes to messages, no network", "msg/s", _codec("decode"), wants="codec"),
    Workload("idle", "memory of an idle connection", "KiB", _idle(2000), falls=True),
    Workload("import", "import Server and Client", "ms", _import, falls=True, wants="package", headers=False),
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
    "pipeline": _named("pipeline", "aio_pipeline"),
    "large": tuple(name for name in WORKLOADS if name.startswith("large")),
    "broadcast": _named("broadcast"),
    "codec": _named("codec"),
    "growth": _named("growth"),
    "workers": tuple(name for name in WORKLOADS if name.startswith("workers")),
    "rooms": tuple(name for name in WORKLOADS if name.startswith(("rooms", "cross_node", "join_leave"))),
    "conduit": tuple(name for name in WORKLOADS if name.startswith("conduit")),
    "table": (
        *("receive", "oneway", "echo_1", "echo_64", "pipeline_1", "pipeline_64", "pipeline_256", "clients_100", "clients_1000"),
        *("large_1", "large_1_echo", "large_64", "broadcast_1", "broadcast_50", "churn", "idle"),
    ),
}
"""Names of several workloads together; ``table`` those of the page with a full run."""

COMPARED = (*("receive", "oneway", "echo_64", "pipeline_64", "clients_100", "large_1", "broadcast_50", "churn", "idle", "import"),)
"""The workloads by which two checkouts are compared."""


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
