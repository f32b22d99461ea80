"""The peers, as a table: what each is, what it needs, and the programs that stand for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OWN", "PEERS", "Peer", "find_peers"]


@dataclass(frozen=True)
class Peer:
    """Something to measure.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in tables.
        program: the module that is its server and its client.
        wire: what the raw client speaks to it; None where only its own client can.
        needs: what pip installs for it, in a folder of its own; nothing where that is empty.
        task: more of its programs' task.
        pace: the part of each workload's messages it is given: slow ones need not take minutes.
        most: the bytes of the largest message it can carry, however configured.
        lacks: workloads it cannot do.
        codec: its codec, for what is measured of that alone; ``""`` where that cannot be had.
    """

    name: str
    title: str
    program: str
    wire: str | None
    needs: tuple[str, ...] = ()
    task: Mapping[str, Any] = field(default_factory=dict)
    pace: float = 1.0
    most: int = 2**31
    lacks: frozenset[str] = frozenset()
    codec: str = ""


def _release(version: str, wire: str, pace: float) -> Peer:
    name = f"veltix-{version}"
    lacks = frozenset({"growth_5000"} if version == "1.6.3" else ())  # a thread for each connection
    return Peer(name, f"veltix {version}", "blocking", wire, (f"veltix=={version}",), {"module": "veltix"}, pace, 9 * 2**20, lacks)


_LARGE = frozenset({"large_1", "large_1_echo", "large_64", "large_64_echo"})

OWN = "own"
"""The name of this package's Server and Client."""

_ALL = (
    Peer(OWN, "veltix_tx", "own", "json15", codec="own"),
    Peer("dropin", "veltix_tx.dropin", "blocking", "json15", task={"module": "veltix_tx.dropin"}, pace=0.25),
    _release("3.3.0", "json15", 0.2),
    _release("1.7.5", "hello16", 0.1),
    _release("1.6.3", "hello22", 0.1),
    Peer("asyncio", "asyncio minimal", "minimal", "json15", codec="minimal"),
    Peer("uvloop", "asyncio minimal + uvloop", "minimal", "json15", ("uvloop",), {"uvloop": True}),
    Peer("int32", "Twisted Int32StringReceiver", "int32", "int32"),
    Peer("amp", "Twisted AMP", "amp", "amp", pace=0.25, lacks=_LARGE),
    Peer("websockets", "websockets", "socketry", "websocket", ("websockets",), pace=0.5),
    Peer("pyzmq", "pyzmq", "queues", "zmtp", ("pyzmq",), lacks=frozenset({"fps_1", "fps_2"})),
    Peer("netconduit", "netconduit 5.0.0", "conduits", "conduit", ("netconduit==5.0.0",), pace=0.1, most=99 * 2**20),
)

PEERS = {peer.name: peer for peer in _ALL}
"""The peers by name."""


def find_peers(names: list[str]) -> list[Peer]:
    """Return the peers of these names, this package's first.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"there is no peer {name!r}: choose from {', '.join(PEERS)}")
    return [PEERS[name] for name in dict.fromkeys((OWN, *names))]
