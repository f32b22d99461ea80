"""Connection ids: every line of the log about a connection carries its id, whatever the fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from veltix_tx import Client, MessageRegistry, Server
from veltix_tx.errors import AuthenticationFailed, Rejected
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.veltix.layouts import W15

from ..support.wires import Objects
from .conftest import Line

TIMEOUTS = Timeouts(handler=1, slow_handler=0.5, write=2, frame=2, ping_interval=20, ping_timeout=10, close=1)
LIMITS = Limits(protocol_errors=2, pings=1, ping_burst=1, write_low=1, write_high=2, receive_buffers=1000)


def raises(*_: object) -> None:
    """Fail, whatever it is called with."""
    raise ZeroDivisionError


def rejects(*_: object) -> None:
    """Be an ``on_connect`` that refuses."""
    raise Rejected("not you")


class Broken:
    """A producer that can do nothing."""

    pauseProducing = resumeProducing = stopProducing = raises


def with_handler(line: Line, handler: Callable[..., object]) -> None:
    """Let the peer send a message to a handler."""
    line.shake()
    line.application.on_message = handler
    line.say(b"")


def said(line: Line, *data: bytes) -> None:
    """Let the peer send bytes of its own when the handshake is complete."""
    line.shake()
    for each in data:
        line.protocol.dataReceived(each)


def unread(line: Line, *, producer: Broken | None = None) -> Any:
    """Send much to a peer that reads none of it."""
    session = line.shake()
    if producer is not None:
        session.register_producer(producer)  # type: ignore[arg-type]
    line.protocol.flow.pauseProducing()
    session.send(line.chat, bytes(1000))
    line.clock.advance(0)
    return session


# Faults, one each. What the last line about each must say is below.


def _speaks_http(line: Line) -> None:
    line.connect()
    line.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")


def _says_nothing_in_the_handshake(line: Line) -> None:
    line.connect()
    line.clock.advance(10)


def _fails_at_tls(line: Line) -> None:
    line.connect()
    line.lose(SSL.Error([("SSL routines", "", "no shared cipher")]))


def _is_rejected(line: Line) -> None:
    line.application.on_connected = rejects
    line.shake()


def _meets_a_broken_on_connect(line: Line) -> None:
    line.application.on_connected = raises
    line.shake()


def _meets_a_broken_handler(line: Line) -> None:
    with_handler(line, raises)


def _meets_a_slow_handler(line: Line) -> None:
    with_handler(line, lambda *_: line.clock.advance(0.9))


def _meets_a_handler_without_end(line: Line) -> None:
    with_handler(line, lambda *_: Deferred())
    line.clock.advance(2)


def _meets_a_late_handler(line: Line) -> None:
    late: Deferred[None] = Deferred(lambda _: None)
    late.cancel = lambda: None  # type: ignore[method-assign]
    with_handler(line, lambda *_: late)
    line.clock.advance(2)
    late.callback(None)


def _sends_what_nothing_handles(line: Line) -> None:
    text = "a message of type {name}, which {session} sent, was dropped"
    with_handler(line, lambda session, message: session._reject(message, text))


def _sends_an_unknown_type(line: Line) -> None:
    said(line, W15.pack(999, b"", 1, 0))


def _sends_unknown_types(line: Line) -> None:
    said(line, *[W15.pack(999, b"", 1, 0)] * 3)


def _pings_too_often(line: Line) -> None:
    line.shake()
    for number in range(9):
        line.far.send_ping(number)
    line.deliver()


def _does_not_finish_a_message(line: Line) -> None:
    said(line, W15.pack(200, bytes(500), 1, 0))
    line.clock.advance(9)


def _sends_more_than_all_may(line: Line) -> None:
    said(line, W15.pack(200, bytes(5000), 1, 0) + bytes(4900))


def _does_not_read(line: Line) -> None:
    unread(line)
    line.clock.advance(3)


def _does_not_read_what_is_left(line: Line) -> None:
    unread(line).disconnect()
    line.clock.advance(3)


def _does_not_close(line: Line) -> None:
    line.shake().disconnect()
    line.clock.advance(3)


def _is_silent(line: Line) -> None:
    line.shake()
    line.clock.pump([1] * 40)


def _has_a_broken_producer(line: Line) -> None:
    unread(line, producer=Broken())


def _has_a_broken_transport(line: Line) -> None:
    session = line.shake()
    line.transport.write = line.transport.writeSequence = raises  # type: ignore[method-assign,assignment]
    session.send(line.chat, b"")
    line.clock.advance(0)


def _cannot_be_probed(line: Line) -> None:
    line.shake()
    line.protocol.send_probe = raises  # type: ignore[method-assign]
    line.clock.advance(20)


FAULTS: dict[Callable[[Line], None], str] = {
    _speaks_http: "closing {}: the client does not speak Veltix",
    _says_nothing_in_the_handshake: "closing {}: the handshake was not complete",
    _fails_at_tls: "lost {}: the two sides have no cipher in common",
    _is_rejected: "rejecting <Session {}",
    _meets_a_broken_on_connect: "connected failed for <Session {}",
    _meets_a_broken_handler: "failed for <Session {}",
    _meets_a_slow_handler: "blocked everything for 0.90 s, for <Session {}",
    _meets_a_handler_without_end: "was not done after 1 s, for <Session {}",
    _meets_a_late_handler: "is done after all, for <Session {}",
    _sends_what_nothing_handles: "a message of type chat, which <Session {}",
    _sends_an_unknown_type: "a message of type 999, which {} sent",
    _sends_unknown_types: "closing {}: the peer sent over 2 frames",
    _pings_too_often: "closing {}: the peer sent more pings",
    _does_not_finish_a_message: "closing {}: a message of about 15 bytes was begun and not finished",
    _sends_more_than_all_may: "closing {}: all connections together keep over 1000 bytes (limits.receive_buffers)",
    _does_not_read: "closing {}: it does not read what it is sent",
    _does_not_read_what_is_left: "closing {}: it does not read what is left for it",
    _does_not_close: "closing {}: it has not closed its side",
    _is_silent: "closing {}: it is silent",
    _has_a_broken_producer: "pauseProducing failed for",
    _has_a_broken_transport: "writing to {} failed",
    _cannot_be_probed: "a look at {} failed",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__[1:])
def test_every_line_about_a_connection_carries_its_id(
    fault: Callable[[Line], None], server_line: Any, log_events: list[Any], logged_failures: Any
) -> None:
    """Whatever a peer or its handlers do: each line says whose fault it is, in its text and as the field ``connection``."""
    line = server_line(timeouts=TIMEOUTS, limits=LIMITS)
    fault(line)
    logged_failures.flush()
    connection = line.protocol.connection_id
    lines = {formatEvent(event): event for event in log_events if event["log_namespace"].startswith("veltix_tx")}
    peer = f"{connection} with 127.0.0.1:54321" if "Session" in FAULTS[fault] else f"127.0.0.1:54321 ({connection})"
    assert any(FAULTS[fault].format(peer) in text for text in lines), list(lines)
    for text, event in lines.items():
        assert event["connection"] == connection, text
        assert connection in text


@pytest.mark.parametrize("judge", [raises, lambda credentials: None])
def test_lines_about_authentication_carry_the_id(judge: Any, log_events: list[Any], logged_failures: Any) -> None:
    """A peer whose credentials are refused, or cannot be judged, is named by the one id of its connection."""
    types = MessageRegistry()
    with MemoryNetwork() as network:
        network.serve(Server(wire=Objects(), types=types, authenticate=judge))
        with pytest.raises(AuthenticationFailed):
            network.connect(Client(wire=Objects("x"), types=types))
    logged_failures.flush()
    lines = {formatEvent(event): event["connection"] for event in log_events if "connection" in event}
    assert all(f"({connection})" in text for text, connection in lines.items())
    of_the_server = {connection for text, connection in lines.items() if "authenticate failed" in text or "identity" in text}
    assert len(of_the_server) == 1


def test_ids_are_a_node_and_a_counter(server_line: Any, client_line: Any) -> None:
    """Of all connections of a process, whatever their server or client, no two have the same id, and none ever changes."""
    lines = [make() for make in (server_line, client_line) * 10]
    ids = [line.shake().id for line in lines]
    assert len(set(ids)) == len(lines)
    assert len({each.partition("-")[0] for each in ids}) == 1
    assert all(re.fullmatch(r"\d+-\d+", each) for each in ids)
    for line in lines:
        line.lose()
    assert [line.protocol.session.id for line in lines] == ids == [line.protocol.connection_id for line in lines]


def test_a_client_that_tries_again_names_what_has_ended(network: Any, log_events: list[Any]) -> None:
    """The line about the next try has the id of the connection whose end brings it; a try that never connected has none."""
    net = network()
    net.ready()
    session = net.factory.session
    net.drop()
    net.wait(1)
    net.refuse()
    lost, failed = [text for event in log_events if "again in" in (text := formatEvent(event))]
    assert lost.endswith(f"the peer closed the connection ({session.id})")
    assert session.id not in failed
