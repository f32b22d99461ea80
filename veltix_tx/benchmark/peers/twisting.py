"""Programs in Twisted's default reactor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread
from zope.interface import implementer

from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.program import begin, ready, serve_commands
from veltix_tx.benchmark.peers.working import Link, Work

__all__ = ["Room", "dial", "listen", "reactor", "run", "serve_alone"]

P = TypeVar("P", bound=Protocol)


def reactor() -> Any:
    """Return the default reactor; the first call installs it."""
    from twisted.internet import reactor as default  # noqa: PLC0415

    return default


def listen(make: Callable[[IAddress], Protocol]) -> int:
    """Listen with protocols made so; return the port."""
    factory = Factory()
    factory.buildProtocol = make  # type: ignore[assignment,method-assign]
    port: int = reactor().listenTCP(0, factory, backlog=1024, interface="127.0.0.1").getHost().port
    return port


async def dial(protocol: type[P], port: int) -> P:
    """Connect a protocol."""
    endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", port)
    connected: Any = await endpoint.connect(Factory.forProtocol(protocol))
    return connected  # type: ignore[no-any-return]


@implementer(IPushProducer)
class Room:
    """Room for more in a transport's buffer.

    Args:
        transport: becomes a consumer of this.
    """

    def __init__(self, transport: Any) -> None:
        self._waiting: Deferred[None] | None = None
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """There is none."""
        if self._waiting is None:
            self._waiting = Deferred()

    def resumeProducing(self) -> None:
        """There is some again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """There is no connection."""
        self.resumeProducing()

    def wait(self) -> Deferred[None]:
        """Wait until there is some; one may wait at a time."""
        return succeed(None) if self._waiting is None else self._waiting


def serve_alone(port: int, tally: Tally) -> None:
    """Run a server that has no client of its own: say where it listens, and carry out commands."""

    def started() -> None:
        serve_commands(tally.commands)
        ready(port)

    reactor().callWhenRunning(started)
    reactor().run()


def run(serve: Callable[[dict[str, Any]], Any], connect: Callable[[dict[str, Any]], Coroutine[Any, Any, Link]]) -> None:
    """Be the server or the client that the task asks for.

    Args:
        serve: listens; returns the port, and the commands that the server knows.
        connect: makes a client's connection.
    """
    task = begin()
    default = reactor()

    def started() -> None:
        if task["role"] == "server":
            port, commands = serve(task)
            serve_commands(commands)
            ready(port)
        else:
            serve_commands(work.commands, waited)
            ready()

    def waited(result: Any) -> Any:
        return blockingCallFromThread(default, Deferred.fromCoroutine, result) if hasattr(result, "send") else result

    work = Work(
        lambda port: connect(task | {"port": port}),
        lambda coroutines: gatherResults([Deferred.fromCoroutine(each) for each in coroutines]),
        lambda seconds: deferLater(default, seconds),
    )
    default.callWhenRunning(started)
    default.run()
