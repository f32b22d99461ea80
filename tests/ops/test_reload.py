"""A running server's configuration is read again: what changes at once, what needs a restart, what a mistake leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from veltix_tx import Client, Limits, MessageRegistry, MessageType, Server
from veltix_tx.tap import Options, makeService
from veltix_tx.testing import MemoryNetwork

TYPES = MessageRegistry()
NEWS = MessageType(200, "news", registry=TYPES)
LINE = "name:" + "0" * 64 + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Callable[..., Any]]:
    """Start a service of a configuration's text."""
    services: list[Any] = []

    def start(text: str, *flags: str) -> Any:
        (folder / "veltix.toml").write_text(text)
        options = Options()
        options.parseOptions(["--config", "veltix.toml", *flags])
        service: Any = makeService(options, MemoryReactorClock())
        services.append(service)
        service.privilegedStartService()
        service.startService()
        return service

    before = signal.getsignal(signal.SIGHUP)
    yield start
    for service in services:
        service.stopService()
    assert signal.getsignal(signal.SIGHUP) is before


def said(events: list[Any]) -> list[str]:
    """Return the lines about SIGHUP."""
    return [event["log_format"].format(**event) for event in events if "SIGHUP" in event.get("log_format", "")]


def test_limits_tokens_and_levels_change_and_the_rest_is_named(running: Callable[..., Any], folder: Path, log_events: Any) -> None:
    """After a reload new limits, tokens and log levels hold; of what needs a restart a line says so, once, and it stays."""
    (folder / "tokens.txt").write_text("# none\n")
    service = running("tokens = 'tokens.txt'\nport = 9000\nlimits.half_open = 5\nlimits.inflight = 6\n")
    (server,) = list(service)
    (folder / "tokens.txt").write_text(LINE)
    (folder / "veltix.toml").write_text("tokens = 'tokens.txt'\nport = 9001\nlimits.half_open = 7\nlog.levels.quiet = 'error'\n")

    service._on_signal["SIGHUP"]()

    assert (server.config.limits, server.config.port) == (Limits(half_open=7), 9000)
    assert server._authenticate.names == {"name"}
    assert service._levels.levels == {"": "debug", "quiet": "error"}
    lines = said(log_events)
    assert "SIGHUP: port stays 9000: 9001 needs a restart" in lines
    assert "SIGHUP: limits.half_open is 7 now, and was 5" in lines
    assert "SIGHUP: limits.inflight is 1024 now, and was 6" in lines
    assert "SIGHUP: tokens.txt was read again, 1 tokens let in new connections" in lines

    assert "SIGHUP: the configuration was read again" in lines

    log_events.clear()
    service._on_signal["SIGHUP"]()
    assert [line for line in said(log_events) if "limits" in line or "port" in line] == [
        "SIGHUP: port stays 9000: 9001 needs a restart"
    ]


@pytest.mark.parametrize(
    "text", ["limits.half_open = 0\n", "limits.half_opn = 9\n", "limits", "limits.half_open = 9\nport = 'x'\n"]
)
def test_a_mistake_leaves_everything_as_it_was(text: str, running: Callable[..., Any], folder: Path, log_events: Any) -> None:
    """A file with a mistake changes nothing, not even what is right in it, and one line names it."""
    service = running("limits.half_open = 5\n")
    (server,) = list(service)
    (folder / "veltix.toml").write_text(text)
    service._on_signal["SIGHUP"]()
    assert server.config.limits == Limits(half_open=5)
    (line,) = said(log_events)
    assert line.startswith("SIGHUP: the configuration stays as it was. twistd veltix: veltix.toml")


def test_broken_tokens_leave_everything_as_it_was(running: Callable[..., Any], folder: Path, log_events: Any) -> None:
    """A token file with a mistake keeps the tokens and the limits that were."""
    (folder / "tokens.txt").write_text(LINE)
    service = running("tokens = 'tokens.txt'\nlimits.half_open = 5\n")
    (server,) = list(service)
    (folder / "tokens.txt").write_text("nonsense\n")
    (folder / "veltix.toml").write_text("tokens = 'tokens.txt'\nlimits.half_open = 6\n")
    service._on_signal["SIGHUP"]()
    assert server._authenticate.names == {"name"}
    assert server.config.limits.half_open == 5
    assert "line 1 is none" in said(log_events)[0]


def test_limits_hold_for_open_connections_too() -> None:
    """A lower ``inflight`` pauses reading from a session that is open already; nobody is closed for it."""
    server, client = Server(types=TYPES), Client(types=TYPES)
    server.route(NEWS)(lambda client, message: Deferred())
    with MemoryNetwork() as network:
        network.serve(server)
        session = network.connect(client)
        server.set_limits(Limits(inflight=2))
        for _ in range(4):
            session.send(NEWS, b"")
            network.pump()
        assert server.counters["reads_paused"] == 1
        assert session.closed is None


def test_limits_hold_for_who_comes_next() -> None:
    """With fewer half-open connections allowed, the oldest of them gives way to the next."""
    server = Server(types=TYPES)
    with MemoryNetwork() as network:
        network.serve(server)
        first = network.dial()
        network.advance(4)
        server.set_limits(Limits(half_open=1))
        network.dial()
        assert first.closed
        assert server.counters["evicted"] == 1


def test_budgets_are_those_given_last() -> None:
    """The memory that all connections may use together, and the failures forgiven, are those of the latest limits."""
    server = Server(types=TYPES)
    with MemoryNetwork() as network:
        network.serve(server)
        server.set_limits(Limits(receive_buffers=77, send_buffers=88, authentication_failures=9))
        assert server._connections is not None
        shared = server._connections.shared
        assert (shared.receive_budget.limit, shared.send_budget.limit, shared.backoff.failures) == (77, 88, 9)


def test_other_flags_than_the_file_stay(running: Callable[..., Any], folder: Path) -> None:
    """A flag holds before the file after a reload, too."""
    service = running("wire = '1.6.3'\n", "--wire", "1.9.0")
    (server,) = list(service)
    service._on_signal["SIGHUP"]()
    assert server.config.wire == "1.9.0"
