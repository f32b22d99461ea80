"""A bare DatagramProtocol of Twisted's that sends each datagram back; and the raw client of UDP."""

from __future__ import annotations

import socket
from collections import Counter
from itertools import cycle, islice
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from veltix_tx.benchmark.peers import twisting
from veltix_tx.benchmark.peers.delivery import Tally, contents
from veltix_tx.benchmark.peers.program import begin, clock, obey, ready, usage

_SILENCE = 5.0


class Echo(DatagramProtocol):
    """The server's port."""

    transport: Any

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Send it back."""
        self.transport.write(datagram, addr)


class RawClient:
    """A socket that sends datagrams to one server, and compares what comes back."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(_SILENCE)

    def connect(self, port: int, number: int) -> None:
        """Choose the server."""
        self._socket.connect(("127.0.0.1", port))

    def echo(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Send so many datagrams, so many at once; return the seconds. One that does not come back ends it."""
        sent = islice(cycle(contents(size)), number)
        send, receive = self._socket.send, self._socket.recv
        received = wrong = reordered = 0
        used, begun = usage(), clock()
        while batch := list(islice(sent, in_flight)):
            for datagram in batch:
                send(datagram)
            try:
                came = [receive(size + 1) for _ in batch]
            except TimeoutError:
                break
            received += len(came)
            if came != batch:
                reordered = 1
                wrong += (Counter(came) - Counter(batch)).total()
        seconds, used = clock() - begun, usage() - used
        return {"seconds": seconds, "cpu": used, "lost": number - received, "wrong": wrong, "reordered": reordered}


def main() -> None:
    """Be the server or the client that the task asks for."""
    task = begin()
    if task["role"] == "client":
        client = RawClient()
        ready()
        obey({"connect": client.connect, "echo": client.echo})
    port = twisting.reactor().listenUDP(0, Echo(), interface="127.0.0.1").getHost().port
    twisting.serve_alone(port, Tally())


if __name__ == "__main__":
    main()
