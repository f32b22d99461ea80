"""Lets twistd and twist know the ``veltix`` command; imports nothing of its package."""

from twisted.application.service import ServiceMaker

veltix = ServiceMaker(
    "veltix",
    "veltix_tx.tap",
    "A server for structured TCP messages that every Veltix client can use.",
    "veltix",
)
