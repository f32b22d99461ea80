"""Backplane for the processes that this one starts, such as a supervisor's workers: on a socket in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime

from veltix_tx.backplane.memory import LEASE
from veltix_tx.errors import SettingsError
from veltix_tx.hosted.server import BackplaneServer
from veltix_tx.net.clock import Clocks

__all__ = ["PrivateBackplane"]


class PrivateBackplane(Service):
    """Service that hosts a backplane on a UNIX socket in a new folder with mode 0700, which goes when it stops.

    It listens from ``startService`` on: the socket is of the user that the process has by then.

    Args:
        lease: seconds within which a node that vanished is in no list any more, nor its members.
        folder: where the new folder is made; the system's for temporary files by default.
        reactor: a reactor, or Clocks for a test; None for the global one.
    """

    def __init__(self, *, lease: float = LEASE, folder: Path | None = None, reactor: IReactorTime | Clocks | None = None) -> None:
        self._lease, self._parent, self._reactor = lease, folder, reactor
        self._folder: Path | None = None
        self._host: BackplaneServer | None = None

    @property
    def folder(self) -> Path | None:
        """The folder while it runs, else None. A process that outlives this one may remove it."""
        return self._folder

    @property
    def url(self) -> str:
        """URL for ``Server(backplane=...)`` of the other processes, while it runs.

        Raises:
            SettingsError: it does not run.
        """
        if self._host is None:
            raise SettingsError("url", None, "asked for while the service runs")
        return self._host.url

    def startService(self) -> None:
        """Make the folder, and listen.

        Raises:
            CannotListenError: it cannot listen there, as where the path is too long.
            OSError: the folder cannot be made.
        """
        super().startService()
        self._folder = Path(mkdtemp(prefix="veltix-", dir=self._parent))
        where = str(self._folder / "backplane.sock").replace("\\", r"\\").replace(":", r"\:")
        host = BackplaneServer(f"unix:{where}", lease=self._lease, reactor=self._reactor)
        try:
            host.startService()
        except BaseException:
            self._remove(None)
            raise
        self._host = host

    def stopService(self) -> Deferred[Any]:
        """Stop to listen, and remove the folder.

        Returns:
            a Deferred that fires when that is done.
        """
        super().stopService()
        host, self._host = self._host, None
        return succeed(None) if host is None else maybeDeferred(host.stopService).addBoth(self._remove)

    def _remove(self, result: Any) -> Any:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return result
