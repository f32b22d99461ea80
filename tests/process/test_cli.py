"""The ``veltix`` command and ``python -m veltix_tx``, against a server in this process."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support.ports import free_port
from veltix_tx import MessageRegistry, MessageType, Netconduit, Server, Session
from veltix_tx._version import __version__
from veltix_tx.cli import STATUSES
from veltix_tx.wire.veltix import codec


@pytest.fixture
def veltix(spawn: Any, scripts: str) -> Any:
    """Start the ``veltix`` command."""
    return lambda *arguments, **descriptors: spawn(os.path.join(scripts, "veltix"), *arguments, **descriptors)


def later(seconds: float) -> Deferred[None]:
    """Wait."""
    from twisted.internet import reactor

    return deferLater(reactor, seconds)  # type: ignore[arg-type]


@pytest.fixture
def server(clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Any]:
    """Return an echo server on loopback, which answers 200, takes 201 without an answer, and knows no other type."""
    types = MessageRegistry()
    server = Server(port=0, host="127.0.0.1", types=types)
    server.chat = MessageType(200, "chat", registry=types)  # type: ignore[attr-defined]
    server.route(server.chat)(lambda client, message: message.content)  # type: ignore[attr-defined]
    server.route(MessageType(201, "quiet", registry=types))(lambda client, message: None)
    server.startService()
    server.where = f"127.0.0.1:{server.port}"  # type: ignore[attr-defined]
    yield server
    finish(server.stopService())


async def test_ping_tells_each_round_trip(server: Any, veltix: Any) -> None:
    """Ping prints a line for each and a summary."""
    process = veltix("ping", server.where, "--count", "3")
    assert await process.exited == 0, process.err
    lines = process.out.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == ["1", "2", "3", "3 pings"]
    assert all(float(line.split()[1]) > 0 for line in lines[:3])
    assert process.err == b""
    process = veltix("ping", server.where, "--count", "3", "-o", "json")
    assert await process.exited == 0, process.err
    shown = json.loads(process.out)
    assert len(shown["milliseconds"]) == 3
    assert shown["least"] == min(shown["milliseconds"])


@pytest.mark.parametrize("wire", ["1.6.3", "1.6.10", "3.3.0"])
async def test_ping_pinned_to_a_release(wire: str, server: Any, veltix: Any) -> None:
    """A release may be given: at a port for all of them the command waits for the hello that is for it, as real clients do."""
    process = veltix("ping", server.where, "--count", "1", "--wire", wire)
    assert await process.exited == 0, process.err
    assert process.out.startswith(b"1: ")


async def test_a_server_that_asks_for_a_password_gets_it(
    veltix: Any, tmp_path: Path, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--password-file, or VELTIX_PASSWORD, holds the password for a netconduit server; a wrong one, or none, is one line."""
    server = Server(port=0, host="127.0.0.1", types=MessageRegistry(), wire=Netconduit("secret"))
    server.startService()
    where = f"127.0.0.1:{server.port}"
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("wrong\n")

    async def ping(*options: str) -> tuple[int, str]:
        process = veltix("ping", where, "--count", "1", *options)
        return await process.exited, process.err.decode().splitlines()[-1] if process.err else process.out.decode()

    over = ("--wire", "netconduit")
    try:
        status, said = await ping(*over, "--password-file", "right")
        assert (status, said[:3]) == (0, "1: ")
        assert await ping(*over, "--password-file", "wrong") == (
            1,
            f"veltix: {where}: the server refused the password: 'Invalid password'",
        )
        status, said = await ping(*over)
        assert (status, said) == (
            2,
            "Error: --password-file: a server of netconduit asks for one (VELTIX_PASSWORD can hold it, too)",
        )
        status, said = await ping(*over, "--password-file", "absent")
        assert status == 2
        assert "--password-file absent: it must be a file" in said
        status, said = await ping("--password-file", "right")
        assert (status, said) == (2, "Error: --password-file: a server of wire auto asks for none")
        monkeypatch.setenv("VELTIX_PASSWORD", "secret")
        assert (await ping(*over))[0] == 0
    finally:
        await server.stopService()


async def test_send_waits_for_the_reply_and_escapes_it(server: Any, veltix: Any) -> None:
    """Send --wait prints the reply; control characters cannot reach the terminal."""
    process = veltix("send", "--wait", server.where, "200", "h\u00e9llo \x1b[31mred\x07")
    assert await process.exited == 0, process.err
    assert process.out.decode() == "h\u00e9llo \\x1b[31mred\\x07\n"


async def test_send_without_waiting_delivers(server: Any, veltix: Any) -> None:
    """Send delivers the message before the command ends, and prints nothing."""
    arrived: Deferred[bytes] = Deferred()
    server.router.unregister_route(server.chat)
    server.route(server.chat)(lambda client, message: arrived.callback(message.content))
    process = veltix("send", server.where, "200", "x" * 50_000)
    assert await process.exited == 0, process.err
    assert await arrived == b"x" * 50_000
    assert process.out + process.err == b""


CONTENT = bytes(range(256)) * 300


@pytest.fixture
def received(server: Any) -> Deferred[bytes]:
    """Return a Deferred of the next content that the server gets; it answers with its size."""
    here: Deferred[bytes] = Deferred()

    def handle(client: Any, message: Any) -> bytes:
        here.callback(message.content)
        return b"%d bytes" % len(message.content)

    server.router.unregister_route(server.chat)
    server.route(server.chat)(handle)
    return here


@pytest.mark.parametrize(
    ("arguments", "typed", "content"),
    [
        (("-",), CONTENT, CONTENT),
        (("-",), b"", b""),
        (("--file", "-"), CONTENT, CONTENT),
        (("--file", "content.bin"), None, CONTENT),
        (("--hex", "00 fF0a"), None, b"\x00\xff\x0a"),
        (("--hex", ""), None, b""),
        (("--", "-1"), None, b"-1"),
        ((os.fsdecode(b"\xff\xfe"),), None, b"\xff\xfe"),
    ],
    ids=["stdin", "empty stdin", "file -", "file", "hex", "empty hex", "dash", "no utf-8"],
)
async def test_send_takes_content_from_where_it_is_told(
    arguments: tuple[str, ...], typed: bytes | None, content: bytes, received: Any, server: Any, veltix: Any, tmp_path: Path
) -> None:
    """The content is the argument, all of standard input, a file's bytes, or what hexadecimal digits say: byte by byte."""
    (tmp_path / "content.bin").write_bytes(CONTENT)
    process = veltix("send", "--wait", server.where, "200", *arguments)
    if typed is not None:
        process.transport.write(typed)
        process.transport.closeStdin()
    assert await process.exited == 0, process.err
    assert await received == content
    assert process.out == b"%d bytes\n" % len(content)


async def test_more_than_a_message_can_have_is_not_read(server: Any, veltix: Any, tmp_path: Path) -> None:
    """A file or standard input without end is given up at the limit of a message, with one line and status 1."""
    process = veltix("send", server.where, "200", "--file", "/dev/zero")
    assert await process.exited == 1
    assert process.err == b"veltix: /dev/zero has more than the 10485760 bytes that a message can have\n"


async def test_a_server_may_be_a_unix_socket(server: Any, veltix: Any, tmp_path: Path) -> None:
    """unix:PATH is a server as HOST:PORT is, for every command; a colon in it needs no care."""
    await server.stopService()
    server.configure(endpoints=(f"unix:{tmp_path / 'a'}\\:b",))
    server.startService()
    process = veltix("send", "--wait", "unix:a:b", "200", "hello")
    assert (await process.exited, process.out) == (0, b"hello\n"), process.err
    process = veltix("ping", "-c", "1", f"unix:{tmp_path / 'a:b'}")
    assert await process.exited == 0, process.err
    process = veltix("listen", "unix:a:b")
    await process.says(rb"veltix: unix:a:b: connected")
    server.broadcast(server.chat, b"one")
    await process.says(rb" 200 one\n")


async def test_listen_prints_what_comes(server: Any, veltix: Any) -> None:
    """Listen prints time, type and escaped content of each message until it is interrupted; with -o json a map on a line."""
    arrived = [Deferred[Session](), Deferred[Session]()]
    waiting = iter(arrived)
    server.set_callback("on_connect", lambda client: next(waiting).callback(client))
    processes = [veltix("listen", server.where, *options) for options in ((), ("-o", "json"))]
    for each in arrived:
        await (await each).ping()
    server.broadcast(server.chat, b"one\n\xfftwo\x1b")
    server.broadcast(server.chat, b"three")
    found = await processes[0].says(rb"\d\d:\d\d:\d\d 200 (.*)\n")
    assert found.group(1) == rb"one\n\xfftwo\x1b"
    await processes[1].says(rb"three.*\n")
    shown = [json.loads(line) for line in processes[1].out.splitlines()]
    assert [[each["type"], each.get("text", each.get("hex"))] for each in shown] == [[200, "6f6e650aff74776f1b"], [200, "three"]]


@pytest.mark.parametrize(
    ("where", "options", "said"),
    [
        ("127.0.0.1:{free}", (), "refused"),
        ("a..b:8080", (), "a..b"),
        ("127.0.0.1:{server}", ("--tls",), "does not speak TLS"),
    ],
)
async def test_listen_without_a_connection_ends(where: str, options: tuple[str, ...], said: str, server: Any, veltix: Any) -> None:
    """Listen, without --retry, ends with one line and status 1 where it cannot connect."""
    process = veltix("listen", where.format(free=free_port(), server=server.port), *options)
    assert await process.exited == 1
    (line,) = process.err.decode().splitlines()
    assert line.startswith("veltix: ")
    assert said in line
    assert process.out == b""


async def test_listen_ends_with_its_connection(server: Any, veltix: Any) -> None:
    """Listen tells on standard error that it is connected, and ends with a line and status 1 when the server leaves."""
    process = veltix("listen", server.where)
    await process.says(rb"connected, it speaks Veltix 2\.0\.0\n")
    await server.stopService()
    assert await process.exited == 1
    connected, lost = process.err.decode().splitlines()
    assert (connected[: len("veltix: 127")], process.out) == ("veltix: 127", b"")
    assert lost == f"veltix: {server.where}: the peer closed the connection"


async def test_listen_with_retry_tells_of_each_try(server: Any, veltix: Any) -> None:
    """With --retry each failed try is a line, and so are the connection, its loss and the next one; messages are shown again."""
    port = server.port
    await server.stopService()
    process = veltix("listen", "--retry", server.where)
    await process.says(rb"(veltix: 127\.0\.0\.1:\d+: .*refused.*; trying again\n){2}")
    for _ in range(2):
        process.err = b""
        server.configure(port=port)
        server.startService()
        await process.says(rb"connected")
        server.broadcast(server.chat, b"again")
        await process.says(rb"again\n")
        process.out = b""
        await server.stopService()
        await process.says(rb"the peer closed the connection; trying again\n")
        await process.says(rb"refused.*; trying again\n")
    assert all(line.startswith(f"veltix: {server.where}: ") for line in process.err.decode().splitlines())


# Signals.

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("number", STATUS)
async def test_an_interrupted_ping_sums_up(number: int, server: Any, veltix: Any) -> None:
    """Ctrl-C in ping is followed by the summary of what there was; the status says that it was interrupted."""
    process = veltix("ping", server.where, "--count", "1000000")
    await process.says(rb"\n3: ")
    process.signal(number)
    assert await process.exited == STATUS[number]
    *lines, summary = process.out.decode().splitlines()
    assert summary.startswith(f"{len(lines)} pings: ")
    assert process.err == b""


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize(
    "arguments",
    [("send", "{server}", "200", "x", "--wait"), ("listen", "{server}"), ("ping", "{silent}"), ("listen", "--retry", "{free}")],
    ids=" ".join,
)
async def test_an_interrupted_command_says_nothing(arguments: tuple[str, ...], number: int, server: Any, veltix: Any) -> None:
    """Ctrl-C while a command waits for a reply, a message, a handshake or the next try ends it at once; the status says so."""
    here: Deferred[None] = Deferred()
    server.router.unregister_route(server.chat)
    server.route(server.chat)(lambda client, message: here.callback(None))
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as links:
        silent.settimeout(10)
        names = {"server": server.where, "free": f"127.0.0.1:{free_port()}", "silent": f"127.0.0.1:{silent.getsockname()[1]}"}
        process = veltix(*(word.format(**names) for word in arguments))
        if "listen" in arguments:
            await process.says(rb"connected|trying again")
        elif "send" in arguments:
            await here
        else:
            links.enter_context((await deferToThread(silent.accept))[0])
        process.signal(number)
        assert await process.exited == STATUS[number], process.err
    assert process.out == b""
    assert [line for line in process.err.splitlines() if not line.startswith(b"veltix: 127.")] == []
    assert b"closed" not in process.err


async def test_a_second_signal_ends_a_command_that_is_stuck(server: Any, spawn: Any, scripts: str) -> None:
    """A command that cannot go on, since nobody reads what it prints, is ended by the second Ctrl-C."""
    reads, writes = os.pipe()
    # Without a buffer Python drops what a write had left when a signal came, and the command would go on.
    process = spawn("/usr/bin/env", "PYTHONUNBUFFERED=", os.path.join(scripts, "veltix"), "listen", server.where, out=writes)
    os.close(writes)
    await process.says(rb"connected")
    server.broadcast(server.chat, b"x" * 1_000_000)
    while fcntl.ioctl(reads, termios.FIONREAD, bytes(4)) != struct.pack("i", fcntl.fcntl(reads, fcntl.F_GETPIPE_SZ)):
        await later(0.02)  # until the pipe is full
    while not process.exited.called:  # two that come together are one
        process.signal(signal.SIGINT)
        await later(0.1)
    assert await process.exited == -signal.SIGINT
    os.close(reads)


async def test_an_interrupted_benchmark_shows_what_it_has(spawn: Any, scripts: str) -> None:
    """Ctrl-C in a benchmark is followed by what has been measured; the status says that it was interrupted."""
    options = ("--only", "memory", "--scale", "0.01", "--rounds", "1000")
    process = spawn(os.path.join(scripts, "veltix"), "bench", *options)
    await process.says(rb"\[3/1000, ")
    process.signal(signal.SIGINT)
    assert await process.exited == 130
    assert process.out.startswith(b"interrupted; until then:\n")
    assert b"memory" in process.out
    assert b"Traceback" not in process.err


# Output that cannot be written.

PRINTING = [
    "veltix ping {server} --count 100000",
    "veltix listen {server}",
    "veltix --help",
    "veltix --version",
    "veltix bench --only memory --scale 0.01",
    "python -m veltix_tx.benchmark --help",
    "twistd veltix --list-plugins",
]
TELLING = ["veltix ping {free}", "veltix listen {server}", "veltix listen --retry {free}", "veltix fly", "veltix bench --fly"]


@pytest.fixture
def start(server: Any, spawn: Any, scripts: str) -> Any:
    """Start a command line."""

    def start(line: str, **descriptors: int) -> Any:
        name, *words = line.format(server=server.where, free=f"127.0.0.1:{free_port()}").split()
        return spawn(os.path.join(scripts, name), *words, **descriptors)

    return start


@pytest.fixture
def unread() -> Iterator[int]:
    """Return a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    yield writes
    os.close(writes)


@pytest.fixture
def full() -> Iterator[int]:
    """Return a file on a disk that is full."""
    with open("/dev/full", "wb") as file:
        yield file.fileno()


@pytest.mark.parametrize("line", PRINTING)
async def test_nobody_reads_any_more(line: str, start: Any, unread: int) -> None:
    """A command whose output is a pipe that nobody reads ends by SIGPIPE, as Unix tools do, and does not speak of it."""
    process = start(line, out=unread)
    assert await process.exited == -signal.SIGPIPE, process.err
    assert [said for said in process.err.splitlines() if b": connected" not in said and not said.startswith(b"[1/1")] == []


@pytest.mark.parametrize("line", TELLING)
async def test_nobody_reads_its_errors(line: str, start: Any, unread: int) -> None:
    """The same is so of standard error."""
    process = start(line, err=unread)
    assert (await process.exited, process.out) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("line", PRINTING)
async def test_a_full_disk_is_one_line(line: str, start: Any, full: int, server: Any) -> None:
    """A command whose output cannot be written ends with one line that says so, and status 1."""
    process = start(line, out=full)
    if "listen" in line:
        await process.says(rb"connected")
        server.broadcast(server.chat, b"one")
    assert await process.exited == 1
    (said,) = [said for said in process.err.splitlines() if b": connected" not in said and not said.startswith(b"[1/1")]
    assert said.endswith(b": cannot write to standard output: No space left on device")


@pytest.mark.parametrize("line", TELLING)
async def test_a_full_disk_for_errors_is_a_status(line: str, start: Any, full: int) -> None:
    """A command that cannot write its errors ends with status 1."""
    process = start(line, err=full)
    assert (await process.exited, process.out) == (1, b"")


@pytest.mark.parametrize(("name", "status"), [("unread", -signal.SIGPIPE), ("full", 1)])
async def test_an_ascii_terminal_is_no_other_case(name: str, status: int, start: Any, request: Any, monkeypatch: Any) -> None:
    """The same is so where output is ASCII, and click writes around the text stream."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = start("veltix ping {server} --count 100000", out=request.getfixturevalue(name))
    assert await process.exited == status
    assert process.err.splitlines() == [b"veltix: cannot write to standard output: No space left on device"] * (status == 1)


async def test_listen_ends_when_its_reader_has(server: Any, veltix: Any) -> None:
    """``veltix listen | head -1`` ends after the line, though no other message comes."""
    reads, writes = os.pipe()
    process = veltix("listen", server.where, out=writes)
    os.close(writes)
    await process.says(rb"connected")
    server.broadcast(server.chat, b"one")
    with os.fdopen(reads, "rb") as head:
        assert (await deferToThread(head.readline)).endswith(b" 200 one\n")
    assert await process.exited == -signal.SIGPIPE
    assert len(process.err.splitlines()) == 1


async def test_send_needs_no_reader(start: Any, unread: int) -> None:
    """A command that prints nothing does its work where nobody reads."""
    process = start("veltix send {server} 200 x", out=unread)
    assert await process.exited == 0, process.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ping", "{free}"), "refused"),
        (("send", "{free}", "200", "x"), "refused"),
        (("ping", "{server}", "--wire", "1.9.0"), "this side accepts 1.9.0"),
        (("ping", "unix:nowhere.sock"), "unix:nowhere.sock: "),
        (("ping", "a..b:8080"), "a..b"),
        (("ping", "[fe80::1%nosuch]:8080"), "no network interface 'nosuch'"),
        (("send", "{server}", "201", "x", "--wait", "--timeout", "0.2"), "no reply within 0.2 s"),
        (("send", "{server}", "202", "x", "--wait"), "the peer could not answer: 'message type 202 is not known' (unknown_type)"),
    ],
)
async def test_an_error_is_one_line_and_status_1(arguments: tuple[str, ...], said: str, server: Any, veltix: Any) -> None:
    """Whatever goes wrong with the server is one line on stderr and status 1, without a traceback."""
    words = [word.format(free=f"127.0.0.1:{free_port()}", server=server.where) for word in arguments]
    process = veltix(*words)
    status = await process.exited
    assert b"Traceback" not in process.err, process.err.decode()
    (line,) = process.err.decode().splitlines()
    assert line.startswith("veltix: ")
    assert said in line
    assert status == 1
    assert process.out == b""


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a server that accepts, in the system's queue, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def full_queue() -> Iterator[socket.socket]:
    """Return a listener that answers no connection: its queue is full."""
    with socket.socket() as listener, ExitStack() as queued:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = queued.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener


@pytest.fixture
def unreachable(full_queue: socket.socket) -> int:
    """Return its port."""
    port: int = full_queue.getsockname()[1]
    return port


def unanswered(port: int) -> int:
    """Return how many connections to a port have not been answered."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(words[2].endswith(f":{port:04X}") and words[3] == "02" for words in lines)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ping 127.0.0.1:{silent}", "the handshake was not complete after 1 s"),
        ("ping --tls 127.0.0.1:{silent}", "the handshake was not complete after 1 s: TLS"),
        ("send 127.0.0.1:{silent} 200 x", "the handshake was not complete after 1 s"),
        ("listen 127.0.0.1:{silent}", "the handshake was not complete after 1 s"),
        ("listen --retry 127.0.0.1:{silent}", "the handshake was not complete after 1 s"),
        ("ping 127.0.0.1:{unreachable}", "no connection within 1 s"),
        ("listen 127.0.0.1:{unreachable}", "no connection within 1 s"),
    ],
)
async def test_the_timeout_is_for_the_connection_too(line: str, said: str, silent: int, unreachable: int, veltix: Any) -> None:
    """--timeout bounds the connection and the handshake, and the error names it."""
    process = veltix(*line.format(silent=silent, unreachable=unreachable).split(), "--timeout", "1")
    await process.says(rb"veltix: .*\n")
    told = time.monotonic()
    assert process.err.decode().startswith(f"veltix: 127.0.0.1:{silent if 'silent' in line else unreachable}: {said}")
    if "--retry" not in line:
        assert await process.exited == 1
        assert len(process.err.splitlines()) == 1
        assert time.monotonic() - told < 4


async def test_connection_and_handshake_have_one_timeout(full_queue: socket.socket, unreachable: int, veltix: Any) -> None:
    """A handshake that begins late, since the connection took long, has what is left of --timeout."""
    before = unanswered(unreachable)
    process = veltix("ping", f"127.0.0.1:{unreachable}", "--timeout", "2.5")
    while unanswered(unreachable) == before:
        await later(0.02)
    full_queue.listen(16)  # the system tries the connection again, after a second
    assert await process.exited == 1
    assert process.err.decode().endswith("no connection with a complete handshake within 2.5 s\n")


async def test_a_server_that_hangs_is_not_waited_for(spawn: Any, scripts: str, tmp_path: Path) -> None:
    """An answer that does not come in time is told as ever where the server cannot even close the connection."""
    (tmp_path / "stuck.py").write_text(
        "import time\nfrom veltix_tx import MessageType, Server\n"
        "server = Server(port=0, host='127.0.0.1')\n"
        "server.route(MessageType(200, 'chat'))(lambda client, message: time.sleep(5))\n"
    )
    twistd = spawn(os.path.join(scripts, "twistd"), "-n", "--pidfile=", "veltix", "--app", "stuck:server")
    where = f"127.0.0.1:{await twistd.port()}"
    process = spawn(os.path.join(scripts, "veltix"), "send", "--wait", where, "200", "x", "--timeout", "0.5")
    assert await process.exited == 1
    assert process.err.decode() == f"veltix: {where}: no reply within 0.5 s\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ping", "SERVER"),
        ("ping nowhere", "'nowhere' is not HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, nor unix:PATH"),
        ("ping 127.0.0.1:0", "'127.0.0.1:0' is not HOST:PORT"),
        ("ping localhost:65536", "'localhost:65536' is not HOST:PORT"),
        ("ping http://localhost:1/", "'http://localhost:1/' is not HOST:PORT"),
        ("ping [localhost]:1", "'[localhost]:1' is not HOST:PORT"),
        ("ping ::1:8080", "an IPv6 address needs brackets: [::1]:8080"),
        ("ping fe80::1%lo:99", "an IPv6 address needs brackets: [fe80::1%lo]:99"),
        ("ping ::1", "an IPv6 address needs brackets: [::1]:8080"),
        ("ping unix:", "unix needs a path: unix:veltix.sock"),
        ("ping 127.0.0.1:1 --timeout 0", "--timeout"),
        ("ping 127.0.0.1:1 --wire 9.9", "'9.9' is not 'auto' or a release: 1.0, 1.2.0"),
        ("send 127.0.0.1:1 5 x", "200<=x<=65535"),
        ("send 127.0.0.1:1 200", "Give one of TEXT, - (standard input), --file and --hex"),
        ("send 127.0.0.1:1 200 x --hex 00", "Give one of TEXT, - (standard input), --file and --hex"),
        ("send 127.0.0.1:1 200 --hex 0x", "--hex 0x: it must be hexadecimal digits in pairs"),
        ("send 127.0.0.1:1 200 --file absent.bin", "absent.bin"),
        ("send 127.0.0.1:1 200 --file .", "directory"),
        ("call 127.0.0.1:1 add -1 2", "-1: it looks like an option: give values behind --"),
        ("fly", "fly"),
    ],
)
def test_wrong_usage_is_told(line: str, said: str, command: Any) -> None:
    """Wrong arguments, and files that cannot be used, end with status 2, a line on usage and one on what is wrong."""
    ended = command(*line.split())
    assert ended.exit_code == 2
    assert ended.output.startswith("Usage: veltix ")
    assert said in ended.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fly", "fly"),
        ("ping 127.0.0.1:1 --tls-ca absent.pem", "--tls-ca absent.pem: it must be a file that can be read"),
        ("ping 127.0.0.1:1 --tls-key absent.pem", "--tls-cert: it must be given where --tls-key is"),
        ("ping 127.0.0.1:1 --tls-name \u00fc..de", "--tls-name \u00fc..de: it must be a host name or an address"),
        ("ping unix:s --tls", "--tls-name: it must be given where unix:PATH is"),
    ],
)
def test_wrong_usage_ends_the_process(line: str, said: str, run: Any, scripts: str) -> None:
    """It is told on standard error, and status 2 is that of the process, also where only the client finds it."""
    ended = run(os.path.join(scripts, "veltix"), *line.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Usage: veltix ")
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [[], ["ping"], ["send"], ["listen"]])
def test_the_help_says_what_a_status_means(words: list[str], command: Any) -> None:
    """--help has the table of exit statuses."""
    shown = command(*words, "--help").output
    for status, meaning in STATUSES.items():
        assert f"  {status:<3}  {meaning}\n" in shown


@pytest.mark.parametrize("command", [["veltix"], [sys.executable, "-m", "veltix_tx"]])
def test_both_commands_tell_their_version(command: list[str], run: Any, scripts: str) -> None:
    """``veltix --version`` and ``python -m veltix_tx --version`` tell the package's version and the codec in use."""
    ended = run(*(os.path.join(scripts, "veltix") if word == "veltix" else word for word in command), "--version")
    assert ended.returncode == 0
    assert __version__ in ended.stdout
    assert f"({codec.description()})" in ended.stdout
