"""Real releases: installing them, running them, and our own ends for them to talk to."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList, DeferredQueue, DeferredSemaphore
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure

from veltix_tx import Client, DisconnectState, MessageRegistry, MessageType, Response, Server, Session, Timeouts

RELEASES = (
    *("1.6.1", "1.6.2", "1.6.3", "1.6.4", "1.6.5", "1.6.6", "1.6.8", "1.6.9", "1.6.10"),
    *("1.7.0", "1.7.1", "1.7.2", "1.7.5", "1.8.0", "1.8.1", "1.9.0"),
    *("2.0.0", "2.0.1", "2.0.2", "2.0.3", "3.0.0", "3.1.1", "3.2.1", "3.3.0"),
)
"""The published releases run here. Older ones do not import on the Pythons we support: vectors stand for them."""

OWN_PORT_ONLY = ("1.8.0", "1.8.1", "1.9.0")
"""Releases whose clients cannot share a port with others: they take their own version's hello only."""

_PEER = Path(__file__).with_name("peer.py")
_GRACE = 5.0


def each_release(*releases: str) -> list[Any]:
    """Return the parameters for these releases; those that do not run on this Python are skipped."""
    too_old = pytest.mark.skipif(sys.version_info < (3, 11), reason="veltix 3.x needs Python 3.11")
    return [pytest.param(each, marks=too_old if each.startswith("3.") else ()) for each in releases]


# Installing.


def cache_folder() -> Path:
    """Return where the releases are kept between runs."""
    given = os.environ.get("VELTIX_TX_INTEROP_CACHE")
    return Path(given).resolve() if given else Path(__file__).parents[3] / ".interop-cache"


async def install_all() -> tuple[dict[str, Path], list[str]]:
    """Install every release that runs here and is not there yet; return their folders, and what went wrong."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folders = {each: cache / each for each in RELEASES if sys.version_info >= (3, 11) or not each.startswith("3.")}
    async with alone(cache / ".lock"):
        some_at_once = DeferredSemaphore(4)
        wanted = [release for release, folder in folders.items() if not folder.exists()]
        installs = [some_at_once.run(lambda each=each: Deferred.fromCoroutine(_install(each, folders[each]))) for each in wanted]
        failed = [outcome.getErrorMessage() for ok, outcome in await DeferredList(installs, consumeErrors=True) if not ok]
    return folders, failed


@asynccontextmanager
async def alone(lock: Path) -> AsyncIterator[None]:
    """Wait until no other process installs, such as another worker of this test run."""
    from twisted.internet import reactor

    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await deferLater(reactor, 0.1)
        yield


async def _install(release: str, folder: Path) -> None:
    """Download a release and unpack it in one step, so that a parallel run never sees half of it."""
    with tempfile.TemporaryDirectory(prefix=f"{release}.", dir=folder.parent) as temporary:
        options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--dest", temporary]
        out, err, status = await getProcessOutputAndValue(
            sys.executable, ["-m", "pip", "download", *options, f"veltix=={release}"], env=os.environ
        )
        if status:
            raise RuntimeError(f"pip download veltix=={release} ended with {status}:\n{(out + err).decode(errors='replace')}")
        _unpack(Path(temporary), folder)


def _unpack(temporary: Path, folder: Path) -> None:
    """Unpack the wheel beside the release's folder, then rename that: ``pip install`` refuses the wheel of 1.6.2."""
    unpacked = temporary / "unpacked"
    (wheel,) = temporary.glob("veltix-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.exists():  # else a parallel run was faster
            raise


# Running.


class Running(ProcessProtocol):
    """A process of a test, read line by line."""

    def __init__(self) -> None:
        self.ended: Deferred[int | None] = Deferred()
        self.errors = bytearray()
        self._rest = b""

    def outReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Take whole lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.line(line.decode())

    def errReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Keep stderr to show it if something fails."""
        self.errors += data

    def line(self, line: str) -> None:
        """Take one line of stdout."""
        raise NotImplementedError

    def processEnded(self, reason: Failure) -> None:
        """Take note of the exit status, None for a signal."""
        self.ended.callback(0 if reason.check(ProcessDone) else reason.value.exitCode)

    async def stop(self) -> int | None:
        """Wait until it ends, by force after some seconds; return its exit status."""
        from twisted.internet import reactor

        force = reactor.callLater(_GRACE, self.signal, "KILL")
        status = await self.ended
        if force.active():
            force.cancel()
        return status

    def signal(self, name: str) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)


class Real(Running):
    """A real release in a process of its own; see ``peer.py`` for what it can be told."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, Deferred[Any]] = {}
        self._events: defaultdict[str, DeferredQueue[list[Any]]] = defaultdict(DeferredQueue)

    def call(self, method: str, *arguments: object) -> Deferred[Any]:
        """Call a method there; errbacks with RealError when that raises."""
        number = len(self._calls)
        self._calls[number] = Deferred()
        self.transport.write(json.dumps([number, method, *arguments]).encode() + b"\n")
        return self._calls[number]

    def next(self, event: str) -> Deferred[list[Any]]:
        """Return the next event of a kind, waiting for it: what it tells."""
        return self._events[event].get()

    def leave(self) -> None:
        """Let it end."""
        self.transport.closeStdin()

    def line(self, line: str) -> None:
        """Take an event or a call's outcome."""
        kind, *told = json.loads(line)
        if isinstance(kind, str):
            self._events[kind].put(told)
        elif told[0] is None:
            self._calls[kind].callback(told[1])
        else:
            self._calls[kind].errback(RealError(*told))

    def processEnded(self, reason: Failure) -> None:
        """Fail what waits."""
        waiting = [call for call in self._calls.values() if not call.called]
        waiting += [each for queue in self._events.values() for each in queue.waiting]
        for each in waiting:
            each.errback(RealError("ended", self.errors.decode(errors="replace")))
        super().processEnded(reason)


class RealError(Exception):
    """A call in a real release raised, or its process is gone: the exception's name and text."""


@asynccontextmanager
async def running(
    folder: Path | None, role: str, program: Path = _PEER, *needs: Path, arguments: Sequence[str] = ()
) -> AsyncIterator[Real]:
    """Run a release as ``client`` or ``server``; it is gone behind the block.

    Args:
        folder: where the release is; None for what is installed.
        role: what it is to be.
        program: what drives it.
        needs: where packages are that it needs.
        arguments: more arguments of the program.
    """
    from twisted.internet import reactor

    real = Real()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, *needs) if folder else needs))}
    reactor.spawnProcess(real, sys.executable, [sys.executable, str(program), role, *arguments], environment)
    try:
        await real.next("ready")
        yield real
    finally:
        real.leave()
        await real.stop()


# Our own ends.

TYPES = MessageRegistry()
ECHO = MessageType(200, "echo", registry=TYPES)
NOTE = MessageType(201, "note", registry=TYPES)


class OurServer:
    """A listening Server that answers ECHO; what happens to it is queued."""

    def __init__(self, **settings: Any) -> None:
        self.server = Server(port=0, host="127.0.0.1", types=TYPES, **settings)
        self.connected: DeferredQueue[Session] = DeferredQueue()
        self.noted: DeferredQueue[bytes] = DeferredQueue()
        self.disconnected: DeferredQueue[Session] = DeferredQueue()
        self.server.set_callback("on_connect", self.connected.put)
        self.server.set_callback("on_disconnect", self.disconnected.put)
        self.server.route(NOTE)(lambda client, message: self.noted.put(message.content))
        self.server.route(ECHO)(lambda client, message: message.content)

    async def __aenter__(self) -> OurServer:
        """Listen."""
        await self.server.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.server.stopService()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port


QUICK = Timeouts(close=0.5)
"""Servers of 1.6.2 to 1.6.5 and 1.7 never close their end of a connection: each close by our client waits so long."""


class OurClient:
    """A Client that answers ECHO; what happens to it is queued."""

    def __init__(self, port: int, timeouts: Timeouts = QUICK, **settings: Any) -> None:
        self.client = Client("127.0.0.1", port, types=TYPES, timeouts=timeouts, **settings)
        self.noted: DeferredQueue[bytes] = DeferredQueue()
        self.disconnected: DeferredQueue[DisconnectState] = DeferredQueue()
        self.client.route(NOTE)(lambda message: self.noted.put(message.content))
        self.client.route(ECHO)(lambda message: message.content)

    async def __aenter__(self) -> OurClient:
        """Nothing to do yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.client.disconnect()

    async def connect(self) -> Session:
        """Connect as soon as the server listens: the ``start()`` of some releases returns before that."""
        from twisted.internet import reactor

        while True:
            with suppress(Refused):
                session = await self.client.connect()
                self.client.set_callback("on_disconnect", self.disconnected.put)
                return session
            await deferLater(reactor, 0.01)


CONTENTS = (b"hello veltix", b"", bytes(range(256)) * 400)
"""What every pair of ends must pass on unchanged; the last are 100 KB."""


async def converse(session: Session, noted: DeferredQueue[bytes], real: Real, contents: Iterable[bytes] = CONTENTS) -> None:
    """Check all that two connected ends can do: messages, requests and pings, both ways."""
    for content in contents:
        assert await real.call("send", NOTE.code, content.hex()) is True
        assert await noted.get() == content
        session.send(NOTE, content)
        assert await real.next("received") == [NOTE.code, content.hex()]
        assert await real.call("ask", ECHO.code, content.hex()) == content.hex()
        reply: Response = await session.send_and_wait(ECHO, content)
        assert reply.content == content
        assert await real.next("received") == [ECHO.code, content.hex()]
    assert 0 <= await session.ping() < 1000
    ping = await real.call("ping")
    assert ping is not None
    assert 0 <= ping < 1000
