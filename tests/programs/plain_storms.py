"""Attackers of the plain wires, over TCP and UDP; ``storms.py`` runs them with the others."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle, islice, product
from typing import Any

from load import PATIENCE, Crowd, RawPeer

Facts = dict[str, Any]

_BAD = b"\xff\xfe\n"
_BAD_LINES = 40
"""More than the default of ``limits.protocol_errors``, in one read."""


class LinePeer(RawPeer):
    """A peer of the wire of lines that sends some bytes and keeps what comes.

    Args:
        crowd: whose epoll drives it.
        said: the bytes.
        ends: end the stream behind them.
    """

    def __init__(self, crowd: Crowd, said: bytes, *, ends: bool = False) -> None:
        self.heard = b""
        self._said, self._ends = said, ends
        super().__init__(crowd, quiet=True, port=crowd.lines)

    def read_bytes(self, data: bytes) -> None:
        """Keep them."""
        self.heard += data

    def written(self) -> None:
        """Send what there is to send, once there is a connection."""
        said, self._said = self._said, b""
        if said:
            self.write(said)
        elif self._ends:
            self._ends = False
            self.socket.shutdown(socket.SHUT_WR)

    def work(self, what: int) -> None:
        """Begin as soon as the socket can be written to."""
        if self._said and self in self.crowd.peers:
            self.written()
        super().work(what)


def _several(crowd: Crowd, wanted: int, make: Callable[[], LinePeer]) -> tuple[list[LinePeer], bool]:
    """Let so many peers come, 16 at a time; return them, and whether the server has closed each."""
    peers: list[LinePeer] = []

    def go_on() -> bool:
        while len(crowd.peers) < 16 and len(peers) < wanted:
            peers.append(make())
        return len(peers) < wanted or bool(crowd.peers)

    return peers, crowd.run(go_on)


def endless_lines(crowd: Crowd, scale: float) -> Facts:
    """200 peers that send 1 MiB without the end of a line: each must be closed."""
    wanted = max(10, int(200 * scale))
    _, done = _several(crowd, wanted, lambda: LinePeer(crowd, b"x" * 2**20))
    return {"peers": wanted, "ok": done}


def bad_text(crowd: Crowd, scale: float) -> Facts:
    """500 peers whose lines are no UTF-8, behind one of NULs: the NULs come back, and each peer must be closed."""
    wanted = max(10, int(500 * scale))
    peers, done = _several(crowd, wanted, lambda: LinePeer(crowd, b"\0\0\n" + _BAD * _BAD_LINES))
    answered = sum(peer.heard == b"\0\0\n" for peer in peers)
    return {"peers": wanted, "answered": answered, "refused": wanted * _BAD_LINES, "ok": done and answered == wanted}


def half_closed(crowd: Crowd, scale: float) -> Facts:
    """1,000 peers that ask and end their stream: each must be answered, and closed behind that."""
    wanted = max(10, int(1000 * scale))
    peers, done = _several(crowd, wanted, lambda: LinePeer(crowd, b"one\r\ntwo\n", ends=True))
    answered = sum(peer.heard == b"one\ntwo\n" for peer in peers)
    return {"peers": wanted, "answered": answered, "ok": done and answered == wanted}


def split_lines(crowd: Crowd, scale: float) -> Facts:
    """50 peers whose lines come byte by byte, CR and LF apart: each must be answered."""
    wanted = max(5, int(50 * scale))
    said = b"".join(b"line %d\r\n" % number for number in range(50))
    peers = [LinePeer(crowd, b"") for _ in range(wanted)]
    crowd.turn()
    for at in range(len(said)):
        for peer in peers:
            peer.write(said[at : at + 1])
        crowd.turn(0.001)
    done = crowd.run(lambda: any(len(peer.heard) < len(said) - 50 for peer in peers))
    right = sum(peer.heard == said.replace(b"\r", b"") for peer in peers)
    crowd.clear()
    return {"peers": wanted, "answered": right, "ok": done and right == wanted}


# UDP.


def _datagram_socket(host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    return made


def _is_answered(port: int) -> bool:
    """Ask as an honest peer does, again where nothing comes; return whether an answer came."""
    end = time.monotonic() + PATIENCE
    with _datagram_socket() as honest:
        honest.settimeout(0.2)
        while time.monotonic() < end:
            honest.sendto(b"honest\n", ("127.0.0.1", port))
            with suppress(TimeoutError):
                if honest.recv(100) == b"honest\n":
                    return True
    return False


def spoofed(crowd: Crowd, scale: float) -> Facts:
    """100,000 datagrams, each from another address, of which 16,777,216 are this machine's."""
    wanted, sent = max(1000, int(100_000 * scale)), 0
    for last, third, second in islice(product(range(1, 251), range(250), range(1, 5)), wanted):
        with _datagram_socket(f"127.{second}.{third}.{last}") as liar, suppress(BlockingIOError):
            liar.setblocking(False)
            liar.sendto(b"hello\n", ("127.0.0.1", crowd.udp))
            sent += 1
    return {"addresses": wanted, "sent": sent, "ok": _is_answered(crowd.udp)}


def sizes(crowd: Crowd, scale: float) -> Facts:
    """5 s of datagrams without a byte, of 65,507 letters, of 65,507 line ends and of as many NULs, as fast as they are taken."""
    end, sent = time.monotonic() + max(1.0, 5 * scale), 0
    most = 65_507
    with _datagram_socket() as one, _datagram_socket() as other:
        for sender, datagram in cycle(product((one, other), (b"", b"x" * most, b"", b"\n" * most, b"\0" * most))):
            sender.sendto(datagram, ("127.0.0.1", crowd.udp))
            sent += 1
            if time.monotonic() > end:
                break
        answered = _is_answered(crowd.udp)
    return {"datagrams": sent, "ok": answered, "some refused": True}


def icmp(crowd: Crowd, scale: float) -> Facts:
    """5 s of peers that ask and are gone before the answer, which the kernel refuses with an ICMP error."""
    end, sent = time.monotonic() + max(1.0, 5 * scale), 0
    while time.monotonic() < end:
        with _datagram_socket() as gone:
            gone.sendto(b"hello\n", ("127.0.0.1", crowd.udp))
        sent += 1
    return {"peers": sent, "ok": _is_answered(crowd.udp)}


PLAIN_STORMS: dict[str, Callable[[Crowd, float], Facts]] = {
    "endless-lines": endless_lines,
    "bad-text": bad_text,
    "half-closed": half_closed,
    "split-lines": split_lines,
    "udp-spoofed": spoofed,
    "udp-sizes": sizes,
    "udp-icmp": icmp,
}
