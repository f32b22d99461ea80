"""Values in place of bytes: routes, replies and broadcasts of types with ``content=``, on both doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import formatEvent

from veltix_tx import (
    Client,
    InvalidContent,
    MessageRegistry,
    MessageType,
    RemoteError,
    Request,
    Response,
    RpcError,
    Server,
    Session,
    Timeouts,
)
from veltix_tx.testing import MemoryNetwork, ScriptedPeer
from veltix_tx.wire.veltix.layouts import W15
from veltix_tx.wire.veltix.wire import Auto


class Order(msgspec.Struct):
    article: str
    count: int = 1


class Receipt(msgspec.Struct):
    price: float


class Payment(pydantic.BaseModel):
    amount: int = pydantic.Field(gt=0)


TYPES = MessageRegistry()
ORDER = MessageType(200, "order", registry=TYPES, content=Order, reply=Receipt)
PACKED = MessageType(201, "packed", registry=TYPES, content=Order, reply=Receipt, format="msgpack")
PAYMENT = MessageType(202, "payment", registry=TYPES, content=Payment)
TIME = MessageType(203, "time", registry=TYPES, reply=float)
NEWS = MessageType(204, "news", registry=TYPES, content=list[Order])
CHAT = MessageType(205, "chat", registry=TYPES)

RECEIPT = Receipt(4.5)


def ends(
    network: MemoryNetwork, *, server: dict[str, Any] | None = None, client: dict[str, Any] | None = None
) -> tuple[Server, Client]:
    """Connect a server and a client, made with these settings."""
    made = Server(types=TYPES, **(server or {})), Client(types=TYPES, **(client or {}))
    network.serve(made[0])
    network.connect(made[1])
    return made


def lines(events: list[Any], word: str) -> list[str]:
    """The lines of the log with a word in them."""
    return [text for event in events if word in (text := formatEvent(event) or "")]


async def _later() -> Receipt:
    return RECEIPT


ANSWERS: dict[str, Callable[[], Any]] = {
    "value": lambda: RECEIPT,
    "coroutine": _later,
    "Deferred": lambda: succeed(RECEIPT),
    "bytes": lambda: b'{"price":4.5}',
    "request of the same type": lambda: Request(ORDER, RECEIPT),  # type: ignore[arg-type]
}
TERMS = [{}, {"concurrent": True}, {"thread": True}, {"timeout": 5}]


@pytest.mark.parametrize("terms", TERMS, ids=str)
@pytest.mark.parametrize("how", ANSWERS)
@pytest.mark.parametrize("asks", ["client", "server"])
def test_handlers_take_and_return_values(asks: str, how: str, terms: dict[str, Any]) -> None:
    """A route gets its message's value and answers with one, at once or later, whatever its terms; the asker gets that."""
    if "thread" in terms and how in ("coroutine", "Deferred"):
        terms = {}
    got: list[Any] = []
    with MemoryNetwork() as network:
        server, client = ends(network)

        def handle(message: Response[Order]) -> Any:
            got.append(message.value)
            return ANSWERS[how]()

        server.route(ORDER, **terms)(lambda _, message: handle(message))
        client.route(ORDER, **terms)(handle)
        asker = client.session if asks == "client" else server.clients[0]
        assert asker is not None
        reply = network.result(asker.send_and_wait(ORDER, Order("pen", 2)))
        assert got == [Order("pen", 2)]
        assert reply.value == RECEIPT
        assert reply.content == b'{"price":4.5}'


def test_every_kind_of_type_goes_both_ways() -> None:
    """JSON and msgpack, models of pydantic, a list, a typed reply to bytes: what arrives is what was sent."""
    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(PACKED)(lambda client, message: Receipt(message.value.count / 2))
        server.route(PAYMENT)(lambda client, message: Payment(amount=message.value.amount + 1))
        server.route(TIME)(lambda client, message: float(message.value))
        server.route(NEWS)(lambda client, message: message.value[::-1])
        assert network.result(client.send_and_wait(PACKED, Order("pen", 3))).value == Receipt(1.5)
        assert network.result(client.send_and_wait(PAYMENT, Payment(amount=1))).value == Payment(amount=2)
        assert network.result(client.send_and_wait(TIME, b"2.5")).value == 2.5
        assert network.result(client.send_and_wait(NEWS, [Order("a"), Order("b")])).value == [Order("b"), Order("a")]
        assert network.result(client.send_and_wait(Request(PACKED, Order("pen")))).value == Receipt(0.5)


@pytest.mark.parametrize("how", ["client", "session", "broadcast", "request"])
def test_what_is_sent_is_a_value(how: str) -> None:
    """send, broadcast and a whole Request take values, in both directions."""
    got: list[Any] = []
    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(ORDER)(lambda _, message: got.append(message.value))
        client.route(ORDER)(lambda message: got.append(message.value))
        {
            "client": lambda: client.send(ORDER, Order("ink")),
            "session": lambda: server.clients[0].send(ORDER, Order("ink")),
            "broadcast": lambda: server.broadcast(ORDER, Order("ink")),
            "request": lambda: client.send(Request(ORDER, Order("ink"))),
        }[how]()
        network.pump()
    assert got == [Order("ink")]


def test_a_broadcast_is_encoded_once_for_each_kind_of_peer() -> None:
    """However many clients get it, the value is encoded once for those that take the same bytes."""
    encoded: list[object] = []

    class Counted(msgspec.Struct):
        article: str

    types = MessageRegistry()
    kind = MessageType(200, "counted", registry=types, content=Counted)
    with MemoryNetwork() as network:
        server = Server(types=types)
        network.serve(server)
        clients = [Client(types=types), Client(types=types), Client(types=types, wire=Auto(long_headers=True))]
        got: list[Any] = []
        for client in clients:
            client.route(kind)(lambda message: got.append(message.value.article))
            network.connect(client)
        encode = kind.codec.encode  # type: ignore[union-attr]

        def count(value: Counted) -> bytes:
            encoded.append(value)
            return encode(value)

        object.__setattr__(kind.codec, "encode", count)
        assert server.broadcast(kind, Counted("pen")) == 3
        network.pump()
    assert got == ["pen"] * 3
    assert len(encoded) == 2


BAD = [b'{"article": 5}', b"{", b"[" * 5000, b"NaN", b"", b'{"article": "\xff"}', b'{"article": "' + b"x" * 1_100_000 + b'"}']


@pytest.mark.parametrize("asks", ["client", "server"])
@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_an_invalid_content_reaches_no_handler(asks: str, content: bytes, log_events: list[Any]) -> None:
    """It is counted, one line says what is wrong, and its asker gets a RemoteError at once; the connection goes on."""
    called: list[Any] = []
    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(ORDER)(lambda _, message: called.append(message) or RECEIPT)  # type: ignore[func-returns-value]
        client.route(ORDER)(lambda message: called.append(message) or RECEIPT)  # type: ignore[func-returns-value]
        asker, other = (client.session, server) if asks == "client" else (server.clients[0], client)
        assert asker is not None
        with pytest.raises(RemoteError) as caught:
            network.result(asker.send_and_wait(ORDER, content))
        assert caught.value.code == "invalid_content"
        assert caught.value.message.startswith("not Order in JSON: ")
        assert (called, network.clock.seconds()) == ([], 0)
        assert (other.counters["contents_invalid"], other.counters["handlers_failed"]) == (1, 0)
        (line,) = lines(log_events, "invalid content")
        assert "of type order" in line
        assert len(line) < 1000
        assert network.result(asker.send_and_wait(ORDER, Order("pen"))).value == RECEIPT


def test_the_asker_is_told_the_path_and_nothing_else() -> None:
    """The error names the type and the wrong field; the content itself does not come back."""
    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(NEWS)(lambda *_: None)
        with pytest.raises(RemoteError) as caught:
            network.result(client.send_and_wait(NEWS, b'[{"article": "secret"}, {"article": 5}]'))
    assert caught.value.message.endswith(": Expected `str`, got `int` at $[1].article")
    assert b"secret" not in caught.value.detail


@pytest.mark.parametrize("terms", TERMS[1:], ids=str)
def test_an_invalid_content_reaches_no_handler_on_any_terms(terms: dict[str, Any]) -> None:
    """Concurrent, in a thread, with a time of its own: the handler is not called, the asker is told."""
    called: list[Any] = []
    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(ORDER, **terms)(lambda _, message: called.append(message))
        with pytest.raises(RemoteError, match="invalid_content"):
            network.result(client.send_and_wait(ORDER, b"{}"))
        assert server.counters["contents_invalid"] == 1
    assert called == []


@pytest.mark.parametrize("later", [False, True])
def test_where_there_is_no_route_the_value_is_decoded_when_it_is_read(later: bool) -> None:
    """on_recv and applications get every message; one whose value they read and that has none fails as in a route."""
    contents: list[bytes] = []

    async def read_later(message: Response[Order]) -> Receipt:
        return Receipt(message.value.count)

    def on_recv(client: Session, message: Response[Order]) -> Any:
        contents.append(message.content)
        return read_later(message) if later else Receipt(message.value.count)

    with MemoryNetwork() as network:
        server, client = ends(network)
        server.set_callback("on_recv", on_recv)
        assert network.result(client.send_and_wait(ORDER, Order("pen", 3))).value == Receipt(3)
        with pytest.raises(RemoteError, match="invalid_content"):
            network.result(client.send_and_wait(ORDER, b"{}"))
        assert contents == [b'{"article":"pen","count":3}', b"{}"]
        assert (server.counters["contents_invalid"], server.counters["handlers_failed"]) == (1, 0)


@pytest.mark.parametrize("how", ANSWERS)
def test_the_type_of_the_route_decides(how: str) -> None:
    """A server that takes every code decodes by the type that its route was made for, and answers by it."""
    with MemoryNetwork() as network:
        server, client = Server(types=MessageRegistry(open=True)), Client(types=TYPES)

        @server.route(ORDER)
        def on_order(client: Session, message: Response[Order]) -> Any:
            assert message.value == Order("pen", 3)
            return ANSWERS[how]()

        network.serve(server)
        network.connect(client)
        assert network.result(client.send_and_wait(ORDER, Order("pen", 3))).value == RECEIPT


WRONG = {"another value": Order("pen"), "text": "4.5", "what JSON cannot hold": Receipt("\ud800")}  # type: ignore[arg-type]


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("later", [False, True])
def test_a_result_that_is_no_reply_is_the_handlers_failure(how: str, later: bool, logged_failures: Any) -> None:
    """A handler whose result is not of reply= has failed: the log has it, the asker is told that and no more."""

    async def answer_later() -> Any:
        return WRONG[how]

    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(ORDER)(lambda *_: answer_later() if later else WRONG[how])
        with pytest.raises(RemoteError) as caught:
            network.result(client.send_and_wait(ORDER, Order("pen")))
        assert (caught.value.code, caught.value.message) == ("handler_failed", "the handler failed")
        assert (server.counters["handlers_failed"], server.counters["contents_invalid"]) == (1, 0)
    (event,) = logged_failures.flush()
    assert isinstance(event["log_failure"].value, InvalidContent)


def test_a_reply_of_the_wrong_shape_is_the_askers_error() -> None:
    """A reply that is not of reply= errbacks with its path; the connection goes on."""
    with MemoryNetwork() as network:
        server, client = ends(network)
        server.route(ORDER)(lambda *_: b'{"price": "much"}')
        with pytest.raises(InvalidContent) as caught:
            network.result(client.send_and_wait(ORDER, Order("pen")))
        assert (caught.value.path, caught.value.value) == ("$.price", b'{"price": "much"}')
        assert client.session is not None
        assert client.session.pending_requests == 0


@pytest.mark.parametrize("how", ["send", "send_and_wait", "broadcast", "reply to"])
def test_a_value_of_another_type_is_not_sent(how: str) -> None:
    """What is not of content= raises where it is sent, and nothing leaves."""
    with MemoryNetwork() as network:
        server, _ = ends(network)
        session = server.clients[0]
        wrong: Any = Receipt(1)
        calls: dict[str, Callable[[], object]] = {
            "send": lambda: session.send(ORDER, wrong),
            "send_and_wait": lambda: session.send_and_wait(ORDER, wrong),
            "broadcast": lambda: server.broadcast(ORDER, wrong),
            "reply to": lambda: session.send(ORDER, wrong, request_id=5),
        }
        with pytest.raises(InvalidContent, match="is not Order in JSON: it is of type Receipt"):
            calls[how]()
        assert session.write_buffer_size == 0
        assert session.pending_requests == 0


def test_reply_takes_a_value() -> None:
    """What a handler gives to reply() is encoded as what it returns."""
    with MemoryNetwork() as network:
        server, client = ends(network)
        waiting: Deferred[Any] = Deferred()

        @server.route(ORDER)
        def on_order(client: Session, message: Response[Order]) -> None:
            client.reply(message, waiting)

        reply = client.send_and_wait(ORDER, Order("pen"))
        network.pump()
        waiting.callback(RECEIPT)
        assert network.result(reply).value == RECEIPT


# RpcError


@pytest.mark.parametrize("message_type", [ORDER, CHAT], ids=["values", "bytes"])
@pytest.mark.parametrize("asks", ["client", "server"])
@pytest.mark.parametrize("how", ["at once", "later"])
def test_an_rpc_error_arrives_whole(how: str, asks: str, message_type: Any, log_events: list[Any]) -> None:
    """What a handler raises for its asker arrives with code, message and details; the log has nothing of it."""

    def refuse(*_: Any) -> None:
        raise RpcError("sold_out", "no pens left", {"left": 0, "from": ["shelf"]})

    async def refuse_later(*_: Any) -> None:
        refuse()

    with MemoryNetwork() as network:
        server, client = ends(network)
        for door in (server, client):
            door.register_route(message_type, refuse if how == "at once" else refuse_later)
        asker, other = (client.session, server) if asks == "client" else (server.clients[0], client)
        assert asker is not None
        with pytest.raises(RemoteError) as caught:
            network.result(asker.send_and_wait(message_type, Order("pen") if message_type is ORDER else b"pen"))
        error = caught.value
        assert (error.code, error.message, error.details) == ("sold_out", "no pens left", {"left": 0, "from": ["shelf"]})
        assert str(error) == "the peer could not answer: 'no pens left' (sold_out)"
        assert (other.counters["handlers_refused"], other.counters["handlers_failed"]) == (1, 0)
        assert network.clock.seconds() == 0
        assert lines(log_events, "on_order") == lines(log_events, "refused") == []


@pytest.mark.parametrize("how", ["only sent", "a real peer"])
def test_an_rpc_error_that_nobody_hears_is_a_line_of_the_log(how: str, log_events: list[Any]) -> None:
    """Where nobody asked, or the wire has no errors, one line has the handler's words."""

    def refuse(*_: Any) -> None:
        raise RpcError("sold_out", "no pens\nleft")

    with MemoryNetwork() as network:
        server, client = ends(network, client={"wire": "3.3.0"} if how == "a real peer" else {})
        server.route(CHAT)(refuse)
        if how == "only sent":
            client.send(CHAT, b"pen")
        else:
            client.send_and_wait(CHAT, b"pen").addErrback(lambda _: None)
        network.pump()
        (line,) = lines(log_events, "sold_out")
        assert "which is not told" in line
        assert "\n" not in line
        assert server.counters["handlers_refused"] == 1


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [(("Sold out",), "a-z"), (("",), "a-z"), (("x" * 33,), "a-z"), (("a", 5), "a text"), (("a", "", {1, 2}), "JSON's kinds")],
)
def test_an_rpc_error_that_no_wire_takes_cannot_be_made(arguments: tuple[Any, ...], rule: str) -> None:
    """A code, message or details of the wrong kind are an error where it is raised, not a lost reply."""
    with pytest.raises(ValueError, match=rule):
        RpcError(*arguments)


# Real peers


def real_peer(network: MemoryNetwork, server: Server) -> ScriptedPeer:
    """A scripted client as release 3.3.0."""
    network.serve(server)
    peer = network.dial()
    hello = b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'
    peer.send(len(hello).to_bytes(2, "big") + hello)
    peer.received.clear()
    return peer


def test_json_of_a_real_peer_is_validated_all_the_same() -> None:
    """A peer that knows of no types sends JSON with spaces, in any order, and more keys: it is an Order, or none."""
    got: list[Any] = []
    with MemoryNetwork() as network:
        server = Server(types=TYPES)
        server.route(ORDER)(lambda _, message: got.append(message.value) or Receipt(0.5))  # type: ignore[func-returns-value]
        peer = real_peer(network, server)
        for content in (b'{"count": 2, "more": {"x": [1]}, "article": "pen"}', b'{"count": "2", "article": "pen"}'):
            peer.send(W15.pack(200, content, 5, 0) + content)
        assert got == [Order("pen", 2)]
        assert server.counters["contents_invalid"] == 1
        assert bytes(peer.received) == W15.pack(200, b'{"price":0.5}', 5, 0) + b'{"price":0.5}'
        assert not peer.closed


def test_many_invalid_contents_are_few_lines_and_no_memory(log_events: list[Any]) -> None:
    """A peer that sends nothing else is counted in full; the log has as many lines as its budget, and nothing waits."""
    content = b'{"article": 5}'
    with MemoryNetwork() as network:
        server = Server(types=TYPES, timeouts=Timeouts())
        server.route(ORDER)(lambda *_: None)
        peer = real_peer(network, server)
        peer.send((W15.pack(200, content, 5, 0) + content) * 2000)
        assert server.counters["contents_invalid"] == 2000
        assert len(lines(log_events, "invalid content")) <= 25
        assert peer.received == b""
        assert server.clients[0]._inbox_bytes == 0
