"""The raw client: plain sockets and frames made beforehand, so that a server is what is measured."""

from __future__ import annotations

import selectors
import socket
from array import array
from contextlib import suppress
from typing import Any

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers.program import begin, clock, clock_ns, obey, say
from veltix_tx.benchmark.peers.wires import WIRES, Greeting, Wire

_CHUNK = 256 * 1024
_PER_ADDRESS = 500
_SPREAD = 100_000
"""Connections that come and go have their ends on so many addresses that no port is needed before it is free again."""

_PATIENCE = 30.0
_SILENCE = 30.0


class RawClient:
    """Connections to one server, and what is done on them.

    Args:
        wire: what the server speaks.
        port: its port on this machine.
    """

    def __init__(self, wire: Wire, port: int) -> None:
        self._wire = wire
        self._port = port
        self._sockets: list[socket.socket] = []
        self._buffer = bytearray(_CHUNK)

    @property
    def commands(self) -> dict[str, Any]:
        """What the benchmark asks of it."""
        names = ("connect", "oneway", "echo", "spread", "broadcast", "churn")
        return {name: getattr(self, name) for name in names}

    def connect(self, number: int) -> None:
        """Make so many more connections, one after another, each through its handshake."""
        for _ in range(number):
            self._sockets.append(self._greeted())

    def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection; return when the first one left."""
        frame = self._wire.oneway(b"x" * size)
        at_once = max(1, _CHUNK // len(frame))
        chunk = memoryview(frame * at_once)
        send = self._sockets[0].sendall
        begun = clock()
        for _ in range(number // at_once):
            send(chunk)
        send(chunk[: number % at_once * len(frame)])
        return {"begun": begun, "sent": clock() - begun}

    def echo(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once; return the seconds, and the times where it is one at once."""
        frame, answer = self._wire.frame(b"x" * size), self._wire.answer(size)
        connection, buffer = self._sockets[0], self._buffer
        batch = memoryview(frame * in_flight)
        times = array("Q")
        received, asked, total = 0, min(in_flight, number), number * answer
        begun = clock()
        asked_at = clock_ns()
        connection.sendall(batch[: asked * len(frame)])
        while received < total:
            got = connection.recv_into(buffer)
            if not got:
                break
            received += got
            more = min(received // answer + in_flight, number) - asked
            if in_flight == 1 and received % answer == 0:
                now = clock_ns()
                times.append(now - asked_at)
                asked_at = now
            if more > 0:
                connection.sendall(batch[: more * len(frame)])
                asked += more
        seconds = clock() - begun
        histogram = Histogram()
        histogram.add(times)
        return {"seconds": seconds, "lost": number - received // answer, "times": histogram.buckets}

    def spread(self, each: int, size: int, volleys: int = 1) -> dict[str, Any]:
        """Ask so many times on every connection at once, and again when all is answered; return the seconds."""
        out = memoryview(self._wire.frame(b"x" * size) * each)
        answer = self._wire.answer(size)
        wanted = answer * each * len(self._sockets)
        selector = self._selector()
        left = {}
        received, buffer = 0, self._buffer
        begun = clock()
        for volley in range(1, volleys + 1):
            for connection in self._sockets:
                sent = connection.send(out)
                if sent < len(out):
                    left[connection] = sent
                    selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while received < wanted * volley:
                ready = selector.select(_SILENCE) if selector.get_map() else []
                if not ready:
                    return self._counted(selector, clock() - begun, wanted * volleys - received, answer)
                for key, events in ready:
                    connection = key.fileobj  # type: ignore[assignment]
                    if events & selectors.EVENT_READ:
                        got = connection.recv_into(buffer)
                        received += got
                        if not got:
                            selector.unregister(connection)
                    elif events & selectors.EVENT_WRITE:
                        left[connection] += connection.send(out[left[connection] : left[connection] + _CHUNK])
                        if left[connection] == len(out):
                            selector.modify(connection, selectors.EVENT_READ)
        return self._counted(selector, clock() - begun, 0, answer)

    def broadcast(self, rounds: int, in_a_row: int, size: int) -> dict[str, Any]:
        """Let the server send to all so many times in a row, and again when all have all; return the seconds.

        The server answers any message with broadcasts of the same content.
        """
        trigger = self._wire.oneway(b"x" * size)
        wanted = self._wire.pushed(size) * in_a_row * len(self._sockets)
        selector = self._selector()
        buffer, lost = self._buffer, 0
        begun = clock()
        for _ in range(rounds):
            received = 0
            self._sockets[0].send(trigger)
            while received < wanted:
                ready = selector.select(_SILENCE) if selector.get_map() else []
                if not ready:
                    lost += wanted - received
                    break
                for key, _events in ready:
                    got = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
                    received += got
                    if not got:
                        selector.unregister(key.fileobj)
            if lost:
                break
        return self._counted(selector, clock() - begun, lost, self._wire.pushed(size))

    def churn(self, number: int, at_once: int) -> dict[str, Any]:
        """Connect, shake hands and close so many times, so many at once; return the seconds."""
        selector = selectors.DefaultSelector()
        started = done = failed = 0
        begun = clock()
        while done + failed < number:
            while started < number and started - done - failed < at_once:
                connection, greeting = self._dial(started * _PER_ADDRESS % _SPREAD)
                wanted = _advance(connection, greeting, None)
                started += 1
                if wanted is None:
                    connection.close()
                    done += 1
                else:
                    selector.register(connection, selectors.EVENT_READ, [greeting, wanted, b""])
            ready = selector.select(_SILENCE) if selector.get_map() else []
            if not ready and selector.get_map():
                break
            for key, _events in ready:
                connection = key.fileobj  # type: ignore[assignment]
                greeting, wanted, have = key.data
                got = connection.recv(wanted - len(have))
                key.data[2] = have = have + got
                if got and len(have) < wanted:
                    continue
                try:
                    key.data[1:] = [_advance(connection, greeting, have) if got else None, b""]
                except ValueError:
                    got = b""
                if not got or key.data[1] is None:
                    selector.unregister(connection)
                    connection.close()
                    done += bool(got)
                    failed += not got
        return {"seconds": clock() - begun, "lost": number - done}

    def _greeted(self, tries: int = 3) -> socket.socket:
        """Return a connection behind its handshake; one that came too late for the server is made again."""
        connection, greeting = self._dial(len(self._sockets))
        value: bytes | None = None
        try:
            while (wanted := _advance(connection, greeting, value)) is not None:
                value = _exactly(connection, wanted)
        except ValueError:
            connection.close()
            if tries == 1:
                raise
            return self._greeted(tries - 1)
        return connection

    def _selector(self) -> selectors.BaseSelector:
        """Look at all connections; what has come before, such as pings of a server that waits, counts for nothing."""
        selector = selectors.DefaultSelector()
        for connection in self._sockets:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.recv_into(self._buffer)
            selector.register(connection, selectors.EVENT_READ)
        return selector

    def _counted(self, selector: selectors.BaseSelector, seconds: float, missing: int, each: int) -> dict[str, Any]:
        selector.close()
        for connection in self._sockets:
            connection.settimeout(_PATIENCE)
        return {"seconds": seconds, "lost": -(-missing // each)}

    def _dial(self, number: int) -> tuple[socket.socket, Greeting]:
        connection = socket.socket()
        # One address may have so many connections and no more at a server of ours.
        connection.bind((f"127.0.0.{1 + number // _PER_ADDRESS}", 0))
        connection.settimeout(_PATIENCE)
        connection.connect(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, self._wire.greet()


def _advance(connection: socket.socket, greeting: Greeting, value: bytes | None) -> int | None:
    """Go on with a handshake; return how many bytes it waits for, None at its end."""
    try:
        step = greeting.send(value)  # type: ignore[arg-type]
        while isinstance(step, bytes):
            connection.sendall(step)
            step = greeting.send(None)  # type: ignore[arg-type]
    except StopIteration:
        return None
    return step


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("closed in the middle of the handshake")
        data += piece
    return data


if __name__ == "__main__":
    task = begin()
    client = RawClient(WIRES[task["wire"]], task["port"])
    say("ready", None)
    obey(client.commands)
