"""``veltix config`` and ``twistd veltix --config`` as processes: checked, shown, served, read again on SIGHUP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread


@pytest.fixture
def config(run: Callable[..., Any], scripts: str) -> Callable[..., Any]:
    """Run ``veltix config``."""
    return lambda *arguments: run(os.path.join(scripts, "veltix"), "config", *arguments)


def test_the_example_is_checked_and_shown(config: Callable[..., Any], tmp_path: Path) -> None:
    """What ``example`` prints passes ``check``; ``show`` tells of each setting where it comes from, as a table and as JSON."""
    (tmp_path / "veltix.toml").write_text("port = 8081\n" + config("example").stdout.replace("#idle = inf", "idle = inf"))
    checked = config("check", "--config", "veltix.toml", "--log-format", "json")
    assert (checked.stdout, checked.stderr, checked.returncode) == ("no mistake was found\n", "", 0)
    table = config("show", "--config", "veltix.toml", "--wire", "1.6.3").stdout
    assert "8081" in next(line for line in table.splitlines() if line.startswith("port "))
    shown = {row["setting"]: row for row in json.loads(config("show", "--config", "veltix.toml", "-o", "json").stdout)}
    assert shown["timeouts.idle"] == {"setting": "timeouts.idle", "value": "inf", "from": "veltix.toml"}


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("prot = 1", (), "veltix: veltix.toml: prot 1: it must be left out: there is no such setting (did you mean port?)\n"),
        ("app = 'no_such:app'", (), "veltix: veltix.toml: app 'no_such:app': it must be something to import from this folder"),
        (
            "tokens = 'none'",
            (),
            "veltix: veltix.toml: tokens 'none': it must be a file that can be read (No such file or dir",
        ),
        ("[tls]\ncert = 'none.pem'", (), "veltix: veltix.toml: tls.cert 'none.pem': it must be "),
        ("plugin = ['none']", (), "veltix: veltix.toml: plugin 'none': it must be installed"),
        ("listen = ['tcp:x']", (), "veltix: veltix.toml: listen 'tcp:x'"),
        ("", ("--port", "x"), "veltix: --port x: it must be a whole number from 0 to 65535\n"),
    ],
)
def test_check_finds_mistakes_in_one_line(
    text: str, flags: tuple[str, ...], said: str, config: Callable[..., Any], tmp_path: Path
) -> None:
    """A mistake in the file, its application, its files or the flags is one line of standard error and status 2."""
    (tmp_path / "veltix.toml").write_text(text)
    found = config("check", "--config", "veltix.toml", *flags)
    assert (found.stdout, found.returncode) == ("", 2)
    assert found.stderr.startswith(said)
    assert found.stderr.count("\n") == 1


async def test_twistd_serves_a_file_and_reads_it_again(twistd: Callable[..., Any], tmp_path: Path) -> None:
    """--config says where to listen; after SIGHUP new limits hold, and what needs a restart is said."""
    (tmp_path / "veltix.toml").write_text("port = 0\ninterface = '127.0.0.1'\n")
    process = twistd("--config", "veltix.toml")
    await process.port()
    (tmp_path / "veltix.toml").write_text("port = 1\ninterface = '127.0.0.1'\nlimits.half_open = 5\n")
    process.signal(signal.SIGHUP)
    await process.says(rb"SIGHUP: port stays 0: 1 needs a restart")
    await process.says(rb"SIGHUP: limits.half_open is 5 now, and was 256")
    (tmp_path / "veltix.toml").write_text("nonsense")
    process.signal(signal.SIGHUP)
    await process.says(rb"SIGHUP: the configuration stays as it was\. twistd veltix: veltix\.toml: it must be a file of TOML")
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_a_mistake_ends_twistd_with_one_line(twistd: Callable[..., Any], tmp_path: Path) -> None:
    """A wrong name in the file is told on standard error, without a traceback, and nothing is served."""
    (tmp_path / "veltix.toml").write_text("half_open = 1")
    process = twistd("--config", "veltix.toml")
    assert await process.exited == 1
    assert process.err.endswith(
        b"twistd veltix: veltix.toml: half_open 1: it must be left out: there is no such setting (did you mean limits.half_open?)\n"
    )
    assert b"Traceback" not in process.out + process.err


async def test_the_log_is_json_from_its_first_line_on(twistd: Callable[..., Any]) -> None:
    """With --log-format json each line of the log is an object, twistd's own among them, and levels hold there, too."""
    process = twistd("--port", "0", "--interface", "127.0.0.1", "--log-format", "json", "--log-connections")
    port = int((await process.says(rb'"message": "veltix_tx .* speaks .* on 127\.0\.0\.1:(\d+)"')).group(1))
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(b"GET / HTTP/1.1\r\n\r\n")
    await process.says(rb'"reason": "PROTOCOL_ERROR"')
    process.signal(signal.SIGTERM)
    await process.exited
    lines = [json.loads(line) for line in process.out.decode().splitlines()]
    assert "starting up" in lines[0]["message"]
    assert "Server Shut Down." in lines[-1]["message"]
    ended = next(line for line in lines if line.get("fields", {}).get("reason"))
    assert ended["connection"].endswith("-1")
    assert ended["fields"]["bytes_in"] == 18


@pytest.mark.parametrize("runner", ["twistd", "python -m twisted"])
async def test_log_levels_hold_in_the_log_of_who_runs_it(
    runner: str, spawn: Callable[..., Any], scripts: str, tmp_path: Path
) -> None:
    """A level of a namespace leaves its lines out of the process's log, and SIGHUP lets them in again."""
    (tmp_path / "veltix.toml").write_text("log.levels.veltix_tx.net = 'warn'\n")
    start = (
        [sys.executable, "-m", "twisted", "--log-format", "text"]
        if runner != "twistd"
        else [os.path.join(scripts, "twistd"), "-n", "--pidfile="]
    )
    here = ("--port", "0", "--interface", "127.0.0.1", "--log-connections", "--config", "veltix.toml")
    process = spawn(*start, "veltix", *here)
    port = int((await process.says(rb"speaks .* on 127\.0\.0\.1:(\d+)")).group(1))
    with socket.create_connection(("127.0.0.1", port)) as link:
        await deferToThread(link.recv, 1)
    (tmp_path / "veltix.toml").write_text("")
    process.signal(signal.SIGHUP)
    await process.says(rb"SIGHUP: log.levels is None now")
    with socket.create_connection(("127.0.0.1", port)) as link:
        await deferToThread(link.recv, 1)
    await process.says(rb"connection \d+-2 from 127\.0\.0\.1")
    assert re.search(rb"-1 from \S+ on", process.out) is None
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_a_json_log_goes_where_twistds_log_goes(spawn: Callable[..., Any], scripts: str, tmp_path: Path) -> None:
    """The --logfile of twistd is the JSON's file, and SIGUSR1 begins a new one."""
    twistd = (os.path.join(scripts, "twistd"), "-n", "--pidfile=", "--logfile=veltix.log")
    process = spawn(*twistd, "veltix", "--port", "0", "--interface", "127.0.0.1", "--log-format", "json")
    await until(lambda: "speaks" in _text(tmp_path / "veltix.log"))
    process.signal(signal.SIGUSR1)
    await until((tmp_path / "veltix.log.1").exists)
    process.signal(signal.SIGTERM)
    await process.exited
    for file in ("veltix.log", "veltix.log.1"):
        assert all(json.loads(line)["time"] for line in _text(tmp_path / file).splitlines())


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is true; the test's deadline ends that."""
    from twisted.internet import reactor

    while not true():
        await deferLater(reactor, 0.02)  # type: ignore[arg-type]
