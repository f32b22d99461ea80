"""Kinds of sessions: a classifier names each one's by its first message or its connection, and routes are for kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, formatEvent

from tests.support.authority import Authority
from tests.support.netconduit import PASSWORD
from veltix_tx import (
    TEXT,
    ByConnection,
    Client,
    Consumed,
    DisconnectReason,
    Limits,
    Lines,
    MessageRegistry,
    MessageType,
    Netconduit,
    Prefixed,
    Rejected,
    Response,
    Server,
    Session,
    SettingsError,
    Timeouts,
)
from veltix_tx.app.applications import Echo
from veltix_tx.testing import MemoryNetwork, ScriptedPeer

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES, content=str)

WIRES: dict[str, tuple[Any, MessageType]] = {
    "veltix": ("auto", CHAT),
    "lines": (Lines(), TEXT),
    "prefixed": (Prefixed(2), TEXT),
    "netconduit": (Netconduit(PASSWORD), CHAT),
}


def by_prefix(session: Session, message: Response) -> str | None:
    """A message begins with its sender's kind, three letters; other letters are none."""
    kind = str(message.value)[:3]
    return kind if kind.isdigit() else None


@pytest.fixture
def network() -> Iterator[MemoryNetwork]:
    """A network in memory."""
    with MemoryNetwork() as network:
        yield network


class Receiver:
    """A server of lines with routes of two kinds and of the others; handlers answer with their names and the message."""

    def __init__(self, network: MemoryNetwork, classifier: Any, **settings: Any) -> None:
        self.network = network
        self.ended: list[Session] = []
        self.server = Server(wire="lines", classifier=classifier, **settings)
        for kind in ("001", "002", None):
            self.server.route(TEXT, kind=kind)(self.handler(kind or "any"))
        self.server.set_callback("on_disconnect", self.ended.append)
        network.serve(self.server)

    @staticmethod
    def handler(name: str) -> Callable[[Session, Response], str]:
        """Return a handler."""
        return lambda session, message: f"{name}: {message.value}"

    def device(self, *lines: str) -> ScriptedPeer:
        """Connect a device, which sends lines in one piece."""
        device = self.network.dial()
        device.send("".join(f"{line}\n" for line in lines).encode())
        return device


def lines(device: ScriptedPeer) -> list[str]:
    """Return the lines that a device has got."""
    return device.received.decode().splitlines()


# By the first message


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("later", [False, True])
def test_the_first_message_names_the_kind_on_every_wire(network: MemoryNetwork, name: str, later: bool) -> None:
    """The classified message and all later ones go to the routes of the kind, which is a tag; others to the route of all."""
    wire, kind_of_message = WIRES[name]
    server = Server(wire=wire, types=TYPES, classifier=(lambda *given: succeed(by_prefix(*given))) if later else by_prefix)
    heard: list[str] = []
    server.register_route(kind_of_message, lambda session, message: heard.append(f"any {message.value}"))
    server.register_route(kind_of_message, lambda session, message: heard.append(f"001 {message.value}"), kind="001")
    network.serve(server)
    for said in ("001 a", "002 b", "hello"):
        client = Client(wire=wire, types=TYPES)
        network.connect(client)
        for text in (said, "more"):
            client.send(kind_of_message, text)
        network.pump()
    assert heard == ["001 001 a", "001 more", "any 002 b", "any more", "any hello", "any more"]
    assert [session.kind for session in server.clients] == ["001", "002", None]
    assert [session.kind for session in server.select(["001"])] == ["001"]


def test_it_is_asked_once_for_each_session(network: MemoryNetwork) -> None:
    """Also where it names no kind."""
    asked: list[str] = []
    receiver = Receiver(network, lambda session, message: asked.append(message.value))
    receiver.device("a", "b")
    receiver.device("c")
    assert asked == ["a", "c"]


def test_a_kind_without_a_route_is_never_met_with_silence(network: MemoryNetwork, log_events: list[LogEvent]) -> None:
    """Messages of an unknown kind go to on_recv where no route is for all kinds; without one they are counted and named."""
    for has_on_recv in (True, False):
        server = Server(wire="lines", classifier=by_prefix)
        server.register_route(TEXT, lambda session, message: "001", kind="001")
        if has_on_recv:
            server.set_callback("on_recv", lambda session, message: "on_recv")
        network.serve(server)
        device = network.dial()
        device.send(b"002 x\n")
        assert lines(device) == (["on_recv"] if has_on_recv else [])
        assert server.counters["unhandled"] == (not has_on_recv)
        network.stop()
    assert sum("has no route" in (formatEvent(event) or "") for event in log_events) == 1


def test_messages_wait_in_their_order_while_it_decides(network: MemoryNetwork) -> None:
    """What comes meanwhile is handled after the first message, which is handled by the kind's route; another peer does not wait."""
    kinds: list[Deferred[str]] = []

    def classify(session: Session, message: Response) -> Deferred[str]:
        kinds.append(Deferred())
        return kinds[-1]

    receiver = Receiver(network, classify)
    first = receiver.device("1", "2")
    first.send(b"3\n")
    second = receiver.device("x")
    kinds[1].callback("002")
    network.pump()
    assert (lines(first), lines(second)) == ([], ["002: x"])
    kinds[0].callback("001")
    first.send(b"4\n")
    assert lines(first) == ["001: 1", "001: 2", "001: 3", "001: 4"]
    assert len(kinds) == 2


def test_the_kinds_route_has_its_own_terms_for_the_first_message(network: MemoryNetwork) -> None:
    """The time that the classifier took is not the handler's, whose own timeout and concurrency hold."""
    receiver = Receiver(network, lambda session, message: kind, timeouts=Timeouts(handler=1, classifier=4))
    kind, working = Deferred[str](), Deferred[str]()
    receiver.server.unregister_route(TEXT, kind="001")
    receiver.server.register_route(
        TEXT, lambda session, message: working if message.value == "1" else "2nd", kind="001", concurrent=True, timeout=9
    )
    device = receiver.device("1", "2")
    network.advance(3)
    kind.callback("001")
    network.advance(8)
    working.callback("1st")
    network.pump()
    assert lines(device) == ["2nd", "1st"]


def test_what_waits_for_it_is_bounded(network: MemoryNetwork) -> None:
    """Reading pauses as behind any handler that is not done."""
    receiver = Receiver(network, lambda session, message: Deferred(), limits=Limits(inflight=4), timeouts=Timeouts(classifier=60))
    device = receiver.device(*"123")
    assert receiver.server.counters["reads_paused"] == 0
    device.send(b"4\n5\n6\n")
    assert receiver.server.counters["reads_paused"] == 1


def test_a_consumed_message_reaches_no_handler(network: MemoryNetwork) -> None:
    """The classifier may keep the first message for itself, now or later."""
    for later in (False, True):
        receiver = Receiver(network, lambda *given: succeed(Consumed("001")) if later else Consumed("001"))  # noqa: B023
        device = receiver.device("LOGIN 001", "alarm")
        assert lines(device) == ["001: alarm"]
        (session,) = receiver.server.clients
        assert type(session.kind) is str
        network.stop()


def test_what_a_server_says_first_is_no_message_of_its_peer(network: MemoryNetwork) -> None:
    """A session that is greeted is classified by the first message that it sends."""
    receiver = Receiver(network, by_prefix)
    receiver.server.set_callback("on_connect", lambda session: session.send(TEXT, "WHO"))
    device = receiver.device("002 here")
    assert lines(device) == ["WHO", "002: 002 here"]


def test_replies_and_calls_are_no_first_messages(network: MemoryNetwork) -> None:
    """A reply to the server's own request goes to who asked, a call to its method; neither is shown to the classifier."""
    asked: list[str] = []
    server = Server(types=TYPES, classifier=lambda session, message: asked.append(message.value))
    server.rpc(abs)
    server.set_callback("on_recv", lambda session, message: None)
    network.serve(server)
    client = Client(types=TYPES)
    client.register_route(CHAT, lambda message: "reply")
    network.connect(client)
    assert network.result(server.clients[0].send_and_wait(CHAT, "who?")).value == "reply"
    client.send(CHAT, "first")
    network.pump()
    assert asked == ["first"]


# It fails closed


def broken(session: Session, message: Response) -> str:
    """Fail."""
    raise LookupError("no such account")


async def broken_later(session: Session, message: Response) -> str:
    """Fail after a wait."""
    await succeed(None)
    raise LookupError("no such account")


@pytest.mark.parametrize(
    "classifier", [broken, broken_later, lambda session, message: 7, lambda session, message: succeed(7), lambda *given: ""]
)
def test_one_that_fails_closes_the_session(network: MemoryNetwork, logged_failures: Any, classifier: Any) -> None:
    """With a reason of its own, one line of the log and a count; no message is handled. So does what is no kind."""
    receiver = Receiver(network, classifier)
    device = receiver.device("1", "2")
    assert device.closed
    assert lines(device) == []
    (session,) = receiver.ended
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.UNCLASSIFIED
    assert isinstance(session.closed.cause, (LookupError, TypeError))
    assert receiver.server.counters["sessions_unclassified"] == receiver.server.counters["closed_unclassified"] == 1
    (line,) = logged_failures.flush(LookupError, TypeError)
    assert "the classifier failed for <Session" in formatEvent(line)


def test_one_that_takes_too_long_closes_the_session(network: MemoryNetwork, logged_failures: Any) -> None:
    """After timeouts.classifier it is cancelled; what has waited is dropped, and a kind that it names afterwards is none."""
    cancelled: list[object] = []
    kind: Deferred[str] = Deferred(cancelled.append)
    receiver = Receiver(network, lambda session, message: kind, timeouts=Timeouts(classifier=3))
    device = receiver.device("1", "2")
    (session,) = receiver.server.clients
    network.advance(2.9)
    assert not device.closed
    network.advance(0.1)
    assert device.closed
    assert cancelled == [kind]
    assert lines(device) == []
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.UNCLASSIFIED
    assert str(session.closed.cause) == "the classifier was not done after 3 s (timeouts.classifier)"
    assert receiver.server.counters["sessions_unclassified"] == 1
    assert session.kind is None
    (line,) = logged_failures.flush()
    assert "the classifier was not done after 3 s" in formatEvent(line)


def test_it_refuses_on_purpose_with_one_line(network: MemoryNetwork, log_events: list[LogEvent]) -> None:
    """Rejected is no failure."""

    def classify(session: Session, message: Response) -> str:
        raise Rejected("an account that nobody has")

    receiver = Receiver(network, classify)
    assert receiver.device("1").closed
    (session,) = receiver.ended
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.UNCLASSIFIED
    assert sum("an account that nobody has" in (formatEvent(event) or "") for event in log_events) == 1


def test_a_device_that_has_gone_is_still_handled(network: MemoryNetwork) -> None:
    """The first message of a peer that closes right behind it has its route, once its kind is known."""
    kind: Deferred[str] = Deferred()
    heard: list[str] = []
    server = Server(types=TYPES, classifier=lambda session, message: kind)
    server.register_route(CHAT, lambda session, message: heard.append(message.value), kind="001")
    network.serve(server)
    client = Client(types=TYPES)
    network.connect(client)
    client.send(CHAT, "alarm")
    client.disconnect()
    network.advance(1)
    kind.callback("001")
    network.pump()
    assert heard == ["alarm"]


def test_a_stop_waits_for_the_kind_and_the_message(network: MemoryNetwork) -> None:
    """A drain handles what has arrived."""
    kind: Deferred[str] = Deferred()
    receiver = Receiver(network, lambda session, message: kind)
    device = receiver.device("1", "2")
    stopped = receiver.server.stopService()
    network.advance(1)
    assert not stopped.called
    kind.callback("002")
    network.result(stopped)
    assert lines(device) == ["002: 1", "002: 2"]


def test_a_stop_that_is_cut_off_waits_for_nothing(network: MemoryNetwork) -> None:
    """abort() ends the wait for a kind, and the message is not handled."""
    receiver = Receiver(network, lambda session, message: Deferred(), timeouts=Timeouts(classifier=60))
    device = receiver.device("1")
    stopped = receiver.server.stopService()
    network.pump()
    receiver.server.abort()
    network.result(stopped)
    assert lines(device) == []


# By the connection


@pytest.mark.parametrize("later", [False, True])
def test_a_connection_may_name_the_kind(network: MemoryNetwork, later: bool) -> None:
    """It is named before on_connect, from the address, the handshake or the identity, and before any message."""
    kinds: list[object] = []

    def classify(session: Session) -> Any:
        assert session.certificate is None
        kind = f"{session.ip} {session.peer.wire} {session.identity}"
        return succeed(kind) if later else kind

    server = Server(wire="lines", classifier=ByConnection(classify), authenticate=lambda credentials: "ann")
    server.set_callback("on_connect", lambda session: kinds.append(session.kind))
    server.register_route(TEXT, lambda session, message: "unknown")
    server.register_route(TEXT, lambda session, message: "known", kind="127.0.0.1 lines ann")
    network.serve(server)
    device = network.dial()
    assert len(server.select(["127.0.0.1 lines ann"])) == 1
    device.send(b"x\n")
    assert (kinds, lines(device)) == (["127.0.0.1 lines ann"], ["known"])


@pytest.mark.parametrize("late", [False, True])
def test_one_by_the_connection_fails_closed_too(network: MemoryNetwork, logged_failures: Any, late: bool) -> None:
    """on_connect is not called then, nor any route."""
    welcomed: list[Session] = []

    def classify(session: Session) -> Any:
        if late:
            return Deferred()
        raise LookupError("no such address")

    receiver = Receiver(network, ByConnection(classify), timeouts=Timeouts(classifier=3))
    receiver.server.set_callback("on_connect", welcomed.append)
    device = receiver.device("1")
    network.advance(3)
    assert device.closed
    assert (lines(device), welcomed, receiver.ended) == ([], [], [])
    counters = receiver.server.counters
    assert (counters["sessions_unclassified"], counters["sessions_rejected"], counters["closed_unclassified"]) == (1, 0, 1)
    assert len(logged_failures.flush()) == 1


async def test_a_certificate_names_the_kind(loopback: Any, authority: Authority) -> None:
    """Over TLS the session has the client's certificate, that TLS has verified; without tls_client_ca it has none."""
    files, own = authority.issue("server", "127.0.0.1"), authority.issue("ann", client=True)

    def named(session: Session) -> str | None:
        return session.certificate and session.certificate.subject.rfc4514_string()

    for authorities, kind in ((authority.ca, "CN=ann"), (None, None)):
        settings = {"tls_cert": files.cert, "tls_key": files.key, "tls_client_ca": authorities}
        server = await loopback.server(classifier=ByConnection(named), **settings)
        await loopback.client(server.port, tls=True, tls_ca=authority.ca, tls_cert=own.both).connect()
        assert [session.kind for session in server.clients] == [kind]


# Routes


def test_an_application_in_place_of_routes_has_sessions_of_kinds(network: MemoryNetwork) -> None:
    """It looks at ``session.kind`` itself, for the first message too."""

    class Kinds(Echo):
        def received(self, session: Session, message: Response) -> str:
            return f"{session.kind}"

    for later in (False, True):
        classifier = (lambda *given: succeed(by_prefix(*given))) if later else by_prefix
        network.serve(Server(application=Kinds(), wire="lines", classifier=classifier))
        device = network.dial()
        device.send(b"001\nx\n")
        assert lines(device) == ["001", "001"]
        network.stop()


def test_the_log_names_the_handler_of_the_kind(network: MemoryNetwork, logged_failures: Any) -> None:
    """A handler that fails is named, and not the one of other kinds."""
    receiver = Receiver(network, by_prefix)
    receiver.server.unregister_route(TEXT, kind="001")

    @receiver.server.route(TEXT, kind="001")
    def burglary(session: Session, message: Response) -> str:
        raise LookupError

    receiver.device("001 x")
    (line,) = logged_failures.flush(LookupError)
    assert "burglary of text failed" in formatEvent(line)


def test_a_route_of_a_kind_comes_and_goes(network: MemoryNetwork) -> None:
    """Taken back, its messages go to the route of all; once a kind, one route."""
    receiver = Receiver(network, by_prefix)
    device = receiver.device("001 a")
    with pytest.raises(SettingsError, match="a type that has no route for the kind '001' yet"):
        receiver.server.register_route(TEXT, print, kind="001")
    assert receiver.server.unregister_route(TEXT, kind="001")
    assert not receiver.server.unregister_route(TEXT, kind="001")
    device.send(b"b\n")
    assert receiver.server.unregister_route(TEXT)
    assert receiver.server.unregister_route(TEXT, kind="002")
    receiver.server.register_route(TEXT, lambda session, message: "new")
    device.send(b"c\n")
    assert lines(device) == ["001: 001 a", "any: b", "new"]


@pytest.mark.parametrize("kind", ["", 7, b"001"])
def test_a_kind_is_a_text(kind: Any) -> None:
    """What cannot be a kind is refused when the route is made."""
    with pytest.raises(SettingsError, match="kind is "):
        Server().route(TEXT, kind=kind)


@pytest.mark.parametrize("classifier", ["001", 7])
def test_a_classifier_can_be_called(classifier: Any) -> None:
    """What cannot is refused when the server is made."""
    with pytest.raises(SettingsError, match="classifier is "):
        Server(classifier=classifier)
    with pytest.raises(SettingsError, match="classifier is "):
        ByConnection(classifier)
