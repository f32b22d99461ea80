"""Real Redis servers for tests, each with a folder and a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port

WHERE = (
    "no redis-server was found: install it (Debian: apt-get install redis-server; macOS: brew install redis), "
    "or name one by REDIS_SERVER=path"
)
"""Why tests with Redis are skipped."""


def find_redis() -> str:
    """Return the path of redis-server; skip the test where there is none."""
    found = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip(WHERE)
    return found


class RedisServer:
    """A redis-server.

    Args:
        folder: where it runs, and keeps its data where it is told to.
        options: of its command line, such as ``--requirepass``.
        at: its port; one that is free by default.

    Attributes:
        port: its TCP port.
        socket: its UNIX socket.
    """

    def __init__(self, folder: Path, *options: str, at: int | None = None) -> None:
        self._program = find_redis()
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self.port = at or free_port()
        self.socket = folder / "redis.sock"

    @property
    def url(self) -> str:
        """URL of its TCP port."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; return when it is ready."""
        plain = ("--port", str(self.port)) if "--port" not in self._options else ()
        command = [
            *(self._program, *plain, "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
            *("--dir", str(self._folder), "--save", "", "--appendonly", "no", "--logfile", "redis.log", *self._options),
        ]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it, as ``kill -9`` does; what it did not save is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Let it hang: it takes connections, and does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send a command on a connection of its own; return the raw reply."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            data = [word.encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in data))
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            return self.command("PING")[:1] in b"+-"
        except OSError:
            return False
