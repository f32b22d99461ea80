"""Real netconduit releases with our drop-in at the other end, and the drop-in with itself: one driver for both."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.interop.conduits import RELEASES, Conduits
from tests.support.interop.driver import Real, RealError

each_release = pytest.mark.parametrize("release", RELEASES)
first_and_last = pytest.mark.parametrize("release", [RELEASES[0], RELEASES[-1]])
"""For what does not depend on the bytes of a release."""
both_ways = pytest.mark.parametrize("compress", [False, True])

QUICK = {"heartbeat_interval": 1, "heartbeat_timeout": 2}

VALUES: list[Any] = [
    True,
    -(2**63),
    1.5,
    "",
    "hé ✓",
    [],
    {"deep": [{"list": [1, [2, None]]}], "ключ": 1},
    {"hex": "00ff"},
    "x" * 300_000,
]
"""Data of messages, as the driver's lines carry it."""


def seconds(wait: float) -> Deferred[None]:
    """Return a Deferred that fires some time later."""
    from twisted.internet import reactor

    return deferLater(reactor, wait)


async def converse(client: Real, server: Real) -> None:
    """Check messages, replies to them and broadcasts between a connected client and its server."""
    await client.call("send", "greeting", {"name": "World"})
    assert await server.next("received") == ["greeting", {"name": "World"}]
    assert await client.next("received") == ["greeting_response", {"reply": "Hello, World!"}]
    for value in VALUES:
        await client.call("send", "echo", value)
        assert await server.next("received") == ["echo", value]
        assert await client.next("received") == ["echo_response", value]
    while await server.call("broadcast", "news", {"n": 1}) != 1:  # until it counts the client
        await seconds(0.01)
    assert await client.next("received") == ["news", {"n": 1}]


async def check_calls(client: Real) -> None:
    """Check what the README promises of calls, which real clients get from no server: bare results, and errors that raise."""
    assert await client.call("call", "add", {"a": 10, "b": 20}) == 30
    assert await client.call("call", "order", {"item": "tea", "count": 2}) == "2 x tea"
    text = "netconduit " * 28_000
    assert await client.call("call", "repeat", {"text": text}) == text
    for method, params, told in [
        ("nothing", {}, r"\[4000\]"),
        ("add", {"a": 1}, r"\[2000\]"),
        ("order", {"count": 1}, r"\[2000\] Validation error in order"),
        ("refuse", {}, r"\[6000\] not now"),
        ("fail", {}, r"\[1001\]"),
    ]:
        with pytest.raises(RealError, match=told) as failed:
            await client.call("call", method, params)
        assert failed.value.args[0] == "RPCError"
    assert await client.call("call", "page", {}) == [1, 2]
    assert await client.call("call_no_wait", "add", {"a": 1, "b": 2}) > 0
    methods = await client.call("discover")
    assert [each["name"] for each in methods] == ["add", "refuse", "order", "fail", "repeat", "page"]
    assert methods[0]["parameters"] == {"a": "int", "b": "int"}
    assert methods[0]["return_type"] == "int"
    assert methods[2]["parameters"] == {"item": "str", "count": "int"}


@both_ways
@each_release
async def test_the_dropin_serves_a_real_client(release: str, compress: bool, conduits: Conduits) -> None:
    """A real client gets from our server what it gets from a real one, and our server sees it come and go at once."""
    async with conduits.run_dropin("server") as ours, conduits.run(release, "client") as real:
        port = await ours.call("listen", {"enable_compression": compress})
        assert await real.call("connect", port, {"password": "wrong"}) is False
        assert await real.call("connect", port, {"enable_compression": compress}) is True
        assert await real.next("connected") == [{"name": "real", "version": "5.6"}]
        await ours.next("connected")
        await converse(real, ours)
        assert await real.call("call", "add", {"a": 10, "b": 20}) == {"success": True, "data": 30}
        assert await real.call("call", "order", {"item": "tea"}) == {"success": True, "data": "1 x tea"}
        text = "netconduit " * 28_000
        assert await real.call("call", "repeat", {"text": text}) == {"success": True, "data": text}
        page = {"total": 3, "page": 1, "page_size": 2, "total_pages": 2, "has_next": True, "has_prev": False}
        assert await real.call("call", "page", {}) == {"success": True, "data": [1, 2], "pagination": page}
        answer = await real.call("call", "nothing", {})
        assert (answer["success"], answer["code"]) == (False, 4000)
        answer = await real.call("call", "order", {"count": "many"})
        assert (answer["success"], answer["code"], answer["error"]) == (False, 2000, "Validation error in order")
        assert [each["field"] for each in answer["details"]["errors"]] == ["item", "count"]
        answer = await real.call("call", "refuse", {})
        assert answer == {"success": False, "error": "not now", "code": 6000, "details": {"wait": 1}}
        answer = await real.call("call", "fail", {})
        assert (answer["success"], answer["code"], "house" in answer["error"]) == (False, 1001, False)
        listed = await real.call("discover")
        assert (listed["success"], listed["data"]["count"]) == (True, 6)
        assert listed["data"]["methods"][2]["parameters"] == {"item": "str", "count": "int"}
        assert await ours.call("count") == 1
        await real.call("disconnect")
        await ours.next("disconnected")
        assert await ours.call("count") == 0


@both_ways
@each_release
async def test_the_dropin_uses_a_real_server(release: str, compress: bool, conduits: Conduits) -> None:
    """Our client's calls of a real server's methods return bare results and raise RPCError, and it leaves well."""
    async with conduits.run(release, "server") as real, conduits.run_dropin("client") as ours:
        port = await real.call("listen", {"enable_compression": compress})
        assert await ours.call("connect", port, {"password": "wrong"}) is False
        assert await ours.call("connect", port, {"enable_compression": compress}) is True
        assert await ours.next("connected") == [{"name": "real", "version": "5.6"}]
        await real.next("connected")
        await converse(ours, real)
        await check_calls(ours)
        await ours.call("disconnect")
        await ours.next("disconnected")
        assert await ours.call("connected") is False


@both_ways
async def test_the_dropin_uses_itself(compress: bool, conduits: Conduits) -> None:
    """Both ends being ours, everything is as with a real server, and ``stop()`` returns while a client is connected."""
    async with conduits.run_dropin("server") as server, conduits.run_dropin("client") as client:
        port = await server.call("listen", {"enable_compression": compress})
        assert await client.call("connect", port, {"password": "wrong"}) is False
        assert await client.call("connect", port, {"enable_compression": compress}) is True
        await server.next("connected")
        await converse(client, server)
        await check_calls(client)
        await server.call("stop")
        await client.next("disconnected")
        await server.next("disconnected")


@first_and_last
async def test_heartbeats_go_on_both_ways(release: str, conduits: Conduits) -> None:
    """Over several intervals in which nobody says anything each side's pings are answered, in both roles."""
    real_client, our_server = conduits.run(release, "client"), conduits.run_dropin("server")
    our_client, real_server = conduits.run_dropin("client"), conduits.run(release, "server")
    async with our_server as ours, real_server as real, real_client as theirs, our_client as mine:
        assert await theirs.call("connect", await ours.call("listen", QUICK), QUICK) is True
        assert await mine.call("connect", await real.call("listen", QUICK), QUICK) is True
        await seconds(4.5)
        for client, server in ((theirs, ours), (mine, real)):
            assert await client.call("connected") is True
            await client.call("send", "greeting", {"name": "there"})
            assert await client.next("received") == ["greeting_response", {"reply": "Hello, there!"}]
            assert await server.call("count") == 1


@first_and_last
async def test_clients_come_back_after_kill_9(release: str, conduits: Conduits) -> None:
    """Each side's client is back when its server was killed and another one listens there, once, and is told so."""
    again = {"reconnect_enabled": True, "reconnect_delay": 0.1, "reconnect_attempts": 0}
    real_client, our_client = conduits.run(release, "client"), conduits.run_dropin("client")
    async with real_client as theirs, our_client as mine:
        async with conduits.run_dropin("server") as ours, conduits.run(release, "server") as real:
            our_port, real_port = await ours.call("listen"), await real.call("listen")
            assert await theirs.call("connect", our_port, again) is True
            assert await mine.call("connect", real_port, again) is True
            ours.signal("KILL")
            real.signal("KILL")
            await theirs.next("disconnected")
            await mine.next("disconnected")
        async with conduits.run_dropin("server") as ours, conduits.run(release, "server") as real:
            await ours.call("listen", {"port": our_port})
            await real.call("listen", {"port": real_port})
            for client in (theirs, mine):
                await client.next("reconnected")
                await client.call("send", "greeting", {"name": "again"})
                assert await client.next("received") == ["greeting_response", {"reply": "Hello, again!"}]


@first_and_last
async def test_ipv6_both_ways(release: str, conduits: Conduits) -> None:
    """Both roles work over IPv6."""
    six = {"host": "::1", "ipv6": True}, {"server_host": "::1", "use_ipv6": True}
    async with conduits.run_dropin("server") as ours, conduits.run(release, "client") as theirs:
        assert await theirs.call("connect", await ours.call("listen", six[0]), six[1]) is True
    async with conduits.run(release, "server") as real, conduits.run_dropin("client") as mine:
        assert await mine.call("connect", await real.call("listen", six[0]), six[1]) is True
        assert await mine.call("call", "add", {"a": 1, "b": 2}) == 3
