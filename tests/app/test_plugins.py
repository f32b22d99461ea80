"""Plugins: what they bring, what they are told, and what they may not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from twisted.plugin import IPlugin
from zope.interface import implementer
from zope.interface.verify import verifyObject

from veltix_tx import (
    Client,
    Events,
    MessageRegistry,
    MessageType,
    MessageTypeError,
    Rejected,
    Request,
    Server,
    Session,
    SessionClosed,
    SettingsError,
)
from veltix_tx.app.applications import Echo
from veltix_tx.app.plugins import Plugin, Plugins, declared, find_plugins, plugin_code
from veltix_tx.app.router import Router
from veltix_tx.interfaces import IVeltixApplication, IVeltixPlugin
from veltix_tx.net.shared.handlers import IHandlerTable, handler_table
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.interface import Role
from veltix_tx.wire.veltix import codec

ALL = ("on_connect", "on_recv", "on_disconnect")


def make(name: str = "presence", **attributes: Any) -> Plugin:
    """Make a plugin with some attributes and methods of its own."""
    plugin = Plugin()
    plugin.name = name
    for attribute, value in attributes.items():
        setattr(plugin, attribute, value)
    return plugin


def watcher(name: str, calls: list[Any], **attributes: Any) -> Plugin:
    """Make a plugin that asks for every event and notes what it is told."""
    return make(
        name,
        **{
            "events": ALL,
            "connected": lambda session: calls.append(f"{name} connected"),
            "observed": lambda session, message: calls.append(f"{name} observed {message.content.decode()}"),
            "disconnected": lambda session, reason: calls.append(f"{name} disconnected"),
        }
        | attributes,
    )


class Town:
    """A server and its clients in memory, with types of their own on either side."""

    def __init__(self, **settings: Any) -> None:
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.network = MemoryNetwork()
        self.server = Server(**({"types": self.types} if "application" not in settings else {}), **settings)

    def open(self) -> Client:
        """Let the server listen, and connect a client that knows the same types and no plugin."""
        if not self.server.running:
            self.network.serve(self.server)
        client = Client(types=self.types)
        self.network.connect(client)
        return client

    def ask(self, client: Client, message_type: MessageType, content: bytes = b"") -> bytes:
        """Ask the server."""
        return self.network.result(client.send_and_wait(message_type, content)).content


@pytest.fixture
def town() -> Town:
    """Make a server in memory."""
    return Town()


# What a plugin is.


def test_any_object_that_provides_the_interface_is_a_plugin(town: Town) -> None:
    """Inheriting from Plugin is one way only: what counts is IVeltixPlugin."""

    @implementer(IVeltixPlugin)
    class Own:
        name = "own"
        description = "answers"
        types = {"ask": 600}  # noqa: RUF012
        events = ()

        def registered(self, types: Any, granted: Any) -> None:
            self.ask = types["ask"]

        def connected(self, session: Any) -> None: ...

        def observed(self, session: Any, message: Any) -> None: ...

        def received(self, session: Any, message: Any) -> bytes:
            return b"own"

        def disconnected(self, session: Any, reason: Any) -> None: ...

    own = Own()
    town.server.register_plugin(own)
    assert town.server.plugins == [own]
    assert town.ask(town.open(), own.ask) == b"own"


def test_the_class_to_inherit_from_is_found_by_twisted_and_does_nothing() -> None:
    """A Plugin provides IPlugin, too, so that an instance in a dropin is found; its methods only keep types and grant."""
    plugin, anything = Plugin(), anything_at_all()
    assert verifyObject(IVeltixPlugin, plugin)
    assert IPlugin.providedBy(plugin)
    results = [plugin.connected(anything), plugin.observed(anything, anything), plugin.received(anything, anything)]
    assert [*results, plugin.disconnected(anything, anything)] == [None] * 4
    plugin.registered({"a": anything}, frozenset(Events))
    assert (plugin.message_types, plugin.granted) == ({"a": anything}, set(Events))
    assert (Plugin.message_types, Plugin.granted) == ({}, set())


def anything_at_all() -> Any:
    """Return something of any type."""
    return object()


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (object(), "provides IVeltixPlugin"),
        (Plugin, "an object, not its class"),
        (Plugin(), "plugin is '': it must be a name of ASCII letters"),
        (make("a.b"), "plugin is 'a.b'"),
        (make("a=b"), "plugin is 'a=b'"),
        (make("mit-ä"), "plugin is 'mit-ä'"),
        (make(None), "plugin is None"),  # type: ignore[arg-type]
        (make(types=["a"]), "types of plugin 'presence' is"),
        (make(types={"": None}), "type of plugin 'presence' is ''"),
        (make(types={"a.b": None}), "type of plugin 'presence' is 'a.b'"),
        (make(events=["on_receive"]), "events of plugin 'presence' is .*on_recv, on_connect, on_disconnect"),
        (make(events=None), "events of plugin 'presence' is None"),
    ],
)
def test_what_is_no_plugin_is_refused(town: Town, plugin: Any, said: str) -> None:
    """An object that is no plugin, or a name or event that cannot be, is refused with what it must be."""
    with pytest.raises(SettingsError, match=said):
        town.server.register_plugin(plugin)
    assert town.server.plugins == []
    assert list(town.types) == [town.chat]


# Its types.


def test_an_automatic_code_follows_from_the_names_alone() -> None:
    """The code of a type is the same in every program, whatever else is registered there and in whatever order."""
    assert plugin_code("presence", "who") == 13837
    assert plugin_code("presence", "who") != plugin_code("presence", "change") != plugin_code("other", "change")
    assert all(10_000 <= plugin_code(name, "x") <= 65535 for name in map(str, range(2000)))
    one, other = make(types={"a": None, "b": None, "c": 500}), make(types={"c": 500, "b": None})
    assert declared(one).codes == {"a": plugin_code("presence", "a"), **declared(other).codes}


def test_both_ends_of_a_connection_agree_on_automatic_codes() -> None:
    """A server and a client with registries of their own, filled in different order, understand each other."""
    heard: list[bytes] = []
    network, server, client = MemoryNetwork(), Server(types=MessageRegistry()), Client(types=MessageRegistry())
    server.register_plugin(make("other", types={"x": None, "y": None}))
    server.register_plugin(make(types={"who": None, "change": None}, received=lambda session, message: b"nobody"))
    client.register_plugin(
        make(types={"change": None, "who": None}, received=lambda session, message: heard.append(message.content))
    )
    network.serve(server)
    network.connect(client)
    types = client.plugins[0].message_types  # type: ignore[attr-defined]
    assert network.result(client.send_and_wait(types["who"])).content == b"nobody"
    server.clients[0].send(server.plugins[1].message_types["change"], b"ann")  # type: ignore[attr-defined]
    network.pump()
    assert heard == [b"ann"]


def test_a_plugins_types_are_registered_and_told(town: Town) -> None:
    """Types join the door's registry as plugin.type, are told to the plugin before anything else, and are returned."""
    told: list[Any] = []
    types = town.server.register_plugin(make(types={"a": 600, "b": None}, registered=lambda *told_of: told.extend(told_of)))
    assert told == [types, set()]
    assert {name: (each.code, each.name) for name, each in types.items()} == {
        "a": (600, "presence.a"),
        "b": (plugin_code("presence", "b"), "presence.b"),
    }
    assert list(town.types) == [town.chat, types["a"], types["b"]]
    with pytest.raises(TypeError):
        types["c"] = town.chat  # type: ignore[index]


@pytest.mark.parametrize("code", [499, 200, 0, -1, 65536, True, "600", 600.0])
def test_a_code_is_one_for_plugins(town: Town, code: Any) -> None:
    """A fixed code is a whole number from 500 to 65535; the mistake is told with plugin, type and code."""
    with pytest.raises(MessageTypeError, match=f"'presence'.*'a' is {code!r}.*500 to 65535, or None"):
        town.server.register_plugin(make(types={"a": code}))
    assert town.server.plugins == []


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"new": None, "b": 600}, r"plugin 'presence': its type 'b' cannot have code 600, which 'other.a' has: give one"),
        ({"new": None, "b": 700}, r"plugin 'presence': its type 'b' cannot have code 700, which 'mine' has: give one"),
        ({"new": None, "b": 13837}, r"its type 'b' cannot have code 13837, which 'auto' has"),
        ({"new": 601, "b": 601}, r"its type 'b' cannot have code 601, which its type 'new' has"),
        ({"new": None, "b": plugin_code("presence", "new")}, r"its type 'b' cannot have code \d+, which its type 'new' has"),
        ({"new": None, "who": None}, r"its type 'who' cannot have code 13837, which 'auto' has"),
    ],
)
def test_a_code_that_is_taken_is_refused_and_nothing_changes(town: Town, types: dict[str, int | None], said: str) -> None:
    """A conflict of codes names both owners and the remedy; the plugin is not registered, and none of its types is."""
    town.server.register_plugin(make("other", types={"a": 600}))
    MessageType(700, "mine", registry=town.types)
    MessageType(13837, "auto", registry=town.types)
    before, told = list(town.types), []
    with pytest.raises(MessageTypeError, match=said) as caught:
        town.server.register_plugin(make(types=types, registered=lambda *_: told.append(1)))
    assert "another code from 500 to 65535" in str(caught.value)
    assert (list(town.types), [each.name for each in town.server.plugins], told) == (before, ["other"], [])
    town.server.register_plugin(make(types={"new": None}))


def test_a_plugins_type_may_be_defined_by_a_program_too(town: Town) -> None:
    """A program that names a plugin's type as the plugin does means the same type, whoever comes first; another name is taken."""
    before = MessageType(601, "presence.early", registry=town.types)
    plugin = make(types={"new": 600, "early": 601}, received=lambda session, message: b"from the plugin")
    types = town.server.register_plugin(plugin)
    assert types["early"] is before
    after = MessageType(600, "presence.new", registry=town.types)
    assert after == types["new"]
    client = town.open()
    assert [town.ask(client, kind) for kind in (before, after)] == [b"from the plugin"] * 2
    with pytest.raises(MessageTypeError, match=r"'presence\.new'"):
        MessageType(600, "mine", registry=town.types)


def test_a_registry_without_plugin_codes_keeps_nothing() -> None:
    """A registry that refuses the second of two codes keeps the first no more."""
    types = MessageRegistry(codes=range(200, 601))
    server = Server(types=types)
    with pytest.raises(MessageTypeError, match="code 601 is not one of 200 to 600"):
        server.register_plugin(make(types={"a": 600, "b": 601}))
    assert (len(types), server.plugins) == (0, [])


def test_a_plugin_that_refuses_its_registration_leaves_no_trace(town: Town) -> None:
    """What registered() raises is raised; the door is as before."""
    with pytest.raises(ZeroDivisionError):
        town.server.register_plugin(make(types={"a": None}, registered=lambda types, granted: 1 / 0))
    assert (list(town.types), town.server.plugins) == ([town.chat], [])


def test_a_name_is_used_once_on_a_door(town: Town) -> None:
    """A second plugin of the same name is refused with the first one's looks; another door may have it."""
    first = make(types={"a": None})
    town.server.register_plugin(first)
    with pytest.raises(SettingsError, match=r"plugin is 'presence': it must be a name that is free: <.*Plugin object.*> has it"):
        town.server.register_plugin(make())
    assert town.server.plugins == [first]
    Server(types=MessageRegistry()).register_plugin(first)


def test_two_doors_of_a_process_share_a_plugins_types(town: Town) -> None:
    """A server and a client with one registry may have the same plugin: its types are there already, and used as they are."""
    types = town.server.register_plugin(make(types={"a": None, "b": 600}))
    theirs = Client(types=town.types).register_plugin(make(types={"b": 600, "a": None}))
    assert all(theirs[name] is types[name] for name in "ab")
    assert len(town.types) == 3


# Where messages go.


def test_a_plugin_handles_its_types_and_no_others(town: Town) -> None:
    """A plugin's messages go to it with their session, and its answer back; the routes and on_recv get the others."""
    got: list[Any] = []

    def received(session: Session, message: Any) -> bytes:
        got.append((session, message.type))
        return b"plugin"

    types = town.server.register_plugin(make(types={"a": None}, received=received))
    town.server.route(town.chat)(lambda client, message: b"route")
    other = MessageType(201, "other", registry=town.types)
    town.server.set_callback("on_recv", lambda client, message: b"on_recv")
    client = town.open()
    assert [town.ask(client, each) for each in (types["a"], town.chat, other)] == [b"plugin", b"route", b"on_recv"]
    assert got == [(town.server.clients[0], types["a"])]


def test_a_plugin_answers_as_an_application_does(town: Town) -> None:
    """A plugin may answer later, with a type of its choice; the session's next message waits for that."""
    waiting: Deferred[bytes] = Deferred()

    async def later(session: Session, message: Any) -> Any:
        return Request(town.chat, await waiting)

    types = town.server.register_plugin(make(types={"a": 600}, received=later))
    town.server.route(town.chat)(lambda client, message: b"second")
    client = town.open()
    first, second = client.send_and_wait(types["a"]), client.send_and_wait(town.chat)
    town.network.pump()
    assert not second.called
    waiting.callback(b"first")
    assert town.network.result(first).type == town.chat
    assert town.network.result(second).content == b"second"


def test_a_plugin_works_on_an_application() -> None:
    """A door with an application in place of routes takes plugins, too; what is not theirs is the application's."""
    town = Town(application=Echo())
    types = town.server.register_plugin(make(types={"a": None}, received=lambda session, message: b"plugin"))
    client = town.open()
    with pytest.raises(SettingsError, match="application"):
        town.server.route(town.chat)
    MessageType(types["a"].code, "presence.a", registry=town.types)
    assert [town.ask(client, each, b"hello") for each in (types["a"], town.chat)] == [b"plugin", b"hello"]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_type_is_attached_to_a_plugin(town: Town, by_name: bool) -> None:
    """A type of anybody's that has no handler is routed to a plugin, given as it is or by its name."""
    plugin = make(received=lambda session, message: b"plugin")
    town.server.register_plugin(plugin)
    town.server.attach(town.chat, "presence" if by_name else plugin)
    assert town.ask(town.open(), town.chat) == b"plugin"


def test_a_type_has_one_handler(town: Town) -> None:
    """A type with a route cannot be attached, one with a plugin neither attached again nor routed; the mistake names the plugin."""
    news = MessageType(201, "news", registry=town.types)
    types = town.server.register_plugin(make("one", types={"a": None}))
    town.server.register_plugin(make("two"))
    town.server.route(town.chat)(lambda client, message: b"route")
    with pytest.raises(SettingsError, match="type is 'chat': it must be a type that has no route: unregister it first"):
        town.server.attach(town.chat, "two")
    town.server.attach(news, "one")
    for taken in (news, types["a"]):
        with pytest.raises(SettingsError, match=f"type is '{taken.name}'.*plugin 'one' does"):
            town.server.attach(taken, "two")
        for register in (town.server, town.server.router):
            with pytest.raises(SettingsError, match=f"route is '{taken.name}': .*a type that plugin 'one' does not handle"):
                register.register_route(taken, lambda client, message: b"route")
    town.server.unregister_route(town.chat)
    town.server.attach(town.chat, "two")


@pytest.mark.parametrize("handler", ["route", "plugin"])
@pytest.mark.parametrize("registered", [True, False])
def test_a_declared_type_that_is_handled_already_is_refused(town: Town, handler: str, registered: bool) -> None:
    """A plugin's own type that a route or another plugin handles already is not taken from there, wherever it is registered."""
    mine = MessageType(600, "presence.a", registry=town.types if registered else MessageRegistry())
    before = list(town.types)
    town.server.register_plugin(make("other"))
    if handler == "route":
        town.server.route(mine)(lambda client, message: b"route")
    else:
        town.server.attach(mine, "other")
    with pytest.raises(SettingsError, match=r"type is 'presence\.a'"):
        town.server.register_plugin(make(types={"b": None, "a": 600}))
    assert (list(town.types), len(town.server.plugins)) == (before, 1)


@pytest.mark.parametrize("plugin", ["absent", make("absent"), Plugin])
def test_only_registered_plugins_get_types(town: Town, plugin: Any) -> None:
    """Attaching to a plugin that is not registered names those that are."""
    with pytest.raises(SettingsError, match="one that is registered: there is none"):
        town.server.attach(town.chat, plugin)
    town.server.register_plugin(make("here"))
    with pytest.raises(SettingsError, match="one that is registered: here"):
        town.server.attach(town.chat, plugin)


# What it is told.


@pytest.mark.parametrize(
    ("events", "grant", "told"),
    [
        (ALL, None, ["connected", "observed hello", "disconnected"]),
        (list(Events), ["on_recv"], ["observed hello"]),
        (ALL, Events.ON_CONNECT, ["connected"]),
        (ALL, "on_disconnect", ["disconnected"]),
        (ALL, [], []),
        ((), None, []),
        ([Events.ON_CONNECT, "on_recv"], [Events.ON_CONNECT], ["connected"]),
    ],
)
def test_a_plugin_sees_what_it_is_granted(town: Town, events: Any, grant: Any, told: list[str]) -> None:
    """Of the events a plugin asks for it is told those that are granted, all by default, and nothing else."""
    calls: list[str] = []
    plugin = watcher("w", calls, events=events)
    town.server.register_plugin(plugin, grant=grant)
    assert len(plugin.granted) == len(told)
    client = town.open()
    client.send(town.chat, b"hello")
    town.network.result(client.disconnect())
    assert calls == [f"w {each}" for each in told]


@pytest.mark.parametrize(
    ("events", "grant", "said"),
    [
        (
            ["on_connect"],
            ["on_connect", "on_recv"],
            "grant for plugin 'presence' is .*on_connect.* asks for: on_connect .not on_recv",
        ),
        ((), [Events.ON_DISCONNECT], "grant for plugin 'presence' .* asks for: nothing .not on_disconnect"),
        (ALL, ["on_receive"], "grant for plugin 'presence' is .*on_recv, on_connect, on_disconnect"),
        (ALL, [5], "grant for plugin 'presence'"),
        (ALL, 5, "grant for plugin 'presence'"),
    ],
)
def test_a_grant_is_of_what_is_asked_for(town: Town, events: Any, grant: Any, said: str) -> None:
    """Granting what a plugin does not ask for, or what is no event, is refused with the plugin's name and the event's."""
    with pytest.raises(SettingsError, match=said):
        town.server.register_plugin(make(events=events, types={"a": None}), grant=grant)
    assert (town.server.plugins, list(town.types)) == ([], [town.chat])


def test_what_is_granted_can_be_asked() -> None:
    """The set of a door's plugins tells what each of them sees."""
    plugins = Plugins(Router(Role.SERVER), MessageRegistry())
    plugin = make(events=ALL)
    plugins.register(plugin, ["on_recv", "on_connect"])
    assert plugins.granted(plugin) == plugins.granted("presence") == {Events.ON_RECV, Events.ON_CONNECT}
    assert (len(plugins), list(plugins)) == (1, [plugin])
    with pytest.raises(SettingsError, match="registered: presence"):
        plugins.granted("other")
    assert verifyObject(IVeltixApplication, plugins)


def test_events_come_in_order(town: Town) -> None:
    """Plugins come before the application in the order of their registration, and at the end after it, the last one first."""
    calls: list[str] = []
    for name in ("one", "two"):
        town.server.register_plugin(
            watcher(name, calls, types={"a": None}, received=lambda session, message, name=name: calls.append(f"{name} received"))
        )
    town.server.set_callback("on_connect", lambda client: calls.append("on_connect"))
    town.server.set_callback("on_recv", lambda client, message: calls.append("on_recv"))
    town.server.set_callback("on_disconnect", lambda client: calls.append("on_disconnect"))
    client = town.open()
    client.send(town.chat, b"1")
    client.send(town.server.plugins[1].message_types["a"], b"2")  # type: ignore[attr-defined]
    town.network.result(client.disconnect())
    assert calls == [
        *("one connected", "two connected", "on_connect"),
        *("one observed 1", "two observed 1", "on_recv"),
        *("one observed 2", "two observed 2", "two received"),
        *("on_disconnect", "two disconnected", "one disconnected"),
    ]


def test_connected_holds_back_what_comes_after_it(town: Town) -> None:
    """The Deferred of a plugin's connected holds back the next plugin, the application and the session's messages."""
    calls: list[str] = []
    waits: list[Deferred[None]] = [Deferred(), Deferred(), Deferred()]

    def wait(index: int) -> Callable[..., Deferred[None]]:
        def connected(session: Any) -> Deferred[None]:
            calls.append(f"connected {index}")
            return waits[index]

        return connected

    for index in (0, 1):
        town.server.register_plugin(watcher(f"p{index}", calls, connected=wait(index)), grant=["on_connect"])
    town.server.set_callback("on_connect", wait(2))
    town.server.set_callback("on_recv", lambda client, message: calls.append("message"))
    town.open().send(town.chat)
    town.network.pump()
    for index, each in enumerate(waits):
        assert calls == [f"connected {count}" for count in range(index + 1)]
        each.callback(None)
    assert calls[3:] == ["message"]


def test_the_end_waits_for_handlers_and_for_each_other(town: Town) -> None:
    """A plugin is told of the end after the last message is handled, and after what was told before it is done."""
    calls: list[str] = []
    handler: Deferred[None] = Deferred()
    goodbye: Deferred[None] = Deferred()
    town.server.register_plugin(watcher("one", calls), grant=["on_disconnect"])
    town.server.set_callback("on_recv", lambda client, message: handler)
    town.server.set_callback("on_disconnect", lambda client: goodbye)
    client = town.open()
    client.send(town.chat)
    town.network.result(client.disconnect())
    town.network.pump()
    assert calls == []
    handler.callback(None)
    assert calls == []
    goodbye.callback(None)
    assert calls == ["one disconnected"]


@pytest.mark.parametrize("kind", ["plain", "coroutine", "deferred"])
def test_a_failing_plugin_is_in_nobodys_way(town: Town, kind: str, logged_failures: Any, log_events: list[Any]) -> None:
    """What a plugin raises while it is told something is logged with its name; others are told, the message is handled."""
    calls: list[str] = []

    def fail(*_: Any) -> Any:
        if kind == "plain":
            raise ZeroDivisionError
        if kind == "coroutine":

            async def fails() -> None:
                raise ZeroDivisionError

            return fails()
        failed: Deferred[None] = Deferred()
        failed.errback(ZeroDivisionError())
        return failed

    town.server.register_plugin(make("bad", events=ALL, observed=fail, disconnected=fail))
    town.server.register_plugin(watcher("good", calls))
    town.server.route(town.chat)(lambda client, message: b"handled")
    client = town.open()
    assert town.ask(client, town.chat, b"x") == b"handled"
    town.network.result(client.disconnect())
    assert calls == ["good connected", "good observed x", "good disconnected"]
    failures = logged_failures.flush(ZeroDivisionError)
    assert [(event["step"], event["plugin"]) for event in failures] == [(step, "bad") for step in ("observed", "disconnected")]


def test_an_application_that_fails_at_the_end_is_logged_as_ever(town: Town, logged_failures: Any) -> None:
    """The application's own failures are its own: plugins are told all the same."""
    calls: list[str] = []
    town.server.register_plugin(watcher("w", calls))
    town.server.set_callback("on_disconnect", lambda client: 1 / 0)
    town.network.result(town.open().disconnect())
    assert calls == ["w connected", "w disconnected"]
    steps = [event["step"] for event in logged_failures.flush(ZeroDivisionError)]
    assert steps == ["disconnected"]


@pytest.mark.parametrize("which", ["bad", "on_connect"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), Rejected("by the rules")])
@pytest.mark.parametrize("later", [False, True])
def test_a_failing_connected_ends_the_session(
    town: Town, which: str, error: Exception, later: bool, logged_failures: Any, log_events: list[Any]
) -> None:
    """Plugins before it, which took the session in, are told of its end when it is gone, the last one first; nobody else is."""
    calls: list[str] = []
    moment: Deferred[None] = Deferred()

    def fail(*_: Any) -> Any:
        if later:
            return moment
        raise error

    for name in ("one", "two"):
        town.server.register_plugin(watcher(name, calls))
    town.server.register_plugin(make("blind", events=["on_connect"]))
    if which == "bad":
        town.server.register_plugin(
            make("bad", events=ALL, connected=fail, disconnected=lambda *_: calls.append("bad disconnected"))
        )
    town.server.register_plugin(watcher("last", calls))
    town.server.set_callback("on_connect", (lambda client: calls.append("on_connect")) if which == "bad" else fail)
    town.server.set_callback("on_disconnect", lambda client: calls.append("on_disconnect"))
    if later:
        client = town.open()
        assert "one disconnected" not in calls
        moment.errback(error)
        town.network.pump()
        assert client.session is None
    else:
        with pytest.raises(SessionClosed):
            town.open()
    took = ["one", "two"] if which == "bad" else ["one", "two", "last"]
    assert calls == [*(f"{name} connected" for name in took), *(f"{name} disconnected" for name in reversed(took))]
    assert town.server.counters["sessions_rejected"] == 1
    lines = [formatEvent(event) for event in log_events if event["log_namespace"] == "veltix_tx.net.session.handler_log"]
    assert len(lines) == 1
    if isinstance(error, ZeroDivisionError):
        (event,) = logged_failures.flush(ZeroDivisionError)
        assert event["who"] == ("connected of plugin bad" if which == "bad" else "connected")
    else:
        assert lines[0].endswith(": by the rules")


def test_an_observer_answers_nothing_and_holds_back_nothing(town: Town) -> None:
    """What observed returns, now or later, is no answer; the handler does not wait for it."""
    later: Deferred[bytes] = Deferred()

    async def observed(session: Any, message: Any) -> bytes:
        return await later

    town.server.register_plugin(make("one", events=["on_recv"], observed=lambda session, message: b"not an answer"))
    town.server.register_plugin(make("two", events=["on_recv"], observed=observed))
    town.server.route(town.chat)(lambda client, message: b"answer")
    client = town.open()
    heard: list[bytes] = []
    client.set_callback("on_recv", lambda message: heard.append(message.content))
    assert town.ask(client, town.chat) == b"answer"
    later.callback(b"not an answer")
    town.network.pump()
    assert heard == []


def test_slow_observers_are_bounded() -> None:
    """A peer that is faster than an observer's Deferreds is read no further: what waits is bounded by limits.inflight."""
    from veltix_tx import Limits

    town = Town(limits=Limits(inflight=4))
    waits: list[Deferred[None]] = []

    def observed(session: Any, message: Any) -> Deferred[None]:
        waits.append(Deferred())
        return waits[-1]

    town.server.register_plugin(make(events=["on_recv"], observed=observed))
    client = town.open()
    (session,) = town.server.clients
    for _ in range(4):
        client.send(town.chat)
    town.network.pump()
    assert session._transport.flow.paused
    for each in waits:
        each.callback(None)
    assert not session._transport.flow.paused


# Finding them.


@pytest.fixture
def dropins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """Write modules into a package that plugins are looked for in; return the package."""
    package = tmp_path / f"dropins_{tmp_path.name}".replace("-", "_")
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> ModuleType:
        (package / f"{name}.py").write_text(text)
        return import_module(package.name)

    return write


def test_plugins_are_found_through_twisted(dropins: Any, log_events: list[Any]) -> None:
    """Objects that provide both interfaces are found, each once; a module that cannot be imported is logged and left out."""
    dropins("broken", "raise ZeroDivisionError\n")
    package = dropins(
        "good",
        "from veltix_tx.app.plugins import Plugin\n"
        "class Own(Plugin):\n    name = 'own'\n    description = 'answers'\n"
        "one = again = Own()\nother = Own()\nnothing = 5\n",
    )
    found = find_plugins(package)
    assert [type(plugin).__name__ for plugin in found] == ["Own", "Own"]
    assert found[0] is not found[1]
    assert [event["failure"].type for event in log_events if event.get("isError")] == [ZeroDivisionError]


# When.


def test_plugins_come_before_the_server_listens(town: Town) -> None:
    """While a server listens or has sessions left it takes no plugin; after its end it does."""
    town.server.register_plugin(make("early"))
    town.network.serve(town.server)
    for _ in ("listening", "with a client"):
        with pytest.raises(SettingsError, match="plugin is 'late': it must be registered before the server listens"):
            town.server.register_plugin(make("late"))
        town.open()
    stopping = town.server.stopService()
    with pytest.raises(SettingsError, match="plugin is 'late'"):
        town.server.register_plugin(make("late"))
    town.network.result(stopping)
    town.server.register_plugin(make("late", types={"a": 600}, received=lambda session, message: b"late"))
    assert town.ask(town.open(), town.server.plugins[1].message_types["a"]) == b"late"  # type: ignore[attr-defined]


def test_plugins_come_before_the_client_connects(town: Town) -> None:
    """A client takes plugins until it connects, and again after disconnect(); they see every connection."""
    calls: list[str] = []
    client = Client(types=town.types)
    client.register_plugin(watcher("w", calls))
    town.network.serve(town.server)
    town.network.connect(client)
    with pytest.raises(SettingsError, match="plugin is 'late'"):
        client.register_plugin(make("late"))
    leaving = client.disconnect()
    with pytest.raises(SettingsError, match="plugin is 'late'"):
        client.register_plugin(make("late"))
    town.network.result(leaving)
    client.register_plugin(make("late"))
    town.network.connect(client)
    assert calls == ["w connected", "w disconnected", "w connected"]
    assert client.is_connected


def test_a_door_without_plugins_has_nothing_in_between(town: Town) -> None:
    """Without plugins, and after a registration that failed, messages go to the application itself."""
    application = town.server._application
    with pytest.raises(MessageTypeError):
        town.server.register_plugin(make(types={"a": 5}))
    assert town.server._application is application
    assert isinstance(application, Router)
    town.server.register_plugin(make())
    assert town.server._application is not application
    assert town.server.router is application


def test_a_registration_is_logged(town: Town, log_events: list[Any]) -> None:
    """The log tells what a plugin sees and handles."""
    town.server.register_plugin(make("one", types={"a": 600, "b": 700}, events=ALL), grant=["on_recv"])
    town.server.register_plugin(make("two"))
    from twisted.logger import formatEvent

    assert [formatEvent(event) for event in log_events] == [
        "plugin one sees on_recv and handles a 600, b 700",
        "plugin two sees no events and handles no types",
    ]


# The table of handlers.


class Asked:
    """Counts how often a server's router is asked for a message, in place of the function of its route."""

    def __init__(self, router: Router) -> None:
        self.times = 0
        self._received = router.received
        router.received = self  # type: ignore[method-assign, assignment]

    def __call__(self, session: Any, message: Any) -> object:
        """Count, and go on as ever."""
        self.times += 1
        return self._received(session, message)


@pytest.fixture(params=codec.available())
def each_codec(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test with every codec that is there: the compiled one calls handlers by itself."""
    before = codec.in_use()
    codec.use(request.param)
    yield
    codec.use(before)


@pytest.mark.usefixtures("each_codec")
def test_a_plugin_leaves_the_other_routes_their_direct_path(town: Town) -> None:
    """With a plugin registered a route's function is called without its router being asked, as without plugins."""
    heard: list[bytes] = []
    asked = Asked(town.server.router)
    calls: list[str] = []
    types = town.server.register_plugin(
        watcher("p", calls, types={"a": None}, received=lambda session, message: heard.append(b"plugin")),
        grant=["on_connect", "on_disconnect"],
    )
    town.server.route(town.chat)(lambda client, message: heard.append(message.content))
    client = town.open()
    for _ in range(3):
        client.send(town.chat, b"direct")
    client.send(types["a"], b"")
    town.network.pump()
    assert heard == [b"direct"] * 3 + [b"plugin"]
    assert asked.times == 0
    assert calls == ["p connected"]


@pytest.mark.usefixtures("each_codec")
def test_routes_that_change_are_seen_with_plugins(town: Town) -> None:
    """A route registered while messages come is called from the next message on, and one taken back no more."""
    heard: list[bytes] = []
    asked = Asked(town.server.router)
    town.server.register_plugin(make())
    client = town.open()
    client.send(town.chat, b"before")
    town.network.pump()
    assert (heard, asked.times, town.server.counters["unhandled"]) == ([], 1, 1)
    town.server.register_route(town.chat, lambda client, message: heard.append(message.content))
    client.send(town.chat, b"route")
    town.network.pump()
    assert (heard, asked.times) == ([b"route"], 1)
    town.server.unregister_route(town.chat)
    town.server.set_callback("on_recv", lambda client, message: heard.append(b"on_recv"))
    client.send(town.chat, b"after")
    town.network.pump()
    assert (heard, asked.times) == ([b"route", b"on_recv"], 2)
    town.server.attach(town.chat, "presence")
    client.send(town.chat, b"attached")
    town.network.pump()
    assert (heard, asked.times) == ([b"route", b"on_recv"], 2)


@pytest.mark.usefixtures("each_codec")
def test_an_observer_sees_what_takes_the_direct_path_without_it(town: Town) -> None:
    """Where a plugin is granted on_recv every message is shown to it before its route, its plugin or on_recv."""
    calls: list[Any] = []
    types = town.server.register_plugin(make("quiet", types={"a": None}, received=lambda s, message: calls.append("quiet")))
    town.server.register_plugin(watcher("w", calls))
    town.server.route(town.chat)(lambda client, message: calls.append("route"))
    client = town.open()
    for message_type in (town.chat, types["a"], town.chat):
        client.send(message_type, b"x")
    town.network.pump()
    assert calls == ["w connected", *["w observed x", "route"], *["w observed x", "quiet"], *["w observed x", "route"]]


def test_a_plugins_type_keeps_its_plugin(town: Town) -> None:
    """Taking back a route that there is not takes nothing from a plugin that handles the type."""
    types = town.server.register_plugin(make(types={"a": None}, received=lambda session, message: b"plugin"))
    asked = Asked(town.server.router)
    assert town.server.unregister_route(types["a"]) is False
    client = town.open()
    assert town.ask(client, types["a"]) == b"plugin"
    assert asked.times == 0


@implementer(IVeltixApplication, IHandlerTable)
class Table(Echo):
    """An application with a handler table."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, Callable[..., object]] = {200: lambda session, message: b"direct"}

    def handler_for(self, key: int, kind: str | None = None) -> object:
        """Name the function."""
        return self.direct.get(key, self.received)


@pytest.mark.parametrize("plugins", [0, 1])
def test_an_application_of_the_users_may_have_a_table(plugins: int) -> None:
    """An application that provides IHandlerTable has its functions called, with plugins and without; no plugin takes its types."""
    town = Town(application=Table())
    for _ in range(plugins):
        town.server.register_plugin(make(types={"a": 700}, received=lambda session, message: b"plugin"))
        with pytest.raises(SettingsError, match="a type that has no route"):
            town.server.attach(town.chat, "presence")
    client = town.open()
    other = MessageType(201, "other", registry=town.types)
    assert [town.ask(client, each, b"echo") for each in (town.chat, other)] == [b"direct", b"echo"]


def test_a_table_is_declared() -> None:
    """Router and Plugins provide the interface; a ``direct`` without it is none, and one that is no dict a mistake."""
    router = Router(Role.SERVER)
    for table in (router, Plugins(router, MessageRegistry()), Table()):
        assert verifyObject(IHandlerTable, table)
        assert handler_table(table) is table
    undeclared = Echo()
    undeclared.direct = {200: print}  # type: ignore[attr-defined]
    table = handler_table(undeclared)
    assert (table.direct, table.handler_for(200)) == ({}, undeclared.received)
    broken = Table()
    broken.direct = [print]  # type: ignore[assignment]
    with pytest.raises(SettingsError, match=r"direct is .*: it must be a dict"):
        MemoryNetwork().serve(Server(application=broken))
