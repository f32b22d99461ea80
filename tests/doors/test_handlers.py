"""Handlers that misbehave, over real sockets: the peer learns nothing but that it failed, and the others live on."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher, textFileLogObserver

from veltix_tx import Limits, RemoteError, Request, SessionClosed, Timeouts
from veltix_tx.errors import QueueFull
from veltix_tx.net.session.handler_timeouts import HandlerTimeout

SECRET = "S3CRET"


async def sleep(seconds: float) -> None:
    """Wait."""
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not true():
        await sleep(0.01)


def raises(client: Any, message: Any) -> bytes:
    """Fail with words that are nobody's business."""
    raise ValueError(SECRET)


async def raises_later(client: Any, message: Any) -> bytes:
    """Do so after a while."""
    await sleep(0.01)
    raise ValueError(SECRET)


def fails(client: Any, message: Any) -> Deferred[bytes]:
    """Return what has failed."""
    return fail(ValueError(SECRET))


def exits(client: Any, message: Any) -> bytes:
    """Try to end the program."""
    raise SystemExit(SECRET)


async def interrupts(client: Any, message: Any) -> bytes:
    """Try to end the program another way."""
    raise KeyboardInterrupt(SECRET)


def recurses(client: Any, message: Any) -> bytes:
    """Never come to an end."""
    return recurses(client, message)


def never(client: Any, message: Any) -> Deferred[bytes]:
    """Never answer."""
    return Deferred()


def deaf(client: Any, message: Any) -> Deferred[bytes]:
    """Never answer, not even when cancelled."""
    made: Deferred[bytes] = Deferred()
    made.cancel = lambda: None  # type: ignore[method-assign]
    return made


def junk(client: Any, message: Any) -> object:
    """Return what is no answer."""
    return {SECRET: object()}


def huge(client: Any, message: Any) -> bytes:
    """Return more than a message may have."""
    return bytes(11 * 1024 * 1024)


def half(client: Any, message: Any) -> Request:
    """Return a Request of which something is missing."""
    return Request(None, SECRET.encode())  # type: ignore[arg-type]


def floods(client: Any, message: Any) -> bytes:
    """Send until nothing more is taken."""
    for _ in range(100_000):
        client.send(message.type, bytes(4096))
    return b"never said"


HOSTILE = [
    pytest.param(handler, kinds, id=handler.__name__)
    for handler, kinds in [
        (raises, ValueError),
        (raises_later, ValueError),
        (fails, ValueError),
        (exits, SystemExit),
        (interrupts, KeyboardInterrupt),
        (recurses, RecursionError),
        (never, CancelledError),
        (deaf, Exception),
        (junk, TypeError),
        (huge, Exception),
        (half, AttributeError),
        (floods, QueueFull),
    ]
]


@pytest.mark.parametrize(("handler", "kind"), HOSTILE)
async def test_a_hostile_handler_harms_nobody(handler: Any, kind: type[BaseException], loopback: Any, logged_failures: Any) -> None:
    """One log entry with a traceback; the asker gets an error without words; its next request and the others are served."""
    server = await loopback.server(wire="1.6.3", timeouts=Timeouts(handler=0.2))
    server.register_route(loopback.news, handler)
    asker, other = (loopback.client(server.port, wire="1.6.3") for _ in range(2))
    for client in (asker, other):
        await client.connect()
    with pytest.raises(RemoteError) as caught:
        await asker.send_and_wait(loopback.news, b"?", timeout=10)
    assert caught.value.detail == b""
    (event,) = logged_failures.flush(kind)
    assert handler.__name__ in formatEvent(event)
    assert len(event["log_failure"].getTraceback()) < 20_000
    for client in (asker, other):
        assert (await client.send_and_wait(loopback.chat, b"and now?")).content == b"and now?"


@pytest.mark.parametrize("handler", [raises, raises_later, fails, junk, exits])
async def test_no_word_of_a_failure_is_on_the_wire(handler: Any, loopback: Any, logged_failures: Any) -> None:
    """Of what went wrong not a byte is sent: after the request's error frame comes the next answer."""
    server = await loopback.server(wire="1.3.0")
    server.register_route(loopback.news, handler)
    client = loopback.client(server.port, wire="1.3.0")
    await client.connect()
    seen = bytearray()
    protocol = client.session._transport
    received = protocol.dataReceived
    protocol.dataReceived = lambda data: (seen.extend(data), received(data))
    with pytest.raises(RemoteError):
        await client.send_and_wait(loopback.news, b"?")
    logged_failures.flush()
    assert len(seen) == client.session.peer.layout.header_size
    assert SECRET.encode() not in seen
    assert b"Traceback" not in seen


async def test_an_on_disconnect_that_fails_harms_nobody(loopback: Any, logged_failures: Any) -> None:
    """It is logged; the messages of others are handled all the same."""
    server = await loopback.server()

    def callback(client: Any) -> None:
        raise ValueError(SECRET)

    server.set_callback("on_disconnect", callback)
    one, other = loopback.client(server.port), loopback.client(server.port)
    await one.connect()
    await other.connect()
    assert (await one.send_and_wait(loopback.chat, b"1")).content == b"1"
    await one.disconnect()
    assert (await other.send_and_wait(loopback.chat, b"2")).content == b"2"
    await until(lambda: len(server.clients) == 1)
    await other.disconnect()
    await until(lambda: len(logged_failures) == 2)
    assert len(logged_failures.flush(ValueError)) == 2


async def test_a_handler_may_close_its_own_session(loopback: Any) -> None:
    """Its answer goes nowhere, the asker is told that the connection is gone, and nothing is logged."""
    server = await loopback.server()

    async def leaves(client: Any, message: Any) -> bytes:
        await client.disconnect()
        return b"to nobody"

    server.register_route(loopback.news, leaves)
    one, other = loopback.client(server.port), loopback.client(server.port)
    await one.connect()
    await other.connect()
    with pytest.raises(SessionClosed):
        await one.send_and_wait(loopback.news, b"?")
    assert (await other.send_and_wait(loopback.chat, b"2")).content == b"2"
    await until(lambda: len(server.clients) == 1)


async def test_a_route_has_a_time_of_its_own(loopback: Any, logged_failures: Any) -> None:
    """route(timeout=) goes before timeouts.handler, in both directions."""
    server = await loopback.server(wire="1.6.3", timeouts=Timeouts(handler=0.1))

    async def patient(client: Any, message: Any) -> bytes:
        await sleep(0.3)
        return b"done"

    server.register_route(loopback.news, patient, timeout=math.inf)
    client = loopback.client(server.port, wire="1.6.3")
    await client.connect()
    assert (await client.send_and_wait(loopback.news, b"")).content == b"done"
    server.unregister_route(loopback.news)
    server.register_route(loopback.news, patient)
    with pytest.raises(RemoteError):
        await client.send_and_wait(loopback.news, b"")
    logged_failures.flush(CancelledError)


async def test_a_thread_that_takes_too_long_frees_its_connection(loopback: Any, logged_failures: Any) -> None:
    """The asker is told, later messages go on, and the thread works to its end, in its one slot."""
    server = await loopback.server(wire="1.6.3", max_workers=1, timeouts=Timeouts(handler=0.15))
    gate, runs = threading.Event(), []

    def works(client: Any, message: Any) -> bytes:
        runs.append(message.content)
        gate.wait(5)
        return b"too late"

    server.register_route(loopback.news, works, thread=True)
    client = loopback.client(server.port, wire="1.6.3")
    await client.connect()
    for content in (b"1", b"2"):
        with pytest.raises(RemoteError):
            await client.send_and_wait(loopback.news, content)
    assert (await client.send_and_wait(loopback.chat, b"on")).content == b"on"
    assert runs == [b"1"]
    assert len(logged_failures.flush(HandlerTimeout, CancelledError)) == 2
    gate.set()
    await sleep(0.05)
    assert runs == [b"1"], "what was given up before it had a thread never runs"


async def test_what_a_thread_raises_too_late_is_logged(loopback: Any, logged_failures: Any) -> None:
    """An exception of a handler that was given up is not lost."""
    server = await loopback.server(wire="1.6.3", timeouts=Timeouts(handler=0.1))
    gate = threading.Event()

    def works(client: Any, message: Any) -> bytes:
        gate.wait(5)
        raise ZeroDivisionError

    server.register_route(loopback.news, works, thread=True)
    client = loopback.client(server.port, wire="1.6.3")
    await client.connect()
    with pytest.raises(RemoteError):
        await client.send_and_wait(loopback.news, b"")
    logged_failures.flush(HandlerTimeout)
    gate.set()
    await until(lambda: bool(logged_failures))
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


async def test_a_handler_that_blocks_is_named(loopback: Any, log_events: Any) -> None:
    """The warning names the user's function and the type."""
    server = await loopback.server(timeouts=Timeouts(slow_handler=0.05))

    def dawdles(client: Any, message: Any) -> bytes:
        time.sleep(0.1)
        return b""

    server.register_route(loopback.news, dawdles)
    client = loopback.client(server.port)
    await client.connect()
    await client.send_and_wait(loopback.news, b"")
    (said,) = [text for text in map(formatEvent, log_events) if "dawdles" in text]
    assert "dawdles of news blocked everything for 0.1" in said


async def test_peers_that_come_again_have_no_new_budget(loopback: Any) -> None:
    """Hundreds of connections with rubbish from one address cost a few KiB of log; the others are served meanwhile."""
    file = io.StringIO()
    observer = textFileLogObserver(file)
    globalLogPublisher.addObserver(observer)
    server = await loopback.server(limits=Limits(protocol_errors=1))
    for _ in range(300):
        raw = await loopback.raw(server.port)
        raw.transport.write(b"GET / HTTP/1.1\r\n\x1b[2J{log_source}\r\n\r\n" * 10)
        await raw.gone
    client = loopback.client(server.port)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"on")).content == b"on"
    await server.stopService()
    globalLogPublisher.removeObserver(observer)
    text = file.getvalue()
    ours = [line for line in text.splitlines() if "veltix_tx." in line]
    assert 20 <= len(ours) < 150
    assert any("more lines about 127.0.0.1 were left out" in line for line in ours)
    assert sum(map(len, ours)) < 30_000
    assert "VeltixProtocol" not in text, "Twisted logs nothing of its own for each connection"
    assert not set(text) & set("\x1b\r")
