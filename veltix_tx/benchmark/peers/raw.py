"""The raw client: plain sockets and frames made beforehand, so that a server is what is measured.

What comes back is compared, byte for byte, with what must come back.
"""

from __future__ import annotations

import selectors
import socket
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import cycle as repeated
from itertools import islice
from typing import Any

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers.delivery import contents, laps
from veltix_tx.benchmark.peers.program import begin, clock, clock_ns, obey, ready, usage
from veltix_tx.benchmark.peers.wires import WIRES, Greeting, Wire

_CHUNK = 256 * 1024
_PER_ADDRESS = 500
_SPREAD = 100_000
"""Connections that come and go have their ends on so many addresses that no port is needed before it is free again."""

_LISTENING = 2.0
_PATIENCE = 30.0
_SILENCE = 30.0

_BROADCASTS = 16
"""Contents of broadcasts that differ, one after another."""


class Expected:
    """A stream of bytes that must arrive: frames of one size, over and over.

    Args:
        frames: one after another, until the first one comes again.
        free: bytes of a frame that may be any.
    """

    def __init__(self, frames: Sequence[bytes], free: Sequence[int] = ()) -> None:
        self.size = len(frames[0])
        self._free = free
        cycle = bytearray(b"".join(frames))
        self._period = len(cycle)
        for offset in free:
            cycle[offset :: self.size] = bytes(len(frames))
        self.frames = [bytes(cycle[at : at + self.size]) for at in range(0, self._period, self.size)]
        self._bytes = memoryview(bytes(cycle) * (1 + -(-_CHUNK // self._period)))

    def differs(self, position: int, buffer: bytearray, got: int) -> bool:
        """Whether the bytes at the start of a buffer are others than those at a position of the stream; clears the free ones."""
        size = self.size
        for offset in self._free:
            first = (offset - position) % size
            if first < got:
                buffer[first:got:size] = bytes(len(range(first, got, size)))
        start = position % self._period
        return not buffer.startswith(self._bytes[start : start + got])

    def begun(self, position: int) -> bytes:
        """Return the bytes before a position that belong to a frame that is not complete there."""
        start = position % self._period
        return bytes(self._bytes[start - start % self.size : start])


class Arrivals:
    """What arrives on one connection, compared with what must.

    From the first bytes on that are not the next ones, frames are counted by what they are: then they are right or
    wrong whatever the order.

    Args:
        expected: what must arrive.
    """

    __slots__ = ("_expected", "_rest", "_seen", "position")

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self.position = 0
        self._seen: Counter[bytes] | None = None
        self._rest = b""

    def take(self, buffer: bytearray, got: int) -> None:
        """Take so many bytes at the start of a buffer."""
        expected, position = self._expected, self.position
        self.position += got
        if not expected.differs(position, buffer, got) and self._seen is None:
            return
        if self._seen is None:
            self._seen = laps(expected.frames, position // expected.size)
            self._rest = expected.begun(position)
        data, size = self._rest + buffer[:got], expected.size
        whole = len(data) // size * size
        self._seen.update(data[at : at + size] for at in range(0, whole, size))
        self._rest = data[whole:]

    def wrong(self, frames: int) -> tuple[int, bool]:
        """Return how many frames of those that must have come are others, and whether the order is another."""
        if self._seen is None:
            return 0, False
        return (self._seen - laps(self._expected.frames, frames)).total(), True


def _verified(arrivals: Iterable[Arrivals], frames: int) -> dict[str, int]:
    found = [each.wrong(frames) for each in arrivals]
    return {"wrong": sum(wrong for wrong, _ in found), "reordered": sum(reordered for _, reordered in found)}


class RawClient:
    """Connections to one server, and what is done on them.

    Args:
        wire: what the server speaks.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._port = 0
        self._sockets: list[socket.socket] = []
        self._buffer = bytearray(_CHUNK)

    @property
    def commands(self) -> dict[str, Any]:
        """What the benchmark asks of it."""
        names = ("connect", "oneway", "echo", "spread", "broadcast", "churn")
        return {name: getattr(self, name) for name in names}

    def connect(self, port: int, number: int) -> None:
        """Make so many more connections, one after another, each through its handshake."""
        self._port = port
        for _ in range(number):
            self._sockets.append(self._greeted())

    def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection; return when the first one left."""
        frames = [self._wire.oneway(content) for content in contents(size)]
        each = len(frames[0])
        laps = max(1, _CHUNK // len(frames) // each)
        chunk = memoryview(b"".join(frames) * laps)
        at_once = laps * len(frames)
        send = self._sockets[0].sendall
        used, begun = usage(), clock()
        for _ in range(number // at_once):
            send(chunk)
        send(chunk[: number % at_once * each])
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    def echo(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once; return the seconds, and the times where it is one at once."""
        cycle = contents(size)
        frames = [self._wire.frame(content) for content in cycle]
        expected = Expected([self._wire.answer(content) for content in cycle], self._wire.free)
        arrivals = Arrivals(expected)
        connection, buffer, take = self._sockets[0], self._buffer, arrivals.take
        each, answer, period = len(frames[0]), expected.size, len(frames)
        batch = memoryview(b"".join(frames) * (2 + in_flight // period))
        times = array("Q")
        received, asked, total = 0, min(in_flight, number), number * answer
        used, begun = usage(), clock()
        asked_at = clock_ns()
        connection.sendall(batch[: asked * each])
        while received < total:
            got = connection.recv_into(buffer)
            if not got:
                break
            received += got
            take(buffer, got)
            more = min(received // answer + in_flight, number) - asked
            if in_flight == 1 and received % answer == 0:
                now = clock_ns()
                times.append(now - asked_at)
                asked_at = now
            if more > 0:
                first = asked % period
                connection.sendall(batch[first * each : (first + more) * each])
                asked += more
        seconds, used = clock() - begun, usage() - used
        histogram = Histogram()
        histogram.add(times)
        lost = number - received // answer
        return {"seconds": seconds, "cpu": used, "lost": lost, "times": histogram.buckets, **_verified([arrivals], number)}

    def spread(self, each: int, size: int, volleys: int = 1) -> dict[str, Any]:
        """Ask so many times on every connection at once, and again when all is answered; return the seconds."""
        cycle = list(islice(repeated(contents(size)), each))
        out = memoryview(b"".join(map(self._wire.frame, cycle)))
        expected = Expected(list(map(self._wire.answer, cycle)), self._wire.free)
        wanted = expected.size * each * len(self._sockets)
        selector, arrivals = self._watched(expected)
        left = {}
        received, missing, buffer = 0, 0, self._buffer
        used, begun = usage(), clock()
        for volley in range(1, volleys + 1):
            for connection in self._sockets:
                sent = connection.send(out)
                if sent < len(out):
                    left[connection] = sent
                    selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, arrivals[connection])
            while received < wanted * volley:
                found = selector.select(_SILENCE) if selector.get_map() else []
                if not found:
                    missing = wanted * volleys - received
                    break
                for key, events in found:
                    connection = key.fileobj  # type: ignore[assignment]
                    if events & selectors.EVENT_READ:
                        got = connection.recv_into(buffer)
                        received += got
                        key.data.take(buffer, got)
                        if not got:
                            selector.unregister(connection)
                    elif events & selectors.EVENT_WRITE:
                        left[connection] += connection.send(out[left[connection] : left[connection] + _CHUNK])
                        if left[connection] == len(out):
                            selector.modify(connection, selectors.EVENT_READ, key.data)
            if missing:
                break
        told = {"seconds": clock() - begun, "cpu": usage() - used, "lost": -(-missing // expected.size)}
        self._unwatch(selector)
        return told | _verified(arrivals.values(), each * volleys)

    def broadcast(self, rounds: int, in_a_row: int, size: int) -> dict[str, Any]:
        """Let the server send to all so many times in a row, and again when all have all; return the seconds.

        The server answers any message with broadcasts of the same content.
        """
        cycle = contents(size)[:_BROADCASTS]
        triggers = list(map(self._wire.oneway, cycle))
        pushed = [frame for content in cycle for frame in [self._wire.broadcast(content)] * in_a_row]
        expected = Expected(pushed, self._wire.free_note)
        wanted = expected.size * in_a_row * len(self._sockets)
        selector, arrivals = self._watched(expected)
        buffer, missing = self._buffer, 0
        last = self._sockets[-1]  # once the server reads from it, it has accepted all of them
        used, begun = usage(), clock()
        for number in range(rounds):
            received = 0
            last.send(triggers[number % len(triggers)])
            while received < wanted:
                found = selector.select(_SILENCE) if selector.get_map() else []
                if not found:
                    missing = wanted * (rounds - number) - received
                    break
                for key, _events in found:
                    got = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
                    received += got
                    key.data.take(buffer, got)
                    if not got:
                        selector.unregister(key.fileobj)
            if missing:
                break
        told = {"seconds": clock() - begun, "cpu": usage() - used, "lost": -(-missing // expected.size)}
        self._unwatch(selector)
        return told | _verified(arrivals.values(), in_a_row * rounds)

    def churn(self, number: int, at_once: int) -> dict[str, Any]:
        """Connect, shake hands and close so many times, so many at once; return the seconds."""
        selector = selectors.DefaultSelector()
        started = done = failed = 0
        used, begun = usage(), clock()
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
            found = selector.select(_SILENCE) if selector.get_map() else []
            if not found and selector.get_map():
                break
            for key, _events in found:
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
        return {"seconds": clock() - begun, "cpu": usage() - used, "lost": number - done}

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

    def _watched(self, expected: Expected) -> tuple[selectors.BaseSelector, dict[socket.socket, Arrivals]]:
        """Look at all connections, each at the beginning of what must come.

        What has come before, such as pings of a server that waits, counts for nothing.
        """
        selector, arrivals = selectors.DefaultSelector(), {}
        for connection in self._sockets:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.recv_into(self._buffer)
            arrivals[connection] = Arrivals(expected)
            selector.register(connection, selectors.EVENT_READ, arrivals[connection])
        return selector, arrivals

    def _unwatch(self, selector: selectors.BaseSelector) -> None:
        selector.close()
        for connection in self._sockets:
            connection.settimeout(_PATIENCE)

    def _dial(self, number: int) -> tuple[socket.socket, Greeting]:
        give_up = clock() + _LISTENING
        while True:
            try:
                return self._connected(number), self._wire.greet()
            except ConnectionRefusedError:  # noqa: PERF203 (some servers say that they have started before they listen)
                if clock() > give_up:
                    raise
                time.sleep(0.01)

    def _connected(self, number: int) -> socket.socket:
        connection = socket.socket()
        # One address may have so many connections and no more at a server of ours.
        connection.bind((f"127.0.0.{1 + number // _PER_ADDRESS}", 0))
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(("127.0.0.1", self._port))
        except OSError:
            connection.close()
            raise
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


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
    client = RawClient(WIRES[task["wire"]])
    ready()
    obey(client.commands)
