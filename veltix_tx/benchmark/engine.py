"""Redis of a measurement: a server of its own, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress

from veltix_tx.benchmark.processes import ProgramError

__all__ = ["Redis"]

_START = 10.0


class Redis:
    """A redis-server, as a context manager that starts and ends it: that of ``REDIS_SERVER``, or of ``PATH``.

    Attributes:
        url: its URL.
    """

    def __init__(self) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            self._port = holder.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"

    def __enter__(self) -> Redis:
        program = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise ProgramError("no redis-server was found: install it (Debian: apt-get install redis-server)")
        self._folder = tempfile.TemporaryDirectory(prefix="veltix_tx.")
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", self._folder.name, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + _START
        while time.monotonic() < give_up and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return self
            time.sleep(0.01)
        self.__exit__()
        raise ProgramError(f"{program} does not start")

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()
