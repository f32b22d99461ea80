"""A host as an engine of the contract: a real listener, and a cable to it for each node that can be cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred

from veltix_tx.backplane.interface import BackplaneLimits
from veltix_tx.hosted.backplane import HostedBackplane
from veltix_tx.hosted.server import BackplaneServer
from veltix_tx.hosted.url import HostUrl

from .cable import Cable


class HostedEngine:
    """An engine of the contract."""

    def __init__(self, lease: float) -> None:
        self._host = BackplaneServer("tcp:0", lease=lease)
        self._host.startService()
        self._cables: dict[HostedBackplane, Cable] = {}

    def make(self, limits: BackplaneLimits | None = None) -> HostedBackplane:
        """Return a new node."""
        address: Any = self._host.address
        cable = Cable(address.port)
        node = HostedBackplane(HostUrl("127.0.0.1", cable.entry), limits=limits)
        self._cables[node] = cable
        return node

    def cut(self, node: HostedBackplane) -> None:
        """Cut its cable."""
        self._cables[node].cut()

    def restore(self, node: HostedBackplane) -> None:
        """Mend its cable."""
        self._cables[node].mend()

    def flush(self) -> None:
        """Lose everything."""
        self._host.hub.flush()

    def end(self) -> Deferred[Any]:
        """Take the cables and the host away."""
        for cable in self._cables.values():
            cable.cut()
        stopped: Deferred[Any] = self._host.stopService()
        return stopped


@contextmanager
def hosted(lease: float, finish: Callable[[Deferred[Any]], Any]) -> Iterator[HostedEngine]:
    """Host a backplane until the end."""
    engine = HostedEngine(lease)
    yield engine
    finish(engine.end())
