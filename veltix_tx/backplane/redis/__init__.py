"""Backplane on Redis or Valkey: needs what ``pip install 'veltix-tx[redis]'`` installs."""

from __future__ import annotations

import os
from importlib.util import find_spec

from veltix_tx.backplane.redis.backplane import RedisBackplane
from veltix_tx.backplane.redis.url import parse_redis_url
from veltix_tx.errors import SettingsError

__all__ = ["from_url"]


def from_url(url: str) -> RedisBackplane:
    """Return a backplane, not started, on the server that a URL names.

    Raises:
        SettingsError: it is no such URL, or what it needs is not installed.
    """
    parsed = parse_redis_url(url, os.environ)
    if find_spec("txredisapi") is None:
        raise SettingsError("backplane", str(parsed), "left out, or Redis's client installed: pip install 'veltix-tx[redis]'")
    return RedisBackplane(parsed)
