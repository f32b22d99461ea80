"""Accept loop of a port: few connections at a time, and a back-off while the system has nothing to accept with."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EWOULDBLOCK
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.logger import Logger

__all__ = ["ACCEPTS_PER_TURN", "FIRST_WAIT", "LONGEST_WAIT", "back_off_on_accept_error", "limit_accepts"]

_log = Logger()

ACCEPTS_PER_TURN = 10
"""Connections taken from a port in one turn of the reactor. Their handshakes come together, too, a few turns later."""

FIRST_WAIT = 0.01
LONGEST_WAIT = 1.0
"""Seconds in which nothing is accepted after it has failed twice in a row; the wait doubles each time it fails again."""


def limit_accepts(port: Any) -> None:
    """Limit the connections a listening port takes in one turn, so that those who are connected need not wait for all of them.

    Twisted's ports take more and more of them in one turn, the more there are.
    """
    if not hasattr(port, "numberAccepts"):
        return  # not one of Twisted's own
    accept = port.doRead

    def doRead() -> None:
        port.numberAccepts = min(port.numberAccepts, ACCEPTS_PER_TURN)
        accept()

    port.doRead = doRead


def back_off_on_accept_error(port: IListeningPort, reactor: IReactorTime, may_log: Callable[[], bool] = lambda: True) -> None:
    """Make a port wait when nothing can be accepted.

    Twisted tries again at once, for as long as there is a connection to accept: it takes all of a CPU,
    and writes to its log each time. (It does help itself where this process has used up its own files.)

    Args:
        port: what listens; one that has no socket of its own is left as it is.
        reactor: ends the wait.
        may_log: whether the log may have one more line that those who connect cause.
    """
    if hasattr(port, "socket") and hasattr(port, "stopReading"):
        port.socket = _BackingOffSocket(port, reactor, may_log)


class _BackingOffSocket:
    """A port's socket that has the port not read for a while."""

    def __init__(self, port: Any, reactor: IReactorTime, may_log: Callable[[], bool]) -> None:
        self._port = port
        self._socket = port.socket
        self._reactor = reactor
        self._may_log = may_log
        self._failures = 0
        self._wait: IDelayedCall | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def accept(self) -> Any:
        """Accept a connection, and count a failure."""
        try:
            accepted = self._socket.accept()
        except OSError as error:
            self._failures = 0 if error.errno in (EAGAIN, EWOULDBLOCK) else self._failures + 1
            if self._failures > 1 and self._wait is None:
                self._port.stopReading()
                seconds = min(FIRST_WAIT * 2 ** min(self._failures - 2, 10), LONGEST_WAIT)
                if self._may_log():
                    _log.warn("nothing can be accepted for {seconds} s: {error}", seconds=seconds, error=error)
                self._wait = self._reactor.callLater(seconds, self._go_on)
            raise
        self._failures = 0
        return accepted

    def close(self) -> None:
        """Close it; nothing is waited for any more."""
        if self._wait is not None:
            self._wait.cancel()
        self._socket.close()

    def _go_on(self) -> None:
        self._wait = None
        self._port.startReading()
