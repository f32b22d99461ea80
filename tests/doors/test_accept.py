"""A server that cannot accept: out of files, out of memory, or with as many connections as it may."""

from __future__ import annotations

import errno
import os
import resource
from typing import Any

import pytest
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, LogLevel

import veltix_tx.server
from veltix_tx.net.transport.accept import back_off_on_accept_error
from veltix_tx.server import _affordable


async def sleep(seconds: float) -> None:
    """Wait."""
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)  # type: ignore[arg-type]


# How many connections there may be.


@pytest.mark.parametrize(
    ("files", "wanted", "most", "said"),
    [
        (1024, 500, 500, None),
        (1024, 960, 960, None),
        (1024, 961, 960, LogLevel.warn),
        (1024, 10_000, 960, LogLevel.info),
        (1024, -1, 960, None),
        (64, 10, 1, LogLevel.warn),
        (20, 1, 1, None),
        (20_000, 10_000, 10_000, None),
        (resource.RLIM_INFINITY, 10_000, 10_000, None),
        (resource.RLIM_INFINITY, -1, -1, None),
    ],
)
def test_as_many_connections_as_there_are_files_for(
    files: int, wanted: int, most: int, said: LogLevel | None, monkeypatch: pytest.MonkeyPatch, log_events: list[LogEvent]
) -> None:
    """All files but 64 are for connections; fewer than were wanted is told, as a warning unless they were the default."""
    monkeypatch.setattr(veltix_tx.server, "getrlimit", lambda which: (files, resource.RLIM_INFINITY))
    assert _affordable(wanted) == most
    told = [event["log_level"] for event in log_events if "open files" in (event.get("log_format") or "")]
    assert told == ([] if said is None else [said])


def test_where_there_are_no_such_limits_all_are_affordable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without getrlimit, as on Windows, max_connections is taken as it is."""
    monkeypatch.delattr(veltix_tx.server, "getrlimit")
    assert _affordable(123_456) == 123_456
    assert _affordable(-1) == -1


# Faults of accept.


class Failing:
    """A listening socket that accepts nothing while ``error`` is set."""

    def __init__(self, listening: Any) -> None:
        self.error: int | None = None
        self.tries = 0
        self._socket = listening

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def accept(self) -> Any:
        """Fail, or accept."""
        self.tries += 1
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return self._socket.accept()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED])
async def test_accepting_goes_on_after_it_has_failed(error: int, loopback: Any) -> None:
    """While accept fails it is tried a few times, not all the time; clients inside are served, and new ones once it works."""
    server = await loopback.server()
    (port,) = server._ports
    failing = port.socket._socket = Failing(port.socket._socket)
    inside = loopback.client(server.port)
    await inside.connect()
    failing.error, failing.tries = error, 0
    outside = loopback.client(server.port)
    connecting = outside.connect()
    for _ in range(30):
        assert (await inside.send_and_wait(loopback.chat, b"in")).content == b"in"
        await sleep(0.01)
    assert 0 < failing.tries < 20
    assert not connecting.called
    failing.error = None
    await connecting
    assert (await outside.send_and_wait(loopback.chat, b"out")).content == b"out"


async def test_a_server_may_stop_while_it_waits_to_accept(loopback: Any) -> None:
    """Stopping ends the wait: no timer is left, and nothing is accepted later."""
    server = await loopback.server()
    (port,) = server._ports
    failing = port.socket._socket = Failing(port.socket._socket)
    failing.error = errno.ENFILE
    waiting = loopback.client(server.port)
    waiting.connect().addErrback(lambda failure: None)
    while failing.tries < 4:
        await sleep(0.01)
    await server.stopService()
    tries = failing.tries
    await waiting.disconnect()
    assert failing.tries == tries


def test_the_wait_doubles_up_to_a_second() -> None:
    """The first failure costs nothing, each further one in a row twice the wait of the one before, up to 1 s."""

    class Port:
        """What is listened with."""

        def __init__(self) -> None:
            self.socket: Any = Failing(None)
            self.reading = True

        def stopReading(self) -> None:  # noqa: N802
            """Take note."""
            self.reading = False

        def startReading(self) -> None:  # noqa: N802
            """Take note."""
            self.reading = True

    clock, port = Clock(), Port()
    port.socket.error = errno.ENFILE
    back_off_on_accept_error(port, clock)  # type: ignore[arg-type]
    waits = []
    for _ in range(2000):
        with pytest.raises(OSError, match="files"):
            port.socket.accept()
        (*_, wait) = [0.0, *(call.getTime() - clock.seconds() for call in clock.getDelayedCalls())]
        assert port.reading == (wait == 0)
        waits.append(round(wait, 3))
        clock.advance(wait)
        assert port.reading
    assert waits[:10] == [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]
    assert waits[-1] == 1


def test_what_has_no_socket_is_left_alone() -> None:
    """A listening port of another kind, as tests have, is not touched."""
    port = object()
    back_off_on_accept_error(port, Clock())  # type: ignore[arg-type]
