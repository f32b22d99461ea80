"""Remote procedure calls between two of this package, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred

from veltix_tx import (
    CallContext,
    Client,
    InvalidArguments,
    InvalidContent,
    Limits,
    MessageRegistry,
    MessageType,
    MethodNotFound,
    RemoteError,
    RpcError,
    RpcTimeout,
    RpcUnsupported,
    Server,
    Session,
    SessionClosed,
    SettingsError,
    Timeouts,
)
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.messages import CALL, CANCEL, RESULT
from veltix_tx.wire.rpc import EMPTY_MAP, Call, MethodInfo


@dataclass
class Order:
    """What is ordered."""

    item: str
    count: int = 1


@dataclass
class Receipt:
    """What it costs."""

    total: float


class Shop:
    """A server with methods, and a client of it."""

    def __init__(self, server: dict[str, Any] | None = None, client: dict[str, Any] | None = None) -> None:
        self.network = MemoryNetwork()
        self.server = Server(**(server or {}))
        self.client = Client(**(client or {}))

    def open(self) -> Session:
        """Serve and connect; return the client's session."""
        self.network.serve(self.server)
        return self.network.connect(self.client)

    def result(self, deferred: Deferred[Any]) -> Any:
        """Return what a Deferred fires with."""
        return self.network.result(deferred)

    def called(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the server and return what comes of it."""
        return self.result(self.client.call(method, *args, **kwargs))


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop that is closed with the test."""
    made = Shop()
    yield made
    made.network.stop()


def failure_of(deferred: Deferred[Any]) -> Any:
    """Return the error that a Deferred fails with by now."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "not done"
    return found[0].value


# Arguments.


def price(order: Order, discount: float = 0.0, *, currency: str = "EUR") -> str:
    """Tell a price."""
    return f"{order.item} x{order.count} -{discount} {currency}"


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((Order("tea", 2),), {}, "tea x2 -0.0 EUR"),
        (({"item": "tea"}, 0.5), {}, "tea x1 -0.5 EUR"),
        ((), {"order": {"item": "tea"}}, "tea x1 -0.0 EUR"),
        ((Order("tea"),), {"discount": 1, "currency": "CHF"}, "tea x1 -1.0 CHF"),
        ((Order("tea"), 2.0), {"currency": "CHF"}, "tea x1 -2.0 CHF"),
    ],
)
def test_arguments_go_by_position_and_by_name(shop: Shop, args: Any, kwargs: Any, said: str) -> None:
    """Positional, keyword and default arguments reach the function as those of a local call do, converted to its types."""
    shop.server.rpc(price)
    shop.open()
    assert shop.called("price", *args, **kwargs) == said


@pytest.mark.parametrize(
    ("args", "kwargs", "path", "rule"),
    [
        ((), {}, "", "missing 1 required argument: 'order'"),
        ((3,), {}, "order", "Expected `object`, got `int`"),
        (({"item": 3},), {}, "order.item", "Expected `str`, got `int`"),
        ((), {"order": {"item": "tea", "count": "x"}}, "order.count", "Expected `int`, got `str`"),
        ((Order("tea"), 1.0, "CHF"), {}, "", "takes from 1 to 2 positional arguments but 3 were given"),
        ((Order("tea"),), {"order": Order("tea")}, "order", "given once, not by position and by name"),
        ((Order("tea"),), {"colour": "red"}, "", "got an unexpected keyword argument 'colour'"),
    ],
)
def test_arguments_that_do_not_fit_never_reach_the_function(shop: Shop, args: Any, kwargs: Any, path: str, rule: str) -> None:
    """The caller learns the parameter, the place in it and the rule; the function is not called."""
    called: list[object] = []

    @shop.server.rpc("price")
    def refuse(order: Order, discount: float = 0.0, *, currency: str = "EUR") -> None:
        called.append(order)

    shop.open()
    with pytest.raises(InvalidArguments) as caught:
        shop.called("price", *args, **kwargs)
    assert (caught.value.method, caught.value.path, caught.value.rule) == ("price", path, rule)
    assert called == []


def test_a_function_without_positional_arguments_names_the_parameter_of_a_wrong_one(shop: Shop) -> None:
    """By position too, an error names the parameter."""

    @shop.server.rpc
    def add(a: int, b: int) -> int:
        return a + b

    shop.open()
    with pytest.raises(InvalidArguments) as caught:
        shop.called("add", 1, "2")
    assert caught.value.path == "b"
    assert "'add: b: Expected `int`, got `str`' (invalid_arguments)" in str(caught.value)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((1, 2, 3), {}, "add: takes 2 positional arguments but 3 were given"),
        ((1,), {}, "add: missing 1 required argument: 'b'"),
        ((), {}, "add: missing 2 required arguments: 'a', 'b'"),
        ((1,), {"c": 3}, "add: got an unexpected keyword argument 'c'"),
        ((1, "x" * 100), {}, "add: b: Expected `int`, got `str`"),
    ],
)
def test_a_wrong_number_of_arguments_is_told_in_pythons_words(shop: Shop, args: Any, kwargs: Any, said: str) -> None:
    """An error of arity names the method, the number it takes and the number given, as that of a local call does."""

    @shop.server.rpc
    def add(a: int, b: int) -> int:
        return a + b

    shop.open()
    with pytest.raises(InvalidArguments) as caught:
        shop.called("add", *args, **kwargs)
    assert caught.value.message == said


def test_parameters_without_annotation_take_anything(shop: Shop) -> None:
    """Without a type an argument comes as builtins."""

    @shop.server.rpc
    def echo(value, *, other=None):  # type: ignore[no-untyped-def]
        return [value, other]

    shop.open()
    assert shop.called("echo", {"a": [1, None, b"x", 2.5]}, other="z") == [{"a": [1, None, b"x", 2.5]}, "z"]


def test_the_session_and_the_context_are_not_the_callers_to_give(shop: Shop) -> None:
    """A parameter annotated Session gets the caller's, one annotated CallContext deadline and metadata; neither can be sent."""
    seen: list[Any] = []

    @shop.server.rpc
    def look(session: Session, number: int, context: CallContext) -> int:
        seen.extend([session, context])
        return number

    shop.open()
    assert shop.called("look", 3, timeout=2, metadata={"trace": "7"}) == 3
    session, context = seen
    assert session is shop.server.clients[0]
    assert (context.session, context.method, context.timeout, context.metadata) == (session, "look", 2, {"trace": "7"})
    with pytest.raises(InvalidArguments):
        shop.called("look", number=3, session="mine")


# Results.


def test_a_result_is_converted_to_the_type_that_is_asked_for(shop: Shop) -> None:
    """Without a type a result comes as builtins, with one it is checked and converted."""

    @shop.server.rpc
    def pay() -> Receipt:
        return Receipt(2.5)

    shop.open()
    assert shop.called("pay") == {"total": 2.5}
    assert shop.called("pay", returns=Receipt) == Receipt(2.5)
    with pytest.raises(InvalidContent, match="Expected `int`, got `object`"):
        shop.called("pay", returns=int)


def test_coroutines_and_deferreds_are_awaited(shop: Shop) -> None:
    """A method's Deferred or coroutine is its result when it is done; meanwhile other calls go ahead, and overtake it."""
    waiting: Deferred[int] = Deferred()

    @shop.server.rpc
    async def slow() -> int:
        return await waiting + 1

    @shop.server.rpc
    def quick() -> str:
        return "quick"

    shop.open()
    first = shop.client.call("slow")
    assert shop.called("quick") == "quick"
    assert not first.called
    waiting.callback(1)
    assert shop.result(first) == 2


def test_methods_that_are_not_concurrent_keep_their_order(shop: Shop) -> None:
    """With concurrent=False later calls of the caller wait until the method is done."""
    waiting: Deferred[None] = Deferred()

    @shop.server.rpc(concurrent=False)
    async def slow() -> None:
        await waiting

    shop.server.register_rpc(lambda: "quick", "quick")
    shop.open()
    first, second = shop.client.call("slow"), shop.client.call("quick")
    shop.network.pump()
    assert not second.called
    waiting.callback(None)
    assert [shop.result(first), shop.result(second)] == [None, "quick"]


def test_both_sides_call(shop: Shop) -> None:
    """A client serves methods as a server does, and may be called from inside a call."""

    @shop.client.rpc
    def name() -> str:
        return "Ada"

    @shop.server.rpc
    async def greet(session: Session) -> str:
        return f"hello {await session.call('name')}"

    shop.open()
    assert shop.called("greet") == "hello Ada"


def test_an_object_is_served_as_a_group(shop: Shop) -> None:
    """The public methods of an object are served under a prefix, and called through its class."""

    class Calculator:
        async def add(self, a: int, b: int) -> int:
            return a + b

        async def _secret(self) -> None:
            raise AssertionError

    shop.server.register_service(Calculator(), prefix="calc.")
    shop.open()

    async def ask() -> int:
        return await shop.client.service(Calculator, prefix="calc.").add(1, b=2)

    assert shop.result(Deferred.fromCoroutine(ask())) == 3
    assert [each.name for each in shop.result(shop.client.methods())] == ["calc.add"]


class Prices(Protocol):
    """What both sides know."""

    async def price(self, order: Order) -> Receipt:
        """Return what an order costs."""


def test_a_proxy_converts_results_by_its_annotations(shop: Shop) -> None:
    """A Protocol's return annotations are the types of its results."""
    shop.server.register_rpc(lambda order: {"total": 3}, "price")
    shop.open()

    async def ask() -> Receipt:
        return await shop.client.service(Prices).price(Order("tea"))

    assert shop.result(Deferred.fromCoroutine(ask())) == Receipt(3.0)


# Errors.


def test_an_rpc_error_travels_as_it_is(shop: Shop, logged_failures: Any) -> None:
    """Code, message and details of a method's RpcError reach the caller; the log has none of it."""

    @shop.server.rpc
    def pay() -> None:
        raise RpcError("no_money", "come back tomorrow", {"missing": 3})

    shop.open()
    with pytest.raises(RpcError) as caught:
        shop.called("pay")
    assert (caught.value.code, caught.value.message, caught.value.details) == ("no_money", "come back tomorrow", {"missing": 3})
    assert logged_failures.flush() == []


@pytest.mark.parametrize("kind", ["raises", "awaits", "cannot be sent"])
def test_other_errors_are_told_without_internals(shop: Shop, kind: str, logged_failures: Any) -> None:
    """Of any other exception the caller only learns that there was one; the log names the method."""

    def raises() -> None:
        raise ZeroDivisionError("the password is 1234")

    async def awaits() -> None:
        raises()

    shop.server.register_rpc({"raises": raises, "awaits": awaits, "cannot be sent": object}[kind], "pay")
    shop.open()
    with pytest.raises(RemoteError) as caught:
        shop.called("pay")
    assert (caught.value.code, caught.value.message) == ("handler_failed", "the handler failed")
    assert b"1234" not in caught.value.detail
    (event,) = logged_failures.flush()
    assert event["who"] == "the method pay"


@pytest.mark.parametrize("methods", [0, 1])
def test_an_unknown_method_is_told(shop: Shop, methods: int) -> None:
    """A method that the other side does not serve is MethodNotFound, be there others or none."""
    if methods:
        shop.server.rpc(price)
    shop.open()
    with pytest.raises(MethodNotFound) as caught:
        shop.called("nope")
    assert caught.value.method == "nope"


def test_calls_do_not_reach_an_application_of_the_users() -> None:
    """Where an application is in place of routes, calls are answered without it."""

    class Echo:
        def connected(self, session: Session) -> None:
            pass

        def received(self, session: Session, message: Any) -> Any:
            raise AssertionError("the application was asked")

        def disconnected(self, session: Session, reason: object) -> None:
            pass

    shop = Shop(server={"application": Echo()})
    shop.server.rpc(price)
    shop.open()
    assert shop.called("price", Order("tea")) == "tea x1 -0.0 EUR"
    shop.network.stop()


@pytest.mark.parametrize("wire", ["3.3.0", "1.6.6"])
def test_a_peer_that_has_not_agreed_is_sent_nothing(wire: str) -> None:
    """On a wire of a real release a call fails at once with an error that says what to use."""
    shop = Shop(server={"wire": wire})
    shop.server.rpc(price)
    session = shop.open()
    with pytest.raises(RpcUnsupported, match="send_and_wait"):
        shop.called("price")
    assert session.pending_requests == 0
    shop.network.stop()


# Deadlines and cancellation.


class Slow:
    """A method that tells how it ended."""

    def __init__(self) -> None:
        self.ended: list[object] = []
        self.waiting: Deferred[None] = Deferred()

    async def serve(self) -> None:
        """Wait for ever."""
        try:
            await self.waiting
        except BaseException as error:
            self.ended.append(type(error))
            raise


def test_cancelling_a_call_cancels_the_other_sides_method(shop: Shop, logged_failures: Any) -> None:
    """The method's coroutine is cancelled, and the call's id comes free; that is no failure."""
    slow = Slow()
    shop.server.register_rpc(slow.serve, "slow")
    session = shop.open()
    call = shop.client.call("slow")
    shop.network.pump()
    call.cancel()
    shop.network.pump()
    assert isinstance(failure_of(call), CancelledError)
    assert slow.ended == [CancelledError]
    assert (session.pending_requests, session.late_replies) == (0, 1)
    assert not session._requests.requests.given_up.ids  # type: ignore[union-attr]
    assert logged_failures.flush() == []


def test_the_deadline_of_a_call_ends_the_other_sides_method(shop: Shop) -> None:
    """After the caller's timeout its call errbacks with RpcTimeout and the method is cancelled, whatever time it has itself."""
    slow = Slow()
    shop.server.register_rpc(slow.serve, "slow", timeout=1000)
    shop.open()
    call = shop.client.call("slow", timeout=2)
    shop.network.advance(2.5)
    error = failure_of(call)
    assert isinstance(error, RpcTimeout)
    assert (error.method, error.seconds) == ("slow", 2)
    assert slow.ended == [CancelledError]


def test_a_method_has_a_time_of_its_own(shop: Shop, logged_failures: Any) -> None:
    """A method that is not done in its own time is cancelled, and its caller told, though that would wait longer."""
    slow = Slow()
    shop.server.register_rpc(slow.serve, "slow", timeout=1)
    shop.open()
    call = shop.client.call("slow", timeout=60)
    shop.network.advance(1.5)
    assert isinstance(failure_of(call), RemoteError)
    assert slow.ended == [CancelledError]
    logged_failures.flush()


def test_a_call_that_waits_for_its_turn_can_be_cancelled(shop: Shop) -> None:
    """A cancelled call behind a busy method is never begun, and is answered."""
    slow = Slow()
    begun: list[int] = []
    shop.server.register_rpc(slow.serve, "slow", concurrent=False)
    shop.server.register_rpc(lambda: begun.append(1), "later")
    session = shop.open()
    first, second = shop.client.call("slow"), shop.client.call("later")
    shop.network.pump()
    second.cancel()
    shop.network.pump()
    assert isinstance(failure_of(second), CancelledError)
    slow.waiting.callback(None)
    assert shop.result(first) is None
    assert begun == []
    assert session.late_replies == 1


def test_cancelling_many_calls_that_wait_costs_the_same_for_each(shop: Shop) -> None:
    """A cancelled call is found among all that wait without a look at the others; those that are not cancelled keep their order."""
    slow = Slow()
    begun: list[int] = []
    shop.server.register_rpc(slow.serve, "slow", concurrent=False)

    @shop.server.rpc
    def later(number: int) -> None:
        begun.append(number)

    session = shop.open()
    first = shop.client.call("slow")
    calls = [shop.client.call("later", number) for number in range(1000)]
    failed: list[type] = []
    for call in calls:
        call.addErrback(lambda failure: failed.append(type(failure.value)))
    shop.network.pump()
    compared: list[object] = []

    class Watched(int):
        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return int(self) == other

        __hash__ = int.__hash__

    served = shop.server.clients[0]
    served._dispatcher.cancel_call(Watched(calls[999].request_id))  # type: ignore[attr-defined]
    assert len(compared) < 10
    for call in calls[:998]:
        call.cancel()
    shop.network.pump()
    assert shop.server.clients[0]._inbox_bytes < 1000
    slow.waiting.callback(None)
    assert shop.result(first) is None
    assert begun == [998]
    assert (failed.count(CancelledError), failed.count(RpcError)) == (998, 1)
    assert session.pending_requests == 0


def test_the_end_of_the_session_ends_calls_on_both_sides(shop: Shop) -> None:
    """The caller's Deferred errbacks with SessionClosed, the method is cancelled."""
    slow = Slow()
    shop.server.register_rpc(slow.serve, "slow")
    session = shop.open()
    call = shop.client.call("slow")
    shop.network.pump()
    session.disconnect()
    shop.network.advance(0.1)
    assert isinstance(failure_of(call), SessionClosed)
    assert slow.ended == [CancelledError]


# Registration.


def test_names_are_checked(shop: Shop) -> None:
    """A name that is taken, reserved or too long is refused, and so is what cannot be called."""
    shop.server.rpc(price)
    for name in ("price", "rpc.mine", "", "x" * 257, 3):
        with pytest.raises(SettingsError):
            shop.server.register_rpc(lambda: None, name)  # type: ignore[arg-type]
    with pytest.raises(SettingsError):
        shop.server.register_rpc(3, "three")  # type: ignore[arg-type]


def test_functions_that_cannot_be_served_are_refused_at_once(shop: Shop) -> None:
    """*args, **kwargs, types that cannot be sent and annotations that cannot be looked up are refused when they are registered."""

    def many(*values: int) -> None: ...

    def some(**values: int) -> None: ...

    def odd(value: Deferred[int]) -> None: ...

    def lost(value: Lost) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function in (many, some, odd, lost):
        with pytest.raises(SettingsError, match="function"):
            shop.server.rpc(function)
    with pytest.raises(SettingsError, match="thread"):
        shop.server.rpc(thread=True)(Slow().serve)


def test_a_group_is_served_whole_or_not_at_all(shop: Shop) -> None:
    """Where one method of an object cannot be served, none is."""

    class Half:
        def add(self, a: int) -> int:
            return a

        def many(self, *values: int) -> None: ...

    with pytest.raises(SettingsError):
        shop.server.register_service(Half())
    shop.open()
    assert shop.result(shop.client.methods()) == []


def test_a_method_may_run_in_a_thread(shop: Shop) -> None:
    """With thread=True a method runs in a thread of the pool, with its arguments."""
    shop.server.rpc(thread=True)(price)
    shop.open()
    assert shop.called("price", Order("tea"), currency="CHF") == "tea x1 -0.0 CHF"


def test_methods_can_be_discovered(shop: Shop) -> None:
    """A side tells its methods' names, docstrings and JSON Schemas, and says how many it has with every change."""
    shop.server.rpc(price)
    shop.open()
    (found,) = shop.result(shop.client.methods())
    assert (found.name, found.doc, found.returns) == ("price", "Tell a price.", {"type": "string"})
    assert found.params["required"] == ["order"]
    assert found.params["properties"]["currency"] == {"type": "string", "default": "EUR"}
    assert set(found.params["properties"]) == {"order", "discount", "currency"}
    assert shop.server.unregister_rpc("price")
    assert shop.result(shop.client.methods()) == []


# Hostile callers.


def deep(depth: int) -> bytes:
    """Return an array within an array and so on."""
    return b"\x91" * depth + b"\xc0"


def packed(*parts: object) -> bytes:
    """Return an array."""
    return msgspec.msgpack.encode(parts)


HOSTILE = {
    "empty": b"",
    "no array": b"\x01",
    "too few": packed("price"),
    "too many": packed("price", [], None, {}, {}, 1),
    "a method that is none": packed(3, [], None),
    "no method": packed("", [], None),
    "a long method": packed("x" * 257, [], None),
    "a timeout below 0": packed("price", [], -1),
    "a huge timeout": packed("price", [], 2**63),
    "metadata of numbers": packed("price", [], None, {}, {"a": 1}),
    "much metadata": packed("price", [], None, {}, {str(number): "" for number in range(65)}),
    "long metadata": packed("price", [], None, {}, {"a": "x" * 1025}),
    "a bad opcode": b"\x93\xc1",
    "a huge array": b"\x93\xa5price\xdd\xff\xff\xff\xff",
    "trailing bytes": packed("price", [], None) + b"\x00",
    "deep": b"\x93\xa5price" + deep(100_000) + b"\xc0",
    "deeper than is allowed": b"\x93\xa5price\x91" + deep(70) + b"\xc0",
    "args that are a map": packed("price", {"a": 1}, None),
    "kwargs that are an array": packed("price", [], None, [1]),
    "kwargs with number keys": packed("price", [], None, {1: 2}),
    "both of other kinds": packed("price", 3, None, 4),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_malformed_call_is_answered_and_the_session_goes_on(shop: Shop, kind: str, logged_failures: Any) -> None:
    """Whatever a CALL holds, its sender gets an error reply; nothing is called or logged as a failure, and the session goes on."""
    called: list[object] = []
    shop.server.register_rpc(called.append, "price")
    session = shop.open()
    with pytest.raises(RemoteError) as caught:
        shop.result(session.send_and_wait(CALL, HOSTILE[kind]))
    assert caught.value.code in ("malformed_call", "invalid_arguments", "method_not_found")
    assert called == []
    assert logged_failures.flush() == []
    assert shop.result(shop.client.methods())[0].name == "price"


def test_what_was_never_called_is_ignored(shop: Shop) -> None:
    """A CANCEL or RESULT for an id of no call does nothing."""
    shop.server.rpc(price)
    session = shop.open()
    session.send(CANCEL, b"", request_id=5)
    session.send(RESULT, b"\x01", request_id=5)
    assert shop.called("price", Order("tea")) == "tea x1 -0.0 EUR"


def test_a_reply_of_another_type_is_no_result(shop: Shop) -> None:
    """A peer that answers a call with a message of its own gets the caller an InvalidContent."""
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    shop = Shop(server={"types": types}, client={"types": types})
    shop.server.rpc(price)
    shop.open()
    answered = shop.server.clients[0]
    call = shop.client.call("nothing")
    answered.send(chat, b"hello", request_id=call_id(shop.client))
    with pytest.raises(InvalidContent, match="RESULT"):
        shop.result(call)
    shop.network.stop()


def call_id(client: Client) -> int:
    """Return the id of the one call that waits."""
    assert client.session is not None
    assert client.session._requests is not None
    (request_id,) = client.session._requests.requests.entries
    return request_id


def test_many_calls_at_once_are_bounded() -> None:
    """With limits.inflight calls under way the server stops reading, and all are answered in the end."""
    shop = Shop(server={"limits": Limits(inflight=10), "timeouts": Timeouts(handler=1000)})
    waiting: list[Deferred[None]] = []

    @shop.server.rpc
    def slow() -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    shop.open()
    calls = [shop.client.call("slow", timeout=1000) for _ in range(100)]
    shop.network.pump()
    assert shop.server.counters["reads_paused"] == 1
    while not all(call.called for call in calls):
        waiting.pop(0).callback(None)
        shop.network.pump()
    shop.network.stop()


# What an attacker tried.


@pytest.mark.parametrize("size", [20, 100, 100_000])
def test_long_arguments_of_any_type_reach_the_function(shop: Shop, size: int) -> None:
    """What a parameter may be does not say how long it may be: by position, by name and mixed."""

    @shop.server.rpc
    def measure(what: Any, more: list[Any] | None = None, *, last: dict[str, Any] | None = None) -> list[int]:
        return [len(each or ()) for each in (what, more, last)]

    shop.open()
    assert shop.called("measure", "x" * size) == [size, 0, 0]
    assert shop.called("measure", what=[1] * size) == [size, 0, 0]
    assert shop.called("measure", "x", [[]] * min(size, 1000), last={"a": "x" * size}) == [1, min(size, 1000), 1]


def test_a_call_over_the_limit_is_refused_whatever_its_parameters_are(shop: Shop) -> None:
    """A call of more than 1 MiB is refused with its size, where a parameter is bytes as where it may be anything."""

    @shop.server.rpc
    def measure(what: bytes) -> int:
        return len(what)

    shop.open()
    assert shop.called("measure", b"x" * 1_000_000) == 1_000_000
    with pytest.raises(InvalidArguments, match="the call has 1100018 bytes, over 1048576"):
        shop.called("measure", b"x" * 1_100_000)


def test_a_method_is_described_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas are made for the first who asks, not for each: many who ask cost next to nothing."""
    shop.server.rpc(price)
    shop.open()
    found = shop.result(shop.client.methods())
    monkeypatch.setattr("veltix_tx.app.rpc._schema", lambda kind: pytest.fail("made again"))
    assert shop.result(shop.client.methods()) == found


def test_what_a_caller_may_not_call_is_not_told(shop: Shop) -> None:
    """Methods whose allow says no are not among those that can be discovered."""
    shop.server.rpc(price)
    shop.server.rpc("secret", allow=lambda session: session.identity == "ann")(price)
    shop.open()
    assert [each.name for each in shop.result(shop.client.methods())] == ["price"]
    shop.server.clients[0].identity = "ann"
    assert [each.name for each in shop.result(shop.client.methods())] == ["price", "secret"]


@pytest.mark.parametrize("wrong", ["no method", "arguments", "refused"])
def test_the_error_of_an_inner_call_is_not_told_as_the_outer_ones(shop: Shop, wrong: str, logged_failures: Any) -> None:
    """What a method's own call fails with is a failure of the method: in its log, and without another's words for its caller."""

    def refuse(number: int) -> None:
        raise RpcError("no", "not mine")

    if wrong != "no method":
        shop.client.register_rpc(refuse, "confirm")

    @shop.server.rpc
    async def place(session: Session) -> None:
        await session.call("confirm", "x" if wrong == "arguments" else 1)

    shop.open()
    with pytest.raises(RemoteError) as caught:
        shop.called("place")
    assert caught.value.code == "handler_failed"
    (event,) = logged_failures.flush()
    assert event["who"] == "the method place"


class Own:
    """A method that takes its arguments itself."""

    name, title, concurrent, timeout, allow, info = "price", "the method price", True, None, None, MethodInfo("price", "Mine.")

    def call(self, session: Session, call: Call) -> object:
        """Return the arguments as they came."""
        if call.kwargs == EMPTY_MAP:
            raise RpcError("nothing", "no arguments")
        return msgspec.msgpack.decode(bytes(call.kwargs))


def test_a_method_may_take_its_arguments_itself(shop: Shop) -> None:
    """It stands in place of another one of its name, gets the packed arguments, and is described by itself."""
    shop.server.register_rpc(lambda: 1, "price")
    shop.server._methods.replace(Own())
    shop.open()
    assert shop.network.result(shop.client.call("price", a=1)) == {"a": 1}
    with pytest.raises(RpcError, match="no arguments"):
        shop.network.result(shop.client.call("price"))
    assert [each.doc for each in shop.network.result(shop.client.methods()) if each.name == "price"] == ["Mine."]


def test_a_methods_error_has_what_it_was_made_of(shop: Shop) -> None:
    """The RpcError of a call has as its cause the reply that it was made of, with the peer's bytes."""
    shop.open()
    with pytest.raises(MethodNotFound) as missing:
        shop.network.result(shop.client.call("no such method"))
    assert isinstance(missing.value.__cause__, RemoteError)
    assert missing.value.__cause__.detail
