"""Redis as an engine of the contract: a real server, and a cable to it for each node that can be cut."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import environ
from pathlib import Path

from tests.support.redis_server import RedisServer
from veltix_tx.backplane.interface import BackplaneLimits
from veltix_tx.backplane.redis.backplane import RedisBackplane
from veltix_tx.backplane.redis.url import parse_redis_url

from .cable import Cable


class RedisEngine:
    """An engine of the contract."""

    def __init__(self, server: RedisServer, lease: float) -> None:
        self._server = server
        self._lease = lease
        self._cables: dict[RedisBackplane, Cable] = {}

    def make(self, limits: BackplaneLimits | None = None) -> RedisBackplane:
        """Return a new node."""
        cable = Cable(self._server.port)
        url = replace(parse_redis_url(self._server.url, environ), port=cable.entry, lease=self._lease)
        node = RedisBackplane(url, limits=limits)
        self._cables[node] = cable
        return node

    def cut(self, node: RedisBackplane) -> None:
        """Cut its cable."""
        self._cables[node].cut()

    def restore(self, node: RedisBackplane) -> None:
        """Mend its cable."""
        self._cables[node].mend()

    def flush(self) -> None:
        """Lose everything."""
        self._server.command("FLUSHALL")

    def end(self) -> None:
        """Take all cables away."""
        for cable in self._cables.values():
            cable.cut()


@contextmanager
def redis(lease: float) -> Iterator[RedisEngine]:
    """Start a server; it is killed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            engine = RedisEngine(server, lease)
            yield engine
            engine.end()
        finally:
            server.kill()
