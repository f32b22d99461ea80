"""pyzmq, in plain blocking loops: a ROUTER, and a DEALER for each connection; replies in order."""

from __future__ import annotations

from array import array
from collections import deque
from importlib import import_module
from itertools import cycle, islice
from typing import Any

from veltix_tx.benchmark.peers.delivery import Tally, contents, numbered
from veltix_tx.benchmark.peers.program import begin, clock, clock_ns, obey, ready, serve_commands, usage
from veltix_tx.benchmark.peers.working import timed

_BOUNDLESS = 0
_ZERO_COPY = 65536


def serve(zmq: Any, task: dict[str, Any]) -> None:
    """Listen, and do what the task says with messages, for ever."""
    tally, router, peers = Tally(), zmq.Context().socket(zmq.ROUTER), dict[bytes, None]()
    router.setsockopt(zmq.SNDHWM, _BOUNDLESS)
    router.setsockopt(zmq.BACKLOG, 1024)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    serve_commands(tally.commands)
    ready(port)
    receive, send, mode = router.recv_multipart, router.send_multipart, task["mode"]
    if mode in ("sink", "streams"):
        take = tally.take_content if mode == "sink" else tally.take_stream_content
        while True:
            content = receive()[1]
            if content:
                take(content)
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
    """

    def __init__(self, zmq: Any) -> None:
        self._zmq = zmq
        self._context = zmq.Context()
        self._context.setsockopt(zmq.MAX_SOCKETS, 1023)
        self._sockets: list[Any] = []

    @property
    def commands(self) -> dict[str, Any]:
        """Commands that the benchmark gives a client."""
        return {name: getattr(self, name) for name in ("connect", "oneway", "ask", "ping", "stress")}

    def connect(self, port: int, number: int) -> None:
        """Make so many more connections, one after another."""
        for _ in range(number):
            dealer = self._context.socket(self._zmq.DEALER)
            dealer.setsockopt(self._zmq.SNDHWM, _BOUNDLESS)
            dealer.connect(f"tcp://127.0.0.1:{port}")
            self._sockets.append(dealer)

    def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection, large ones without a copy."""
        dealer, messages, copied = self._sockets[0], contents(size), size < _ZERO_COPY
        used, begun = usage(), clock()
        for content in islice(cycle(messages), number):
            dealer.send(content, copy=copied)
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    def stress(self, each: int, size: int) -> dict[str, float]:
        """Send so many messages on every connection, in turns."""
        used, begun = usage(), clock()
        for number in range(each):
            for stream, dealer in enumerate(self._sockets):
                dealer.send(numbered(stream, number, size))
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    def ask(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once; replies come in the order of the requests."""
        dealer, messages, copied = self._sockets[0], contents(size), size < _ZERO_COPY
        receive = dealer.recv
        asked, wanted = islice(cycle(messages), number), islice(cycle(messages), number)
        times, sent_at, wrong = array("Q"), deque[int](), 0
        used, begun = usage(), clock()
        for content in islice(asked, in_flight):
            sent_at.append(clock_ns())
            dealer.send(content, copy=copied)
        for expected in wanted:
            wrong += receive() != expected
            times.append(clock_ns() - sent_at.popleft())
            for content in islice(asked, 1):
                sent_at.append(clock_ns())
                dealer.send(content, copy=copied)
        return timed(clock() - begun, usage() - used, number, times, wrong)

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
        ready()
        obey(Clients(zmq).commands)


if __name__ == "__main__":
    main()
