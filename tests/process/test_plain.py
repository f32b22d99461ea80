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


def exchange(port: int, pieces: Iterable[bytes], *, shut: bool = True) -> bytes:
    """Send pieces as a bare program does, end the stream, and return all that comes until the other side ends, too."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
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


async def test_the_command_speaks_plain_wires(twistd: Any, run: Any, scripts: str) -> None:
    """``veltix send`` needs no type on them, waits for the next message, and sends each line of standard input; listen prints."""
    process = twistd("--listen", f"lines@tcp:0:{HERE}", "--listen", f"eof@tcp:0:{HERE}", "--app", "echo")
    lines = int((await process.says(rb"speaks lines .* on 127\.0\.0\.1:(\d+)")).group(1))
    eof = int((await process.says(rb"speaks eof .* on 127\.0\.0\.1:(\d+)")).group(1))
    veltix = f"{scripts}/veltix"

    def shell(command: str) -> Any:
        return run("sh", "-c", command)

    for command, said in (
        (f"{veltix} send 127.0.0.1:{lines} --wire lines h\u00e9 --wait", "h\u00e9\n"),
        (f"{veltix} send 127.0.0.1:{eof} --wire eof 'one message' --wait", "one message\n"),
        (f"printf 'one\\ntwo\\n' | {veltix} send 127.0.0.1:{lines} --wire lines - --wait", "one\ntwo\n"),
        (f"{veltix} send 127.0.0.1:{lines} --wire lines one --wait -o json", '{"type":"text","text":"one"}\n'),
        (f"{veltix} send 127.0.0.1:{lines} --wire lines --hex 6f6e65", ""),
    ):
        done = await deferToThread(shell, command)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    for command, status, said in (
        (f"{veltix} send 127.0.0.1:{lines} --wire lines 200 hello", 2, "the wire lines has no types: give TEXT alone"),
        (f"{veltix} send 127.0.0.1:{lines} --wire lines --hex 0a", 1, "a line has no LF"),
        (f"printf 'caf\\351' | {veltix} send 127.0.0.1:{lines} --wire lines - --wait", 1, "is text in utf-8, not b'caf\\xe9'\n"),
        (f"{veltix} send 127.0.0.1:{lines}", 2, "Missing argument 'TYPE'"),
        (f"{veltix} ping 127.0.0.1:{lines} --wire lines", 1, "the wire lines has no pings"),
        (f"{veltix} ping 127.0.0.1:{lines} --wire liness", 2, "a plain wire: lines"),
    ):
        done = await deferToThread(shell, command)
        assert done.returncode == status
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    process.signal(signal.SIGTERM)
    await process.exited


async def test_listen_prints_what_a_plain_server_says(spawn: Any, twistd: Any, scripts: str) -> None:
    """Each message is a line: its time and its text, without a type, for there is none."""
    process = twistd("--listen", f"lines@tcp:0:{HERE}", "--app", "relay")
    port = await process.port()
    listening = spawn(f"{scripts}/veltix", "listen", f"127.0.0.1:{port}", "--wire", "lines")
    await listening.says(rb"connected, it speaks lines")
    await deferToThread(exchange, port, [b"news\n"])
    await listening.says(rb"\d\d:\d\d:\d\d news\n")
    for each in (listening, process):
        each.signal(signal.SIGTERM)
        await each.exited


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


WHOLE_SERVER = """
import socket, time

with socket.create_server(("127.0.0.1", 0)) as listener:
    print("speaks eof on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
    while True:
        with listener.accept()[0] as plain:
            said = b"".join(iter(lambda: plain.recv(3), b""))
            time.sleep(0.2)
            plain.sendall(said.upper())
"""


async def test_a_client_of_a_server_that_reads_to_the_end(spawn: Any) -> None:
    """A Client's message ends its stream, and the reply is what comes to the end of the server's, each time on a connection."""
    process = spawn(sys.executable, "-c", WHOLE_SERVER)
    client = Client("127.0.0.1", await process.port(), wire="eof")
    for said in ("one\ntwo", "three" * 100_000):
        session = await client.connect()
        assert (await client.send_and_wait(TEXT, said)).value == said.upper()
        assert (await session.when_closed()).reason is DisconnectReason.COMPLETED
    process.signal(signal.SIGTERM)
    await process.exited


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
