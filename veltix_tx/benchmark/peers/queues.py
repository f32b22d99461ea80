"""pyzmq, in plain blocking loops: a ROUTER, and a DEALER for each connection; replies in order."""

from __future__ import annotations

from array import array
from collections import deque
from importlib import import_module
from typing import Any

from veltix_tx.benchmark.peers.program import Tally, begin, clock, clock_ns, obey, say, serve_commands
from veltix_tx.benchmark.peers.working import timed

_BOUNDLESS = 0


def serve(zmq: Any, task: dict[str, Any]) -> None:
    """Listen, and do what the task says with messages, for ever."""
    tally, router, peers = Tally(), zmq.Context().socket(zmq.ROUTER), dict[bytes, None]()
    router.setsockopt(zmq.SNDHWM, _BOUNDLESS)
    router.setsockopt(zmq.BACKLOG, 1024)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    serve_commands(tally.commands)
    say("ready", port)
    receive, send, mode = router.recv_multipart, router.send_multipart, task["mode"]
    if mode == "sink":
        while True:
            if receive()[1]:
                tally.take()
    if mode == "echo":
        while True:
            message = receive()
            if message[1]:
                send(message)
    while True:
        peer, content = receive()
        peers[peer] = None
        if content:
            for _ in range(task["in_a_row"]):
                for each in peers:
                    send((each, content))


class Clients:
    """Connections to one server, and what is done on them.

    Args:
        zmq: the module.
        port: the server's.
    """

    def __init__(self, zmq: Any, port: int) -> None:
        self._zmq, self._port = zmq, port
        self._context = zmq.Context()
        self._context.setsockopt(zmq.MAX_SOCKETS, 1023)
        self._sockets: list[Any] = []

    @property
    def commands(self) -> dict[str, Any]:
        """What the benchmark asks of a client."""
        return {name: getattr(self, name) for name in ("connect", "oneway", "ask", "ping", "stress")}

    def connect(self, number: int) -> None:
        """Make so many more connections, one after another."""
        for _ in range(number):
            dealer = self._context.socket(self._zmq.DEALER)
            dealer.setsockopt(self._zmq.SNDHWM, _BOUNDLESS)
            dealer.connect(f"tcp://127.0.0.1:{self._port}")
            self._sockets.append(dealer)

    def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection."""
        send, content = self._sockets[0].send, b"x" * size
        begun = clock()
        for _ in range(number):
            send(content)
        return {"begun": begun, "sent": clock() - begun}

    def stress(self, each: int, size: int) -> dict[str, float]:
        """Send so many messages on every connection, in turns."""
        content = b"\0" * size
        begun = clock()
        for _ in range(each):
            for dealer in self._sockets:
                dealer.send(content)
        return {"begun": begun, "sent": clock() - begun}

    def ask(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once."""
        send, receive, content = self._sockets[0].send, self._sockets[0].recv, b"x" * size
        times, sent_at = array("Q"), deque[int]()
        begun = clock()
        for _ in range(min(in_flight, number)):
            sent_at.append(clock_ns())
            send(content)
        for left in range(number, 0, -1):
            receive()
            times.append(clock_ns() - sent_at.popleft())
            if left > in_flight:
                sent_at.append(clock_ns())
                send(content)
        return timed(clock() - begun, number, times)

    def ping(self, number: int) -> dict[str, Any]:
        """Ask with one byte so many times, one after another."""
        return self.ask(number, 1, 1)


def main() -> None:
    """Be the server or the client that the task asks for."""
    task = begin()
    zmq = import_module("zmq")
    if task["role"] == "server":
        serve(zmq, task)
    else:
        say("ready", None)
        obey(Clients(zmq, task["port"]).commands)


if __name__ == "__main__":
    main()
