"""Programs in Twisted's default reactor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread

from veltix_tx.benchmark.peers.program import begin, say, serve_commands
from veltix_tx.benchmark.peers.working import Link, Work

__all__ = ["run"]


def run(serve: Callable[[dict[str, Any]], Any], connect: Callable[[dict[str, Any]], Coroutine[Any, Any, Link]]) -> None:
    """Be the server or the client that the task asks for.

    Args:
        serve: listens; returns the port, and the commands that the server knows.
        connect: makes a client's connection.
    """
    task = begin()

    from twisted.internet import reactor as default  # noqa: PLC0415

    reactor: Any = default

    def started() -> None:
        if task["role"] == "server":
            port, commands = serve(task)
            serve_commands(commands)
            say("ready", port)
        else:
            serve_commands(work.commands, waited)
            say("ready", None)

    def waited(result: Any) -> Any:
        return blockingCallFromThread(reactor, Deferred.fromCoroutine, result) if hasattr(result, "send") else result

    work = Work(
        lambda: connect(task),
        lambda coroutines: gatherResults([Deferred.fromCoroutine(each) for each in coroutines]),
        lambda seconds: deferLater(reactor, seconds),
    )
    reactor.callWhenRunning(started)
    reactor.run()
