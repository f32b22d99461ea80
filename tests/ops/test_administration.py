"""The administration of ``twistd veltix``: settings that go together, its begin and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from veltix_tx.app.auth import new_token, token_line
from veltix_tx.ops.rendering import example
from veltix_tx.ops.settings import SETTINGS
from veltix_tx.tap import Options, makeService


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder with a file of tokens."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "operators.txt").write_text(token_line("ann", new_token()) + "\n")
    (tmp_path / "empty.txt").write_text("# nobody\n")
    return tmp_path


def made(*arguments: str) -> tuple[Any, MemoryReactorClock]:
    """Return a service and its reactor."""
    options, reactor = Options(), MemoryReactorClock()
    options.parseOptions(arguments)
    return makeService(options, reactor), reactor


def test_it_begins_and_ends_with_the_server(folder: Path) -> None:
    """Both listen; at the end the administration goes on until the server has stopped, and leaves nothing behind."""
    service, reactor = made("--port", "0", "--admin", "tcp:9100", "--drain-delay", "3")
    service.privilegedStartService()
    service.startService()
    assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == [(0, "0.0.0.0"), (9100, "127.0.0.1")]
    (server,) = list(service)
    done = service.stopService()
    assert server.running
    assert not service._administration._api.ready
    reactor.advance(3)
    assert not server.running
    assert done.called
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--admin", "tcp:9100:interface=0.0.0.0"), "--admin tcp:9100:interface=0.0.0.0: it must be on this machine's own address"),
        (
            ("--admin", "tcp:9100:interface=0.0.0.0", "--admin-tokens", "operators.txt"),
            "--admin tcp:9100:interface=0.0.0.0: it must be tls:PORT, on this machine's own address, or admin_plaintext given",
        ),
        (("--admin", "nonsense"), "--admin nonsense: it must be a Twisted server endpoint"),
        (("--admin", "tcp:9100", "--admin-tokens", "none"), "--admin-tokens none: it must be a file that can be read"),
        (("--admin", "tcp:9100", "--admin-tokens", "empty.txt"), "--admin-tokens empty.txt: it must be a file with a token"),
        (("--drain-delay", "1"), "--drain-delay 1: it must be left out, or admin given"),
        (("--admin", "tcp:9100", "--drain-delay", "-1"), "--drain-delay -1: it must be a number of seconds from 0 to 3600"),
        (("--admin-tokens", "operators.txt"), "--admin-tokens operators.txt: it must be left out, or admin given"),
        (("--admin", "tls:9100"), "--admin tls:9100:interface=127.0.0.1: it must be one with cert=FILE in it, or --tls-cert given"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], said: str, folder: Path) -> None:
    """What could be reached by others unguarded, and what is of no use, is refused in one line."""
    with pytest.raises(SystemExit) as caught:
        made(*arguments)
    assert str(caught.value).startswith(f"twistd veltix: {said}")
    assert "\n" not in str(caught.value)


def test_defaults_may_be_given(folder: Path) -> None:
    """The example with every default taken in is no mistake, what is of use with an administration only included."""
    without_default = {each.key.rpartition(".")[2] for each in SETTINGS if each.default is None}
    lines = [line.removeprefix("#") for line in example().splitlines() if not line.startswith("# ")]
    text = "\n".join(line for line in lines if line.partition(" ")[0] not in without_default)
    assert {"drain_delay = 0", "admin_plaintext = false"} <= set(text.splitlines())
    (folder / "veltix.toml").write_text(text)
    service, _ = made("--config", "veltix.toml")
    assert service._administration is None


def test_an_allowance_is_an_allowance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tokens and admin_plaintext it may be asked from elsewhere without TLS."""
    monkeypatch.setenv("VELTIX_ADMIN_PLAINTEXT", "yes")
    service, _ = made("--admin", "tcp:9100:interface=0.0.0.0", "--admin-tokens", "operators.txt")
    assert service._administration.tokens.names == {"ann"}


def test_nothing_is_measured_where_it_is_turned_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VELTIX_METRICS=no leaves the server's protocols as they are."""
    monkeypatch.setenv("VELTIX_METRICS", "no")
    service, _ = made("--admin", "tcp:9100")
    (server,) = list(service)
    assert server._make_meter is None
    service, _ = made("--admin", "tcp:9100", "--port", "1")
