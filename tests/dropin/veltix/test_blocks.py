"""Every program of Veltix's documents, and every part of one, with only its import lines changed.

A block runs as a script; what it prints and does must be what the words around it promise. Where the real
release does that too, the same test runs with the real one.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from tests.support.dropin.stage import LOG_LINE, OURS, REAL, SCRIPTS, Stage

both = pytest.mark.parametrize("package", [OURS, REAL])
"""The real 1.6.3 can run it as well. Tests without this: it cannot, for the reason they tell."""

START = r"(^|\.\.\.)"
"""Of a line, which may have a prompt before it."""


def test_every_block_is_run() -> None:
    """The tests here name every file in ``blocks/``, and name one only to run it."""
    named = re.findall(r'"(0\d\d_\w+)"', Path(__file__).read_text())
    assert {path.stem for path in (SCRIPTS / "blocks").iterdir()} == set(named)


# The first README (000). Its API is older than the real one's: bind, send_to, send_all, Client.send.


async def test_000_first_server_and_client(stage: Stage) -> None:
    """The server prints the client's message, the client its echo; Enter ends each."""
    server = stage.block("000_first_server")
    await server.says("Server running on port 8080...")
    client = stage.block("000_first_client")
    await server.says(START + r"\[\('127\.0\.0\.1', \d+\)\] Hello, Server!$")
    await client.says(START + "Server: Message received!$")
    assert "Press Enter to disconnect..." in await client.finish()
    assert "Press Enter to stop..." in await server.finish()


async def test_000_message_types(stage: Stage) -> None:
    """Types have a code, a name and a description."""
    block = stage.block("000_message_types", stay=True)
    await block.done
    types = await block.do("[(each.code, each.name, each.description) for each in (CHAT, FILE_TRANSFER, HEARTBEAT)]")
    assert types == [(200, "chat", "Chat messages"), (201, "file", "File data"), (202, "ping", "Keep-alive ping")]
    await stage.finish()


CONNECTED = """
from veltix import Client, ClientConfig
client = Client(ClientConfig(port=8080))
client.connect()
"""


async def test_000_request(stage: Stage) -> None:
    """A request is compiled to bytes, which the client sends."""
    server = stage.peer("server")
    await server.listening
    block = stage.block("000_request", given=CONNECTED, stay=True)
    await server.says("^received 200 Hello, world!$")
    await block.done
    assert await block.do("type(data) is bytes and data.endswith(msg.content)")
    await stage.finish()


async def test_000_response(stage: Stage) -> None:
    """A response tells its type, content, when it was sent, its content's hash and its latency."""
    server = stage.peer("server")
    await server.listening
    given = (
        "from veltix import Client, ClientConfig, MessageType\nMessageType(200, 'chat')\nclient = Client(ClientConfig(port=8080))"
    )
    block = stage.block("000_response", given=given, stay=True)
    await block.done
    await block.do("client.bind('on_recv', on_message); client.connect()")
    await server.until("server.clients")
    sent = int(1000 * await server.do("import time; time.time()"))
    await server.do("send(200, b'what is in it')")
    await block.says("^Type: chat\nContent: what is in it$")
    assert abs(int((await block.says(r"^Timestamp: (\d+)$"))[1]) - sent) < 5000
    hashed = (await block.says(r"^Hash: ([0-9a-f]+)$"))[1]
    assert bytes.fromhex(hashed) == zlib.crc32(b"what is in it").to_bytes(4, "big")
    assert 0 <= float((await block.says(r"^Latency: ([\d.]+)ms$"))[1]) < 5000
    await stage.finish()


async def test_000_server_api(stage: Stage) -> None:
    """A client gets what is sent to it and what is sent to all; then it is disconnected, and with it the server stops."""
    block = stage.block("000_server_api", pause="server.send_to(client, data)")
    await block.pauses()
    peers = [stage.peer("client") for _ in range(2)]
    for peer in peers:
        await peer.says("^connected True$")
    await block.until("len(server.clients) == 2")
    await block.do("from veltix import MessageType, Request; data = Request(MessageType(200), b'data').compile()")
    assert await block.do("server.config.max_clients") == 100
    assert await block.do("server.config.buffer_size") == 4096
    await block.do("client = server.clients[0]")
    await block.resume()
    for peer in peers:
        await peer.says("^disconnected SERVER_CLOSED$")
    assert sorted(peer.said.count("received 200 data\n") for peer in peers) == [1, 2]
    assert "ERROR" not in block.log
    await block.ends()
    await stage.finish()


async def test_000_client_api(stage: Stage) -> None:
    """The client connects, sends its bytes and disconnects; callbacks of this age get no state."""
    server = stage.peer("server")
    await server.listening
    given = "from veltix import MessageType, Request\ndata = Request(MessageType(200), b'data').compile()"
    block = stage.block("000_client_api", given=given, stay=True)
    await server.says("^received 200 data$")
    await server.says("^disconnected$")
    await block.done
    assert await block.do("client.config.buffer_size, client.config.timeout") == (4096, 30.0)
    assert "ERROR" not in block.log
    await stage.finish()


async def test_000_echo_server(stage: Stage) -> None:
    """Each message comes back to its sender, and to nobody else, until Enter."""
    server = stage.block("000_echo_server")
    await server.listening
    peers = [stage.peer("client") for _ in range(2)]
    for peer in peers:
        await peer.says("^connected True$")
        await peer.do("send(200, b'echo this')")
        await peer.says("^received 200 echo this$")
    await server.finish()
    for peer in peers:
        await peer.says("^disconnected SERVER_CLOSED$")
        assert peer.said.count("received") == 1
    await stage.finish()


async def test_000_simple_chat(stage: Stage) -> None:
    """What one client says all others hear, and the server prints."""
    server = stage.block("000_simple_chat")
    await server.says("Chat server running on port 8080...")
    talker, *others = peers = [stage.peer("client") for _ in range(3)]
    for peer in peers:
        await peer.says("^connected True$")
    await server.until("len(server.clients) == 3")
    await talker.do("send(200, b'hello all')")
    for peer in others:
        await peer.says("^received 200 hello all$")
    await server.says(START + r"\[127\.0\.0\.1\] hello all$")
    await others[0].do("send(200, b'hello back')")
    await talker.says("^received 200 hello back$")
    assert "hello all" not in talker.said
    await stage.finish()


async def test_000_file_transfer(stage: Stage) -> None:
    """The whole file has gone out although the client disconnects at once; how long it is is printed."""
    content = bytes(range(256)) * 4096
    (stage.folder / "document.pdf").write_bytes(content)
    server = stage.peer("server")
    await server.listening
    assert await stage.block("000_file_transfer").ends() == f"Sent {len(content)} bytes\n"
    await server.says(re.escape(f"received 201 {(len(content), zlib.crc32(content))}"))
    await server.says("^disconnected$")
    await stage.finish()


async def test_000_latency_monitor(stage: Stage) -> None:
    """A latency is printed every second."""
    server = stage.peer("server")
    await server.listening
    block = stage.block("000_latency_monitor")
    for _ in range(2):
        assert 0 <= float((await block.says(r"^Latency: ([\d.]+)ms$"))[1]) < 1000
    assert server.said.count("received 202 ping\n") == 2
    await block.kill()
    await server.says("^disconnected$")
    await stage.finish()


async def test_000_registry(stage: Stage) -> None:
    """A type can be registered (again), found by its code, and asked for."""
    assert await stage.block("000_registry").ends() == "custom\nType 250 is registered!\n"


@pytest.mark.parametrize("listening", [False, True])
async def test_000_error_handling(stage: Stage, listening: bool) -> None:
    """What is no message is refused by a MessageError, connected or not; no connection is an error in the log, as of 1.6.3."""
    if listening:
        await stage.peer("server").listening
    block = stage.block("000_error_handling", given="invalid_data = b'this is no message'")
    said = await block.ends()
    assert re.fullmatch(r"Invalid message: .+\n", said)
    assert ("ERROR" in block.log) is not listening
    await stage.finish()


async def test_000_multi_client_server(stage: Stage) -> None:
    """The set holds the clients that are connected, who come and go with a line each."""
    block = stage.block("000_multi_client_server", stay=True)
    await block.listening
    peers = [stage.peer("client") for _ in range(2)]
    ports = {(await block.says(r"^Client connected: \('127\.0\.0\.1', (\d+)\)$"))[1] for _ in peers}
    assert {str(each) for each in await block.do("[each.addr[1] for each in active_clients]")} == ports
    await peers[0].do("client.disconnect()")
    left = (await block.says(r"^Client disconnected: \('127\.0\.0\.1', (\d+)\)$"))[1]
    assert {str(each) for each in await block.do("[each.addr[1] for each in active_clients]")} == ports - {left}
    await stage.finish()


# The README of 1.6.3 (001), and a page of the 1.7 documentation (003) that repeats parts of it.


@both
async def test_001_quick_start(stage: Stage) -> None:
    """The echo server and client: safe to send immediately after ``connect()``; Enter ends each."""
    server = stage.block("001_quick_server")
    await server.listening
    client = stage.block("001_quick_client")
    await client.says(START + "Server: Echo: Hello Server!$")
    await server.says(START + r"\[127\.0\.0\.1\] Hello Server!$")
    assert "Press Enter to disconnect..." in await client.finish()
    assert "Press Enter to stop..." in await server.finish()


OUTPUT_FORMAT = """\
[14:23:45.123] INFO  [server.py:45] Server listening on 0.0.0.0:8080
[14:23:46.456] OK    [client.py:78] Successfully connected to server
[14:23:47.789] DEBUG [sender.py:92] Sent 156 bytes via client (request_id: a3f2...)
[14:23:48.012] WARN  [network.py:34] Connection issue: ConnectionResetError
[14:23:49.345] ERROR [request.py:89] Parse error: Hash mismatch — corrupted data
"""
"""As the README shows it: no program, but the shape of every line."""

SHAPE = re.compile(r"\[\d\d:\d\d:\d\d\.\d{3}\] ([A-Z ]{5}) \[([^\]:]+):(\d+)\] (.*)")


def plain(log: str) -> str:
    """Return the log without its colours."""
    return re.sub(r"\x1b\[\d+m", "", log)


def parse_log(log: str) -> list[tuple[str, str, str]]:
    """Return each line's level, file and text, if all lines have the shape."""
    parsed = [SHAPE.fullmatch(line) for line in plain(log).splitlines()]
    assert all(parsed), log
    return [(each[1].rstrip(), each[2], each[4]) for each in parsed if each is not None]


@both
async def test_001_logger(stage: Stage) -> None:
    """The logger prints what is of its level or above in the documented shape."""
    assert [level for level, _, _ in parse_log(OUTPUT_FORMAT)] == ["INFO", "OK", "DEBUG", "WARN", "ERROR"]
    block = stage.block("001_levels")
    await block.ends()
    assert parse_log(block.log) == [
        ("INFO", "001_levels.py", "General information"),
        ("OK", "001_levels.py", "Operation successful"),
        ("WARN", "001_levels.py", "Warning message"),
        ("ERROR", "001_levels.py", "Error occurred"),
        ("CRIT", "001_levels.py", "Critical failure"),
    ]


TERMINAL = """
from io import StringIO
from veltix import Logger, LoggerConfig, LogLevel
terminal = StringIO()
terminal.isatty = lambda: True
logger = Logger.get_instance(LoggerConfig(level=LogLevel.TRACE, stream=terminal))
"""


@both
async def test_001_logger_in_colours(stage: Stage) -> None:
    """On a terminal each level has its colour."""
    block = stage.block("001_levels", given=TERMINAL, stay=True)
    await block.done
    lines = (await block.do("terminal.getvalue()")).splitlines()
    assert all(line.endswith("\x1b[0m") for line in lines)
    assert [line.split("m[")[0] for line in lines] == [f"\x1b[{colour}" for colour in (90, 37, 36, 32, 33, 31, 41)]
    assert [level for level, _, _ in parse_log("\n".join(lines))] == ["TRACE", "DEBUG", "INFO", "OK", "WARN", "ERROR", "CRIT"]
    await stage.finish()


@both
async def test_001_log_config(stage: Stage) -> None:
    """The configured level counts, and the file gets what the console gets."""
    block = stage.block("001_log_config", stay=True)
    await block.done
    await block.do("logger.trace('too fine'); logger.debug('fine enough')")
    await block.finish()
    assert [(level, text) for level, _, text in parse_log(block.log)] == [("DEBUG", "fine enough")]
    assert plain((stage.folder / "logs" / "veltix.log").read_text()) == plain(block.log)


@both
async def test_001_log_set_level(stage: Stage) -> None:
    """The level changes at run time."""
    given = "from veltix import Logger, LogLevel\nlogger = Logger.get_instance()\nlogger.info('shown')"
    block = stage.block("001_log_set_level", given=given, stay=True)
    await block.done
    await block.do("logger.info('hidden'); logger.warning('shown too')")
    await block.finish()
    assert [(level, text) for level, _, text in parse_log(block.log)] == [("INFO", "shown"), ("WARN", "shown too")]


@both
async def test_001_request_and_response(stage: Stage) -> None:
    """The client waits for the reply of its own request and prints it with its latency."""
    server = stage.block("001_ask_server")
    await server.listening
    said = await stage.block("001_ask_client").ends()
    assert re.fullmatch(r"Response: Hello Server!\nLatency: [\d.]+ms\n", said)
    assert await server.finish() == "Press Enter to stop..."


@both
async def test_001_request_without_a_response(stage: Stage) -> None:
    """Without a reply the client prints so when the time is over."""
    await stage.peer("server").listening
    assert await stage.block("001_ask_client").ends() == "Request timed out\n"
    await stage.finish()


@both
async def test_001_ping_the_server(stage: Stage) -> None:
    """The latency is printed. The real one takes its frequent 0 ms for a failure, with that line of its own."""
    await stage.peer("server").listening
    said = await stage.block("001_ping_client").ends()
    assert re.fullmatch(r"Latency: [\d.]+ms\n" + (r"|Ping timed out\n" if stage.package == REAL else ""), said)
    await stage.finish()


async def test_001_ping_a_client(stage: Stage) -> None:
    """A client's latency is printed as soon as it is connected. The real one's ping inside ``on_connect`` never has an answer."""
    server = stage.block("001_ping_server")
    await server.listening
    client = stage.peer("client")
    await server.says(START + r"Client \('127\.0\.0\.1', \d+\) latency: [\d.]+ms$")
    await client.says("^connected True$")
    await stage.finish()


@both
async def test_001_routes_of_a_server(stage: Stage) -> None:
    """Each type has its handler, which gets the response and the client; routes have priority over ``on_recv``."""
    server = stage.block("001_routing_server", stay=True)
    await server.listening
    await server.do("server.set_callback('on_recv', lambda client, response: print('on_recv', response.content))")
    await server.do("from veltix import MessageType; MessageType(202)")
    client = stage.peer("client")
    await client.says("^connected True$")
    await client.do("send(200, b'hello')")
    await server.says(r"^\[127\.0\.0\.1\] hello$")
    await client.do("send(201, b'fine')")
    await server.says(r"^Status from 127\.0\.0\.1: fine$")
    await client.do("send(202, b'else')")
    await server.says("^on_recv b'else'$")
    assert server.said.count("on_recv") == 1
    await stage.finish()


@both
async def test_001_routes_of_a_client(stage: Stage) -> None:
    """A client routes alike; its handler may have a ``client`` that is never given."""
    server = stage.peer("server")
    await server.listening
    client = stage.block("001_routing_client", stay=True)
    await server.says("^connected$")
    await server.do("send(200, b'hello')")
    await client.says("^Server: hello$")
    await stage.finish()


LISTENING = """
from veltix import Client, ClientConfig, ClientInfo, Events, MessageType, Request, Server, ServerConfig
CHAT = MessageType(200, "chat")
server = Server(ServerConfig(port=8080))
sender = server.get_sender()
server.set_callback("on_recv", lambda client, response: print("on_recv", response.content.decode()))
server.start()
def on_chat(response, client):
    print("on_chat", response.content.decode())
"""


@both
async def test_001_routes_by_hand(stage: Stage) -> None:
    """A route begins and ends while the server runs."""
    block = stage.block("001_routes_by_hand", given=LISTENING, pause="server.request_handler.unregister", stay=True)
    await block.pauses()
    client = stage.peer("client")
    await client.says("^connected True$")
    await client.do("send(200, b'one')")
    await block.says("^on_chat one$")
    await block.resume()
    await block.done
    await client.do("send(200, b'two')")
    await block.says("^on_recv two$")
    assert await block.do("results") == [True, True]
    await stage.finish()


USER_TYPE = "from veltix import MessageType\nCHAT = MessageType(200, 'chat')\n"
"""A message whose type nobody has made never arrives."""


@both
@pytest.mark.parametrize("name", ["001_tags", "003_tags"])
async def test_tags(stage: Stage, name: str) -> None:
    """A guest is an authenticated client from its first message on; who has both tags is told of."""
    block = stage.block(name, given=USER_TYPE, stay=True)
    await block.listening
    client = stage.peer("client")
    await client.says("^connected True$")
    assert await block.until("[each.get_tag('guest') for each in server.clients if each.has_tag('guest')]") == [None]
    await client.do("send(200, b'first')")
    assert await block.until("[each.get_tag('authenticated') for each in server.clients if not each.has_tag('guest')]") == ["admin"]
    await client.do("send(200, b'second')")
    assert await block.do("server.clients[0].add_tag('admin')") is True
    await client.do("send(200, b'third')")
    await block.says(r"^Admin message from 127\.0\.0\.1$")
    await stage.finish()


@both
@pytest.mark.parametrize("name", ["001_tag_methods", "003_tag_methods"])
async def test_tag_methods(stage: Stage, name: str) -> None:
    """Each method returns what its comment says."""
    block = stage.block(name, given=LISTENING, pause='client.add_tag("authenticated")', stay=True)
    await block.pauses()
    await stage.peer("client").says("^connected True$")
    assert await block.do("client = server.clients[0]; client.add_tag('guest')") is True
    await block.resume()
    await block.done
    assert await block.do("results") == [True, True, True, False, False, "admin", True, None]
    assert await block.do("client.has_any_tags(['authenticated', 'role', 'guest'])") is False
    await stage.finish()


@pytest.mark.parametrize(
    ("package", "name", "core"),
    [
        (OURS, "001_socket_backend", "SocketCore.THREADING"),
        (REAL, "001_socket_backend", "SocketCore.THREADING"),
        (OURS, "003_socket_backend", "SocketCore.THREADING"),
        (OURS, "003_socket_backend", "SocketCore.ASYNC"),
    ],
)
async def test_socket_backends(stage: Stage, name: str, core: str) -> None:
    """A server serves, whatever its backend is called; ``ASYNC`` came with 1.7."""
    given = """
import veltix
servers = []
def Server(config):
    servers.append(veltix.Server(config))
    return servers[-1]
"""
    block = stage.block(name, given=given, stay=True)
    await block.done
    await block.do(f"next(each for each in servers if each.config.socket_core is {core}).start()")
    await block.listening
    client = stage.peer("client")
    await client.says("^connected True$")
    assert await client.do("client.ping_server(timeout=5) is not None") is True
    await stage.finish()


async def test_001_reconnect(stage: Stage) -> None:
    """Each attempt and the end are told, then new attempts are forced. ``retry(max_=)`` and the import are not in the real one.

    A connection that the server closes at once is one more attempt that failed.
    """
    server = stage.peer("server", pause="server.start()")
    await server.pauses()  # ready to listen at once: the ten attempts take five seconds
    block = stage.block("001_reconnect", retry_delay=0.5, stay=True)
    attempts = "".join(f"Retrying... attempt {each}/5\n" for each in range(1, 6))
    await block.says("Permanently disconnected")
    assert block.said.startswith(attempts + "Permanently disconnected — reason: ERROR\n")
    await block.says("^Retrying... attempt 2/10$")
    await server.resume()
    await block.until("client.is_connected")
    await server.says("^connected$")
    told = block.said
    assert told.count("Permanently") == 1
    await server.do("server.close_all()")
    await block.says(r"^Retrying\.\.\. attempt ([3-9]|10)/10$")
    await block.do("client.stop_retry()")
    await block.says("^Permanently disconnected — reason: SERVER_CLOSED$")
    await stage.finish()


async def test_001_reconnect_with_a_server(stage: Stage) -> None:
    """With a server nothing is told, and a forced attempt does no harm to what is connected."""
    server = stage.peer("server")
    await server.listening
    block = stage.block("001_reconnect", retry_delay=0.1, stay=True)
    await server.says("^connected$")
    await block.done
    await block.until("client.is_connected")
    assert await block.do("client.ping_server(timeout=5) is not None") is True
    assert block.said == ""
    await stage.finish()


BOTH_ENDS = "from veltix import Client, Server\n"


@both
async def test_001_performance_mode(stage: Stage) -> None:
    """Both ends take the mode, connect, and notice fast that the other has gone."""
    block = stage.block("001_performance_mode", given=BOTH_ENDS, stay=True)
    await block.done
    assert await block.do("[each.config.performance_mode.name for each in (server, client)]") == ["HIGH"] * 2
    await block.do("server.start()")
    await block.listening
    assert await block.do("client.connect()") is True
    await block.until("len(server.clients) == 1")
    assert await block.do("client.disconnect()") is True
    await block.until("not server.clients")
    await stage.finish()


@both
@pytest.mark.parametrize("name", ["001_buffer_size", "003_buffer_size"])
async def test_buffer_size(stage: Stage, name: str) -> None:
    """The sizes are those of the comment; a message of many buffers arrives."""
    block = stage.block(name, given=BOTH_ENDS + USER_TYPE, stay=True)
    await block.done
    assert await block.do("[int(getattr(BufferSize, each)) for each in ('SMALL', 'MEDIUM', 'LARGE', 'HUGE')]") == [
        *(1 << 10, 1 << 13, 1 << 16, 1 << 20),
    ]
    assert await block.do("int(server.config.buffer_size), int(ServerConfig().buffer_size)") == (1 << 16, 1 << 10)
    await block.do("server.set_callback('on_recv', lambda client, response: print('received', len(response.content)))")
    await block.do("server.start()")
    await block.listening
    client = stage.peer("client")
    await client.says("^connected True$")
    await client.do("send(200, bytes(500_000))")
    await block.says("^received 500000$")
    await stage.finish()


@pytest.mark.parametrize("name", ["001_message_types", "003_message_types"])
async def test_message_types(stage: Stage, name: str) -> None:
    """Types of all ranges can be made; the system's PING made again is the system's. The real one refuses that one."""
    block = stage.block(name, stay=True)
    await block.done
    types = await block.do("[(each.code, each.name, each.description) for each in (PING, CHAT, FILE_TRANSFER, CUSTOM)]")
    assert types == [
        (0, "ping", "System ping"),
        (200, "chat", "Chat message"),
        (201, "file", "File transfer"),
        (500, "plugin", "Custom plugin message"),
    ]
    assert await block.do("from veltix import PING as SYSTEM_PING\nPING == SYSTEM_PING") is True
    await stage.finish()


@both
async def test_001_event_callbacks(stage: Stage) -> None:
    """The three events of a server, with the client they are about."""
    given = USER_TYPE + "from veltix import ServerConfig\nconfig = ServerConfig(port=8080)"
    block = stage.block("001_event_callbacks", given=given, stay=True)
    await block.done
    await block.do("server.start()")
    await block.listening
    client = stage.peer("client")
    address = (await block.says(r"^Connected: (\('127\.0\.0\.1', \d+\))$"))[1]
    await client.says("^connected True$")
    await client.do("send(200, b'text')")
    await block.says(rf"^Message from {re.escape(address)}$")
    await client.do("client.disconnect()")
    await block.says(rf"^Disconnected: {re.escape(address)}$")
    assert block.said.count("\n") == 3
    await stage.finish()


async def test_001_client_callbacks(stage: Stage) -> None:
    """The three events of a client. The real one has no such import."""
    server = stage.peer("server")
    await server.listening
    block = stage.block("001_client_callbacks", given=USER_TYPE, stay=True)
    await block.says("^Connected and handshake complete!$")
    await server.until("server.clients")
    await server.do("send(200, b'some text')")
    await block.says("^some text$")
    await block.do("client.disconnect()")
    await block.says("^Disconnected — permanent=True$")
    assert block.said.count("\n") == 3
    await stage.finish()


@both
@pytest.mark.parametrize("name", ["001_thread_pool", "003_thread_pool"])
async def test_thread_pool(stage: Stage, name: str) -> None:
    """Eight workers run eight slow callbacks at once, of as many clients."""
    block = stage.block(name, given=BOTH_ENDS + USER_TYPE, stay=True)
    await block.done
    await block.do("""
from threading import Barrier
from veltix import Request
barrier = Barrier(8)
server = Server(server_config)
server.set_callback("on_recv", lambda client, response: print("together", barrier.wait(10) < 8))
server.start()
""")
    await block.listening
    await block.do("""
clients = [Client(client_config) for _ in range(8)]
for each in clients:
    each.connect()
for each in clients:
    each.get_sender().send(Request(CHAT, b""))
""")
    for _ in range(8):
        await block.says("^together True$")
    await stage.finish()


@both
@pytest.mark.parametrize("name", ["001_broadcasting", "003_broadcasting"])
async def test_broadcasting(stage: Stage, name: str) -> None:
    """The announcement goes to all, then to all but one."""
    block = stage.block(name, given=LISTENING, pause="message =", stay=True)
    await block.pauses()
    peers = [stage.peer("client") for _ in range(3)]
    for peer in peers:
        await peer.says("^connected True$")
    await block.until("len(server.clients) == 3")
    await block.do("client = server.clients[0]")
    await block.resume()
    await block.done
    assert await block.do("results") == [True, True]
    await block.do("sender.broadcast(Request(CHAT, b'the end'), server.get_all_clients_sockets())")
    for peer in peers:
        await peer.says("^received 200 the end$")

    def heard() -> list[int]:
        return sorted(peer.said.count("received 200 Server announcement\n") for peer in peers)

    for _ in range(100):  # upstream's clients handle messages in several threads: the end may be said before the rest
        if heard() == [1, 2, 2]:
            break
        await block.do("__import__('time').sleep(0.02)")
    assert heard() == [1, 2, 2]
    await stage.finish()


@both
@pytest.mark.parametrize("name", ["001_utilities", "003_utilities"])
async def test_utilities(stage: Stage, name: str) -> None:
    """Each returns what its comment says. The real one says 2.861 MB where its documents say 2.86 MB."""
    block = stage.block(name, stay=True)
    await block.done
    assert await block.do("results") == ["144.5 KB", "2.861 MB" if stage.package == REAL else "2.86 MB"]
    assert await block.do("data, obj, raw, text") == (b'{"key": "value"}', {"key": "value"}, b"hello", "hello")
    await stage.finish()


@both
async def test_001_migration_of_on_disconnect(stage: Stage) -> None:
    """The callback set last is called, with the state."""
    await stage.peer("server").listening
    block = stage.block("001_migration_disconnect", given=CONNECTED + "from veltix import Events", stay=True)
    await block.done
    await block.do("client.disconnect()")
    await block.says("^Disconnected — permanent=True$")
    assert block.said.count("\n") == 1
    await stage.finish()


async def test_001_migration_of_bind(stage: Stage) -> None:
    """``bind`` and ``set_callback`` set the same callback: it is called once. The real one has forgotten ``bind``."""
    given = (
        USER_TYPE
        + """
from veltix import Server, ServerConfig
server = Server(ServerConfig(port=8080))
callback = lambda client, response: print(response.content.decode())
"""
    )
    block = stage.block("001_migration_events", given=given, stay=True)
    await block.done
    await block.do("server.start()")
    await block.listening
    client = stage.peer("client")
    await client.says("^connected True$")
    await client.do("send(200, b'once'), send(200, b'the end')")
    await block.says("^the end$")
    assert block.said.count("once") == 1
    await stage.finish()


# The harness.


def test_log_lines_are_told_apart() -> None:
    """The documented lines are taken for the log's, coloured or not; a prompt before one is not."""
    assert LOG_LINE.sub("", OUTPUT_FORMAT) == ""
    assert LOG_LINE.sub("", "Enter...\x1b[36m[14:23:45.123] INFO  [a.py:1] text\x1b[0m\nend") == "Enter...end"
