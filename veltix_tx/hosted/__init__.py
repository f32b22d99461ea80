"""Backplane that one process hosts for others, without Redis: ``veltix backplane``, and the workers of one supervisor."""

from __future__ import annotations

import os

from veltix_tx.hosted.backplane import HostedBackplane
from veltix_tx.hosted.url import parse_host_url

__all__ = ["from_url"]


def from_url(url: str) -> HostedBackplane:
    """Return a backplane, not started, that the process hosts which a URL names.

    Raises:
        SettingsError: it is no such URL.
    """
    return HostedBackplane(parse_host_url(url, os.environ))
