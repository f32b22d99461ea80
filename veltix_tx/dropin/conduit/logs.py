"""Logging: lines of the package reach Python's ``logging``, under netconduit's name."""

from __future__ import annotations

import sys

from twisted.logger import STDLibLogObserver, globalLogBeginner

__all__ = ["NAME", "begin_logging"]

NAME = "conduit"
"""Name of the logger, as netconduit's users know it."""


def begin_logging() -> None:
    """Pass Twisted's log on to :data:`NAME`, unless the program uses Twisted itself, or has begun to log.

    Until someone begins, Twisted keeps every event in memory.
    """
    if "twisted.internet.reactor" not in sys.modules and globalLogBeginner._temporaryObserver is not None:
        globalLogBeginner.beginLoggingTo([STDLibLogObserver(NAME)], discardBuffer=True, redirectStandardIO=False)
