"""The floor: a server in C that does the least there is to do, to see how far a server in Python is from it.

It reads from epoll, parses, checks CRC-32 and makes one write of the replies to a read; no limits, no timers. For each
message it makes a bytes object and calls the same Python handler as every server here; bare, it does the handler's
work in C and makes no object. Contents over 64 KiB go through zlib's CRC-32, as with the others.
"""

from __future__ import annotations

import socket
import threading
import time
from importlib import import_module
from typing import Any
from zlib import crc32

from veltix_tx.benchmark.peers.delivery import Tally, contents
from veltix_tx.benchmark.peers.headers import HEADERS
from veltix_tx.benchmark.peers.program import begin, clock, ready, serve_commands

_POLL = 0.001


class _BareTally:
    """Tally of a server whose handler is in C."""

    def __init__(self, module: Any) -> None:
        self._module = module

    @property
    def commands(self) -> dict[str, Any]:
        """By name."""
        return {"expect": self.expect, "wait": self.wait}

    def expect(self, number: int, size: int = 0) -> None:
        """Begin to count."""
        self._module.expect(contents(size) if size else [b""], number)

    def wait(self, number: int, seconds: float) -> dict[str, float]:
        """Wait until so many have come."""
        give_up = clock() + seconds
        while (found := self._module.arrived())[0] < number and clock() < give_up:
            time.sleep(_POLL)
        got, wrong, at = found
        return {"got": got, "wrong": wrong, "reordered": 0, "at": at if got >= number else clock()}


def main() -> None:
    """Be the server that the task asks for."""
    task = begin()
    module, header = import_module("_floor"), HEADERS[task["header"]]
    tally, bare = Tally(), task["bare"]
    handlers = {"sink": tally.take_content, "echo": lambda content: content, "broadcast": lambda content: content}
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    serve_commands(_BareTally(module).commands if bare else tally.commands)
    ready(listener.getsockname()[1])
    modes = ("sink", "echo", "broadcast")
    handler = None if bare else handlers[task["mode"]]
    hello, result = header.greeting(), header.result
    module.serve(
        *(listener.fileno(), modes.index(task["mode"]), header.size, hello, result, handler, crc32, task.get("in_a_row", 1))
    )


if __name__ == "__main__":
    threading.stack_size(1 << 18)
    main()
