"""Server, Client and MemoryNetwork over UDP: routes, broadcasts, tags, drains, lost datagrams, and what there is not."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from veltix_tx import (
    TEXT,
    Client,
    DisconnectReason,
    Lines,
    MessageRegistry,
    MessageType,
    Raw,
    RetryPolicy,
    Server,
    SettingsError,
    Timeouts,
    UnvalidatedAddress,
)
from veltix_tx.errors import LocalProtocolError, RpcUnsupported
from veltix_tx.testing import MemoryNetwork, ScriptedDatagrams

PLACE = "lines@udp:7001"
THERE = {"endpoint": "udp:127.0.0.1:7001", "wire": "lines"}


def serving(network: MemoryNetwork, **settings: Any) -> Server:
    """Return a server of a network that echoes values."""
    server = Server(endpoint=settings.pop("endpoint", PLACE), **settings)
    server.register_route(TEXT, lambda client, message: message.value)
    network.serve(server)
    return server


def hearing(client: Client) -> list[object]:
    """Return a list of the values that come to a client from now on."""
    heard: list[object] = []
    client.set_callback("on_recv", lambda message: heard.append(message.value))
    return heard


def test_routes_answer_and_a_client_hears() -> None:
    """A server's route and a client's callback get text; what a route returns is the next datagram, also from a coroutine."""
    server, client, heard = Server(endpoint=PLACE), Client(**THERE), list[object]()  # type: ignore[arg-type]

    @server.route(TEXT)
    async def on_text(session: Any, message: Any) -> str:
        heard.append(message.value)
        return f"{message.value}!"

    answers = hearing(client)
    with MemoryNetwork() as network:
        network.serve(server)
        session = network.connect(client)
        client.send(TEXT, "h\u00e9")
        client.send(TEXT, "two")
        network.pump()
        assert (heard, answers) == (["h\u00e9", "two"], ["h\u00e9!", "two!"])
        assert session.peer.wire == "lines"
        assert [each.peer.wire for each in server.clients] == ["lines"]


@pytest.mark.parametrize("wire", ["lines", "raw", "fixed-16", "prefixed-2", "delimited"])
def test_every_plain_wire_but_that_of_streams_is_spoken(wire: str) -> None:
    """Each message is a datagram, framed as on a stream; an empty one is refused where nothing would tell it from none."""
    with MemoryNetwork() as network:
        serving(network, endpoint=f"{wire}@udp:7001")
        client = Client(endpoint="udp:127.0.0.1:7001", wire=wire)
        heard = hearing(client)
        network.connect(client)
        for value in ("one", "h\u00e9"):
            client.send(TEXT, value)
            network.pump()
        assert heard == ["one", "h\u00e9"]


def test_values_of_a_type_are_checked() -> None:
    """A type with ``content=`` is decoded and validated, in datagrams as elsewhere; what does not fit is counted."""
    numbers = MessageType(201, "numbers", content=list[int], registry=MessageRegistry())
    wire, heard = Lines(type=numbers), list[object]()
    server = Server(endpoints=((wire, "udp:7001"),))
    server.register_route(numbers, lambda client, message: heard.append(message.value))
    with MemoryNetwork() as network:
        network.serve(server)
        device = network.dial_udp()
        device.send(b"[1,2]\n[3]")
        device.send(b'["no"]')
        assert heard == [[1, 2], [3]]
        assert server.counters["contents_invalid"] == 1


def test_a_broadcast_goes_to_all_by_tags_over_tcp_and_udp_at_once() -> None:
    """One route serves both, and one broadcast; unvalidated addresses that have said too little are left out and counted."""
    server = Server(endpoints=("lines@tcp:7000", "lines@udp:7001"), wire="lines")

    @server.route(TEXT)
    def on_text(client: Any, message: Any) -> None:
        if message.value == "secret":
            client.validate()
        client.add_tag(message.value)

    with MemoryNetwork() as network:
        network.serve(server)
        tcp, known, unknown = network.dial(), network.dial_udp(), network.dial_udp()
        tcp.send(b"tcp\n")
        known.send(b"secret\n")
        unknown.send(b"x\n")
        assert server.broadcast(TEXT, "x" * 100) == 2
        network.pump()
        assert tcp.received == b"x" * 100 + b"\n"
        assert (known.received, unknown.received) == ([b"x" * 100 + b"\n"], [])
        assert server.counters["broadcasts_dropped"] == 1
        assert server.broadcast(TEXT, "hi", to=server.select(any_of=["secret", "x"])) == 2
        network.pump()
        assert unknown.received == [b"hi\n"]


def test_a_stopping_server_answers_what_it_has_taken() -> None:
    """A drain waits for handlers and answers; new peers are not heard; then sessions and port are gone."""
    answer: Deferred[str] = Deferred()
    server = Server(endpoint=PLACE)
    server.register_route(TEXT, lambda client, message: answer)
    stopped: list[None] = []
    with MemoryNetwork() as network:
        network.serve(server)
        device, late = network.dial_udp(), network.dial_udp()
        device.send(b"one\n")
        server.stopService().addCallback(stopped.append)
        network.pump()
        late.send(b"two\n")
        assert (device.received, stopped) == ([], [])
        answer.callback("done")
        network.pump()
        assert (device.received, late.received, stopped) == ([b"done\n"], [], [None])
        assert server.counters["closed_manual"] == 1


def test_a_drain_that_takes_too_long_is_cut_off() -> None:
    """After ``timeouts.drain`` the sessions are ended, counted as cut off, and the port is closed all the same."""
    server, stopped = Server(endpoint=PLACE, timeouts=Timeouts(drain=3)), list[None]()
    server.register_route(TEXT, lambda client, message: Deferred())
    with MemoryNetwork() as network:
        network.serve(server)
        network.dial_udp().send(b"one\n")
        server.stopService().addCallback(stopped.append)
        network.advance(2.9)
        assert stopped == []
        network.advance(0.2)
        assert stopped == [None]
        assert server.counters["cut_off"] == 1


def test_a_lossy_network_loses_and_reorders_what_its_seed_says() -> None:
    """With loss and reordering some messages come, out of order, none twice and none changed; the same seed does the same."""

    def what_comes(seed: int) -> list[object]:
        with MemoryNetwork(loss=0.2, reordering=0.2, seed=seed) as network:
            server, heard = Server(endpoint=PLACE), list[object]()
            server.register_route(TEXT, lambda client, message: heard.append(int(message.value)))
            network.serve(server)
            client = Client(**THERE)  # type: ignore[arg-type]
            network.connect(client)
            for number in range(1000):
                client.send(TEXT, str(number))
            network.pump()
            return heard

    heard = what_comes(1)
    assert 700 < len(heard) < 900
    assert len(set(heard)) == len(heard)
    assert heard != sorted(heard)  # type: ignore[type-var]
    assert what_comes(1) == heard != what_comes(2)


@pytest.mark.parametrize(("name", "part"), [("loss", 1.1), ("reordering", -0.1)])
def test_a_part_of_all_datagrams_is_from_0_to_1(name: str, part: float) -> None:
    """Another number is a SettingsError that names it."""
    with pytest.raises(SettingsError) as caught:
        MemoryNetwork(**{name: part})  # type: ignore[arg-type]
    assert caught.value.name == name


def test_a_client_hears_that_nobody_is_there_and_tries_again() -> None:
    """An ICMP error ends the session with UNREACHABLE; by its policy the client connects again, and is heard once somebody is."""
    client, states = Client(**THERE, retry=RetryPolicy(3, jitter=False, initial_delay=1)), list[Any]()  # type: ignore[arg-type]
    client.set_callback("on_disconnect", states.append)
    heard = hearing(client)
    with MemoryNetwork() as network:
        session = network.connect(client)
        client.send(TEXT, "one")
        network.pump()
        assert session.closed is not None
        assert session.closed.reason is DisconnectReason.UNREACHABLE
        assert isinstance(session.closed.cause, ConnectionRefusedError)
        assert [state.reason for state in states] == [DisconnectReason.UNREACHABLE]
        serving(network)
        network.advance(1)
        client.send(TEXT, "two")
        network.pump()
        assert heard == ["two"]
        assert client.counters["closed_unreachable"] == 1


def test_a_client_without_a_policy_hears_the_end_once() -> None:
    """One permanent state, and the port is closed."""
    client, states = Client(**THERE), list[Any]()  # type: ignore[arg-type]
    client.set_callback("on_disconnect", states.append)
    with MemoryNetwork() as network:
        network.connect(client)
        client.send(TEXT, "one")
        network.pump()
        assert [state.permanent for state in states] == [True]
        assert not client.is_connected


def test_a_client_connects_and_disconnects_again_and_again() -> None:
    """Each connection has a port of its own, which is closed with it."""
    client = Client(**THERE)  # type: ignore[arg-type]
    heard = hearing(client)
    with MemoryNetwork() as network:
        server = serving(network)
        for number in range(3):
            network.connect(client)
            client.send(TEXT, str(number))
            network.pump()
            network.result(client.disconnect())
        assert heard == ["0", "1", "2"]
        assert len({each.port for each in server.clients}) == 3


def test_what_datagrams_have_not_is_a_typed_error() -> None:
    """No request ids, no pings, no calls; the error names the wire, and nothing is sent."""
    client = Client(**THERE)  # type: ignore[arg-type]
    with MemoryNetwork() as network:
        server = serving(network)
        network.connect(client)
        for asking, error in (
            (client.send_and_wait(TEXT, "one"), LocalProtocolError),
            (client.ping_server(), LocalProtocolError),
            (client.call("add"), RpcUnsupported),
        ):
            with pytest.raises(error, match="lines"):
                network.result(asking)
        assert server.counters["ready"] == 0


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"endpoint": "udp:7001"}, "endpoint"),
        ({"endpoint": "1.6.3@udp:7001"}, "endpoint"),
        ({"endpoint": "eof@udp:7001"}, "endpoint"),
        ({"endpoint": "fixed-70000@udp:7001"}, "endpoint"),
        ({"endpoints": ((Lines(replies="in-order"), "udp:7001"),)}, "endpoint"),
        ({"endpoint": "lines@udp:7001", "tls_cert": "cert.pem"}, "tls_cert"),
    ],
)
def test_what_no_server_can_do_over_udp_is_a_settings_error(settings: dict[str, Any], name: str) -> None:
    """A wire with a handshake or of streams, replies in order, TLS: refused when the server is made."""
    with pytest.raises(SettingsError) as caught:
        Server(**settings)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"endpoint": "udp:127.0.0.1:7001"}, "wire"),
        ({"endpoint": "udp:127.0.0.1:7001", "wire": "eof"}, "wire"),
        ({"endpoint": "udp:127.0.0.1:7001", "wire": Lines(replies="in-order")}, "replies"),
        ({"endpoint": "udp:localhost:7001", "wire": "lines", "tls": True}, "tls"),
    ],
)
def test_what_no_client_can_do_over_udp_is_a_settings_error(settings: dict[str, Any], name: str) -> None:
    """The same for a client."""
    with pytest.raises(SettingsError) as caught:
        Client(**settings)
    assert caught.value.name == name


def test_a_server_that_asks_who_comes_does_not_take_datagrams() -> None:
    """The sender of a datagram is nobody's word but its own: ``authenticate`` and UDP exclude each other."""
    server = Server(endpoint=PLACE, authenticate=lambda credentials: "somebody")
    network = MemoryNetwork()
    with pytest.raises(SettingsError, match="datagrams prove no address"):
        network.serve(server)
    network.stop()


def test_validate_has_no_effect_on_a_connection() -> None:
    """A handler that serves TCP, too, may call it for anybody."""
    server = Server(wire="lines")
    server.register_route(TEXT, lambda client, message: client.validate())
    with MemoryNetwork() as network:
        network.serve(server)
        device = network.dial()
        device.send(b"one\n")
        assert not device.closed


def challenge(device: ScriptedDatagrams) -> str:
    """Return what a server has asked a device to repeat."""
    return device.received[-1].decode().removeprefix("REPEAT ").strip()


def test_a_peer_that_repeats_a_secret_is_validated() -> None:
    """How a handler comes to know that an address is its peer's own: by what was sent there."""
    server = Server(endpoint=PLACE)

    @server.route(TEXT)
    def on_text(client: Any, message: Any) -> str:
        if message.value == client.get_tag("secret"):
            client.validate()
            return "x" * 1000
        client.add_tag("secret", f"{client.port:05}")
        return f"REPEAT {client.get_tag('secret')}"

    with MemoryNetwork() as network:
        network.serve(server)
        honest, liar = network.dial_udp(), network.dial_udp("10.0.0.1")
        honest.send(b"hello\n")
        liar.send(b"hello\n")
        honest.send(challenge(honest).encode())
        liar.send(b"00000")
        assert len(honest.received[-1]) == 1001
        assert liar.received[-1].startswith(b"REPEAT")
        (session,) = [each for each in server.clients if each.ip == "10.0.0.1"]
        with pytest.raises(UnvalidatedAddress):
            session.send(TEXT, "x" * 1000)


def test_connections_are_logged_where_that_is_asked_for(log_events: list[Any]) -> None:
    """``log_connections`` has a line for a session's begin, and one for its end with what went through."""
    with MemoryNetwork() as network:
        serving(network, log_connections=True, timeouts=Timeouts(datagram_idle=5))
        network.dial_udp().send(b"one\n")
        network.advance(6)
    ended = [event for event in log_events if event.get("reason") == "IDLE"]
    assert [(event["messages_in"], event["bytes_in"], event["messages_out"], event["bytes_out"]) for event in ended] == [
        (1, 4, 1, 4)
    ]


def test_raw_bytes_are_whole_datagrams() -> None:
    """On ``raw`` a datagram is a message as it is, up to 65,507 bytes."""
    heard: list[bytes] = []
    server = Server(endpoints=((Raw(text=False), "udp:7001"),))
    server.register_route(TEXT, lambda client, message: heard.append(message.value))
    with MemoryNetwork() as network:
        network.serve(server)
        client = Client(endpoint="udp:127.0.0.1:7001", wire=Raw(text=False))
        network.connect(client)
        client.send(TEXT, bytes(65_507))
        network.pump()
    assert heard == [bytes(65_507)]
