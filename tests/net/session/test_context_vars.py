"""ContextVars: what one handler sets is seen by no other connection's handler."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import Deferred

from veltix_tx.app.plugins import Plugin
from veltix_tx.app.router import Router
from veltix_tx.wire.interface import Role

USER: ContextVar[str] = ContextVar("user", default="nobody")


def told(line: Any) -> list[str]:
    """Return what the peer was answered."""
    return [content.decode() for content in line.answers()]


def routed(router: Router, line: Any) -> None:
    """News sets the variable, chat tells it."""

    def set_user(client: Any, message: Any) -> None:
        USER.set(message.content.decode())

    router.register_route(line.news, set_user)
    router.register_route(line.chat, lambda client, message: USER.get().encode())


def test_plain_handlers_do_not_leak(server_line: Any) -> None:
    """What a plain handler sets is gone with the read it came in: other connections, and this side's own code, never see it."""
    router = Router(Role.SERVER)
    ann, bob = server_line(application=router), server_line(application=router)
    routed(router, ann)
    for line in (ann, bob):
        line.shake()
    ann.say(b"ann", message_type=ann.news)
    assert USER.get() == "nobody"
    bob.say(b"?")
    assert told(bob) == ["nobody"]
    ann.say(b"?")
    assert told(ann) == ["nobody"]


def test_what_waited_in_line_runs_in_no_other_connections_context(server_line: Any) -> None:
    """A handler that another connection's handler lets go on, and the messages behind it, see nothing of that one's context."""
    router, gate = Router(Role.SERVER), Deferred()
    ann, bob = server_line(application=router), server_line(application=router)

    async def tell(client: Any, message: Any) -> bytes:
        return USER.get().encode()

    def let_go(client: Any, message: Any) -> None:
        USER.set("bob")
        gate.callback(b"first")

    router.register_route(ann.chat, tell)
    router.register_route(ann.news, lambda client, message: gate if message.content == b"wait" else let_go(client, message))
    for line in (ann, bob):
        line.shake()
    ann.say(b"wait", message_type=ann.news)
    ann.say(b"", b"")
    assert told(ann) == []
    bob.say(b"go", message_type=bob.news)
    assert told(ann) == ["first", "nobody", "nobody"]


def test_callbacks_have_a_context_of_their_own(server_line: Any) -> None:
    """What on_connect and on_disconnect set is seen neither by the next connection nor by the reactor's other code."""
    router, seen = Router(Role.SERVER), []

    def note(client: Any) -> None:
        seen.append(USER.get())
        USER.set("somebody")

    router.set_callback("on_connect", note)
    router.set_callback("on_disconnect", note)
    for line in (server_line(application=router), server_line(application=router)):
        routed(router, line)
        line.shake()
        line.say(b"?")
        assert told(line) == ["nobody"]
        line.lose()
        router.unregister_route(line.chat)
        router.unregister_route(line.news)
    assert seen == ["nobody"] * 4
    assert USER.get() == "nobody"


def test_a_clients_on_disconnect_leaves_nothing_behind() -> None:
    """A client's on_disconnect, which no session has called, sets variables for itself only."""
    router = Router(Role.CLIENT)
    router.set_callback("on_disconnect", lambda state: USER.set("lost"))
    router.lost(None, None)  # type: ignore[arg-type]
    assert USER.get() == "nobody"


def test_handlers_see_what_was_set_where_it_began(server_line: Any) -> None:
    """Handlers start from the context in which their server began to listen, whatever is set later elsewhere."""
    router = Router(Role.SERVER)
    token = USER.set("the program")
    try:
        line = server_line(application=router)
    finally:
        USER.reset(token)
    routed(router, line)
    line.shake()
    line.say(b"?")
    assert told(line) == ["the program"]


def test_plugins_do_not_leak(server_line: Any) -> None:
    """What a plugin's ``observed`` sets is gone with the read as well."""
    from veltix_tx.app.plugins import Plugins
    from veltix_tx.wire.messages import MessageRegistry

    class Nosy(Plugin):
        name, description, events = "nosy", "Sets a variable.", ("on_recv",)

        def observed(self, session: Any, message: Any) -> None:
            USER.set("nosy")

    plugins = Plugins(Router(Role.SERVER), MessageRegistry())
    plugins.register(Nosy())
    line = server_line(application=plugins)
    line.shake()
    line.say(b"x")
    assert USER.get() == "nobody"
