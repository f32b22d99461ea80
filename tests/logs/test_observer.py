"""Levels, configs, lines, files and the logger everybody shares."""

from __future__ import annotations

import io
import os
import re
import select
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, LoggingFile, LogPublisher, globalLogPublisher
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel as TwistedLevel
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from veltix_tx.errors import SettingsError
from veltix_tx.logs import LineObserver, Logger, LoggerConfig, LogLevel

NOT_WHOLE = (True, 1.5, "5", None)
WRONG: dict[str, tuple[Any, ...]] = {
    "level": (0, 15, "INFO", None, TwistedLevel.info),
    **dict.fromkeys(("enabled", "use_colors", "show_timestamp", "show_caller", "show_level", "async_write"), (1, 0, None, "yes")),
    "file_path": ("", 5, b"x.log", "a\0b"),
    "file_rotation_size": (-1, *NOT_WHOLE),
    "file_backup_count": (0, *NOT_WHOLE),
    "stream": ("stdout", 1, ()),
    "buffer_size": (0, *NOT_WHOLE),
}


class Terminal(io.StringIO):
    """A stream that shows colours."""

    def isatty(self) -> bool:
        """Say that this is one."""
        return True


class Gate(io.StringIO):
    """A stream whose first write waits until the gate opens, or a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.on_write: Callable[[], object] = lambda: None

    def write(self, text: str) -> int:
        """Write behind the gate."""
        self.open.wait(0.3)
        self.open.set()
        self.on_write()
        return super().write(text)


def event(text: str = "hello", **fields: Any) -> LogEvent:
    """Make an event as Twisted does."""
    return {
        "log_format": "{text}",
        "text": text,
        "log_namespace": "app",
        "log_level": TwistedLevel.info,
        "log_time": 0.25,
        **fields,
    }


def plain(**settings: Any) -> dict[str, Any]:
    """Settings by which a line is its message."""
    return {"show_timestamp": False, "show_caller": False, "show_level": False, **settings}


def failure(text: str) -> Failure:
    """Make a failure with a traceback."""
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


# Levels and configs


def test_levels_are_upstreams() -> None:
    """Names and numbers are the documented ones, and a level shows as its name wherever it is shown."""
    numbers = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
    assert {level.name: level.value for level in LogLevel} == numbers
    assert [f"{level!s} {level}" for level in LogLevel] == [f"{name} {name}" for name in numbers]


def test_the_defaults_are_upstreams(capsys: pytest.CaptureFixture[str]) -> None:
    """A config without arguments is the documented one, its stream the standard output of the moment."""
    config = LoggerConfig()
    values = {each.name: getattr(config, each.name) for each in fields(config) if each.name != "stream"}
    assert values == {
        "level": LogLevel.INFO,
        "enabled": True,
        "use_colors": True,
        "show_timestamp": True,
        "show_caller": True,
        "show_level": True,
        "file_path": None,
        "file_rotation_size": 10 * 1024 * 1024,
        "file_backup_count": 5,
        "async_write": False,
        "buffer_size": 100,
    }
    assert config.stream is not None
    config.stream.write("here")
    assert capsys.readouterr().out == "here"


def test_every_setting_has_wrong_values_listed_here() -> None:
    """No setting goes unchecked."""
    assert {each.name for each in fields(LoggerConfig)} == set(WRONG)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values], ids=repr)
def test_a_wrong_value_is_refused_where_it_is_given(name: str, value: Any) -> None:
    """A setting that cannot be is an error that names the setting and the value."""
    with pytest.raises(SettingsError) as caught:
        LoggerConfig(**{name: value})
    assert (caught.value.name, repr(caught.value.value)) == (name, repr(value))


def test_a_config_keeps_what_was_meant() -> None:
    """A path may be a text and a level its number; a config does not change."""
    config = LoggerConfig(level=30, file_path="logs/x.log")  # type: ignore[arg-type]
    assert (config.level, config.file_path) == (LogLevel.WARNING, Path("logs/x.log"))
    assert isinstance(config.level, LogLevel)
    with pytest.raises(FrozenInstanceError):
        config.enabled = False  # type: ignore[misc]


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


# Threads


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "async"])
def test_threads_do_not_tear_each_others_lines(tmp_path: Path, behind: bool) -> None:
    """Every line of every thread is there, whole, counted, and in its thread's order."""
    config = LoggerConfig(use_colors=False, file_path=tmp_path / "x.log", stream=None, async_write=behind, buffer_size=3, **plain())
    show = LineObserver(config)
    threads = [
        threading.Thread(target=lambda name=name: [show(event(f"{name}{number:04}" * 20)) for number in range(200)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    show.close()
    lines = (tmp_path / "x.log").read_text().splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name}{number:04}" * 20 for number in range(200)]
    assert (len(lines), show.counts) == (800, {LogLevel.INFO: 800})


def test_a_slow_stream_holds_nobody_up_until_the_buffer_is_full() -> None:
    """With async_write a call returns while the stream is busy; no more than buffer_size lines wait."""
    stream = Gate()
    show = LineObserver(LoggerConfig(use_colors=False, stream=stream, async_write=True, buffer_size=5, **plain()))
    accepted, ahead = [], []
    stream.on_write = lambda: ahead.append(len(accepted) - stream.getvalue().count("\n"))
    for number in range(100):
        show(event(str(number)))
        accepted.append(number)
        if number == 4:
            assert stream.getvalue() == ""
    show.close()
    assert stream.getvalue().split() == [str(number) for number in range(100)]
    assert 5 <= max(ahead) <= 7


def test_closing_writes_what_waits() -> None:
    """Nothing that was logged before close() is missing after it, however slow the stream is."""
    stream = Gate()
    show = LineObserver(LoggerConfig(use_colors=False, stream=stream, async_write=True, **plain()))
    for _ in range(50):
        show(event())
    show.close()
    assert stream.getvalue() == "hello\n" * 50
    assert "veltix_tx.logs" not in [thread.name for thread in threading.enumerate()]


def test_the_writing_thread_may_close_the_observer() -> None:
    """A stream that closes its observer while it is written to does not wait for itself."""
    stream = Gate()
    show = LineObserver(LoggerConfig(use_colors=False, stream=stream, async_write=True, **plain()))
    stream.on_write = show.close
    show(event())
    assert stream.open.wait(5)
    (writer,) = [thread for thread in threading.enumerate() if thread.name == "veltix_tx.logs"]
    show(event())
    show.close()
    stream.on_write = lambda: None
    show._background.close()  # type: ignore[union-attr]
    writer.join(5)
    assert stream.getvalue() == "hello\n"


def test_without_a_thread_to_be_had_lines_are_written_at_once(
    observer: Callable[..., LineObserver], stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that gives no thread any more gives lines all the same."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    show = observer(async_write=True, **plain())
    show(event("one"))
    show(event("two"))
    assert stream.getvalue() == "one\ntwo\n"


ASYNC = """
import atexit, os, sys
def last():
    observer({"log_format": "last"})
atexit.register(last)
from veltix_tx.logs import LineObserver, LoggerConfig
observer = LineObserver(LoggerConfig(
    file_path="x.log", stream=None, async_write=True, buffer_size=1000,
    show_timestamp=False, show_caller=False, show_level=False))
def say(name):
    for number in range(300):
        observer({"log_format": name + str(number)})
"""


def test_nothing_is_lost_at_the_interpreters_exit(run: Callable[[str], str], tmp_path: Path) -> None:
    """A program that just ends has written every line, those of later exit functions, too."""
    run(ASYNC + "say('a')")
    assert (tmp_path / "x.log").read_text().splitlines() == [*(f"a{number}" for number in range(300)), "last"]


def test_nothing_is_lost_when_the_reactor_has_stopped(run: Callable[[str], str], tmp_path: Path) -> None:
    """Twistd ends by a signal once its reactor has stopped, so that no exit function runs; every line is written by then."""
    ends = """
from twisted.internet import reactor
reactor.callWhenRunning(say, 'b')
reactor.callWhenRunning(reactor.stop)
reactor.run()
say('c')
os._exit(0)
"""
    run(ASYNC + "say('a')" + ends)
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert lines == [f"{name}{number}" for name in "abc" for number in range(300)]


def test_nothing_is_lost_or_doubled_by_a_fork(run: Callable[[str], str], tmp_path: Path) -> None:
    """A child, such as a daemon of twistd, writes its own lines; the parent's are written once, even if it ends at once."""
    run(
        ASYNC + "say('a')\nchild = os.fork()\nsay('b' if child else 'c')\nobserver.close()\nos._exit(0) if not child else os.wait()"
    )
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{name}{number}" for name in "abc" for number in range(300))
    assert lines[:300] == [f"a{number}" for number in range(300)]


# The one logger


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
        f"{word} [test_logs.py:{here}] {level} {{braces}} %s" for word, level in zip(words, LogLevel, strict=True)
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
    assert re.fullmatch(r"test_logs\.py:\d+", seen["veltix_caller"])


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
