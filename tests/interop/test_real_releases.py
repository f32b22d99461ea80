from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import DeferredQueue
from twisted.internet.task import deferLater

from tests.support.interop.driver import (
    ECHO,
    NOTE,
    OWN_PORT_ONLY,
    RELEASES,
    OurClient,
    OurServer,
    Real,
    RealError,
    converse,
    each_release,
    running,
)
from veltix_tx import Credentials, DisconnectReason, Response, Session, Timeouts, Token
from veltix_tx.errors import LocalProtocolError

GENERATIONS = ("1.6.1", "1.6.3", "1.6.9", "1.6.10", "1.7.5", "1.9.0", "2.0.2", "2.0.3", "3.0.0", "3.3.0")
"""A release of each kind in ``wire/veltix/releases.py``, for what does not depend on its number."""


@pytest.mark.parametrize("release", each_release(*RELEASES))
async def test_pinned_server_serves_the_real_client(release: str, folders: dict[str, Path]) -> None:
    """A server pinned to a release is to that release's client what a real server is, until the client leaves."""
    async with OurServer(wire=release) as ours, running(folders[release], "client") as real:
        assert await real.call("connect", ours.port) is True
        session = await ours.connected.get()
        await real.next("connected")
        await converse(session, ours.noted, real)
        await real.call("disconnect")
        assert await real.next("disconnected") == ["MANUAL"]
        assert await ours.disconnected.get() is session
        assert session.closed is not None
        assert session.closed.reason is DisconnectReason.PEER_CLOSED
        assert session.frames_rejected == 0


@pytest.mark.parametrize("release", each_release(*(each for each in RELEASES if each not in OWN_PORT_ONLY)))
async def test_auto_server_serves_the_real_client(release: str, folders: dict[str, Path]) -> None:
    """A server that finds out serves every client but those of 1.8 and 1.9, until the server closes."""
    async with OurServer(wire="auto") as ours, running(folders[release], "client") as real:
        assert await real.call("connect", ours.port) is True
        session = await ours.connected.get()
        await real.next("connected")
        await converse(session, ours.noted, real)
        await session.disconnect()
        assert await real.next("disconnected") == ["SERVER_CLOSED"]
        assert await ours.disconnected.get() is session
        assert session.closed is not None
        assert session.closed.reason is DisconnectReason.MANUAL
        assert (session.frames_rejected, session.peer.features) == (0, ())


@pytest.mark.parametrize("release", each_release(*RELEASES))
async def test_pinned_client_talks_to_the_real_server(release: str, folders: dict[str, Path]) -> None:
    """A client pinned to a release is to that release's server what a real client is, until the client leaves."""
    async with running(folders[release], "server") as real, OurClient(await real.call("listen"), wire=release) as ours:
        session = await ours.connect()
        await real.next("connected")
        await converse(session, ours.noted, real)
        await ours.client.disconnect()
        assert (await ours.disconnected.get()).reason is DisconnectReason.MANUAL
        await real.next("disconnected")
        assert session.frames_rejected == 0


@pytest.mark.parametrize("release", each_release(*RELEASES))
async def test_auto_client_talks_to_the_real_server(release: str, folders: dict[str, Path]) -> None:
    """A client that finds out talks to every server, until the server closes."""
    async with running(folders[release], "server") as real, OurClient(await real.call("listen"), wire="auto") as ours:
        session = await ours.connect()
        await real.next("connected")
        await converse(session, ours.noted, real)
        await real.call("disconnect")
        assert (await ours.disconnected.get()).reason is DisconnectReason.PEER_CLOSED
        assert (session.frames_rejected, session.peer.features) == (0, ())


@pytest.mark.parametrize("release", each_release(*(each for each in RELEASES if each >= "2.")))
async def test_a_failed_request_says_nothing_to_a_real_client(release: str, folders: dict[str, Path], logged_failures: Any) -> None:
    """A real client of 2.x and 3.x, which the auto port offers more than it knows, hears nothing of a handler that fails."""
    async with OurServer(wire="auto") as ours, running(folders[release], "client") as real:
        asked: DeferredQueue[None] = DeferredQueue()
        ours.server.unregister_route(ECHO)

        @ours.server.route(ECHO)
        def fail(client: Session, message: Response) -> None:
            asked.put(None)
            raise ZeroDivisionError

        assert await real.call("connect", ours.port) is True
        session = await ours.connected.get()
        await real.call("send", ECHO.code, b"hello".hex())
        await asked.get()
        session.send(NOTE, b"behind")
        assert await real.next("received") == [NOTE.code, b"behind".hex()]
        logged_failures.flush(ZeroDivisionError)
        assert session.peer.features == ()


@pytest.mark.parametrize("release", each_release(*GENERATIONS))
async def test_a_hook_decides_on_a_real_client(release: str, folders: dict[str, Path]) -> None:
    """A real client presents nothing: the hook has its version and address, lets it in or leaves it without a session."""
    asked: list[Credentials] = []
    verdicts: list[object] = []

    def decide(credentials: Credentials) -> object:
        asked.append(credentials)
        return deferLater(reactor, 0.02, verdicts.pop, 0)  # type: ignore[arg-type]

    from twisted.internet import reactor

    async with OurServer(wire=release, authenticate=decide) as ours:
        verdicts += ["ann", None]
        async with running(folders[release], "client") as real:
            assert await real.call("connect", ours.port) is True
            session = await ours.connected.get()
            assert session.identity == "ann"
            await converse(session, ours.noted, real)
        async with running(folders[release], "client") as real:
            connected = await real.call("connect", ours.port)
            assert connected is (release < "1.8")  # those do not wait for their server's last word
        while ours.server.counters["closed_authentication_failed"] < 1:
            await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]
        assert ours.server.counters["ready"] == 1
    assert {(each.token, each.name, each.ip) for each in asked} == {(None, None, "127.0.0.1")}
    assert {each.version for each in asked} == {session.peer.version}


@pytest.mark.parametrize("release", each_release(*GENERATIONS))
async def test_no_secret_is_sent_to_a_real_server(release: str, folders: dict[str, Path]) -> None:
    """A client with credentials talks to a real server as one without: there is nobody to present them to."""
    async with (
        running(folders[release], "server") as real,
        OurClient(await real.call("listen"), credentials=Token("s3cret")) as ours,
    ):
        session = await ours.connect()
        await real.next("connected")
        await converse(session, ours.noted, real)
        assert session.peer.features == ()
        with pytest.raises(LocalProtocolError):
            await ours.client.reauthenticate()


WITH_ERROR = [each for each in GENERATIONS if each < "2."]


@pytest.mark.parametrize("release", each_release(*WITH_ERROR))
async def test_a_real_client_survives_errors(release: str, folders: dict[str, Path]) -> None:
    """A client up to 1.9.0 whose message nothing handles gets an ERROR: a reply to who asked, a message to who did not."""
    async with OurServer(wire=release) as ours, running(folders[release], "client") as real:
        for message_type in (ECHO, NOTE):
            ours.server.unregister_route(message_type)
        assert await real.call("connect", ours.port) is True
        session = await ours.connected.get()
        assert await real.call("send", NOTE.code, b"nobody".hex()) is True
        assert await real.next("received") == [20, ""]
        assert await real.call("ask", ECHO.code, b"nobody".hex()) == ""
        ours.server.route(ECHO)(lambda client, message: message.content)
        ours.server.route(NOTE)(lambda client, message: ours.noted.put(message.content))
        await converse(session, ours.noted, real)
        assert (session.frames_rejected, session.late_replies) == (0, 0)


@pytest.mark.parametrize("release", each_release(*WITH_ERROR))
async def test_a_real_server_survives_errors(release: str, folders: dict[str, Path]) -> None:
    """A server up to 1.9.0 gets an ERROR likewise from a client that has no handler for what it sends."""
    async with running(folders[release], "server") as real, OurClient(await real.call("listen"), wire=release) as ours:
        for message_type in (ECHO, NOTE):
            ours.client.unregister_route(message_type)
        session = await ours.connect()
        await real.next("connected")
        assert await real.call("send", NOTE.code, b"nobody".hex()) is True
        assert await real.next("received") == [20, ""]
        assert await real.call("ask", ECHO.code, b"nobody".hex()) == ""
        ours.client.route(ECHO)(lambda message: message.content)
        ours.client.route(NOTE)(lambda message: ours.noted.put(message.content))
        await converse(session, ours.noted, real)
        assert (session.frames_rejected, session.late_replies) == (0, 0)


@pytest.mark.parametrize("release", each_release("2.0.3", "3.3.0"))
async def test_full_server_tells_the_real_client(release: str, folders: dict[str, Path]) -> None:
    """A full server tells the clients that have an error for it so, pinned to their release or not."""
    async with running(folders[release], "client") as real:
        for wire in ("auto", release):
            async with OurServer(wire=wire, max_connections=1) as full, OurClient(full.port, wire=wire) as first:
                await first.connect()
                with pytest.raises(RealError, match="ServerFullError"):
                    await real.call("connect", full.port)
                assert first.client.is_connected


async def test_auto_server_gives_1_6_9_its_uptime(folders: dict[str, Path]) -> None:
    """Pings of 1.6.9, which puts its uptime where others put the calendar, are round trips, not decades."""
    async with OurServer(wire="auto") as ours, running(folders["1.6.9"], "client") as real:
        assert await real.call("connect", ours.port) is True
        for _ in range(5):
            assert 0 <= await real.call("ping") < 1000


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("release", each_release("1.6.3", "3.3.0"))
async def test_a_client_can_be_pinged_in_on_connect(release: str, pinned: bool, folders: dict[str, Path]) -> None:
    """ping_client() inside on_connect, coroutine or not, measures a real client, which upstream's server never does there."""
    async with OurServer(wire=release if pinned else "auto") as ours, running(folders[release], "client") as real:
        pings: DeferredQueue[float] = DeferredQueue()

        @ours.server.set_callback("on_connect")
        async def on_connect(client: Session) -> None:
            pings.put(await ours.server.ping_client(client, timeout=2))

        assert await real.call("connect", ours.port) is True
        assert 0 <= await pings.get() < 1000
        await real.call("disconnect")
        await ours.disconnected.get()
        ours.server.set_callback("on_connect", lambda client: ours.server.ping_client(client).addCallback(pings.put))
        assert await real.call("connect", ours.port) is True
        assert 0 <= await pings.get() < 1000


# The heartbeat.

HEARTBEAT = Timeouts(ping_interval=0.2, ping_timeout=0.5, close=0.5)


async def stay_connected(session: Session, noted: DeferredQueue[bytes], real: Real) -> None:
    """Let several heartbeats pass in which nobody says anything else; both ends are there as before."""
    from twisted.internet import reactor

    before = session._transport.last_received  # type: ignore[attr-defined]
    await deferLater(reactor, 1.5, lambda: None)
    assert session.closed is None
    assert (session.late_replies, session.frames_rejected) == (0, 0)
    assert session._transport.last_received - before > 1  # type: ignore[attr-defined]
    await converse(session, noted, real)


@pytest.mark.parametrize("release", each_release(*GENERATIONS))
async def test_the_real_client_lives_through_heartbeats(release: str, folders: dict[str, Path]) -> None:
    """A real client that says nothing answers our server's pings and stays connected."""
    async with OurServer(wire=release, timeouts=HEARTBEAT) as ours, running(folders[release], "client") as real:
        assert await real.call("connect", ours.port) is True
        session = await ours.connected.get()
        await real.next("connected")
        await stay_connected(session, ours.noted, real)


@pytest.mark.parametrize("release", each_release(*GENERATIONS))
async def test_the_real_server_lives_through_heartbeats(release: str, folders: dict[str, Path]) -> None:
    """A real server that says nothing answers our client's pings and keeps the connection."""
    async with (
        running(folders[release], "server") as real,
        OurClient(await real.call("listen"), wire=release, timeouts=HEARTBEAT) as ours,
    ):
        session = await ours.connect()
        await real.next("connected")
        await stay_connected(session, ours.noted, real)
