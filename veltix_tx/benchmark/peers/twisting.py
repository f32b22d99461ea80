"""Programs in Twisted's default reactor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread
from zope.interface import implementer

from veltix_tx.benchmark.peers.program import begin, say, serve_commands
from veltix_tx.benchmark.peers.working import Link, Work

__all__ = ["Room", "reactor", "run"]


def reactor() -> Any:
    """Return the default reactor; the first call installs it."""
    from twisted.internet import reactor as default  # noqa: PLC0415

    return default


@implementer(IPushProducer)
class Room:
    """Whether a transport has room for more.

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
            say("ready", port)
        else:
            serve_commands(work.commands, waited)
            say("ready", None)

    def waited(result: Any) -> Any:
        return blockingCallFromThread(default, Deferred.fromCoroutine, result) if hasattr(result, "send") else result

    work = Work(
        lambda: connect(task),
        lambda coroutines: gatherResults([Deferred.fromCoroutine(each) for each in coroutines]),
        lambda seconds: deferLater(default, seconds),
    )
    default.callWhenRunning(started)
    default.run()
