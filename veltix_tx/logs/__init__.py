"""Upstream's logger as a face over ``twisted.logger``, and its lines for whoever logs with Twisted alone.

Importing this starts nothing: no observer, no thread, no reactor.
"""

from veltix_tx.logs.config import LoggerConfig, LogLevel
from veltix_tx.logs.logger import Logger
from veltix_tx.logs.observer import LineObserver

__all__ = ["LineObserver", "LogLevel", "Logger", "LoggerConfig"]
