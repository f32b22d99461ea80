"""The observer: events of the log as lines, on streams and in files."""

from __future__ import annotations

import io
import os
import re
import select
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LoggingFile, LogPublisher
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel as TwistedLevel
from zope.interface.verify import verifyObject

from tests.support.log_lines import event, failure, plain
from veltix_tx.logs import LineObserver, LoggerConfig, LogLevel


class Terminal(io.StringIO):
    """A stream that shows colours."""

    def isatty(self) -> bool:
        """Say that this is one."""
        return True


# Lines


def test_a_line_has_time_level_origin_and_message(observer: Callable[..., LineObserver], stream: io.StringIO) -> None:
    """Each level has its padded word, and the time its milliseconds, in brackets, dot included."""
    show = observer(level=LogLevel.TRACE)
    for level in LogLevel:
        show(event(veltix_level=level))
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\[\d\d:\d\d:00\.250\] ", line) for line in lines)
    assert [line[15:] for line in lines] == [
        f"{word} [app] hello" for word in ("TRACE", "DEBUG", "INFO ", "OK   ", "WARN ", "ERROR", "CRIT ")
    ]


@pytest.mark.parametrize(
    ("off", "line"),
    [
        (("show_timestamp",), "INFO  [app] hello"),
        (("show_timestamp", "show_level"), "[app] hello"),
        (("show_timestamp", "show_caller"), "INFO  hello"),
        (("show_timestamp", "show_caller", "show_level"), "hello"),
    ],
    ids=str,
)
def test_each_part_can_be_left_out(
    observer: Callable[..., LineObserver], stream: io.StringIO, off: tuple[str, ...], line: str
) -> None:
    """What is not to be shown leaves no gap."""
    observer(**dict.fromkeys(off, False))(event())
    assert stream.getvalue() == line + "\n"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"log_level": TwistedLevel.debug}, "DEBUG"),
        ({"log_level": TwistedLevel.info}, "INFO "),
        ({"log_level": TwistedLevel.warn}, "WARN "),
        ({"log_level": TwistedLevel.error}, "ERROR"),
        ({"log_level": TwistedLevel.critical}, "CRIT "),
        ({"log_level": None}, "INFO "),
        ({"log_level": TwistedLevel.info, "veltix_level": LogLevel.SUCCESS}, "OK   "),
        ({"log_level": TwistedLevel.warn, "veltix_level": "no level"}, "WARN "),
    ],
    ids=str,
)
def test_twisteds_levels_have_their_words(
    observer: Callable[..., LineObserver], stream: io.StringIO, given: dict[str, Any], word: str
) -> None:
    """An event shows Twisted's level under upstream's word, or the finer one it carries."""
    observer(**plain(show_level=True, level=LogLevel.DEBUG))(event(**given))
    assert stream.getvalue() == f"{word} hello\n"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ({}, "app"),
        ({"log_system": "pool"}, "pool"),
        ({"log_system": "pool", "veltix_caller": "a.py:3"}, "a.py:3"),
        ({"log_namespace": None}, "-"),
        ({"log_namespace": "a\nb"}, r"a\nb"),
    ],
    ids=str,
)
def test_a_line_says_where_it_comes_from(
    observer: Callable[..., LineObserver], stream: io.StringIO, given: dict[str, Any], origin: str
) -> None:
    """The caller's line if it is known, else the system, else the namespace."""
    observer(**plain(show_caller=True))(event(**given))
    assert stream.getvalue() == f"[{origin}] hello\n"


def test_levels_below_the_shown_one_are_left_out(observer: Callable[..., LineObserver], stream: io.StringIO) -> None:
    """The level and the switch hold from the moment they change; what was shown is counted by level."""
    show = observer(**plain(level=LogLevel.SUCCESS))
    show(event("no"))
    show(event("one", veltix_level=LogLevel.SUCCESS))
    show.level = LogLevel.DEBUG
    show(event("two"))
    show.enabled = False
    show(event("no"))
    assert stream.getvalue() == "one\ntwo\n"
    assert show.counts == {LogLevel.SUCCESS: 1, LogLevel.INFO: 1}


def test_an_event_that_says_nothing_makes_no_line(observer: Callable[..., LineObserver], stream: io.StringIO) -> None:
    """Twisted logs facts without a text for other observers; they are no lines."""
    observer()({"log_level": TwistedLevel.info, "log_namespace": "app", "log_time": 0.0, "port": 8080})
    assert stream.getvalue() == ""


def test_a_message_that_cannot_be_formatted_is_shown_as_such(observer: Callable[..., LineObserver], stream: io.StringIO) -> None:
    """No object's failing ``str`` gets out of a logging call."""

    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

        __repr__ = __str__

    observer()(event(Broken()))  # type: ignore[arg-type]
    assert "Broken" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_failure_is_followed_by_its_traceback(observer: Callable[..., LineObserver], stream: io.StringIO) -> None:
    """The traceback stands below its line, after tabs, so that no line of it looks like a line of the log."""
    observer(**plain())(event("it broke", log_failure=failure("one\n[00:00:00.000] INFO  two\x1b[2J")))
    first, *rest = stream.getvalue().splitlines()
    assert first == "it broke"
    assert rest[0].startswith("\tTraceback")
    assert rest[-2:] == ["\tbuiltins.ValueError: one", r"\t[00:00:00.000] INFO  two\x1b[2J".replace(r"\t", "\t")]
    assert all(line.startswith("\t") for line in rest)


@given(st.text(), st.text())
def test_no_message_can_make_a_second_line(message: str, namespace: str) -> None:
    """Whatever a message holds, its event is one line, in every sense of line, and free of terminal codes."""
    stream = io.StringIO()
    show = LineObserver(LoggerConfig(use_colors=False, stream=stream))
    show(event(f"a{message}", log_namespace=f"b{namespace}"))
    show.close()
    line, end = stream.getvalue()[:-1], stream.getvalue()[-1]
    assert end == "\n"
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202e\ud800-\udfff]", line)


def test_a_tab_and_every_printable_character_stay(observer: Callable[..., LineObserver], stream: io.StringIO) -> None:
    """Only what could do harm is escaped."""
    observer(**plain())(event("tab\tÄ 日本 👩‍🚀 C:\\new\n\u2028\ud800"))
    assert stream.getvalue() == "tab\tÄ 日本 👩‍🚀 C:\\new\\n\\u2028\\ud800\n"


def test_colours_are_for_eyes(tmp_path: Path) -> None:
    """A terminal's line, or one in memory, is coloured as a whole by its level; a pipe's, a file's and an unwanted one is not."""

    def shown(stream: Any, wanted: bool) -> None:
        show = LineObserver(LoggerConfig(stream=stream, file_path=tmp_path / "x.log", use_colors=wanted, **plain()))
        show(event(veltix_level=LogLevel.SUCCESS))
        show(event(veltix_level=LogLevel.CRITICAL))
        show.close()

    controller, terminal = os.openpty()
    coloured, unwanted = io.StringIO(), io.StringIO()
    with open(terminal, "w", encoding="utf-8") as tty, open(tmp_path / "pipe", "w", encoding="utf-8") as file:
        for stream, wanted in ((tty, True), (file, True), (coloured, True), (unwanted, False)):
            shown(stream, wanted)
        seen = ""
        while seen.count("\n") < 2 and select.select([controller], [], [], 5)[0]:
            seen += os.read(controller, 1000).decode().replace("\r", "")
    os.close(controller)
    assert seen == coloured.getvalue() == "\x1b[32mhello\x1b[0m\n\x1b[41mhello\x1b[0m\n"
    assert (tmp_path / "pipe").read_text() == unwanted.getvalue() == "hello\nhello\n"
    assert (tmp_path / "x.log").read_text() == "hello\n" * 8


# Streams and files


def test_a_stream_that_fails_never_raises_into_the_call(tmp_path: Path) -> None:
    """A closed stream loses its lines, which are counted; the file gets them all the same."""
    stream = io.StringIO()
    stream.close()
    show = LineObserver(LoggerConfig(use_colors=False, stream=stream, file_path=tmp_path / "x.log", **plain()))
    show(event())
    show.close()
    assert show.lost == 1
    assert (tmp_path / "x.log").read_text() == "hello\n"


def test_a_file_that_fails_never_raises_into_the_call(
    observer: Callable[..., LineObserver], stream: io.StringIO, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be rotated loses lines, which are counted, and nothing is said on stderr."""
    show = observer(file_path=tmp_path / "x.log", file_rotation_size=20, file_backup_count=1, **plain())
    (tmp_path / "x.log.1").mkdir()
    for _ in range(5):
        show(event())
    assert show.lost == 2
    assert stream.getvalue() == "hello\n" * 5
    assert capsys.readouterr() == ("", "")


def test_a_line_the_stream_cannot_encode_is_shown_with_escapes(observer: Callable[..., LineObserver]) -> None:
    """An ASCII terminal shows every line."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    observer(stream=stream, use_colors=False, **plain())(event("Ä 日"))
    assert raw.getvalue() == rb"\xc4 \u65e5" + b"\n"
    stream.close()


def test_a_line_is_out_when_the_call_returns(observer: Callable[..., LineObserver], tmp_path: Path) -> None:
    """Nothing stays in a buffer of the stream or the file."""
    raw = io.BytesIO()
    with io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8") as stream:  # type: ignore[arg-type]
        observer(stream=stream, use_colors=False, file_path=tmp_path / "x.log", **plain())(event())
        assert raw.getvalue() == (tmp_path / "x.log").read_bytes() == b"hello\n"


def test_twisteds_own_log_is_no_stream(observer: Callable[..., LineObserver]) -> None:
    """Under twistd standard output is the log, which has the event already: it is not written there again."""
    publisher, seen = LogPublisher(), []
    publisher.addObserver(observer(stream=LoggingFile(TwistedLogger(observer=publisher))))
    publisher.addObserver(seen.append)
    publisher(event())
    assert len(seen) == 1


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "async"])
def test_a_stream_that_logs_does_not_log_for_ever(behind: bool) -> None:
    """What writing a line logs is shown, once; what that logs is not."""
    publisher = LogPublisher()

    class Echo(io.StringIO):
        def write(self, text: str) -> int:
            super().write(text)
            publisher(event(f"wrote {text.strip()}"))
            if "wrote two" in text:
                done.set()
            return len(text)

    done = threading.Event()
    stream = Echo()
    show = LineObserver(LoggerConfig(use_colors=False, stream=stream, async_write=behind, buffer_size=1, **plain()))
    publisher.addObserver(show)
    publisher(event("one"))
    publisher(event("two"))
    assert done.wait(5)
    show.close()
    assert stream.getvalue().splitlines() == ["one", "wrote one", "two", "wrote two"]
    assert show.lost == 2


def test_the_folder_of_the_file_is_made_and_the_file_appended_to(tmp_path: Path) -> None:
    """A log goes on where it ended, in UTF-8."""
    path = tmp_path / "a" / "b" / "x.log"
    for text in ("Ä", "日"):
        show = LineObserver(LoggerConfig(use_colors=False, file_path=str(path), stream=None, **plain()))
        show(event(text))
        show.close()
    assert path.read_text(encoding="utf-8") == "Ä\n日\n"


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    """A wrong path is an error where the observer is made, not where something is logged."""
    (tmp_path / "x.log").touch()
    with pytest.raises(OSError, match=re.escape("x.log")):
        LineObserver(LoggerConfig(file_path=tmp_path / "x.log" / "y.log"))


@given(st.lists(st.text("abc", min_size=1, max_size=30), max_size=40), st.integers(32, 200), st.integers(1, 3))
def test_a_file_never_outgrows_its_size(messages: list[str], size: int, backups: int) -> None:
    """No file is larger than said, there are no more than said, and together they are the latest lines, whole."""
    with TemporaryDirectory() as folder:
        config = LoggerConfig(
            file_path=Path(folder, "x.log"), stream=None, file_rotation_size=size, file_backup_count=backups, **plain()
        )
        show = LineObserver(config)
        for message in messages:
            show(event(message))
        show.close()
        names = ["x.log", *(f"x.log.{number}" for number in range(1, backups + 1))]
        files = {path.name: path.read_text() for path in Path(folder).iterdir()}
    assert set(files) <= set(names)
    assert all(len(text) <= size for text in files.values())
    kept = "".join(files.get(name, "") for name in reversed(names)).splitlines()
    assert kept == messages[len(messages) - len(kept) :]
    assert len(kept) == len(messages) or len(files) == backups + 1


def test_a_size_of_zero_is_no_end(observer: Callable[..., LineObserver], tmp_path: Path) -> None:
    """A file that something else rotates can be left to it."""
    show = observer(file_path=tmp_path / "x.log", file_rotation_size=0, **plain())
    for _ in range(100):
        show(event())
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]


def test_a_closed_observer_shows_nothing(stream: io.StringIO, tmp_path: Path) -> None:
    """Closing can be repeated, leaves the stream open, and later events are neither shown nor counted."""
    for behind in (False, True):
        show = LineObserver(LoggerConfig(use_colors=False, stream=stream, file_path=tmp_path / "x.log", async_write=behind))
        show.close()
        show.close()
        show(event())
        assert (show.counts, show.lost) == ({}, 0)
    assert stream.getvalue() == (tmp_path / "x.log").read_text() == ""


def test_an_observer_without_a_config_is_one_for_twistd(capsys: pytest.CaptureFixture[str]) -> None:
    """``twistd --logger`` calls it without arguments and asks for Twisted's interface."""
    show = LineObserver()
    verifyObject(ILogObserver, show)
    show(event())
    show.close()
    assert capsys.readouterr().out.endswith("INFO  [app] hello\x1b[0m\n")
