"""Lines written in a thread: whole, in order, and none lost."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.log_lines import event, plain
from veltix_tx.logs import LineObserver, LoggerConfig, LogLevel


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
