"""Calls: arguments, results, failures, discovery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from tests.conftest import LoggedFailures
from tests.support.dropin.conduit_ends import Run, connected, make_client, make_server
from veltix_tx.dropin.conduit import Client, Error, Response, RPCException, RPCMethodInfo, Server, data
from veltix_tx.dropin.conduit.response.error import ErrorCode
from veltix_tx.dropin.conduit.rpc.helpers import params
from veltix_tx.dropin.conduit.rpc.rpc_class import RPCError, RPCTimeout


class Order(BaseModel):
    """Arguments of a method."""

    item: str
    count: int = Field(1, ge=1)


class Receipt(BaseModel):
    """Result of one."""

    total: int
    orders: list[Order] = []


def call_all(run: Run, server: Server, calls: Callable[[Client], Any]) -> Any:
    """Run what calls a server with a connected client."""

    async def main() -> Any:
        async with connected(server) as client:
            return await calls(client)

    return run(main())


async def failure(client: Client, method: str, **arguments: Any) -> RPCError:
    """Return the error that a call raises."""
    with pytest.raises(RPCError) as failed:
        await client.rpc.call(method, args=arguments)
    return failed.value


def test_arguments_are_given_in_every_way(run: Run) -> None:
    """By ``data()``, as a dict, by name, by position with ``params()``; names beside ``args`` win."""
    server = make_server()

    @server.rpc
    async def join(a: str, b: str = "b", *, c: str = "c") -> str:
        return a + b + c

    async def calls(client: Client) -> None:
        call = client.rpc.call
        assert await call("join", args=data(a="1", b="2")) == "12c"
        assert await call("join", {"a": "1"}, b="2", c="3") == "123"
        assert await call("join", {"a": "1"}, a="2") == "2bc"
        assert await call("join", args=params("1", "2", c="3")) == "123"
        assert await call("join", a="1", timeout=5) == "1bc"

    call_all(run, server, calls)
    assert params(1, x=2) == {"_0": 1, "x": 2}


def test_arguments_are_validated_and_converted_by_annotations(run: Run) -> None:
    """Models are made of all arguments, plain annotations checked one by one; what has none takes anything."""
    server = make_server()

    @server.rpc
    async def order(request: Order) -> str:
        return f"{request.count} x {request.item}"

    @server.rpc
    def both(request: Order, note: str, extra: Any = None) -> Any:
        return [request.item, note, extra]

    @server.rpc
    def double(n: int) -> int:
        return 2 * n

    @server.rpc
    def loose(a, b):  # type: ignore[no-untyped-def]
        return a + b

    async def calls(client: Client) -> None:
        call = client.rpc.call
        assert await call("order", data(item="tea")) == "1 x tea"
        assert await call("order", data(item="tea", count="3")) == "3 x tea"
        assert await call("both", data(request={"item": "tea"}, note="now", extra=[1])) == ["tea", "now", [1]]
        assert await call("double", n="21") == 42
        assert await call("loose", a="x", b="y") == "xy"
        error = await failure(client, "order", count=0)
        assert (error.code, error.message) == (ErrorCode.VALIDATION, "Validation error in order")
        assert [(each["field"], each["type"]) for each in error.details["errors"]] == [
            ("item", "missing"),
            ("count", "greater_than_equal"),
        ]
        error = await failure(client, "double", n="many")
        assert (error.code, error.details["errors"][0]["field"]) == (2000, "n")
        error = await failure(client, "double", n=1, m=2)
        assert (error.code, error.details["errors"][0]["type"]) == (2000, "unexpected_keyword_argument")
        assert (await failure(client, "loose", a=1)).code == 2000

    call_all(run, server, calls)


def test_results_are_bare_values(run: Run) -> None:
    """Values, models, and what the helpers make come back as the value; None as None; a dict with ``success`` as its data."""
    server, response = make_server(), Response()
    results: dict[str, tuple[Any, Any]] = {
        "number": (7, 7),
        "nothing": (None, None),
        "bytes": (b"\x00\xff", b"\x00\xff"),
        "model": (Receipt(total=1, orders=[Order(item="tea")]), {"total": 1, "orders": [{"item": "tea", "count": 1}]}),
        "models": ([Order(item="tea")], [{"item": "tea", "count": 1}]),
        "wrapped": (response(Order(item="tea")), {"item": "tea", "count": 1}),
        "said": (response(1, metadata={"of": 2}), 1),
        "page": (response.with_pagination([1, 2], total=5, page=1, page_size=2), [1, 2]),
        "ok": (response.ok(message="done"), {"success": True, "message": "done"}),
        "own": ({"success": True, "rows": 3}, {"success": True, "rows": 3}),
        "plain": ({"result": 5.0}, {"result": 5.0}),
    }

    def returning(value: Any) -> Callable[[], Any]:
        return lambda: value

    def returning_later(value: Any) -> Callable[[], Any]:
        async def later() -> Any:
            await asyncio.sleep(0)
            return value

        return later

    for name, (returned, _) in results.items():
        server.rpc(name)(returning(returned))
        server.rpc(name=f"{name} later")(returning_later(returned))

    async def calls(client: Client) -> None:
        for name, (_, expected) in results.items():
            assert await client.rpc.call(name) == expected, name
            assert await client.rpc.call(f"{name} later") == expected, name

    call_all(run, server, calls)


def test_failures_raise_rpc_error_with_their_words(run: Run) -> None:
    """Each number, text and details that a method returns are the caller's; one without a number has 1000."""
    server, error = make_server(), Error()
    failures = {
        "validation": error.validation("wrong", field="age", expected="int", received="x"),
        "missing": error("no age", code=ErrorCode.MISSING_FIELD),
        "params": error("odd", code=ErrorCode.INVALID_PARAMS),
        "not found": error.not_found("User", 7),
        "denied": error.permission_denied("delete"),
        "internal": error.internal(),
        "timeout": error.timeout("query"),
        "limited": error.rate_limited(60),
        "own": error("Division by zero", code=400, details={"by": [0]}),
        "bare": error("no"),
    }
    expected = {
        "validation": (2000, "wrong", {"field": "age", "expected": "int", "received": "x"}),
        "missing": (2001, "no age", {}),
        "params": (4001, "odd", {}),
        "not found": (4000, "User not found: 7", {}),
        "denied": (3003, "Permission denied: delete", {}),
        "internal": (1001, "Internal server error", {}),
        "timeout": (1002, "Operation timed out: query", {}),
        "limited": (6000, "Rate limit exceeded", {"retry_after": 60}),
        "own": (400, "Division by zero", {"by": [0]}),
        "bare": (1000, "no", {}),
    }
    for name, returned in failures.items():
        server.rpc(name)(lambda returned=returned: returned)

    async def calls(client: Client) -> None:
        for name, told in expected.items():
            raised = await failure(client, name)
            assert (raised.code, raised.message, raised.details) == told
        assert str(raised) == "[1000] no"
        nothing = await failure(client, "no such method")
        assert nothing.code == ErrorCode.METHOD_NOT_FOUND

    call_all(run, server, calls)
    assert RPCException is RPCError


def test_an_exception_does_not_tell_of_the_server(run: Run, logged_failures: LoggedFailures) -> None:
    """A method that raises fails its call with 1001 and without the exception's text, and the log has it all."""
    server = make_server()

    @server.rpc
    async def broken() -> None:
        raise RuntimeError("the password is swordfish")

    @server.rpc
    def mistaken() -> None:
        len(5)  # type: ignore[arg-type]  # a TypeError of its own is no wrong argument

    async def calls(client: Client) -> None:
        for method in ("broken", "mistaken"):
            error = await failure(client, method)
            assert error.code == ErrorCode.INTERNAL
            assert "swordfish" not in str(error)

    call_all(run, server, calls)
    assert len(logged_failures.flush(RuntimeError, TypeError)) == 2


def test_a_result_that_cannot_be_packed_fails_its_call_alone(run: Run, logged_failures: LoggedFailures) -> None:
    """The caller gets an error, and the connection goes on."""
    server = make_server()
    server.rpc("odd")(object)
    server.rpc("keys")(lambda: {1: 2})
    server.rpc("fine")(lambda: {1, 2})  # a set is a list on the wire

    async def calls(client: Client) -> None:
        assert (await failure(client, "odd")).code == ErrorCode.INTERNAL
        assert (await failure(client, "keys")).code == ErrorCode.INTERNAL
        assert sorted(await client.rpc.call("fine")) == [1, 2]

    call_all(run, server, calls)
    assert len(logged_failures.flush()) == 2


def test_arguments_that_cannot_be_sent_raise_rpc_error(run: Run) -> None:
    """As every error of a call; the connection goes on."""
    server = make_server()
    server.rpc("one")(lambda: 1)

    async def calls(client: Client) -> None:
        assert "RPC call failed" in str(await failure(client, "one", a=object()))
        assert "RPC call failed" in str(await failure(client, "one", a={1: 2}))
        assert await client.rpc.call("one") == 1

    call_all(run, server, calls)


def test_a_call_times_out(run: Run) -> None:
    """After ``timeout`` or the default, with RPCTimeout, which is an RPCError and Python's TimeoutError."""
    server = make_server()

    @server.rpc
    async def slow() -> None:
        await asyncio.sleep(0.3)

    async def calls(client: Client) -> None:
        with pytest.raises(RPCTimeout) as late:
            await client.rpc.call("slow", timeout=0.05)
        assert (late.value.method, late.value.timeout) == ("slow", 0.05)
        assert isinstance(late.value, (RPCError, TimeoutError))
        client.rpc.default_timeout = 0.05
        with pytest.raises(TimeoutError):
            await client.rpc.call("slow")
        with pytest.raises(ValueError, match="positive"):
            client.rpc.default_timeout = 0
        assert await client.rpc.call("slow", timeout=5) is None

    call_all(run, server, calls)
    assert make_client(server, rpc_timeout=7).rpc.default_timeout == 7


def test_methods_are_discovered(run: Run) -> None:
    """``discover()`` is a list of maps, ``call("listall")`` a map with it; a later method takes a name over."""
    server = make_server()

    @server.rpc
    async def add(a: int, b: float = 2) -> int:
        """Add two numbers."""
        return a

    @server.rpc(name="buy", requires_auth=True)
    def order(request: Order) -> Receipt:
        return Receipt(total=1)

    server.rpc("add")(add)

    async def calls(client: Client) -> Any:
        methods = await client.rpc.discover()
        assert await client.rpc.call("listall") == {"methods": methods, "count": 2}
        return methods

    methods = call_all(run, server, calls)
    assert methods == [
        {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {"a": "int", "b": "float"},
            "return_type": "int",
            "requires_auth": True,
        },
        {
            "name": "buy",
            "description": "",
            "parameters": {"item": "str", "count": "int"},
            "return_type": "Receipt",
            "requires_auth": True,
        },
    ]
    assert RPCMethodInfo(**methods[0]).name == "add"


def test_call_no_wait_keeps_nothing(run: Run) -> None:
    """Calls that nobody waits for have ids, reach the method, and are forgotten when they are answered, failed ones as well."""
    server, called = make_server(), []

    @server.rpc
    def note(n: int) -> None:
        called.append(n)

    async def calls(client: Client) -> None:
        ids = [await client.rpc.call_no_wait("note", data(n=number)) for number in range(50)]
        await client.rpc.call_no_wait("nothing")
        await client.rpc.discover()
        assert len(set(ids)) == 50
        session = client._present()
        assert session.pending_requests == 0

    call_all(run, server, calls)
    assert called == list(range(50))


def test_annotations_that_cannot_be_looked_up_validate_nothing(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Such a function is served as it is, and the log says so."""
    server = make_server()

    @server.rpc
    def odd(a: NoSuchType, b: int) -> str:  # type: ignore[name-defined]  # noqa: F821
        return f"{a}{b}"

    async def calls(client: Client) -> None:
        assert await client.rpc.call("odd", a=1, b="2") == "12"
        assert (await failure(client, "odd", a=1)).code == 2000

    call_all(run, server, calls)
    assert "odd" in caplog.text
