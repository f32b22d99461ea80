"""A child that was forked holds the sockets of its parent: what the parent ends is over for the peers all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused

from tests.support.authority import Authority
from tests.support.loopback import Raw
from veltix_tx import DisconnectReason, Timeouts
from veltix_tx.net.transport import sockets
from veltix_tx.net.transport.sockets import lowest


@pytest.fixture
def hold() -> Iterator[Callable[[int], None]]:
    """Let a child hold a descriptor, until the test is over."""
    children: list[subprocess.Popen[bytes]] = []

    def hold(descriptor: int) -> None:
        command = [sys.executable, "-S", "-c", "import sys; print('held', flush=True); sys.stdin.read()"]
        child = subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"

    yield hold
    for child in children:
        assert child.poll() is None, "it must live until here"
        child.communicate(timeout=60)


def descriptor_of(session: Any) -> int:
    """Return a session's file descriptor."""
    return int(lowest(session._transport.transport).getHandle().fileno())


@pytest.mark.parametrize("how", ["abort", "cut off", "disconnect"])
@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_peer_hears_of_the_end_though_a_child_lives(
    kind: str, how: str, hold: Callable[[int], None], loopback: Any, authority: Authority
) -> None:
    """Whether a server aborts a session, cuts it off or closes it politely: the client hears of it while the child lives."""
    settings: dict[str, Any] = {}
    if kind == "tls":
        settings = {"tls_cert": authority.issue("server", "localhost", "127.0.0.1").both}
    server = loopback.made_server(timeouts=Timeouts(drain=0.1), **settings)
    began: Deferred[None] = Deferred()

    @server.route(loopback.chat)
    def fork(client: Any, message: Any) -> Deferred[None]:
        hold(descriptor_of(client))
        began.callback(None)
        return Deferred()

    server.startService()
    client = loopback.client(server.port, tls=kind == "tls", tls_ca=authority.ca if kind == "tls" else None)
    closed = (await client.connect()).when_closed()
    client.send(loopback.chat)
    await began
    (session,) = server.clients
    if how == "abort":
        session._abort_slow_reader()
    elif how == "disconnect":
        session.disconnect()
    else:
        await server.stopService()
    reason = (await closed).reason
    assert (reason is DisconnectReason.PEER_CLOSED) is (how == "disconnect")


async def test_a_peer_hears_of_an_abort_where_nothing_resets_a_held_socket(
    hold: Callable[[int], None], loopback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other systems than Linux the peer sees the end at least."""
    monkeypatch.setattr(sockets, "_connect", lambda: None)
    server = await loopback.server()
    client = loopback.client(server.port)
    closed = (await client.connect()).when_closed()
    await client.ping_server()
    (session,) = server.clients
    hold(descriptor_of(session))
    session._abort_slow_reader()
    assert (await closed).reason in (DisconnectReason.PEER_CLOSED, DisconnectReason.RESET)


async def test_a_unix_peer_hears_of_an_abort_though_a_child_lives(
    hold: Callable[[int], None], loopback: Any, tmp_path: Path
) -> None:
    """A UNIX socket knows no reset: the peer sees the end."""
    from twisted.internet import reactor

    server = await loopback.server(endpoint=f"unix:{tmp_path / 's'}", wire="1.6.3")
    raw = Raw()
    await connectProtocol(UNIXClientEndpoint(reactor, str(tmp_path / "s")), raw)
    await raw.some()
    (protocol,) = server._connections
    hold(lowest(protocol.transport).getHandle().fileno())
    protocol.abort(None)
    assert isinstance(await raw.gone, (ConnectionDone, ConnectionLost))


async def test_a_stopped_server_takes_no_more_though_a_child_lives(hold: Callable[[int], None], loopback: Any) -> None:
    """A port that a child holds as well refuses connections once its server has stopped."""
    server = await loopback.server()
    port = server.port
    hold(server._ports[0].fileno())
    await server.stopService()
    with pytest.raises(Refused):
        await loopback.client(port).connect()


async def test_a_peer_that_broke_a_rule_hears_of_the_end_though_a_child_lives(hold: Callable[[int], None], loopback: Any) -> None:
    """One that is closed for what it sent is as well."""
    server = await loopback.server(wire="3.3.0")
    raw = await loopback.raw(server.port)
    await raw.some()
    (protocol,) = server._connections
    hold(protocol.transport.getHandle().fileno())
    raw.transport.write(b"\xff" * 1000)
    await raw.gone
