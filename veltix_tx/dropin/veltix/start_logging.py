"""The beginning of Twisted's logging, for programs that have no Twisted of their own."""

from __future__ import annotations

import sys

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from zope.interface import provider

__all__ = ["begin_logging"]

_GRAVE = (LogLevel.warn, LogLevel.error, LogLevel.critical)


def begin_logging() -> None:
    """Begin Twisted's logging, unless the program uses Twisted itself and will do so.

    Until it begins, Twisted keeps every event in memory, and shows critical ones on stderr that the
    package's own logger shows as well.
    """
    if "twisted.internet.reactor" not in sys.modules:
        globalLogBeginner.beginLoggingTo([_complain], redirectStandardIO=False)


@provider(ILogObserver)
def _complain(event: LogEvent) -> None:
    """Show on stderr what goes wrong elsewhere than in this package, Python's warnings among it."""
    ours = str(event.get("log_namespace", "")).startswith("veltix_tx")
    if not ours and event.get("log_level") in _GRAVE:
        print(eventAsText(event, includeTimestamp=False), file=sys.stderr)  # noqa: T201 (what stderr is for)
