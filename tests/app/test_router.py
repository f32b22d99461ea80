"""Routes and callbacks: which function a message goes to, and how it is called."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from veltix_tx import Client, Server
from veltix_tx.app.router import Router
from veltix_tx.disconnect import DisconnectReason, DisconnectState
from veltix_tx.errors import SessionClosed, SettingsError
from veltix_tx.interfaces import Events, IVeltixApplication
from veltix_tx.net.threads import Workers
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
NEWS = MessageType(201, "news", registry=TYPES)
CLIENT: Any = object()
GONE = SessionClosed(DisconnectReason.PEER_CLOSED)
LOST = DisconnectState(True, 0, 0, DisconnectReason.PEER_CLOSED, GONE)


class Rejecting:
    """A session that keeps what is rejected."""

    def __init__(self) -> None:
        self.rejected: list[tuple[Response, str]] = []

    def _reject(self, message: Response, text: str) -> None:
        """Keep it."""
        self.rejected.append((message, text))


def message(message_type: MessageType = CHAT) -> Response:
    """Make a message as received."""
    return Response(message_type, b"x", 1, 0, 0)


@pytest.fixture
def router() -> Router:
    """Return a server's router."""
    return Router(Role.SERVER)


def test_a_route_goes_before_on_recv(router: Router) -> None:
    """A message goes to its type's route, and to on_recv where there is none."""
    router.register_route(CHAT, lambda client, message: b"route")
    router.set_callback("on_recv", lambda client, message: b"on_recv")
    assert router.received(CLIENT, message()) == b"route"
    assert router.received(CLIENT, message(NEWS)) == b"on_recv"
    assert router.unhandled == 0


def test_messages_without_a_handler_are_counted(router: Router) -> None:
    """A message with neither route nor on_recv is rejected at its session and counted; callbacks are not needed either."""
    client = Rejecting()
    assert router.received(client, message()) is None
    assert router.unhandled == 1
    ((rejected, text),) = client.rejected
    assert rejected.type is CHAT
    assert "@server.route" in text
    assert Router(Role.CLIENT).received(client, message(NEWS)) is None
    assert (client.rejected[1][0].type, "@client.route" in client.rejected[1][1]) == (NEWS, True)
    assert router.connected(CLIENT) is None
    assert router.disconnected(CLIENT, GONE) is None


def test_a_type_has_one_route(router: Router) -> None:
    """A second route for a type raises SettingsError until the first is unregistered."""
    router.register_route(CHAT, lambda client, message: b"first")
    with pytest.raises(SettingsError, match="chat"):
        router.register_route(CHAT, lambda client, message: b"second")
    assert router.received(CLIENT, message()) == b"first"
    assert router.unregister_route(CHAT)
    assert not router.unregister_route(CHAT)
    router.register_route(CHAT, lambda client, message: b"second")
    assert router.received(CLIENT, message()) == b"second"


@pytest.mark.parametrize("event", ["on_recv", Events.ON_RECV])
def test_callbacks_are_set_by_call_or_decorator(router: Router, event: Any) -> None:
    """set_callback works as a function and as a decorator, returns the function, and replaces the earlier one."""

    def first(client: Any, message: Any) -> bytes:
        return b"first"

    assert router.set_callback(event, first) is first
    assert router.received(CLIENT, message()) == b"first"

    @router.set_callback(event)
    def second(client: Any, message: Any) -> bytes:
        return b"second"

    assert router.received(CLIENT, message()) == b"second"
    assert second(None, None) == b"second"


@pytest.mark.parametrize("event", ["on_receive", None, 5])
def test_an_unknown_event_is_refused(router: Router, event: Any) -> None:
    """A name that is no event raises SettingsError, which names those there are."""
    with pytest.raises(SettingsError, match="on_recv or on_connect or on_disconnect"):
        router.set_callback(event, lambda: None)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (Role.SERVER, [("on_connect", CLIENT), ("on_recv", CLIENT, "message"), ("on_disconnect", CLIENT)]),
        (Role.CLIENT, [("on_connect",), ("on_recv", "message"), ("on_disconnect", LOST)]),
    ],
)
def test_a_server_names_the_client_and_a_client_does_not(role: Role, expected: list[Any]) -> None:
    """A server's functions are called with the client first, a client's without; a client is told the state of a loss."""
    router, calls = Router(role), []
    for event in Events:
        router.set_callback(event, lambda *arguments, event=event: calls.append((event.value, *arguments)))
    received = message()
    router.connected(CLIENT)
    router.received(CLIENT, received)
    router.disconnected(CLIENT, GONE)
    if role is Role.CLIENT:
        assert calls[-1][0] == "on_recv"
        router.lost(LOST, None)
    assert calls == [tuple(received if part == "message" else part for part in call) for call in expected]


def test_a_router_is_an_application(router: Router) -> None:
    """The router provides what servers and clients ask of an application."""
    assert verifyObject(IVeltixApplication, router)


def test_a_concurrent_route_answers_by_the_session(router: Router) -> None:
    """A concurrent route's result is given to the session to answer when it comes; it holds nothing back."""
    answered = []

    class Session:
        def reply(self, message: Response, result: object) -> None:
            answered.append((message, result))

    router.register_route(CHAT, lambda client, message: b"later", concurrent=True)
    received = message()
    session: Any = Session()
    assert router.received(session, received) is None
    assert answered == [(received, b"later")]


def test_a_thread_route_needs_threads_and_a_plain_function(router: Router) -> None:
    """A coroutine function cannot run in a thread, nor anything where the router has no workers; nothing is registered."""

    async def coroutine(client: Any, message: Any) -> None:
        """Not to be called."""

    with pytest.raises(SettingsError, match="thread"):
        router.register_route(CHAT, lambda client, message: None, thread=True)
    with_workers = Router(Role.SERVER, lambda: Workers(object(), 1))
    with pytest.raises(SettingsError, match="coroutine"):
        with_workers.register_route(CHAT, coroutine, thread=True)
    assert not router.has_route(CHAT)
    assert not with_workers.has_route(CHAT)
    with_workers.register_route(CHAT, lambda client, message: b"done", thread=True)
    assert with_workers.has_route(CHAT)


def test_a_failing_on_disconnect_is_logged(logged_failures: Any) -> None:
    """What a client's on_disconnect raises, a coroutine's too, is logged and goes no further."""
    router = Router(Role.CLIENT)
    router.lost(LOST, None)

    async def fails(state: Any) -> None:
        raise KeyError(state)

    def fails_at_once(state: Any) -> None:
        raise ValueError(state)

    for callback in (fails, fails_at_once):
        router.set_callback("on_disconnect", callback)
        router.lost(LOST, None)
    assert len(logged_failures.flush(KeyError, ValueError)) == 2


def test_only_functions_handle_messages_of_types() -> None:
    """A handler that cannot be called and a type that is none are refused where they are given."""
    router = Router(Role.SERVER)
    with pytest.raises(SettingsError, match="handler is 5: it must be a function"):
        router.register_route(CHAT, 5)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="handler is 5: it must be a function"):
        router.set_callback("on_recv", 5)  # type: ignore[call-overload]
    with pytest.raises(SettingsError, match="route is 200: it must be for a MessageType"):
        router.register_route(200, print)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0, -1, True, "5", math.nan])
def test_a_timeout_that_cannot_be_is_refused(router: Router, wrong: Any) -> None:
    """A route's timeout is seconds above 0, or math.inf; otherwise nothing is registered."""
    with pytest.raises(SettingsError, match="timeout is"):
        router.register_route(CHAT, print, timeout=wrong)
    assert not router.has_route(CHAT)
    router.register_route(CHAT, print, timeout=math.inf)


def test_a_routes_timeout_goes_with_what_has_to_be_waited_for(router: Router) -> None:
    """A Deferred or coroutine is given on with the route's time; an answer at once goes as it is."""
    results: list[Any] = [b"now", None, Deferred()]
    router.register_route(CHAT, lambda client, message: results.pop(0), timeout=2)
    assert router.received(CLIENT, message()) == b"now"
    assert router.received(CLIENT, message()) is None
    waiting: Any = router.received(CLIENT, message())
    assert (waiting.seconds, type(waiting.result)) == (2, Deferred)


def test_the_log_names_the_users_function() -> None:
    """handler_for is the route's function, in a thread or not, else on_recv, else nothing."""
    router = Router(Role.SERVER, lambda: Workers(object(), 1))

    def on_chat(client: Any, message: Any) -> None:
        """Not called."""

    assert router.handler_for(CHAT.code) is None
    router.set_callback("on_recv", print)
    assert router.handler_for(CHAT.code) is print
    for thread in (False, True):
        router.register_route(CHAT, on_chat, thread=thread, timeout=5)
        assert router.handler_for(CHAT.code) is on_chat
        router.unregister_route(CHAT)


# Decorators without parentheses.

BARE = {
    "server.route": (lambda server, client: server.route, "write @server.route(TYPE), not @server.route"),
    "client.route": (lambda server, client: client.route, "write @client.route(TYPE), not @client.route"),
    "server.set_callback": (lambda server, client: server.set_callback, 'write @server.set_callback("on_connect")'),
    "client.set_callback": (lambda server, client: client.set_callback, 'write @client.set_callback("on_connect")'),
    "router.set_callback": (lambda server, client: server.router.set_callback, 'write @server.set_callback("on_connect")'),
}


@pytest.mark.parametrize("decorator", BARE)
def test_a_decorator_without_parentheses_says_how_it_is_used(decorator: str) -> None:
    """``@server.route`` in place of ``@server.route(TYPE)`` raises TypeError with the right way; nothing is registered."""
    find, how = BARE[decorator]
    types = MessageRegistry()
    with pytest.raises(TypeError, match=re.escape(how)) as caught:

        @find(Server(types=types), Client(types=types))
        def on_chat(client: Any, message: Any) -> None:
            """Not to be called."""

    assert "on_chat" in str(caught.value)


def test_a_type_that_is_none_is_refused_at_once() -> None:
    """What is no message type is refused where the decorator is made."""
    with pytest.raises(SettingsError, match="for a MessageType"):
        Server(types=MessageRegistry()).route(200)  # type: ignore[call-overload]
