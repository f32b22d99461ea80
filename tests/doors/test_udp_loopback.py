"""UDP on loopback, server and client: IPv4 and IPv6, names, ICMP errors, ports that are closed and bound again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectError, DNSLookupError
from twisted.internet.threads import deferToThread

from tests.support.loopback import Loopback
from tests.support.ports import free_port
from veltix_tx import TEXT, Client, DisconnectReason, Lines, Server

HERE = "interface=127.0.0.1"


@pytest.fixture
def plain() -> Iterator[socket.socket]:
    """Return a bare socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


@pytest.fixture
def served(loopback: Loopback) -> Callable[..., Server]:
    """Return a function that starts a server which echoes values."""

    def serve(*endpoints: Any) -> Server:
        server = loopback.made_server(endpoints=endpoints)
        server.register_route(TEXT, lambda client, message: message.value)
        server.startService()
        return server

    return serve


def heard_by(client: Client, count: int = 1) -> Deferred[list[Any]]:
    """Return a Deferred of the next values that come to a client."""
    heard: list[Any] = []
    done: Deferred[list[Any]] = Deferred()

    def receive(message: Any) -> None:
        heard.append(message.value)
        if len(heard) == count:
            done.callback(heard)

    client.set_callback("on_recv", receive)
    return done


# Addresses.


@pytest.mark.parametrize(
    ("place", "there", "ip"),
    [
        (f"lines@udp:0:{HERE}", "udp:127.0.0.1:{port}", "127.0.0.1"),
        (r"lines@udp:0:interface=\:\:1", r"udp:\:\:1:{port}", "::1"),
        ("lines@udp6:0", r"udp:\:\:1:{port}", "::1"),
        ("lines@udp6:0", "udp:127.0.0.1:{port}", "127.0.0.1"),
        ("lines@udp:0", "udp:localhost:{port}:bindAddress=127.0.0.1", "127.0.0.1"),
        (f"lines@udp:0:{HERE}", "udp:127.0.0.1:{port}:bindAddress=127.0.0.3", "127.0.0.3"),
    ],
)
async def test_ipv4_and_ipv6(served: Any, loopback: Loopback, place: str, there: str, ip: str) -> None:
    """A server is reached by either, by an address or a name; an IPv4 peer of a port of both has an IPv4 address."""
    server = served(place)
    client = loopback.client(endpoint=there.format(port=server.port), wire="lines")
    answer = heard_by(client)
    await client.connect()
    client.send(TEXT, "h\u00e9")
    assert await answer == ["h\u00e9"]
    (session,) = server.clients
    assert session.ip == ip
    await client.disconnect()


async def test_a_name_that_cannot_be_is_a_lookup_error() -> None:
    """``connect`` errbacks."""
    for host in ("x" * 64, "a b..c"):
        with pytest.raises(DNSLookupError):
            await Client(endpoint=f"udp:{host}:7001", wire="lines").connect()


async def test_a_name_in_lookup_may_be_given_up() -> None:
    """``disconnect`` while the name is looked up ends the try; nothing is left behind."""
    client = Client(endpoint="udp:localhost:7001", wire="lines")
    connecting = client.connect()
    connecting.addErrback(lambda _: None)
    await client.disconnect()
    assert not client.is_connected


@pytest.mark.parametrize("asks", [1, 3])
async def test_an_icmp_error_ends_the_clients_session(asks: int, loopback: Loopback) -> None:
    """Where nobody listens the first datagram is answered by the kernel: UNREACHABLE, with its error, and the port is closed."""
    client = loopback.client(endpoint=f"udp:127.0.0.1:{free_port()}", wire="lines")
    session = await client.connect()
    for number in range(asks):
        if session.closed is None:
            client.send(TEXT, str(number))
    closed = await session.when_closed()
    assert closed.reason is DisconnectReason.UNREACHABLE
    assert isinstance(closed.cause, ConnectionRefusedError)
    assert client.counters["closed_unreachable"] == 1


async def test_answers_to_ports_that_are_closed_harm_nobody(served: Any, plain: socket.socket) -> None:
    """A server's answers to peers that have gone come back as ICMP errors; the others are served."""
    server = served(f"lines@udp:0:{HERE}")
    with ExitStack() as held:  # all at once: the system may give a port that is closed to the next socket
        for _ in range(50):
            gone = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            gone.sendto(b"one\n", ("127.0.0.1", server.port))
    plain.sendto(b"two\n", ("127.0.0.1", server.port))
    assert await deferToThread(plain.recv, 100) == b"two\n"
    assert len(server.clients) == 51


# Ports.


async def test_a_port_is_closed_with_the_service_and_bound_again(served: Any, plain: socket.socket) -> None:
    """After a stop nobody listens; the same server may start again on the same port."""
    port = free_port()
    server = served((Lines(), f"udp:{port}:{HERE}"))
    for number in range(3):
        plain.sendto(b"%d\n" % number, ("127.0.0.1", port))
        assert await deferToThread(plain.recv, 100) == b"%d\n" % number
        await server.stopService()
        assert server.clients == server.addresses == []
        server.startService()
    await server.stopService()


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # which Twisted leaves to the collector
async def test_a_port_that_is_taken_cannot_be_listened_on(served: Any) -> None:
    """CannotListenError, and none of the other endpoints is left open."""
    port = served(f"lines@udp:0:{HERE}").port
    server = Server(endpoints=(f"raw@udp:0:{HERE}", f"lines@udp:{port}:{HERE}"))
    with pytest.raises(CannotListenError):
        await server.listen()
    assert server.addresses == []


async def test_a_network_that_is_unreachable_is_a_connect_error() -> None:
    """An address without a route, such as a broadcast address, fails when the client connects."""
    client = Client(endpoint="udp:255.255.255.255:7001", wire="lines")
    with pytest.raises(ConnectError):
        await client.connect()
