"""The logger and the little functions, through the drop-in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, Lines, new_type, until
from veltix_tx.dropin.veltix import (
    Logger,
    LoggerConfig,
    LogLevel,
    Request,
    decode_json,
    decode_utf8,
    encode_json,
    encode_utf8,
    format_bytes,
)

LINE = re.compile(r"\[\d\d:\d\d:\d\d\.\d{3}\] (TRACE|DEBUG|INFO |OK   |WARN |ERROR|CRIT ) \[[^\]]+\] (.*)")


def test_a_line(log: Lines) -> None:
    """A line is time, level, who says it, and the text."""
    Logger.get_instance().info("something")
    match = LINE.fullmatch(log[-1])
    assert match is not None
    assert match.groups() == ("INFO ", "something")
    assert "[test_logger_and_utilities.py:" in log[-1]


def test_levels(log: Lines) -> None:
    """What is below the level is not shown; each level has its word."""
    logger = Logger.get_instance()
    names = ("trace", "debug", "info", "success", "warning", "error", "critical")
    for level in (LogLevel.INFO, LogLevel.TRACE):
        logger.set_level(level)
        for name in names:
            assert getattr(logger, name)(name) is None
    words = [LINE.fullmatch(line).groups() for line in log]  # type: ignore[union-attr]
    shown = [("INFO ", "info"), ("OK   ", "success"), ("WARN ", "warning"), ("ERROR", "error"), ("CRIT ", "critical")]
    assert words == [*shown, ("TRACE", "trace"), ("DEBUG", "debug"), *shown]
    assert {level.name: count for level, count in logger.get_stats().items()} == {
        "TRACE": 1, "DEBUG": 1, "INFO": 2, "SUCCESS": 2, "WARNING": 2, "ERROR": 2, "CRITICAL": 2,
    }  # fmt: skip


def test_off_and_on(log: Lines) -> None:
    """``disable`` and ``enable`` do what they say."""
    logger = Logger.get_instance()
    logger.disable()
    logger.error("unheard")
    logger.enable()
    logger.error("heard")
    assert [line[-5:] for line in log] == ["heard"]


def test_one_logger(log: Lines) -> None:
    """There is one logger; after ``reset_instance`` the next one is new. A config given later has effect."""
    first = Logger.get_instance()
    assert Logger() is first is Logger.get_instance()
    lines = Lines()
    Logger.get_instance(LoggerConfig(stream=lines, use_colors=False, show_caller=False, show_timestamp=False))
    first.info("to the new one")
    assert (lines, log.about("new one")) == (["INFO  to the new one"], [])
    Logger.reset_instance()
    assert Logger.get_instance(LoggerConfig(stream=lines)) is not first


def test_what_servers_and_clients_say(ends: Ends, log: Lines) -> None:
    """The lines that upstream logs at INFO are logged, with its words for what people look for."""
    server, client = ends.pair()
    client.disconnect()
    until(lambda: log.about("disconnected"))
    server.close_all()
    for text in ("New client connected: ('127.0.0.1', ", "Connecting to server 127.0.0.1:", "Successfully connected to server"):
        assert len(log.about(text)) == 1
    assert all(LINE.fullmatch(line) for line in log)


def test_a_peer_cannot_forge_lines(ends: Ends, log: Lines) -> None:
    """A message's content never ends a line of the log."""
    server, client = ends.pair()
    client.get_sender().send(Request(new_type("name\n[00:00:00.000] CRIT  [x] forged"), b"\n"))
    until(lambda: log.about("No handler registered"))
    assert all(LINE.fullmatch(line) for line in log)
    assert not [line for line in log if line.startswith("[00:00:00")]
    assert server.clients


def test_a_file(tmp_path: Path) -> None:
    """Lines go to a file as well, which is rotated at its size; its folder is made."""
    path = tmp_path / "logs" / "v.log"
    Logger.reset_instance()
    logger = Logger(LoggerConfig(stream=None, file_path=path, file_rotation_size=500, file_backup_count=2))
    try:
        for number in range(50):
            logger.info("line %d" % number)  # noqa: G002, UP031 (takes one text)
    finally:
        Logger.reset_instance()
    assert sorted(each.name for each in path.parent.iterdir()) == ["v.log", "v.log.1", "v.log.2"]
    assert "line 49" in path.read_text(encoding="utf-8") + (tmp_path / "logs" / "v.log.1").read_text(encoding="utf-8")


def test_level_names() -> None:
    """A level is written as its name."""
    assert f"{LogLevel.INFO} {LogLevel.CRITICAL}" == "INFO CRITICAL"
    assert LogLevel.WARNING > LogLevel.SUCCESS > LogLevel.INFO


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1 KB"), (148000, "144.5 KB"), (3000000, "2.86 MB"),
        (10**12, "931.3 GB"), (10**15, "909.5 TB"), (-5, "-5 B"),
    ],
)  # fmt: skip
def test_format_bytes(size: int, text: str) -> None:
    """Sizes read as the documents say (upstream's own 3000000 reads 2.861 MB)."""
    assert format_bytes(size) == text


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True]}, [], "text", "ümläut ☃", 5, {"nested": {"x": {}}}])
def test_json(value: Any) -> None:
    """JSON is written as ``json.dumps`` does, and read again."""
    assert encode_json(value) == json.dumps(value).encode()
    assert decode_json(encode_json(value)) == value


def test_json_that_cannot_be() -> None:
    """What JSON cannot hold, and what is no JSON, is a ValueError, as json's own error is."""
    with pytest.raises(ValueError, match="JSON"):
        encode_json({1, 2})
    with pytest.raises(ValueError, match="JSON"):
        decode_json(b"{")


@pytest.mark.parametrize("text", ["", "hello", "ümläut ☃", "a\0b"])
def test_utf8(text: str) -> None:
    """Text goes to UTF-8 and back; bytes stay as they are."""
    assert encode_utf8(text) == text.encode()
    assert decode_utf8(encode_utf8(text)) == text
    assert encode_utf8(b"\xff") == b"\xff"


def test_utf8_that_cannot_be() -> None:
    """What is no UTF-8 is a ValueError, as Python's own error is."""
    with pytest.raises(ValueError, match="UTF-8"):
        decode_utf8(b"\xff")
