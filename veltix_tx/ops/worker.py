"""Worker process: its part of what it and its supervisor have agreed on."""

from __future__ import annotations

import os
import shutil
from collections.abc import MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from veltix_tx.net.shared.turn_queue import TurnQueue
from veltix_tx.ops.admin_api import AdminApi
from veltix_tx.ops.channel import WorkerChannel
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.ops.measuring import measured_by
from veltix_tx.ops.recent import RecentEvents
from veltix_tx.server import Server

__all__ = [
    "FIRST_SOCKET",
    "LAME_DUCK",
    "LIFELINE",
    "STATUS",
    "WORKER_VARIABLE",
    "Worker",
    "WorkerAdministration",
    "retire",
]

WORKER_VARIABLE = "VELTIX_WORKER"
"""Variable of the environment that makes a process a worker: its number, how many sockets it inherits, and the folder of the
supervisor's backplane, where it has one: ``2:1:FOLDER``."""

STATUS = 3
"""File descriptor on which a worker says that it listens, and answers what it is asked, see :class:`WorkerChannel`."""

LIFELINE = 4
"""File descriptor on which a worker is asked, and that ends when the supervisor does, however that ends: no worker outlives it."""

FIRST_SOCKET = 5
"""File descriptor of the first listening socket; the others follow."""

LAME_DUCK = 1.0
"""Seconds for which a worker that has a successor goes on with its connections before it drains: handshakes are completed."""

_log = Logger()


class WorkerAdministration(Service):
    """Service that administers a worker's server for the supervisor, which asks it through the worker's channel.

    Args:
        server: the server.
        measured: True to measure the server's traffic, False not to; None to do so where the extra ``metrics`` is installed.
        levels: the log's levels.

    Attributes:
        api: answers the supervisor.

    Raises:
        SettingsError: the server listens already, or is to be measured and cannot be.
    """

    def __init__(self, server: Server, measured: bool | None, levels: LogLevels) -> None:
        self._metrics = measured_by(server, measured)
        self.api = AdminApi(server, self._metrics, RecentEvents(), levels, most_rows=10**9)  # the supervisor cuts

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self.api.began = self.api.clocks.uptime()
        if self._metrics is not None:
            self._metrics.start()

    def stopService(self) -> None:
        """Measure no more."""
        super().stopService()
        if self._metrics is not None:
            self._metrics.stop()


class Worker(NamedTuple):
    """One process of a server that has several.

    Attributes:
        number: its number, from 1.
        sockets: file descriptors of the listening sockets.
        folder: the folder of the backplane that ends with the supervisor; empty for none.
    """

    number: int
    sockets: tuple[int, ...]
    folder: str

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Worker | None:
        """Return the worker that this process is, None for one that is none; its own children are none."""
        given = environment.pop(WORKER_VARIABLE, None)
        if given is None:
            return None
        number, sockets, *folder = given.split(":", 2)
        return cls(int(number), tuple(range(FIRST_SOCKET, FIRST_SOCKET + int(sockets))), "".join(folder))

    def detach(self) -> None:
        """Leave the supervisor's process group: Ctrl-C in a terminal is for the supervisor, which then ends its workers."""
        os.setpgid(0, 0)

    def report_ready(self, server: Server, api: AdminApi) -> None:
        """Report to the supervisor that this process listens, answer what it asks, and stop gracefully once it is gone."""
        from twisted.internet.stdio import StandardIO  # noqa: PLC0415 (Windows' own has no such arguments)

        reactor: Any = server.reactor
        turns = TurnQueue(reactor, api.clocks.uptime)
        channel = WorkerChannel(api, server.backplane.node_id, partial(_lose_supervisor, reactor, self.folder), turns)
        reactor.addSystemEventTrigger("before", "shutdown", channel.expect_end)
        pipes: Any = StandardIO
        pipes(channel, LIFELINE, STATUS, reactor)


def retire(server: Server) -> None:
    """Leave new connections to the successor, which listens on the same sockets, and stop the reactor after LAME_DUCK seconds."""
    server.stop_listening()
    reactor: Any = server.reactor
    reactor.callLater(LAME_DUCK, _stop, reactor)


def _stop(reactor: Any) -> None:
    with suppress(ReactorNotRunning):  # it stops already
        reactor.stop()


def _lose_supervisor(reactor: Any, folder: str) -> None:
    """Stop, and remove what a supervisor that was killed has left; the other workers do so, too."""
    _log.warn("the supervisor is gone: this worker stops")
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    _stop(reactor)
