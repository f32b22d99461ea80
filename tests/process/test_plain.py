"""Plain wires between processes: bare sockets at ``twistd veltix --listen lines@…``, and a Client at an asyncio line server."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from veltix_tx import TEXT, Client, DisconnectReason, Lines

HERE = "interface=127.0.0.1"
pytestmark = pytest.mark.deadline(20)


def exchange(port: int, pieces: Iterable[bytes], *, shut: bool = True) -> bytes:
    """Send pieces as a bare program does, end the stream, and return all that comes until the other side ends, too."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            plain.sendall(piece)
        if shut:
            plain.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: plain.recv(65536), b""))


EXCHANGES = {
    "lines": (b"one\r\ntw\xc3\xb6\n\nhalf", b"one\ntw\xc3\xb6\n\n"),
    "eof": (b"one\ntw\xc3\xb6", b"one\ntw\xc3\xb6"),
    "fixed-8": (b"one     tw\xc3\xb6    ", b"one     tw\xc3\xb6    "),
    "prefixed-2": (b"\0\x03one\0\0", b"\0\x03one\0\0"),
    "delimited": (b"\x02one\x03\r\n\x02\x10\x03\x03", b"\x02one\x03\x02\x10\x03\x03"),
    "raw": (b"one", b"one"),
}


@pytest.mark.parametrize("wire", EXCHANGES)
async def test_a_bare_socket_is_echoed_and_closed(wire: str, twistd: Any) -> None:
    """``--listen WIRE@tcp:0`` answers a program that knows of nothing but sockets, whole and byte by byte, and closes after it."""
    process = twistd("--listen", f"{wire}@tcp:0:{HERE}")
    port = await process.port()
    assert f"speaks {wire} (utf-8) on".encode() in process.out
    said, answer = EXCHANGES[wire]
    assert await deferToThread(exchange, port, [said]) == answer
    assert await deferToThread(exchange, port, [said[at : at + 1] for at in range(len(said))]) == answer
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_one_process_speaks_several(twistd: Any) -> None:
    """Each place has a wire of its own, Veltix's beside them."""
    process = twistd("--listen", f"tcp:0:{HERE}", "--listen", f"lines@tcp:0:{HERE}")
    await process.says(rb"speaks Veltix .* on 127")
    port = int((await process.says(rb"speaks lines .* on 127\.0\.0\.1:(\d+)")).group(1))
    assert await deferToThread(exchange, port, [b"one\n"]) == b"one\n"
    process.signal(signal.SIGTERM)
    await process.exited


def test_what_cannot_be_is_one_line(run: Any, scripts: str) -> None:
    """A wire that is none, or cannot be spoken there, is said of ``--listen``."""
    for place, said in (
        ("linse@tcp:0", "--listen linse@tcp:0: it must be an endpoint, or WIRE@endpoint"),
        (
            "eof@ssl:0:privateKey=a:certKey=b",
            "--listen eof@ssl:0:privateKey=a:certKey=b: it must be one whose wire can be spoken there",
        ),
    ):
        done = run(f"{scripts}/twistd", "-n", "--pidfile=", "veltix", "--listen", place)
        assert done.returncode == 1
        assert done.stderr.startswith(f"twistd veltix: {said}")
        assert len(done.stderr.splitlines()) == 1


LINE_SERVER = """
import asyncio

async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("speaks lines on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


async def test_a_client_of_an_asyncio_line_server(spawn: Any) -> None:
    """A Client speaks lines with a server that has never heard of this package: messages, requests in order, the end."""
    process = spawn(sys.executable, "-c", LINE_SERVER)
    port = await process.port()
    client = Client("127.0.0.1", port, wire=Lines(replies="in-order"))
    session = await client.connect()
    replies = [client.send_and_wait(TEXT, f"h\u00e9 {number}") for number in range(100)]
    assert [(await reply).value for reply in replies] == [f"H\u00c9 {number}".replace("\u00c9", "\u00e9") for number in range(100)]
    await client.disconnect()
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.MANUAL
    process.signal(signal.SIGTERM)
    await process.exited
