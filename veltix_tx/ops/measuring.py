"""Measuring of a server, where the extra that it needs is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veltix_tx.errors import SettingsError
from veltix_tx.server import Server

if TYPE_CHECKING:
    from veltix_tx.ops.metrics import Metrics

__all__ = ["check_measurable", "measured_by"]


def check_measurable(measured: bool | None) -> bool:
    """Return True if a server is to be measured, and can be.

    Args:
        measured: True to measure, False not to; None to do so where the extra ``metrics`` is installed.

    Raises:
        SettingsError: it is to be measured, and the extra is not installed.
    """
    if measured is False:
        return False
    try:
        import veltix_tx.ops.metrics  # noqa: F401, PLC0415 (not always installed)
    except SettingsError:
        if measured:
            raise
        return False
    return True


def measured_by(server: Server, measured: bool | None) -> Metrics | None:
    """Return the metrics that measure a server from now on; None where nothing is measured.

    Args:
        server: the server.
        measured: as :func:`check_measurable` takes it.

    Raises:
        SettingsError: it is to be measured, and the extra is not installed, or the server listens already.
    """
    if not check_measurable(measured):
        return None
    from veltix_tx.ops.metrics import Metrics  # noqa: PLC0415 (not always installed)

    return Metrics(server)
