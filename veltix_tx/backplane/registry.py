"""Registry of backplanes: the scheme of a URL -> what makes one of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from veltix_tx.backplane.interface import Backplane
from veltix_tx.errors import SettingsError
from veltix_tx.passwords import hide_password

__all__ = ["backplane_from_url"]

_MODULES = {
    "redis": "veltix_tx.backplane.redis",
    "rediss": "veltix_tx.backplane.redis",
    "redis+unix": "veltix_tx.backplane.redis",
    "veltix": "veltix_tx.hosted",
    "veltix+unix": "veltix_tx.hosted",
    "veltix+tls": "veltix_tx.hosted",
}
"""Modules by scheme, imported when asked for. Each has ``from_url(url: str) -> Backplane``."""


def backplane_from_url(url: str) -> Backplane:
    """Return a new backplane, not started.

    Args:
        url: a Redis server's, such as ``redis://localhost:6379/0``, or that of a process that hosts one, such as
            ``veltix+unix:/run/veltix/backplane.sock``.

    Raises:
        SettingsError: it is no URL of a backplane, or what that needs is not installed.
    """
    scheme = url.partition(":")[0] if isinstance(url, str) else ""
    if scheme not in _MODULES:
        raise SettingsError(
            "backplane",
            hide_password(str(url)),
            f"a Backplane or a URL that begins with {', '.join(f'{each}:' for each in _MODULES)}",
        )
    module: Any = import_module(_MODULES[scheme])
    return cast(Backplane, module.from_url(url))
