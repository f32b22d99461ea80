"""Middleware: functions around the handlers of a server or client, which change, answer, drop or refuse messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, formatEvent

from tests.support.netconduit import PASSWORD
from veltix_tx import (
    TEXT,
    Client,
    Dropped,
    Lines,
    MessageRegistry,
    MessageType,
    MethodNotFound,
    Netconduit,
    Plugin,
    Prefixed,
    RemoteError,
    Request,
    RequestTimeout,
    Response,
    RpcError,
    RpcTimeout,
    Server,
    Session,
    SettingsError,
    Timeouts,
)
from veltix_tx.app.applications import Echo
from veltix_tx.testing import MemoryNetwork

WIRES: dict[str, Any] = {"lines": Lines(), "prefixed": Prefixed(2), "netconduit": Netconduit(PASSWORD), "veltix": "auto"}


@pytest.fixture
def network() -> Iterator[MemoryNetwork]:
    """A network in memory."""
    with MemoryNetwork() as network:
        yield network


class Shop:
    """A server with a route that answers with a value, and a client of it."""

    def __init__(self, network: MemoryNetwork, **settings: Any) -> None:
        self.network = network
        self.types = MessageRegistry()
        self.order = MessageType(200, "order", registry=self.types, content=dict[str, int], reply=int)
        self.note = MessageType(201, "note", registry=self.types)
        self.server = Server(types=self.types, **settings)
        self.client = Client(types=self.types)

    def open(self) -> None:
        """Connect."""
        self.network.serve(self.server)
        self.network.connect(self.client)

    def ask(self, message_type: MessageType, content: Any, timeout: float = 5) -> Any:
        """Return the value of the reply."""
        return self.network.result(self.client.send_and_wait(message_type, content, timeout=timeout)).value


# What it may do


def test_the_first_is_around_all_others(network: MemoryNetwork) -> None:
    """They are called in the order of their registration, and come back in the other; routes may come before and behind."""
    shop, steps = Shop(network), list[str]()

    def named(name: str) -> Any:
        async def middleware(session: Session, message: Response, next: Any) -> Any:
            steps.append(f"{name} {message.value}")
            result = await next(message)
            steps.append(f"{name} {result}")
            return result

        return middleware

    shop.server.route(shop.order)(lambda session, message: message.value["pens"])
    assert callable(shop.server.use(named("a")))
    shop.server.use(named("b"))
    shop.open()
    assert shop.ask(shop.order, {"pens": 3}) == 3
    assert steps == ["a {'pens': 3}", "b {'pens': 3}", "b 3", "a 3"]


@pytest.mark.parametrize("later", [False, True])
def test_it_gets_what_the_handler_returned(network: MemoryNetwork, later: bool) -> None:
    """The value, before it is encoded, of a handler that answers now or later; and it may answer with another."""
    shop = Shop(network)
    shop.server.route(shop.order)(lambda session, message: succeed(7) if later else 7)

    @shop.server.use
    async def twice(session: Session, message: Response, next: Any) -> Any:
        return 2 * await next(message)

    shop.open()
    assert shop.ask(shop.order, {}) == 14


@pytest.mark.parametrize("name", WIRES)
def test_it_changes_messages_on_every_wire(network: MemoryNetwork, name: str) -> None:
    """The handler gets what was passed on; its answer is the answer to the message that came. A plain function will do."""
    types, heard = MessageRegistry(), list[str]()
    chat = TEXT if name in ("lines", "prefixed") else MessageType(200, "chat", registry=types, content=str)
    MessageType(201, "chat_response", registry=types)  # the name of netconduit's answers
    server, client = (door(wire=WIRES[name], types=types) for door in (Server, Client))
    client.set_callback("on_recv", lambda message: heard.append(str(message.value)))
    server.route(chat)(lambda session, message: f"got {message.value}")
    server.use(lambda session, message, go_on: go_on(replace(message, content=message.content.upper())))
    network.serve(server)
    network.connect(client)
    client.send(chat, "abc")
    network.pump()
    assert heard == ["got ABC"]


def test_it_answers_by_itself(network: MemoryNetwork) -> None:
    """The handler is not called then; a message may be answered that has no route."""
    shop = Shop(network)
    shop.server.use(lambda session, message, go_on: b"middleware" if message.type is shop.note else go_on(message))
    shop.server.route(shop.order)(lambda session, message: 1)
    shop.open()
    assert shop.ask(shop.note, b"") == b"middleware"
    assert shop.ask(shop.order, {}) == 1
    assert shop.server.counters["unhandled"] == 0


def test_it_drops_with_a_reason(network: MemoryNetwork, log_events: list[LogEvent]) -> None:
    """That is counted, has one line of the log, is no failure, and is not told."""
    shop = Shop(network)

    @shop.server.use
    async def drop(session: Session, message: Response, next: Any) -> None:
        raise Dropped("not today")

    shop.server.route(shop.note)(lambda session, message: b"answer")
    shop.open()
    waiting = shop.client.send_and_wait(shop.note, b"", timeout=3)
    network.advance(3)
    with pytest.raises(RequestTimeout):
        network.result(waiting)
    assert (shop.server.counters["messages_dropped"], shop.server.counters["handlers_failed"]) == (1, 0)
    assert sum("a message of type note was dropped" in (formatEvent(event) or "") for event in log_events) == 1
    assert any("not today" in (formatEvent(event) or "") for event in log_events)


def test_it_refuses_with_words(network: MemoryNetwork) -> None:
    """An RpcError goes to the asker, as a handler's does."""
    shop = Shop(network)

    @shop.server.use
    def refuse(session: Session, message: Response, next: Any) -> None:
        raise RpcError("closed", "come back tomorrow")

    shop.open()
    with pytest.raises(RemoteError, match="come back tomorrow"):
        shop.ask(shop.note, b"")
    assert shop.server.counters["handlers_refused"] == 1


def test_its_failure_is_the_handlers(network: MemoryNetwork, logged_failures: Any) -> None:
    """It is logged, counted and answered as such; the session goes on."""
    shop = Shop(network)

    @shop.server.use
    async def fail(session: Session, message: Response, next: Any) -> Any:
        if message.content == b"bad":
            raise LookupError
        return await next(message)

    shop.server.route(shop.note)(lambda session, message: message.content)
    shop.open()
    with pytest.raises(RemoteError):
        shop.ask(shop.note, b"bad")
    assert shop.ask(shop.note, b"good") == b"good"
    assert shop.server.counters["handlers_failed"] == len(logged_failures.flush(LookupError)) == 1


def test_it_sees_a_handlers_failure(network: MemoryNetwork) -> None:
    """It may answer in the handler's place."""
    shop = Shop(network)

    @shop.server.use
    async def rescue(session: Session, message: Response, next: Any) -> Any:
        try:
            return await next(message)
        except LookupError:
            return b"nothing there"

    @shop.server.route(shop.note)
    def on_note(session: Session, message: Response) -> bytes:
        raise LookupError

    shop.open()
    assert shop.ask(shop.note, b"") == b"nothing there"


def test_a_content_that_does_not_fit_is_its_senders_mistake(network: MemoryNetwork) -> None:
    """Middleware that does not look lets it through to where it is refused as without any."""
    shop = Shop(network)
    shop.server.use(lambda session, message, go_on: go_on(message))
    shop.server.route(shop.order)(lambda session, message: 1)
    shop.open()
    with pytest.raises(RemoteError, match="invalid_content"):
        shop.ask(shop.order, b'{"pens": "many"}')
    assert shop.server.counters["contents_invalid"] == 1


def test_what_is_passed_on_is_a_message(network: MemoryNetwork, logged_failures: Any) -> None:
    """Anything else is a failure that says so."""
    shop = Shop(network)
    shop.server.use(lambda session, message, go_on: go_on(message.content))
    shop.open()
    with pytest.raises(RemoteError):
        shop.ask(shop.note, b"x")
    (event,) = logged_failures.flush(TypeError)
    assert "middleware passes on a message, and not b'x'" in event["log_failure"].getErrorMessage()


# Generators


def test_a_generator_is_around_the_handler_too(network: MemoryNetwork) -> None:
    """It yields once, an other message or none, and gets the result; what it returns is the answer, unless that is None."""
    shop, seen = Shop(network), list[Any]()

    @shop.server.use
    def log(session: Session, message: Response) -> Iterator[Any]:
        seen.append((yield))

    @shop.server.use
    def change(session: Session, message: Response) -> Any:
        result = yield replace(message, content=b"changed")
        return result + b"!" if message.content == b"more" else None

    @shop.server.use
    def answer(session: Session, message: Response) -> Any:
        if message.content != b"changed":
            return b"none of mine"
        yield

    shop.server.route(shop.note)(lambda session, message: message.content)
    shop.open()
    assert [shop.ask(shop.note, content) for content in (b"", b"more")] == [b"changed", b"changed!"]
    assert seen == [b"changed", b"changed!"]


def test_an_asynchronous_generator_too(network: MemoryNetwork) -> None:
    """It may wait on both sides of its yield; without one it drops the message."""
    shop, seen = Shop(network), list[Any]()

    @shop.server.use
    async def log(session: Session, message: Response) -> AsyncIterator[Any]:
        await succeed(None)
        result = yield replace(message, content=message.content.upper())
        await succeed(None)
        seen.append(result)

    shop.server.route(shop.note)(lambda session, message: succeed(message.content))
    shop.open()
    assert shop.ask(shop.note, b"a") == b"A"
    assert seen == [b"A"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("swallows", [False, True])
def test_a_generator_gets_the_handlers_failure(network: MemoryNetwork, asynchronous: bool, swallows: bool) -> None:
    """It is raised at the yield: what it does not let on is no answer, and no failure."""
    shop, seen = Shop(network), list[str]()

    def catch(error: RpcError) -> None:
        seen.append(error.code)
        if not swallows:
            raise error

    def plain(session: Session, message: Response) -> Iterator[Any]:
        try:
            yield
        except RpcError as error:
            catch(error)

    async def other(session: Session, message: Response) -> AsyncIterator[Any]:
        try:
            yield
        except RpcError as error:
            catch(error)

    @shop.server.route(shop.note)
    def on_note(session: Session, message: Response) -> bytes:
        raise RpcError("sold_out")

    shop.server.use(other if asynchronous else plain)
    shop.open()
    waiting = shop.client.send_and_wait(shop.note, b"", timeout=3)
    network.advance(3)
    with pytest.raises(RequestTimeout if swallows else RemoteError):
        network.result(waiting)
    assert seen == ["sold_out"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_yields_once(network: MemoryNetwork, logged_failures: Any, asynchronous: bool, fails: bool) -> None:
    """A second yield is a failure that names the function."""
    shop = Shop(network)

    def twice(session: Session, message: Response) -> Iterator[Any]:
        try:
            yield
        except RpcError:
            yield
        yield

    async def twice_later(session: Session, message: Response) -> AsyncIterator[Any]:
        try:
            yield
        except RpcError:
            yield
        yield

    @shop.server.route(shop.note)
    def on_note(session: Session, message: Response) -> bytes:
        if fails:
            raise RpcError("sold_out")
        return b""

    shop.server.use(twice_later if asynchronous else twice)
    shop.open()
    with pytest.raises(RemoteError):
        shop.ask(shop.note, b"")
    (event,) = logged_failures.flush(RuntimeError)
    assert "yields more than once" in event["log_failure"].getErrorMessage()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_generator_that_does_not_yield_calls_no_handler(network: MemoryNetwork, asynchronous: bool) -> None:
    """That is no failure."""
    shop, handled = Shop(network), list[Any]()

    def plain(session: Session, message: Response) -> Iterator[Any]:
        if message.content:
            yield

    async def other(session: Session, message: Response) -> AsyncIterator[Any]:
        if message.content:
            yield

    shop.server.use(other if asynchronous else plain)
    shop.server.route(shop.note)(lambda session, message: handled.append(message.content))
    shop.open()
    for content in (b"", b"x"):
        shop.client.send(shop.note, content)
    network.pump()
    assert handled == [b"x"]


# Around what


def test_every_handler_has_it(network: MemoryNetwork) -> None:
    """Routes, on_recv, those of plugins, those in threads, and messages that nothing handles, once each."""
    shop, seen = Shop(network), list[str]()

    @shop.server.use
    async def log(session: Session, message: Response, next: Any) -> Any:
        result = await next(message)
        seen.append(f"{message.type.name} {result}")
        return result

    class Greeter(Plugin):
        name = "greeter"
        types = MappingProxyType({"hello": 700})

        def received(self, session: Session, message: Response) -> bytes:
            return b"plugin"

    hello = shop.server.register_plugin(Greeter())["hello"]
    blocks = MessageType(202, "blocks", registry=shop.types)
    shop.server.route(shop.note)(lambda session, message: b"route")
    shop.server.route(blocks, thread=True)(lambda session, message: b"thread")
    shop.open()
    for message_type in (hello, shop.note, blocks):
        shop.ask(message_type, b"")
    with pytest.raises(RemoteError, match="no_route"):
        shop.ask(shop.order, {})
    shop.server.set_callback("on_recv", lambda session, message: 3)
    assert shop.ask(shop.order, {}) == 3
    assert seen == ["greeter.hello b'plugin'", "note b'route'", "blocks b'thread'", "order None", "order 3"]


def test_terms_of_a_route_are_around_its_middleware(network: MemoryNetwork, logged_failures: Any) -> None:
    """Where a route is concurrent later messages do not wait for middleware either; its time is for both together."""
    shop, waiting = Shop(network), Deferred[bytes]()

    @shop.server.use
    async def wait(session: Session, message: Response, next: Any) -> Any:
        return await (waiting if message.content == b"slow" else next(message))

    shop.server.route(shop.note, concurrent=True, timeout=7, allow=lambda session: session.has_tag("known"))(
        lambda session, message: b"quick"
    )
    shop.open()
    slow = shop.client.send_and_wait(shop.note, b"slow", timeout=20)
    with pytest.raises(RemoteError, match="forbidden"):
        shop.ask(shop.note, b"")
    shop.server.clients[0].add_tag("known")
    assert shop.ask(shop.note, b"") == b"quick"
    network.advance(7)
    with pytest.raises(RemoteError):
        network.result(slow)
    assert len(logged_failures.flush()) == 1


def test_the_end_of_the_connection_cancels_both(network: MemoryNetwork) -> None:
    """What middleware waits for is cancelled, down to the handler."""
    shop, cancelled = Shop(network), list[Any]()

    @shop.server.use
    async def log(session: Session, message: Response, next: Any) -> Any:
        return await next(message)

    shop.server.route(shop.note)(lambda session, message: Deferred(cancelled.append))
    shop.open()
    shop.client.send(shop.note)
    network.pump()
    network.result(shop.client.disconnect())
    network.advance(1)
    assert len(cancelled) == 1


def test_a_client_has_it_too(network: MemoryNetwork) -> None:
    """With the session, which a client's handlers do not get."""
    shop, seen = Shop(network), list[Any]()

    @shop.client.use
    async def log(session: Session, message: Response, next: Any) -> Any:
        seen.append((session is shop.client.session, message.value))
        return await next(message)

    shop.client.route(shop.order)(lambda message: message.value["pens"])
    shop.open()
    assert network.result(shop.server.clients[0].send_and_wait(shop.order, {"pens": 4})).value == 4
    assert seen == [(True, {"pens": 4})]


def test_types_of_an_open_registry_are_those_of_the_routes(network: MemoryNetwork) -> None:
    """A typed route answers with its values there as well."""
    types = MessageRegistry(open=True)
    order = MessageType(200, "order", registry=MessageRegistry(), content=int, reply=str)
    server, client = Server(types=types), Client(types=MessageRegistry())
    server.use(lambda session, message, go_on: go_on(replace(message)))
    server.route(order)(lambda session, message: str(message.value))
    network.serve(server)
    ask = MessageType(200, "order", registry=client._types, content=int, reply=str)
    network.connect(client)
    assert network.result(client.send_and_wait(ask, 5)).value == "5"


# Calls


def test_calls_have_it(network: MemoryNetwork) -> None:
    """With the call as the message's value; what comes back is what the method returned, and may be changed."""
    shop, seen = Shop(network), list[Any]()

    @shop.server.use
    async def log(session: Session, message: Response, next: Any) -> Any:
        seen.append(message.value.method)
        return await next(message) + 1

    @shop.server.rpc
    async def add(a: int, b: int) -> int:
        return a + b

    shop.open()
    assert network.result(shop.client.call("add", 1, b=2)) == 4
    with pytest.raises(MethodNotFound):
        network.result(shop.client.call("nothing"))
    assert seen == ["add"]


@pytest.mark.parametrize("step", ["refuse", "drop", "change"])
def test_what_it_does_to_a_call(network: MemoryNetwork, logged_failures: Any, step: str) -> None:
    """It refuses a call with words, or drops it; a call goes on as it came."""
    shop = Shop(network)

    @shop.server.use
    def middleware(session: Session, message: Response, next: Any) -> Any:
        if step == "refuse":
            raise RpcError("closed")
        if step == "drop":
            raise Dropped
        return next(replace(message, content=b""))

    shop.server.rpc(abs)
    shop.open()
    calling = shop.client.call("abs", -1, timeout=3)
    network.advance(3)
    with pytest.raises({"refuse": RpcError, "drop": RpcTimeout, "change": RemoteError}[step]):
        network.result(calling)
    assert shop.server.counters["messages_dropped"] == (step == "drop")
    assert len(logged_failures.flush(TypeError)) == (step == "change")


# Registration


def test_it_is_registered_before_sessions_come(network: MemoryNetwork) -> None:
    """A server that listens, and a client that connects, takes no further middleware; after its end it does."""
    shop = Shop(network)
    shop.open()
    for door in (shop.server, shop.client):
        with pytest.raises(SettingsError, match=r"use is .*: it must be registered before"):
            door.use(lambda session, message, go_on: None)
    network.stop()
    shop.server.use(lambda session, message, go_on: b"second")
    shop.server.rpc(abs)
    shop.open()
    assert shop.ask(shop.note, b"") == b"second"


@pytest.mark.parametrize("given", [None, "log", 7])
def test_it_can_be_called(given: Any) -> None:
    """What cannot is refused."""
    with pytest.raises(SettingsError, match="use is "):
        Server().use(given)


def test_an_application_in_place_of_routes_has_none() -> None:
    """It may do around its handlers what it likes."""
    with pytest.raises(SettingsError, match="None for routes"):
        Server(application=Echo()).use(lambda session, message, go_on: None)


def test_a_request_answers_as_of_a_handler(network: MemoryNetwork) -> None:
    """A whole Request of another type."""
    shop, heard = Shop(network, timeouts=Timeouts(handler=1)), list[bytes]()
    shop.server.use(lambda session, message, go_on: Request(shop.note, b"a note"))
    shop.client.set_callback("on_recv", lambda message: heard.append(message.content))
    shop.open()
    shop.client.send(shop.order, {})
    network.pump()
    assert heard == [b"a note"]
