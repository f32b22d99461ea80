"""netconduit's README: its programs with only the import changed, with each other and with a real release at the other end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.interop.conduits import Conduits
from tests.support.ports import free_port
from veltix_tx.dropin import conduit

BLOCKS = Path(__file__).parent / "blocks"
RUNNER = Path(__file__).parents[2] / "support" / "dropin" / "run_conduit.py"
OURS, REAL = "veltix_tx.dropin.conduit", "conduit"
PATIENCE = 20.0

Start = Callable[[str, str], "subprocess.Popen[str]"]


@pytest.fixture
def start(conduits: Conduits) -> Iterator[Start]:
    """Start a program of the README with a package on the test's port; all are gone behind the test."""
    port, started = free_port(), []

    def start(block: str, package: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(map(str, conduits.path("5.0.0"))) if package == REAL else ""
        process = subprocess.Popen(
            [sys.executable, str(RUNNER), str(BLOCKS / f"{block}.py"), str(port), package],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        if block == "readme_server":
            wait_for_port(process, port)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_port(process: subprocess.Popen[str], port: int) -> None:
    """Wait until something listens."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:  # noqa: PERF203 (it does not listen yet)
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)


CLIENT_SAYS = [
    "Connected to server!",
    "10 + 20 = 30",
    "3.5 * 2.0 = 7.0",
    "Available methods: ['add', 'multiply']",
]


@pytest.mark.parametrize("package", [OURS, REAL])
def test_the_client_of_the_readme_runs_to_its_end(start: Start, package: str) -> None:
    """The quick start's client prints what the README says, with our server and with a real one."""
    server = start("readme_server", package)

    said, errors = start("readme_client", OURS).communicate(timeout=PATIENCE)

    assert said.splitlines() == CLIENT_SAYS
    assert "Traceback" not in errors
    assert server.poll() is None


def test_the_server_of_the_readme_ends_with_ctrl_c(start: Start) -> None:
    """The quick start's server greets its client, and Ctrl-C ends it at once, quietly, though a client has been there."""
    server = start("readme_server", OURS)
    start("readme_client", OURS).communicate(timeout=PATIENCE)

    server.send_signal(signal.SIGINT)
    said, errors = server.communicate(timeout=PATIENCE)

    lines = said.splitlines()
    assert lines[0].startswith("Server starting on ('0.0.0.0', ")
    assert [line.split(":")[0] for line in lines[1:]] == ["Client connected"]
    assert "Traceback" not in errors
    assert server.returncode == 0


def test_the_real_client_of_the_readme_is_served(start: Start) -> None:
    """The quick start's client with netconduit itself comes with our server as far as with its own: to discovery."""
    start("readme_server", OURS)

    said, errors = start("readme_client", REAL).communicate(timeout=PATIENCE)

    assert said.splitlines() == [
        "Connected to server!",
        "10 + 20 = {'success': True, 'data': 30}",
        "3.5 * 2.0 = {'success': True, 'data': 7.0}",
    ]
    assert "TypeError: string indices must be integers" in errors  # its discover() returns the envelope


@pytest.mark.parametrize("block", ["readme_server_descriptor", "readme_client_descriptor"])
def test_the_descriptors_of_the_readme_can_be_made(block: str) -> None:
    """The descriptors that the README shows are valid, and their fields have the values it gives."""
    made: Any = eval((BLOCKS / f"{block}.py").read_text(encoding="utf-8"), vars(conduit).copy())

    assert made.password == "secret"
    assert made.version == "1.0.0"
    if block == "readme_server_descriptor":
        assert (made.heartbeat_interval, made.heartbeat_timeout, made.enable_backpressure) == (30, 90, True)
        conduit.Server(made)
    else:
        assert (made.reconnect_attempts, made.reconnect_delay, made.rpc_timeout) == (5, 1.0, 30.0)
        conduit.Client(made)


def test_the_protocol_is_what_the_readme_tables_name() -> None:
    """Each message type of the README's table is there, and the header has its 32 bytes and its magic."""
    named = "MESSAGE RPC_REQUEST RPC_RESPONSE RPC_ERROR HEARTBEAT_PING HEARTBEAT_PONG AUTH_REQUEST AUTH_SUCCESS AUTH_FAILURE"

    assert [kind.name for kind in conduit.MessageType][:9] == named.split()
    assert (conduit.HEADER_SIZE, conduit.MAGIC) == (32, b"CNDT")
