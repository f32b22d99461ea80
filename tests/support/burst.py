"""A client on a plain socket that sends many requests at once, and reads what comes of them later."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from pathlib import Path
from random import Random
from typing import Any

from veltix_tx.wire.events import HandshakeCompleted
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import find_release

PATIENCE = 30.0
"""Seconds after which a socket gives up."""


class Burst:
    """The client.

    Args:
        where: a TCP port of this machine, or the path of a UNIX socket.
        chat: the type of its requests, of a registry that the server has, too.
        types: the registry.
        wire: the release it speaks.
        ca: a file with the issuer to trust, for TLS.

    Attributes:
        ended: how the server ended the connection: ``"FIN"``, or the error's name.
    """

    def __init__(self, where: int | Path, chat: MessageType, types: MessageRegistry, wire: str = "3.3.0", ca: Any = None) -> None:
        self._chat = chat
        self.ended = ""
        self._socket: socket.socket
        if isinstance(where, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(str(where))
        else:
            self._socket = socket.create_connection(("127.0.0.1", where))
        self._socket.settimeout(PATIENCE)
        if ca is not None:
            self._socket = ssl.create_default_context(cafile=str(ca)).wrap_socket(self._socket, server_hostname="127.0.0.1")
        self.far = VeltixConnection(
            *(Role.CLIENT, find_release(wire)),
            calendar_ms=lambda: 0,
            uptime_ms=lambda: 0,
            getrandbits=Random(1).getrandbits,
            types=types,
        )

    def hear_hello(self) -> None:
        """Read the server's part of the handshake, and keep this side's answer to it."""
        self.far.start()
        self.far.receive_data(self._socket.recv(4096), 0)

    def shake_hands(self) -> None:
        """Complete the handshake."""
        ready = any(isinstance(event, HandshakeCompleted) for event in self.far.start())
        while not ready:
            self._socket.sendall(b"".join(self.far.data_to_send()))
            ready = any(isinstance(event, HandshakeCompleted) for event in self.far.receive_data(self._socket.recv(4096), 0))

    def ask(self, count: int, size: int, first: int = 0) -> int:
        """Send requests, as many as both kernels take now; return how many that were whole."""
        data, ends = b"".join(self.far.data_to_send()), []  # what is left of the handshake comes first
        for number in range(first, first + count):
            self.far.send(self._chat, b"%d " % number + b"x" * (size - 6), number % 30_000)
            data += b"".join(self.far.data_to_send())
            ends.append(len(data))
        sent = 0
        self._socket.setblocking(False)
        try:
            while sent < len(data):
                sent += self._socket.send(data[sent : sent + 16_000])
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        finally:
            self._socket.settimeout(PATIENCE)
        return sum(end <= sent for end in ends)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def reset(self) -> None:
        """Close it so that the server sees a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def narrow(self) -> None:
        """Keep few bytes in this side's kernel, so that most of what is not read waits on the other."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)

    def answers(self, pause: float = 0.0) -> list[int]:
        """Read to the end of the connection; return the numbers of the requests that were answered.

        Args:
            pause: seconds before each read of 32 KiB at most.
        """
        answered = []
        while True:
            time.sleep(pause)
            try:
                data = self._socket.recv(32_768)
            except OSError as error:
                self.ended = type(error).__name__
                break
            if not data:
                self.ended = "FIN"
                break
            answered += [int(event.content.split()[0]) for event in self.far.receive_data(data, 0) if isinstance(event, Response)]
        self._socket.close()
        return answered
