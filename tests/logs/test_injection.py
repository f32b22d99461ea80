"""What peers say cannot be taken for lines of the log, wherever they say it and whichever log it is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, formatEvent, textFileLogObserver

import veltix_tx
from veltix_tx import Client, MessageRegistry, MessageType, Server
from veltix_tx.logs import LineObserver
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.veltix.layouts import W22

NASTY = "1.6.3\r\n[-] root logged in\x1b[2J{log_source}{log_namespace!r}%s\u2028\x00"

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]")


def hello_ack() -> bytes:
    """A HELLO_ACK whose version is none."""
    text = NASTY.encode()
    content = len(text).to_bytes(2, "big") + text
    return W22.pack(11, content, 0, 0) + content


def json_hello(**fields: Any) -> bytes:
    """A JSON hello."""
    text = json.dumps({"v": "3.3.0", "pv": "3", "mode": "client"} | fields).encode()
    return len(text).to_bytes(4, "big") + text


HELLOS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "HELLO_ACK version": ("1.6.3", hello_ack),
    "JSON version": ("3.3.0", lambda: json_hello(v=NASTY)),
    "JSON pv": ("3.3.0", lambda: json_hello(pv=NASTY)),
    "JSON error": ("3.3.0", lambda: json_hello(error=NASTY)),
    "no JSON": ("3.3.0", lambda: len(NASTY.encode()).to_bytes(4, "big") + NASTY.encode()),
    "no protocol at all": ("auto", lambda: NASTY.encode() * 100),
}


def both(events: list[LogEvent], observer: Callable[..., LineObserver], stream: io.StringIO) -> tuple[str, str]:
    """Return the events as twistd's text log and as the package's own lines."""
    plain = io.StringIO()
    twisted, ours = textFileLogObserver(plain), observer()
    for event in events:
        twisted(event)
        ours(event)
    return plain.getvalue(), stream.getvalue()


@pytest.mark.parametrize("where", list(HELLOS))
def test_a_handshake_leaves_one_clean_line(
    where: str, log_events: list[LogEvent], observer: Callable[..., LineObserver], stream: io.StringIO
) -> None:
    """A refused handshake is one line without control characters, whatever the peer calls itself."""
    wire, make = HELLOS[where]
    network = MemoryNetwork()
    server = Server(types=MessageRegistry(), wire=wire)
    network.serve(server)
    log_events.clear()
    peer = network.dial()
    peer.transport.write(make())
    network.pump()
    network.advance(10)
    said = [event for event in log_events if "closing" in formatEvent(event)]
    assert len(said) == 1
    for text in both(said, observer, stream):
        assert len(text.splitlines()) == 1
        assert not CONTROLS.search(text.rstrip("\n"))
        assert "<veltix_tx" not in text, "a field of the event was put in"
    network.result(server.stopService())


def test_an_exception_of_a_peers_text_leaves_no_line_of_its_own(
    log_events: list[LogEvent], logged_failures: Any, observer: Callable[..., LineObserver], stream: io.StringIO
) -> None:
    """A handler that raises with the peer's words: no control characters, and no line begins as one of the log does."""
    network, types = MemoryNetwork(), MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server = Server(types=types)

    @server.route(chat)
    def on_chat(client: Any, message: Any) -> None:
        raise ValueError(message.content.decode())

    network.serve(server)
    client = Client(types=types)
    network.connect(client)
    log_events.clear()
    client.send(chat, NASTY.encode())
    network.pump()
    (failed,) = logged_failures.flush(ValueError)
    for text in both([failed], observer, stream):
        first, *rest = text.rstrip("\n").split("\n")
        assert all(line.startswith("\t") for line in rest)
        assert not CONTROLS.search(text)
        assert "on_chat of chat failed" in first
    network.result(client.disconnect())
    network.result(server.stopService())


def test_no_format_is_made_at_run_time() -> None:
    """Every log call of the package has a constant for its format, so that no text of a peer is ever one."""
    calls = 0
    for path in Path(veltix_tx.__file__).parent.rglob("*.py"):
        for found in re.finditer(r"_log\.(?:debug|info|warn|error|critical|failure)\(\s*(?:\*\()?\s*(\S+)", path.read_text()):
            calls += 1
            assert found[1].startswith('"') or found[1] == "text,", f"{path}: {found[0]}"
    assert calls > 20


def test_no_content_is_logged(log_events: list[LogEvent], logged_failures: Any) -> None:
    """Neither what is received, nor what is answered, nor what could not be sent stands in the log."""
    network, types = MemoryNetwork(), MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server = Server(types=types, max_message_size=1000)
    server.route(chat)(lambda client, message: {b"junk": "S3CRET", b"large": b"S3CRET" * 1000}.get(message.content))
    network.serve(server)
    client = Client(types=types)
    network.connect(client)
    for content in (b"junk", b"large", b"S3CRET"):
        client.send(chat, content)
        network.pump()
    logged_failures.flush()
    network.result(client.disconnect())
    network.result(server.stopService())
    plain = io.StringIO()
    observer = textFileLogObserver(plain)
    for event in log_events:
        observer(event)
    assert "S3CRET" not in plain.getvalue()
    assert "the handler" in plain.getvalue()
