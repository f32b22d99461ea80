"""Service manager: what systemd is told of a service with ``Type=notify``, as sd_notify(3) has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.task import LoopingCall

__all__ = ["ServiceManager"]


class ServiceManager:
    """Datagrams to the service manager that started this process.

    Args:
        path: path of its socket; one that begins with ``@`` is in the abstract namespace.
        watchdog: seconds within which it wants to hear from this process again and again; None for no watchdog.
        reactor: sends these, so that it is the reactor's being stuck that the service manager sees.
    """

    def __init__(self, path: str, watchdog: float | None, reactor: Any) -> None:
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._watchdog = watchdog
        self._beat = LoopingCall(self.tell, "WATCHDOG=1")
        self._beat.clock = reactor

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], reactor: Any) -> ServiceManager | None:
        """Return the service manager that NOTIFY_SOCKET names, None without one."""
        path = environment.get("NOTIFY_SOCKET")
        if not path:
            return None
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "") if mine else ""
        return cls(path, int(microseconds) / 1e6 if microseconds.isdecimal() else None, reactor)

    def ready(self, status: str) -> None:
        """Tell that the service is up, with a line for ``systemctl status``, and begin to feed the watchdog."""
        self.tell(f"READY=1\nSTATUS={status}")
        if self._watchdog and not self._beat.running:
            self._beat.start(self._watchdog / 2)

    def stopping(self) -> None:
        """Tell that the service stops. The watchdog is fed on: a drain may take its time."""
        self.tell("STOPPING=1\nSTATUS=draining")

    def close(self) -> None:
        """Tell nothing any more."""
        if self._beat.running:
            self._beat.stop()
        self._socket.close()

    def tell(self, state: str) -> None:
        """Send assignments, a line each. One that cannot be sent is lost, as sd_notify's may be."""
        with suppress(OSError):
            self._socket.sendto(state.encode(), self._path)
