"""Interface by which the administration asks what it administers: a server of this process, or the workers of one."""

from __future__ import annotations

from typing import Protocol

from veltix_tx.net.clock import Clocks
from veltix_tx.ops.admin_api import Call

__all__ = ["Administered"]


class Administered(Protocol):
    """Server as its administration asks it: :class:`~veltix_tx.ops.admin_api.AdminApi`, or another one that asks several of these.

    Attributes:
        ready: False once the server is to be sent no new clients.
        began: uptime at which it began to serve.
    """

    ready: bool
    began: float

    @property
    def clocks(self) -> Clocks:
        """Sources of time, as they are by now."""

    @property
    def last_event(self) -> int:
        """Number of the last of the recent events."""

    def answer(self, method: str, path: str, call: Call) -> object:
        """Return the answer to a request: what JSON has, a ``Text``, a ``Watch``, or a Deferred of one.

        Args:
            method: GET or POST.
            path: without a slash in front; one of :data:`~veltix_tx.ops.admin_api.ANSWERS`.
            call: the rest of it.

        Raises:
            ApiError: there is no such path, it knows no such method, or the request is wrong. A Deferred may errback with it.
        """
