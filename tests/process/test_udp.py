"""UDP between processes: bare sockets at ``twistd veltix --listen lines@udp:…``, and the ``veltix`` command."""

from __future__ import annotations

import signal
import socket
from typing import Any

import pytest
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from ..support.ports import free_port

HERE = "interface=127.0.0.1"


def ask(port: int, *datagrams: bytes, host: str = "127.0.0.1") -> list[bytes]:
    """Send datagrams as a bare program does, each after the answer to the one before; return the answers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as plain:
        plain.settimeout(10)
        plain.connect((host, port))
        answers = []
        for datagram in datagrams:
            plain.send(datagram)
            answers.append(plain.recv(65_536))
        return answers


@pytest.mark.parametrize(
    ("wire", "datagrams"),
    [
        ("lines", [b"one\n", b"tw\xc3\xb6\n"]),
        ("fixed-8", [b"one     "]),
        ("prefixed-2", [b"\0\x03one"]),
        ("delimited", [b"\x02one\x03"]),
        ("raw", [b"one\ntwo", b"x" * 65_507]),
    ],
)
async def test_a_bare_socket_is_echoed(wire: str, datagrams: list[bytes], twistd: Any) -> None:
    """``--listen WIRE@udp:0`` says what it speaks, and answers a program that knows of nothing but sockets; SIGTERM ends it."""
    process = twistd("--listen", f"{wire}@udp:0:{HERE}")
    port = await process.port()
    assert f"speaks {wire} (utf-8) over UDP on".encode() in process.out
    assert await deferToThread(ask, port, *datagrams) == datagrams
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_one_process_speaks_tcp_and_udp_on_one_port(twistd: Any) -> None:
    """The two have ports of their own, which may have the same number; IPv6 as well."""
    process = twistd("--listen", f"lines@tcp:0:{HERE}", "--listen", r"lines@udp:0:interface=\:\:1")
    await process.says(rb"speaks lines \(utf-8\) on 127")
    port = int((await process.says(rb"speaks lines \(utf-8\) over UDP on \[::1\]:(\d+)")).group(1))
    assert await deferToThread(ask, port, b"one\n", host="::1") == [b"one\n"]
    process.signal(signal.SIGTERM)
    await process.exited


def test_what_cannot_be_is_one_line(run: Any, scripts: str, tmp_path: Any) -> None:
    """A wire with a handshake, one of streams, no port, tokens that no datagram carries: said of ``--listen``."""
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("")
    for options, said in (
        (["udp:7001"], "--listen udp:7001: it must be one whose wire can be spoken there"),
        (["eof@udp:7001"], "--listen eof@udp:7001: it must be one whose wire can be spoken there"),
        (["lines@udp:"], "--listen lines@udp:: it must be a Twisted server endpoint (udp needs a port: udp:8080)"),
        (["lines@udp:0", "--tokens", str(tokens)], "--listen lines@udp:0: it must be one over TCP where there is authenticate"),
    ):
        done = run(f"{scripts}/twistd", "-n", "--pidfile=", "veltix", "--listen", *options)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert done.stderr.startswith(f"twistd veltix: {said}")


async def test_the_command_speaks_udp(twistd: Any, run: Any, scripts: str) -> None:
    """``veltix send udp:HOST:PORT`` sends each line of standard input as a datagram, and prints what comes, over IPv6, too."""
    process = twistd("--listen", f"lines@udp:0:{HERE}", "--listen", r"lines@udp:0:interface=\:\:1", "--app", "echo")
    port = int((await process.says(rb"over UDP on 127\.0\.0\.1:(\d+)")).group(1))
    six = int((await process.says(rb"over UDP on \[::1\]:(\d+)")).group(1))
    veltix = f"{scripts}/veltix"

    def shell(command: str) -> Any:
        return run("sh", "-c", command)

    for command, said in (
        (f"{veltix} send udp:localhost:{port} --wire lines h\u00e9 --wait", "h\u00e9\n"),
        (f"{veltix} send 'udp:[::1]:{six}' --wire lines one --wait", "one\n"),
        (f"printf 'one\\ntwo\\n' | {veltix} send udp:127.0.0.1:{port} --wire lines - --wait", "one\ntwo\n"),
        (f"{veltix} send udp:127.0.0.1:{port} --wire lines one", ""),
    ):
        done = await deferToThread(shell, command)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    process.signal(signal.SIGTERM)
    await process.exited


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("send udp:127.0.0.1:{port} --wire lines one --wait", 1, "Connection refused"),
        ("send udp:127.0.0.1:{port} 200 hello", 2, "--wire auto: it must be one that can be spoken in datagrams"),
        ("send udp:127.0.0.1:{port} --wire eof hello", 2, "--wire eof: it must be one for datagrams"),
        ("send udp:127.0.0.1:{port} --wire lines --tls hello", 2, "there is no TLS over UDP"),
        ("send udp:127.0.0.1 --wire lines hello", 2, "is not HOST:PORT"),
        ("send udp:127.0.0.1:{port} --wire raw --file big", 1, "70000 bytes"),
        ("ping udp:127.0.0.1:{port} --wire lines", 1, "the wire lines has no pings"),
        ("listen 127.0.0.1:{port} --say hello", 2, "a message of the wire auto has a type"),
    ],
)
def test_what_the_command_cannot_do_is_told(command: str, status: int, said: str, run: Any, scripts: str, tmp_path: Any) -> None:
    """Nobody there, a wire or TLS that is none for datagrams, a message that no datagram carries: one line, and the status."""
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    done = run(f"{scripts}/veltix", *command.format(port=free_port()).split())
    assert done.returncode == status, done.stderr
    assert said in done.stderr


async def test_listen_prints_what_a_server_of_datagrams_says(spawn: Any, twistd: Any, scripts: str) -> None:
    """The server hears of it by what it says first; then each message is a line."""
    process = twistd("--listen", f"lines@udp:0:{HERE}", "--app", "relay")
    port = await process.port()
    listening = spawn(f"{scripts}/veltix", "listen", f"udp:127.0.0.1:{port}", "--wire", "lines", "--say", "long enough")
    await listening.says(rb"connected, it speaks lines")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.connect(("127.0.0.1", port))
        heard = listening.says(rb"\d\d:\d\d:\d\d news\n")
        telling = LoopingCall(plain.send, b"news\n")  # until it listens
        telling.start(0.1)
        await heard
        telling.stop()
    for each in (listening, process):
        each.signal(signal.SIGTERM)
        await each.exited
