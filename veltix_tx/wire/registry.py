"""Registry of wires: name -> Wire, loaded when first used."""

from __future__ import annotations

from veltix_tx.wire.veltix.releases import AUTO, find_release

__all__ = ["check_wire"]


def check_wire(wire: str) -> None:
    """Raise SettingsError unless ``wire`` is ``"auto"`` or an upstream release."""
    if wire != AUTO:
        find_release(wire)
