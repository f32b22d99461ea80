"""The server under load: ``twistd veltix`` serves this module's ``server``, with every limit at its default (UDP's idle end apart).

It echoes, broadcasts on request, and reports what it holds. ``load.ServerProcess`` starts it.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from ctypes import CDLL
from typing import Any

from load import ECHO, JOIN, KICK, LEAVE, NEWS, REPORT, STORM, TYPES
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from veltix_tx import TEXT, Response, Server, Session, Timeouts, VeltixProtocol

server = Server(types=TYPES, timeouts=Timeouts(datagram_idle=3))
_counts: Counter[str] = Counter()
_last: dict[bytes, int] = {}
_subscribers: dict[Session, int] = {}
_news: list[LoopingCall] = []
"""The soak's broadcast, once somebody has joined."""

NEWS_SIZE = 16 * 1024
"""Bytes of each numbered broadcast of the soak."""

NEWS_GAP = 0.025
"""Seconds between two."""


@server.route(ECHO)
def on_echo(client: Session, message: Response) -> bytes:
    """Return the content; that a client's numbered requests (of the soak) come once and in turn is checked."""
    if len(message.content) >= 12 and message.type is ECHO:
        who, number = message.content[:4], int.from_bytes(message.content[4:12], "big")
        if who < b"\0\0\1\0":
            _counts["repeated"] += number <= _last.get(who, 0)
            _last[who] = number
    return message.content


@server.route(TEXT)
def on_text(client: Session, message: Response) -> str:
    """Return the line."""
    return message.value  # type: ignore[no-any-return]


@server.route(STORM)
def on_storm(client: Session, message: Response) -> None:
    """Broadcast to everyone: ``{"count", "size", "gap"}`` (messages, bytes, seconds)."""
    wanted = json.loads(message.content)
    content = bytes(wanted["size"])

    def once() -> None:
        _counts["broadcasts"] += 1
        server.broadcast(NEWS, content)
        if _counts["broadcasts"] >= wanted["count"]:
            storm.stop()

    _counts["broadcasts"] = 0
    storm = LoopingCall(once)
    storm.start(wanted["gap"])


@server.route(JOIN)
def on_join(client: Session, message: Response) -> bytes:
    """Send every numbered broadcast to this client from now on; answer with the number of the first."""
    if not _news:
        _news.append(LoopingCall(_tell))
        _news[0].start(NEWS_GAP, now=False)
    _subscribers[client] = _counts["news"] + 1
    return str(_subscribers[client]).encode()


@server.route(LEAVE)
def on_leave(client: Session, message: Response) -> bytes:
    """Send this client no more of them; answer with how many it was sent, and how many it missed."""
    first = _subscribers.pop(client)
    if not _subscribers:
        _news.pop().stop()
    return json.dumps([_counts["news"] - first + 1 - client.broadcasts_dropped, client.broadcasts_dropped]).encode()


def _tell() -> None:
    _counts["news"] += 1
    server.broadcast(NEWS, _counts["news"].to_bytes(8, "big").ljust(NEWS_SIZE, b"."), to=list(_subscribers), slow="drop")


@server.route(KICK)
def on_kick(client: Session, message: Response) -> None:
    """Reset the connection of whoever asks."""
    client._abort_slow_reader()


@server.set_callback("on_recv")
def on_recv(client: Session, message: Response) -> None:
    """No type is without a route."""
    _counts["stray"] += 1


@server.set_callback("on_disconnect")
def on_disconnect(client: Session) -> None:
    """Count what was refused, and why it ended."""
    _counts["refused"] += client.frames_rejected
    assert client.closed is not None
    _counts[f"ended {client.closed.reason.name}"] += 1
    first = _subscribers.pop(client, None)
    if first is not None:
        _counts["news cut off"] += _counts["news"] - first + 1 - client.broadcasts_dropped
        if not _subscribers:
            _news.pop().stop()


@server.route(REPORT)
def on_report(client: Session, message: Response) -> bytes:
    """Answer with what the server holds."""
    from twisted.internet import reactor

    gc.collect()
    CDLL(None).malloc_trim(0)  # what the C allocator keeps of freed memory is no leak
    kinds: tuple[type[Any], ...] = (Session, VeltixProtocol, Deferred, DelayedCall)
    alive = Counter(type(each) for each in gc.get_objects())
    connections = server._connections
    return json.dumps(
        {
            "clients": len(server.clients),
            "connections": len(list(connections)),
            "evicted": connections.shared.counters["evicted"],
            "turned away": connections.shared.counters["refused"],
            "timers": len(reactor.getDelayedCalls()),  # type: ignore[attr-defined]
            "objects": {kind.__name__: alive[kind] for kind in kinds},
            "limits": {name: getattr(server.config.limits, name) for name in server.config.limits.__slots__},
            **_counts,
        }
    ).encode()
