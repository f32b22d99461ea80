"""The peers, as a table: what each is, what it needs, and the programs that stand for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COMPILED", "COSTS", "HEADERS", "OTHER", "OWN", "PEERS", "PURE", "Peer", "find_peers", "ours", "title"]

HEADERS = (15, 22, 62)
"""Bytes of the headers that there is a choice of."""

CODEC = "VELTIX_TX_CODEC"
"""The environment variable that chooses the codec of this package in a process."""


@dataclass(frozen=True)
class Peer:
    """Something to measure.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in tables.
        program: the module that is its server and its client.
        wires: what the raw client speaks to it, by the bytes of its header; a peer with one wire has one, whatever
            header is asked for. 0 for a wire that is none of Veltix.
        needs: what pip installs for it, in a folder of its own; nothing where that is empty.
        source: a C source beside its program, which is compiled into a folder of its own.
        task: more of its programs' task.
        environment: variables set for its programs.
        most: the bytes of the largest message it can carry, however configured.
        client: whether it has a client of its own for messages.
        calls: whether it has one that calls methods.
        values: whether it has one that sends values.
        raw: whether the raw client can speak to it.
        lacks: workloads it cannot do.
        rows: the workloads that it is there for, where it can do no others.
        codec: its codec, for what is measured of that alone; ``""`` where that cannot be had.
        ours: True if it is this package.
    """

    name: str
    title: str
    program: str
    wires: Mapping[int, str]
    needs: tuple[str, ...] = ()
    source: str = ""
    task: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    most: int = 2**31
    client: bool = True
    calls: bool = False
    values: bool = False
    raw: bool = True
    lacks: frozenset[str] = frozenset()
    rows: frozenset[str] = frozenset()
    codec: str = ""
    ours: bool = False

    def spoken(self, header: int) -> int:
        """Return the bytes of the header it speaks where one is asked for: its own if it has no other."""
        return header if header in self.wires else next(iter(self.wires))


_VELTIX = {size: f"veltix{size}" for size in HEADERS}


def _release(version: str, header: int, lacks: tuple[str, ...] = ()) -> Peer:
    return Peer(
        *(f"veltix-{version}", f"veltix {version}", "blocking", {header: f"veltix{header}"}),
        needs=(f"veltix=={version}",),
        task={"module": "veltix"},
        most=9 * 2**20,
        lacks=frozenset(lacks),
    )


def _own(name: str, title: str, **environment: str) -> Peer:
    return Peer(name, title, "own", _VELTIX, environment=environment, codec="own", calls=True, values=True, ours=True)


def _conduit(name: str, title: str, module: str, *needs: str) -> Peer:
    task = {"module": module}
    return Peer(name, title, "conduits", {0: "conduit"}, needs=needs, most=99 * 2**20, calls=True, task=task)


def _floor(name: str, title: str, bare: bool) -> Peer:
    wires = {size: wire for size, wire in _VELTIX.items() if size != 62}
    return Peer(name, title, "floor", wires, source="_floor.c", task={"bare": bare}, client=False)


_LARGE = frozenset({"large_1", "large_1_echo", "large_64", "large_64_echo"})

OWN = "own"
"""The name of this package's Server and Client, with the codec that is in use."""

PURE = "pure"
"""The same with Python's codec."""

COMPILED = "compiled"
"""The same with the compiled codec."""

OTHER = "@other"
"""Suffix of a peer's name that marks it as another checkout's."""

_ALL = (
    _own(OWN, "veltix_tx"),
    _own(COMPILED, "veltix_tx, compiled", **{CODEC: "c"}),
    _own(PURE, "veltix_tx, pure Python", **{CODEC: "python"}),
    Peer("dropin", "veltix_tx.dropin.veltix", "blocking", {15: "veltix15"}, task={"module": "veltix_tx.dropin.veltix"}),
    Peer("aio", "veltix_tx.aio", "awaited", _VELTIX),
    Peer("aio-uvloop", "veltix_tx.aio + uvloop", "awaited", _VELTIX, needs=("uvloop",), task={"uvloop": True}),
    _release("3.3.0", 15),
    _release("1.7.5", 16),
    _release("1.6.3", 22, ("growth_5000",)),  # a thread for each connection
    _release("1.6.1", 62, ("growth_5000",)),
    Peer("asyncio", "asyncio, at its best", "minimal", _VELTIX, codec="minimal"),
    Peer("uvloop", "asyncio + uvloop", "minimal", _VELTIX, needs=("uvloop",), task={"uvloop": True}),
    Peer("streams", "asyncio streams", "streams", _VELTIX),
    Peer("msgspec", "asyncio + msgspec", "handmade", {0: ""}, client=False, calls=True, values=True, raw=False),
    Peer("int32", "Twisted Int32StringReceiver", "int32", {0: "int32"}),
    Peer("amp", "Twisted AMP", "amp", {0: "amp"}, lacks=_LARGE),
    Peer("websockets", "websockets", "socketry", {0: "websocket"}, needs=("websockets",)),
    Peer("pyzmq", "pyzmq", "queues", {0: "zmtp"}, needs=("pyzmq",), lacks=frozenset({"fps_1", "fps_2"})),
    _conduit("netconduit", "netconduit 5.0.0", "conduit", "netconduit==5.0.0"),
    _conduit("dropin-conduit", "veltix_tx.dropin.conduit", "veltix_tx.dropin.conduit", "pydantic"),
    *(
        Peer(name, title, name, {0: ""}, client=False, rows=frozenset(rows))
        for name, title, rows in (
            ("readline", "asyncio streams' readline", ("lines", "lines_echo")),
            ("linereceiver", "Twisted LineReceiver", ("lines", "lines_echo")),
            ("datagrams", "Twisted DatagramProtocol", ("udp",)),
        )
    ),
    Peer(
        *("socketio", "python-socketio, Redis", "socketio_nodes", {0: ""}),
        needs=("python-socketio==5.18.1", "aiohttp", "redis"),
        client=False,
        rows=frozenset({"cross_node_1", "cross_node_1000"}),
    ),
    _floor("floor", "C floor, Python handler", False),
    _floor("floor-bare", "C floor, C handler", True),
)

PEERS = {peer.name: peer for peer in _ALL}
"""The peers by name."""

COSTS = {
    name: Peer(name, title, "costs", {0: ""})
    for name, title in (("handler", "(the handler alone)"), ("driver", "(the client's driver alone)"))
}
"""Costs of the benchmark itself, as rows of the tables."""


def find_peers(names: list[str]) -> list[Peer]:
    """Return the peers of these names, this package's first: at least one of them.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"there is no peer {name!r}: choose from {', '.join(PEERS)}")
    found = [PEERS[name] for name in dict.fromkeys(names)]
    here = [peer for peer in found if peer.ours]
    return [*(here or [PEERS[OWN]]), *(peer for peer in found if not peer.ours)]


def ours(name: str) -> bool:
    """Return True if a name is that of this package, of this checkout."""
    return name in PEERS and PEERS[name].ours


def title(name: str, header: int | None = None) -> str:
    """Return what a peer is called in tables; where a header is asked for that it does not speak, with its own."""
    other = name.endswith(OTHER)
    peer = (PEERS | COSTS)[name.removesuffix(OTHER)]
    spoken = peer.spoken(header) if header is not None else 0
    own_header = f" ({spoken} bytes)" if spoken not in (0, header) else ""
    return f"{peer.title}{own_header}{', other checkout' if other else ''}"
