"""Levels of the log, changed while it runs."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher, formatEvent
from zope.interface import implementer

from veltix_tx.ops.log_levels import LogLevels


@implementer(ILogObserver)
class Lines(list[str]):
    """An observer that keeps the texts."""

    def __call__(self, event: LogEvent) -> None:
        """Keep one."""
        self.append(formatEvent(event))


def test_levels_hold_for_a_namespace_and_what_is_below_it() -> None:
    """An event below the level of its namespace is not shown; another level, given while it runs, holds at once."""
    seen = Lines()
    publisher = LogPublisher(seen)
    levels = LogLevels("info", {"shop": "error", "shop.cart": "debug"}, publisher)
    levels.install()

    def log() -> list[str]:
        for namespace in ("shop", "shop.cart", "shop.till", "other"):
            logger = Logger(namespace, observer=publisher)
            logger.debug("{log_namespace} debug")
            logger.info("{log_namespace} info")
            logger.error("{log_namespace} error")
        shown = list(seen)
        seen.clear()
        return shown

    assert log() == [
        *("shop error", "shop.cart debug", "shop.cart info", "shop.cart error", "shop.till error"),
        *("other info", "other error"),
    ]
    levels.use("error", {})
    levels.set_level("shop", "info")
    assert levels.levels == {"": "error", "shop": "info"}
    assert log() == [
        *("shop info", "shop error", "shop.cart info", "shop.cart error", "shop.till info", "shop.till error", "other error"),
    ]


def test_the_log_has_its_own_observers_back() -> None:
    """Observers are the log's own again when the server has stopped, but for one that was removed meanwhile."""
    kept, removed = Lines(), Lines()
    publisher = LogPublisher(kept, removed)
    levels = LogLevels("critical", {}, publisher)
    levels.install()
    filtering = publisher._observers[1]
    publisher.removeObserver(filtering)
    levels.restore()
    Logger("shop", observer=publisher).debug("again")
    assert (kept, removed) == (["again"], [])
