"""Real netconduit releases as clients of ours and servers of ours."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.interop.conduits import ECHO, GREETING, NEWS, RELEASES, TYPES, Conduits, OurClient, OurServer
from tests.support.interop.driver import Running
from veltix_tx import DisconnectReason, MethodNotFound, Netconduit, RetryPolicy, RpcError, Server, Session, Timeouts
from veltix_tx.errors import AuthenticationFailed, LocalProtocolError

each_release = pytest.mark.parametrize("release", RELEASES)
first_and_last = pytest.mark.parametrize("release", [RELEASES[0], RELEASES[-1]])
"""For what does not depend on the bytes of a release."""

VALUES: list[Any] = [
    None,
    True,
    -(2**63),
    1.5,
    "",
    "hé ✓",
    b"\x00\xff",
    [],
    {"deep": [{"list": [1, [2, None]]}], "ключ": b"x"},
    "x" * 300_000,
    b"y" * 1_000_000,
]
"""What every pair of ends must pass on unchanged."""


def add(a: int, b: int) -> int:
    """Add two numbers, as the real server's method of the name does."""
    return a + b


def refuse() -> None:
    """Fail with a number of netconduit's."""
    raise RpcError("netconduit_6000", "not now", {"wait": 1})


def as_json(value: Any) -> Any:
    """Return a value as the driver's lines carry it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, list) else value


def seconds(wait: float) -> Deferred[None]:
    """Return a Deferred that fires some time later."""
    from twisted.internet import reactor

    return deferLater(reactor, wait)


@pytest.mark.parametrize("compress", [False, True])
@each_release
async def test_our_server_serves_the_real_client(release: str, compress: bool, conduits: Conduits) -> None:
    """A real client logs in, is welcomed, sends messages, is answered, hears broadcasts and leaves."""
    async with OurServer(compress=compress) as ours, conduits.run(release, "client") as real:
        assert await real.call("connect", ours.server.port, {"enable_compression": compress, "version": "1.2"}) is True
        assert await real.next("connected") == [{"name": "ours", "version": "7"}]
        session = await ours.connected.get()
        assert (session.peer.version, session.peer.features) == ("1.2", ())
        assert await real.next("received") == ["welcome", {"to": "1.2"}]
        await real.call("send", "greeting", {"name": "World"})
        assert await real.next("received") == ["greeting_response", {"reply": "Hello, World!"}]
        for value in VALUES[1:]:  # None is no answer
            await real.call("send", "echo", as_json(value))
            assert await ours.received.get() == value
            assert await real.next("received") == ["echo_response", as_json(value)]
        assert ours.server.broadcast(NEWS, {"n": None}) == 1
        assert await real.next("received") == ["news", {"n": None}]
        assert 0 <= await session.ping() < 1000
        ours.server.register_rpc(add)
        ours.server.register_rpc(refuse)
        assert await real.call("call", "add", {"a": 1, "b": 2}) == {"success": True, "data": 3}
        answer = await real.call("call", "nothing", {"a": 1})
        assert (answer["success"], answer["code"], answer["error"]) == (False, 4000, "there is no method 'nothing'")
        answer = await real.call("call", "add", {"a": "x", "b": 1})
        assert (answer["success"], answer["code"], answer["details"]["path"]) == (False, 2000, "a")
        answer = await real.call("call", "refuse", {})
        assert answer == {"success": False, "error": "not now", "code": 6000, "details": {"wait": 1}}
        listed = await real.call("discover")
        assert (listed["success"], listed["data"]["count"]) == (True, 2)
        assert listed["data"]["methods"][0]["parameters"] == {"a": "int", "b": "int"}
        await real.call("disconnect")
        assert await ours.disconnected.get() is session
        assert session.closed is not None
        assert session.closed.reason is DisconnectReason.PEER_CLOSED
        assert session.frames_rejected == 0


@pytest.mark.parametrize("compress", [False, True])
@each_release
async def test_our_client_uses_the_real_server(release: str, compress: bool, conduits: Conduits) -> None:
    """Our client logs in at a real server, sends messages, gets its answers and hears broadcasts."""
    async with conduits.run(release, "server") as real:
        port = await real.call("listen", {"enable_compression": compress})
        async with OurClient(port, Netconduit("secret", compress=compress)) as ours:
            assert (ours.session.peer.version, ours.session.peer.features) == ("5.6", ())
            await real.next("connected")
            ours.client.send(GREETING, {"name": "World"})
            assert await ours.received.get() == ("greeting_response", {"reply": "Hello, World!"})
            assert await real.next("received") == ["greeting", {"name": "World"}]
            for value in VALUES[1:]:
                ours.client.send(ECHO, value)
                assert await real.next("received") == ["echo", as_json(value)]
                assert await ours.received.get() == ("echo_response", value)
            while await real.call("broadcast", "news", {"n": 1}) != 1:  # until it counts us
                await seconds(0.01)
            assert await ours.received.get() == ("news", {"n": 1})
            assert 0 <= await ours.client.ping_server() < 1000
            with pytest.raises(LocalProtocolError):
                await ours.client.send_and_wait(ECHO, 1)
            assert await ours.client.call("add", a=1, b=2, returns=int) == 3
            with pytest.raises(MethodNotFound):
                await ours.client.call("nothing")
            with pytest.raises(RpcError) as wrong:
                await ours.client.call("add", a=1)
            assert wrong.value.code == "invalid_arguments"
            with pytest.raises(RpcError) as refused:
                await ours.client.call("refuse")
            assert (refused.value.code, refused.value.message, refused.value.details) == ("netconduit_6000", "not now", {"wait": 1})
            methods = await ours.client.methods()
            assert [each.name for each in methods] == ["add", "refuse", "order", "fail", "repeat", "page"]
            assert methods[0].params["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer"}}
            assert (ours.session.frames_rejected, ours.session.late_replies) == (0, 0)


@each_release
async def test_a_wrong_password_is_refused_both_ways(release: str, conduits: Conduits) -> None:
    """A real client with another password is refused and counted; ours is told by a real server, and tries no more."""
    async with OurServer() as ours, conduits.run(release, "client") as real:
        assert await real.call("connect", ours.server.port, {"password": "wrong"}) is False
        while not ours.server.counters["closed_authentication_failed"]:
            await seconds(0.01)
        assert (ours.server.counters["authentications_failed"], ours.server.counters["ready"]) == (1, 0)
        assert await real.call("connect", ours.server.port) is True
    async with conduits.run(release, "server") as real:
        client = OurClient(await real.call("listen"), Netconduit("wrong"), retry=RetryPolicy(initial_delay=0)).client
        with pytest.raises(AuthenticationFailed, match="Invalid password"):
            await client.connect()
        assert client.counters["closed_authentication_failed"] == 1


@first_and_last
async def test_both_heartbeats_go_on(release: str, conduits: Conduits) -> None:
    """Over several intervals in which nobody says anything each side's pings are answered, in both roles."""
    quick = {"heartbeat_interval": 1, "heartbeat_timeout": 2}
    pings = Timeouts(ping_interval=0.6, ping_timeout=0.6, close=0.5)
    client, server = conduits.run(release, "client"), conduits.run(release, "server")
    async with OurServer(timeouts=pings) as ours, client as theirs, server as real:
        assert await theirs.call("connect", ours.server.port, quick) is True
        async with OurClient(await real.call("listen", quick), timeouts=pings) as mine:
            await seconds(4.5)
            assert mine.session.closed is None
            assert len(ours.server.clients) == 1
            assert await theirs.call("connected") is True
            mine.client.send(GREETING, {"name": "there"})
            assert await mine.received.get() == ("greeting_response", {"reply": "Hello, there!"})


@first_and_last
async def test_a_slow_handler_does_not_block_the_heartbeat(release: str, conduits: Conduits) -> None:
    """While our handler takes its time the real client's pings are answered, and it stays."""
    async with OurServer() as ours, conduits.run(release, "client") as real:
        ours.server.unregister_route(ECHO)
        ours.server.register_route(ECHO, lambda session, message: seconds(3.5).addCallback(lambda _: message.value))
        assert await real.call("connect", ours.server.port, {"heartbeat_interval": 1, "heartbeat_timeout": 2}) is True
        await real.next("received")
        await real.call("send", "echo", "slow")
        assert await real.next("received") == ["echo_response", "slow"]
        assert await real.call("connected") is True


@first_and_last
async def test_a_real_client_comes_back(release: str, conduits: Conduits) -> None:
    """A real client that tries again does so, several times, when our server stops and listens again."""
    async with OurServer(timeouts=Timeouts(close=0.5)) as ours, conduits.run(release, "client") as real:
        settings = {"reconnect_enabled": True, "reconnect_delay": 0.1, "reconnect_attempts": 0}
        assert await real.call("connect", ours.server.port, settings) is True
        port = ours.server.port
        for _ in range(2):
            await real.next("connected")
            assert (await real.next("received"))[0] == "welcome"
            await ours.server.stopService()
            await real.next("disconnected")
            ours.server.configure(port=port)
            await ours.server.listen()
        await real.next("connected")
        assert (await real.next("received"))[0] == "welcome"
        await real.call("send", "greeting", {"name": "again"})
        assert await real.next("received") == ["greeting_response", {"reply": "Hello, again!"}]


@first_and_last
async def test_our_client_comes_back_after_kill_9(release: str, conduits: Conduits) -> None:
    """Our client notices at once that a real server was killed, and is back as soon as another one listens there."""
    retry = RetryPolicy(initial_delay=0.05, max_delay=0.1)
    async with conduits.run(release, "server") as first:
        port = await first.call("listen")
        ours = OurClient(port, retry=retry)
        async with ours:
            first.signal("KILL")
            assert not (await ours.disconnected.get()).permanent
            async with conduits.run(release, "server") as second:
                await second.call("listen", {"port": port})
                await ours.client.when_connected(10)
                ours.client.send(GREETING, {"name": "again"})
                assert await ours.received.get() == ("greeting_response", {"reply": "Hello, again!"})


async def test_ipv6_both_ways(conduits: Conduits) -> None:
    """Both roles work over IPv6."""
    release = RELEASES[-1]
    async with OurServer(host="::1") as ours, conduits.run(release, "client") as real:
        assert await real.call("connect", ours.server.port, {"server_host": "::1", "use_ipv6": True}) is True
        assert (await ours.connected.get()).ip == "::1"
    async with conduits.run(release, "server") as real:
        port = await real.call("listen", {"host": "::1", "ipv6": True})
        async with OurClient(port, host="::1") as mine:
            mine.client.send(GREETING, {"name": "six"})
            assert await mine.received.get() == ("greeting_response", {"reply": "Hello, six!"})


async def test_one_server_speaks_both_wires(conduits: Conduits) -> None:
    """A real netconduit client and one of Veltix are clients of one server, each on a port of its own."""
    server = Server(endpoints=("tcp:0:interface=127.0.0.1", (Netconduit("secret"), "tcp:0:interface=127.0.0.1")), types=TYPES)
    joined: list[Session] = []
    server.set_callback("on_connect", joined.append)
    server.register_route(GREETING, lambda session, message: {"reply": "both"})
    await server.listen()
    try:
        ports = [address.port for address in server.addresses]  # type: ignore[attr-defined]
        veltix = OurClient(ports[0], "auto")  # type: ignore[arg-type]
        async with veltix, conduits.run(RELEASES[-1], "client") as real:
            assert await real.call("connect", ports[1]) is True
            await real.call("send", "greeting", {})
            assert await real.next("received") == ["greeting_response", {"reply": "both"}]
            assert sorted(session.peer.wire for session in joined) == ["W15", "netconduit"]
    finally:
        await server.stopService()


class Twistd(Running):
    """``twistd`` in the foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.listens: Deferred[int] = Deferred()
        self.log: list[str] = []

    def line(self, line: str) -> None:
        """Find the port in the log."""
        self.log.append(line)
        port = re.search(r"speaks netconduit .* on 127\.0\.0\.1:(\d+)", line)
        if port and not self.listens.called:
            self.listens.callback(int(port[1]))


APP = """
from veltix_tx import MessageRegistry, MessageType, Server

types = MessageRegistry()
server = Server(types=types)


@server.route(MessageType(name="greeting", registry=types))
def greet(client, message):
    return {"reply": f"Hello, {message.value['name']}!"}
"""


@pytest.mark.parametrize("given", ["file", "environment"])
async def test_twistd_serves_a_real_client(given: str, conduits: Conduits, tmp_path: Path) -> None:
    """``twistd -n veltix --listen netconduit@…`` with the password in a file or the environment answers a real client."""
    from twisted.internet import reactor

    (tmp_path / "greeter.py").write_text(APP)
    (tmp_path / "password").write_text("secret\n")
    twistd = Twistd()
    script = str(Path(sysconfig.get_path("scripts"), "twistd"))
    options = ["-n", "--pidfile=", "veltix", "--listen", "netconduit@tcp:0:interface=127.0.0.1", "--app", "greeter:server"]
    options += ["--password-file", "password"] if given == "file" else []
    environment = None if given == "file" else {"VELTIX_PASSWORD": "secret"}
    reactor.spawnProcess(twistd, sys.executable, [sys.executable, script, *options], environment, str(tmp_path))
    try:
        port = await twistd.listens
        async with conduits.run("5.0.0", "client") as real:
            assert await real.call("connect", port, {"password": "wrong"}) is False
            assert await real.call("connect", port) is True
            await real.call("send", "greeting", {"name": "World"})
            assert await real.next("received") == ["greeting_response", {"reply": "Hello, World!"}]
            await real.call("disconnect")
    finally:
        twistd.signal("TERM")
        await twistd.stop()
    log = "\n".join(twistd.log)
    assert log.count("the client's password is wrong") == 1
    assert "Traceback" not in log
    assert "secret" not in log
    assert log.endswith("Server Shut Down.")
    assert twistd.errors == b""
