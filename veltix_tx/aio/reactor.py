"""Reactor of an asyncio loop that somebody else runs: made for its first user there, closed after its last."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.app.service import RoutedService
from veltix_tx.errors import SettingsError
from veltix_tx.net.threads import IReactorThread

__all__ = ["Lease", "LoopReactor"]

_reactors: dict[AbstractEventLoop, LoopReactor] = {}


class Lease:
    """Use of the running loop's reactor by a server or a client. All of one loop share one.

    Args:
        service: the server or client.
    """

    def __init__(self, service: RoutedService) -> None:
        self._service = service
        self._reactor: LoopReactor | None = None
        self._unbound = Clock()  # without which the service would look at the global reactor
        service.reactor = self._unbound

    @property
    def held(self) -> bool:
        """True from :meth:`begin` to :meth:`end`."""
        return self._reactor is not None

    def begin(self) -> None:
        """Give the service the reactor of the running loop, unless it has it, or a test's clock.

        Raises:
            RuntimeError: no loop runs in this thread.
            TypeError: the loop is Windows' proactor, which Twisted has no reactor for.
            SettingsError: the service is in use on another loop.
        """
        loop = get_running_loop()
        given: object = self._service._given
        lent = given is not self._unbound and not isinstance(given, LoopReactor)
        if lent or (self._reactor is not None and self._reactor.loop is loop):
            return
        reactor = _reactors.get(loop) or _make(loop)
        reactor.users += 1
        try:
            self._service.reactor = reactor
        except SettingsError:
            reactor.leave()
            raise
        self._reactor = reactor

    def end(self) -> None:
        """Leave the reactor; the last one closes it."""
        reactor, self._reactor = self._reactor, None
        if reactor is None:
            return
        reactor.leave()
        if not self._service._in_use:
            self._service.reactor = self._unbound


def _make(loop: AbstractEventLoop) -> LoopReactor:
    for each in [each for each in list(_reactors) if each.is_closed()]:
        _reactors.pop(each).abandon()  # its users have not left
    reactor = _reactors[loop] = LoopReactor(loop)
    return reactor


@implementer(IReactorThread)
class LoopReactor(AsyncioSelectorReactor):
    """Twisted's reactor on a loop that is not its own: it neither runs nor stops it.

    It is not installed: ``twisted.internet.reactor`` is another one, or none. It has no descriptors of its own, because
    threads wake the loop, and its threads end with its last user.

    Args:
        loop: the running loop.

    Attributes:
        loop: the same.
        users: how many leases there are.
        io_thread: the loop's thread.
    """

    _registerAsIOThread = False

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.users = 0
        self.io_thread = get_ident()
        self._threads = _Threads()
        super().__init__(loop)
        self.startRunning(installSignalHandlers=False)

    def installWaker(self) -> None:
        """Do without one: the loop has its own."""

    def leave(self) -> None:
        """End a lease: with the last one, cut off what is connected still and let go of the loop."""
        self.users -= 1
        if not self.users:
            _reactors.pop(self.loop, None)
            if not self.loop.is_closed():
                self.disconnectAll()
            self.abandon()

    def abandon(self) -> None:
        """End its threads as soon as they are idle; those who wait in them see that it does not run."""
        self.running = False
        self._threads.stop()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # type: ignore[override]
        """Call a function in the loop's thread; nothing happens once the loop is closed."""
        try:
            super().callFromThread(callable, *args, **kwargs)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def getThreadPool(self) -> Any:
        """Return its threads."""
        return self._threads

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Listen with TLS on its own clock."""
        return self.listenTCP(port, self._tls(contextFactory, False, factory), backlog, interface)

    def connectSSL(
        self, host: str, port: int, factory: Any, contextFactory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        """Connect with TLS on its own clock."""
        return self.connectTCP(host, port, self._tls(contextFactory, True, factory), timeout, bindAddress)

    def _tls(self, context_factory: Any, is_client: bool, factory: Any) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory  # noqa: PLC0415 (not always installed)

        return TLSMemoryBIOFactory(context_factory, is_client, factory, self)


class _Threads:
    """The part of Twisted's thread pool that is used, with threads whose end nobody waits for.

    (Twisted's pool blocks its reactor until they have ended, and a process whose pool nobody stops does not end.)

    Attributes:
        max: how many threads there may be.
    """

    def __init__(self) -> None:
        self.max = 10
        self._executor = ThreadPoolExecutor(self.max)

    def adjustPoolsize(self, minthreads: int | None = None, maxthreads: int | None = None) -> None:
        """Change how many threads there may be."""
        if maxthreads is not None:
            self.max = maxthreads
        earlier, self._executor = self._executor, ThreadPoolExecutor(self.max)
        earlier.shutdown(wait=False)

    def callInThread(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function in a thread."""
        self.callInThreadWithCallback(lambda success, result: None, function, *args, **kwargs)

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, object], object], function: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Call a function in a thread, then ``on_result`` there with True and its result, or False and its Failure."""

        def run() -> None:
            try:
                outcome: tuple[bool, object] = (True, function(*args, **kwargs))
            except BaseException:
                outcome = (False, Failure())
            on_result(*outcome)

        self._executor.submit(run)

    def stop(self) -> None:
        """End every thread as soon as it is idle."""
        self._executor.shutdown(wait=False)
