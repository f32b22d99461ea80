"""The logger everybody shares."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, globalLogPublisher
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel as TwistedLevel

from tests.support.log_lines import plain
from veltix_tx.errors import SettingsError
from veltix_tx.logs import Logger, LoggerConfig, LogLevel


def logger(stream: io.StringIO, **settings: Any) -> Logger:
    """Make the one logger."""
    return Logger(LoggerConfig(use_colors=False, stream=stream, **settings))


def test_there_is_one_logger(stream: io.StringIO) -> None:
    """However it is asked for, and by how many threads, it is the same."""
    first = logger(stream)
    found: list[Logger] = []
    threads = [threading.Thread(target=lambda: found.append(Logger.get_instance())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(each is first for each in [*found, Logger(), Logger.get_instance()])
    assert found[0].config.stream is stream


def test_its_lines_are_the_documented_ones(stream: io.StringIO) -> None:
    """Each method has its level, and the line names the file and the line of the caller."""
    log = logger(stream, level=LogLevel.TRACE, show_timestamp=False)
    for level in LogLevel:
        getattr(log, level.name.lower())(f"{level} {{braces}} %s")
    words = ("TRACE", "DEBUG", "INFO ", "OK   ", "WARN ", "ERROR", "CRIT ")
    here = test_its_lines_are_the_documented_ones.__code__.co_firstlineno + 4
    assert stream.getvalue().splitlines() == [
        f"{word} [test_logger.py:{here}] {level} {{braces}} %s" for word, level in zip(words, LogLevel, strict=True)
    ]


@pytest.mark.parametrize(
    "give", [Logger, Logger.get_instance, lambda config: Logger().configure(config)], ids=["new", "get", "configure"]
)
def test_a_config_always_has_effect(stream: io.StringIO, tmp_path: Path, give: Callable[[LoggerConfig], object]) -> None:
    """A later config replaces the earlier one, whose file is closed; the counts go on."""
    log = logger(stream, file_path=tmp_path / "old.log", **plain())
    log.info("one")
    later = io.StringIO()
    config = LoggerConfig(use_colors=False, stream=later, level=LogLevel.ERROR, **plain())
    give(config)
    log.info("no")
    log.error("two")
    assert log is Logger()
    assert log.config is config
    assert (stream.getvalue(), later.getvalue(), (tmp_path / "old.log").read_text()) == ("one\n", "two\n", "one\n")
    assert {level for level, count in log.get_stats().items() if count} == {LogLevel.INFO, LogLevel.ERROR}


def test_a_config_that_fails_leaves_the_earlier_one(stream: io.StringIO, tmp_path: Path) -> None:
    """After an error the logger goes on as it was."""
    log = logger(stream, **plain())
    with pytest.raises(OSError, match=re.escape(tmp_path.name)):
        log.configure(LoggerConfig(file_path=tmp_path))
    for wrong in ("x.log", object()):
        with pytest.raises(SettingsError):
            Logger(wrong)  # type: ignore[arg-type]
    log.info("still here")
    assert stream.getvalue() == "still here\n"


def test_no_logger_is_left_by_a_config_that_fails(stream: io.StringIO, tmp_path: Path) -> None:
    """If the first config fails, the next one makes the logger."""
    with pytest.raises(OSError, match=re.escape(tmp_path.name)):
        Logger(LoggerConfig(file_path=tmp_path))
    logger(stream, **plain()).info("here")
    assert stream.getvalue() == "here\n"


def test_it_shows_the_packages_own_messages_and_no_others(stream: io.StringIO) -> None:
    """What the package logs is shown, under its namespace; what others log is not."""
    logger(stream, show_timestamp=False)
    for namespace in ("veltix_tx.net.session.session", "veltix_tx", "veltix_txt", "twisted.web"):
        TwistedLogger(namespace=namespace).warn("from {name}", name=namespace)
    assert stream.getvalue().splitlines() == [
        "WARN  [veltix_tx.net.session.session] from veltix_tx.net.session.session",
        "WARN  [veltix_tx] from veltix_tx",
    ]
    assert Logger().get_stats()[LogLevel.WARNING] == 2


def test_other_observers_see_its_events(stream: io.StringIO, log_events: list[LogEvent]) -> None:
    """A line is a Twisted log event with the namespace, both levels, the message and the caller."""
    logger(stream).success("done")
    (seen,) = log_events
    assert (seen["log_namespace"], seen["log_level"], seen["veltix_level"]) == ("veltix_tx", TwistedLevel.info, LogLevel.SUCCESS)
    assert seen["message"] == "done"
    assert re.fullmatch(r"test_logger\.py:\d+", seen["veltix_caller"])


def test_what_is_not_shown_is_no_event(stream: io.StringIO, log_events: list[LogEvent]) -> None:
    """Below the level, or disabled, a call emits nothing, counts nothing, and does not even format."""
    log = logger(stream, **plain())
    log.debug("no")
    log.set_level(LogLevel.ERROR)
    log.warning("no")
    log.disable()
    log.critical("no")
    assert (log_events, sum(log.get_stats().values())) == ([], 0)
    log.enable()
    log.set_level(LogLevel.DEBUG)
    log.debug("yes")
    assert (log.config.level, log.config.enabled, stream.getvalue()) == (LogLevel.DEBUG, True, "yes\n")
    with pytest.raises(SettingsError):
        log.set_level("loud")  # type: ignore[arg-type]


def test_levels_hold_for_the_packages_own_messages(stream: io.StringIO) -> None:
    """set_level and disable hold for what the package logs as well."""
    log = logger(stream, **plain())
    own = TwistedLogger(namespace="veltix_tx.net")
    log.set_level(LogLevel.ERROR)
    own.warn("no")
    log.disable()
    own.error("no")
    log.enable()
    own.error("yes")
    assert stream.getvalue() == "yes\n"


def test_stats_count_what_was_shown_by_level(stream: io.StringIO) -> None:
    """Every level is in the stats, as upstream has it; changing them changes nothing."""
    log = logger(stream)
    assert log.get_stats() == dict.fromkeys(LogLevel, 0)
    log.info("a")
    log.info("b")
    log.trace("c")
    log.get_stats()[LogLevel.INFO] = 99
    assert log.get_stats() == {**dict.fromkeys(LogLevel, 0), LogLevel.INFO: 2}


def test_a_reset_closes_and_the_next_logger_starts_afresh(stream: io.StringIO, tmp_path: Path) -> None:
    """After a reset what waited is written, the observer is gone, and the next logger is a new one."""
    before = list(globalLogPublisher._observers)
    old = logger(stream, file_path=tmp_path / "x.log", async_write=True, **plain())
    assert len(globalLogPublisher._observers) == len(before) + 1
    old.info("one")
    Logger.reset_instance()
    Logger.reset_instance()
    assert globalLogPublisher._observers == before
    assert (tmp_path / "x.log").read_text() == "one\n"
    old.info("two")
    new = logger(stream, **plain())
    new.info("three")
    assert new is not old
    assert stream.getvalue() == "one\nthree\n"
    assert new.get_stats()[LogLevel.INFO] == 1


def test_importing_starts_nothing(run: Callable[[str], str]) -> None:
    """Neither an observer nor a thread nor a reactor comes with the import."""
    program = """
import sys, threading
from twisted.logger import globalLogPublisher
before = list(globalLogPublisher._observers)
import veltix_tx.logs
print(globalLogPublisher._observers == before, threading.active_count(), "twisted.internet.reactor" in sys.modules)
"""
    assert run(program) == "True 1 False\n"
