"""Real netconduit releases: installing them, running them, and our own ends for them to talk to."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredQueue
from twisted.internet.utils import getProcessOutputAndValue

from tests.support.interop.driver import Real, alone, cache_folder, running
from veltix_tx import Client, DisconnectState, MessageRegistry, MessageType, Netconduit, Response, Server, Session, Timeouts

RELEASES = ("2.0.0", "3.0.0", "4.0.0", "5.0.0")
"""The published releases that work. 0.1.0 leaves each connection at once, those of its own servers too."""

_NEEDS = ("msgpack>=1.0", "pydantic>=2.0")
_PEER = Path(__file__).with_name("conduit_peer.py")


async def install_conduits() -> tuple[dict[str, Path], Path]:
    """Install every release, and what they need, where they are not yet; return their folders and that of the latter."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    needs = cache / f"netconduit-needs-py{sys.version_info[0]}.{sys.version_info[1]}"
    folders = {release: cache / f"netconduit-{release}" for release in RELEASES}
    async with alone(cache / ".netconduit.lock"):
        if not needs.exists():
            await install(needs, *_NEEDS)
        for release, folder in folders.items():
            if not folder.exists():
                await install(folder, "--no-deps", f"netconduit=={release}")
    return folders, needs


async def install(folder: Path, *what: str) -> None:
    """Install packages into a folder in one step, so that a run that is ended leaves no half of it."""
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as temporary:
        target = Path(temporary) / "installed"
        command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(target), *what]
        out, err, status = await getProcessOutputAndValue(sys.executable, command, env=os.environ)
        if status:
            raise RuntimeError(f"pip install {what[-1]} ended with {status}:\n{(out + err).decode(errors='replace')}")
        target.rename(folder)


class Conduits:
    """The installed releases.

    Args:
        folders: release -> its folder.
        needs: the folder of what they need.
    """

    def __init__(self, folders: dict[str, Path], needs: Path) -> None:
        self._folders = folders
        self._needs = needs

    def run(self, release: str, role: str) -> AbstractAsyncContextManager[Real]:
        """Run a release as ``client`` or ``server``; it is gone behind the block. See ``conduit_peer.py``."""
        return running(self._folders[release], role, _PEER, self._needs, arguments=["conduit"])

    def path(self, release: str) -> list[Path]:
        """Return the folders that a release and what it needs are in."""
        return [self._folders[release], self._needs]

    def run_dropin(self, role: str) -> AbstractAsyncContextManager[Real]:
        """Run our drop-in likewise."""
        return running(None, role, _PEER, arguments=["veltix_tx.dropin.conduit"])


# Our own ends.

TYPES = MessageRegistry()
GREETING, ECHO, ECHOED, NEWS = (MessageType(name=name, registry=TYPES) for name in ("greeting", "echo", "echo_response", "news"))
WELCOME = MessageType(name="welcome", registry=TYPES)
GREETED = MessageType(name="greeting_response", registry=TYPES)

QUICK = Timeouts(close=0.5)
"""A real server never closes its end of a connection: each close by our client waits so long."""


class OurServer:
    """A listening Server of netconduit's wire that greets and echoes; what happens to it is queued."""

    def __init__(self, *, compress: bool = False, **settings: Any) -> None:
        settings = {"port": 0, "host": "127.0.0.1", **settings}
        wire = Netconduit("secret", program="ours", version="7", compress=compress)
        self.server = Server(wire=wire, types=TYPES, **settings)
        self.connected: DeferredQueue[Session] = DeferredQueue()
        self.disconnected: DeferredQueue[Session] = DeferredQueue()
        self.received: DeferredQueue[Any] = DeferredQueue()
        self.server.set_callback("on_connect", self._welcome)
        self.server.set_callback("on_disconnect", self.disconnected.put)
        self.server.register_route(GREETING, lambda session, message: {"reply": f"Hello, {message.value['name']}!"})
        self.server.register_route(ECHO, self._echo)

    async def __aenter__(self) -> OurServer:
        """Listen."""
        await self.server.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.server.stopService()

    def _welcome(self, session: Session) -> None:
        session.send(WELCOME, {"to": session.peer.version})  # at once: a client could lose what follows its AUTH_SUCCESS
        self.connected.put(session)

    def _echo(self, session: Session, message: Response) -> object:
        self.received.put(message.value)
        return message.value


class OurClient:
    """A Client of netconduit's wire; what happens to it is queued."""

    def __init__(self, port: int, wire: Netconduit | None = None, host: str = "127.0.0.1", **settings: Any) -> None:
        settings = {"timeouts": QUICK, **settings}
        self.client = Client(host, port, wire=wire or Netconduit("secret", program="ours"), types=TYPES, **settings)
        self.received: DeferredQueue[tuple[str, Any]] = DeferredQueue()
        self.disconnected: DeferredQueue[DisconnectState] = DeferredQueue()
        self.client.set_callback("on_recv", lambda message: self.received.put((message.type.name, message.value)))
        self.client.set_callback("on_disconnect", self.disconnected.put)

    async def __aenter__(self) -> OurClient:
        """Connect."""
        self.session = await self.client.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.client.disconnect()
