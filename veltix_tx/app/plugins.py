"""Plugins: message types with a handler, and observers of events, that a server or client is given by others."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn
from zlib import crc32

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.plugin import IPlugin, getPlugins
from twisted.python.failure import Failure
from zope.interface import Invalid, implementer
from zope.interface.verify import verifyObject

from veltix_tx.app.router import Router
from veltix_tx.errors import MessageTypeError, SessionClosed, SettingsError, excerpt
from veltix_tx.interfaces import Events, IVeltixApplication, IVeltixPlugin
from veltix_tx.net.awaitables import LATER, as_deferred, call
from veltix_tx.net.session.handler_log import StepFailed
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.handlers import IHandlerTable, handler_table
from veltix_tx.sanitize import SanitizedFailure
from veltix_tx.wire.messages import CodeRange, MessageRegistry, MessageType, Response

__all__ = ["Declaration", "Plugin", "Plugins", "declared", "event_names", "find_plugins", "name_of", "plugin_code"]

_log = Logger()

_CODES = CodeRange.PLUGIN.value
_AUTOMATIC = range(10_000, _CODES.stop)
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NAME_RULE = "a name of ASCII letters, digits, _ and -"


@implementer(IVeltixPlugin, IPlugin)
class Plugin:
    """A plugin that does nothing yet, to inherit from. Any object that provides IVeltixPlugin is as good.

    Attributes:
        name: what it is called; must be set.
        description: what it is for, on one line.
        types: its message types: a name -> a code from 500 to 65535, or None for an automatic one.
        events: the Events it asks to see.
        message_types: its MessageTypes by name, once it is registered.
        granted: the events it sees, once it is registered.
    """

    name: str = ""
    description: str = ""
    types: Mapping[str, int | None] = MappingProxyType({})
    events: Iterable[Events | str] = ()
    message_types: Mapping[str, MessageType] = MappingProxyType({})
    granted: frozenset[Events] = frozenset()

    def registered(self, types: Mapping[str, MessageType], granted: frozenset[Events]) -> None:
        """Keep the message types and the grant."""
        self.message_types = types
        self.granted = granted

    def connected(self, session: Session) -> object:
        """Nothing to do."""

    def observed(self, session: Session, message: Response) -> object:
        """Nothing to do."""

    def received(self, session: Session, message: Response) -> object:
        """No answer."""

    def disconnected(self, session: Session, reason: SessionClosed) -> object:
        """Nothing to do."""


def plugin_code(plugin: str, type_name: str) -> int:
    """Return the automatic code of a plugin's type, from 10000 to 65535.

    It follows from the two names alone, so that programs which know nothing of each other agree,
    whatever else they have registered, and in whatever order.
    """
    return _AUTOMATIC[crc32(f"{plugin}.{type_name}".encode()) % len(_AUTOMATIC)]


def find_plugins(package: ModuleType | None = None) -> list[IVeltixPlugin]:
    """Return the plugins that ``twisted.plugin`` finds; modules that cannot be imported are logged and left out.

    Args:
        package: where to look, in place of ``twisted.plugins``.
    """
    found: list[IVeltixPlugin] = []
    for plugin in getPlugins(IVeltixPlugin, package):
        if all(plugin is not other for other in found):
            found.append(plugin)
    return found


def name_of(plugin: object) -> str:
    """Return a plugin's name for people, be it a valid one or none at all."""
    return str(getattr(plugin, "name", plugin))


def event_names(events: Iterable[Events]) -> str:
    """Return events as text, in the order they are defined in."""
    wanted = frozenset(events)
    return ", ".join(event.value for event in Events if event in wanted)


@dataclass(frozen=True, slots=True)
class Declaration:
    """Name, codes and events of a plugin, checked.

    Attributes:
        name: what it is called.
        codes: type name -> code, automatic ones worked out.
        events: the events it asks for.
    """

    name: str
    codes: Mapping[str, int]
    events: frozenset[Events]


def declared(plugin: IVeltixPlugin) -> Declaration:
    """Return the declaration of a plugin.

    Raises:
        SettingsError: it is no plugin, or its name or its events cannot be.
        MessageTypeError: a code of it cannot be, or two of its types have the same.
    """
    try:
        verifyObject(IVeltixPlugin, plugin)
    except Invalid as error:
        why = "an object, not its class" if isinstance(plugin, type) else " ".join(str(error).split())
        raise SettingsError("plugin", plugin, f"an object that provides IVeltixPlugin ({why})") from error
    name = plugin.name
    if not _is_name(name):
        raise SettingsError("plugin", name, _NAME_RULE)
    if not isinstance(plugin.types, Mapping):
        raise SettingsError(f"types of plugin {name!r}", plugin.types, "a mapping of names to codes")
    names: dict[int, str] = {}
    for type_name, given in plugin.types.items():
        if not _is_name(type_name):
            raise SettingsError(f"type of plugin {name!r}", type_name, _NAME_RULE)
        code = plugin_code(name, type_name) if given is None else given
        if not isinstance(code, int) or code not in _CODES:
            raise MessageTypeError(
                f"plugin {name!r}: the code of its type {type_name!r} is {excerpt(code)}: it must be a whole number "
                f"from {_CODES[0]} to {_CODES[-1]}, or None for an automatic one"
            )
        if code in names:
            raise MessageTypeError(_taken(name, type_name, code, f"its type {names[code]!r}"))
        names[code] = type_name
    events = _events(f"events of plugin {name!r}", plugin.events)
    return Declaration(name, {type_name: code for code, type_name in names.items()}, events)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    plugin: IVeltixPlugin
    name: str
    granted: frozenset[Events]


@implementer(IVeltixApplication, IHandlerTable)
class Plugins:
    """An application with plugins around it: the plugins of one server or client.

    For each session they come in the order of their registration: ``connected`` and ``observed``
    before the application, ``disconnected`` after it and the last one first. A plugin that fails
    there is logged, and is in nobody's way.

    Args:
        application: what happens with the messages whose types belong to no plugin. A Router's
            routes and the plugins' types keep clear of each other.
        types: where the plugins' types are registered.
    """

    def __init__(self, application: IVeltixApplication, types: MessageRegistry) -> None:
        self.types = types
        self._application = application
        self._table = handler_table(application)
        self._router = application if isinstance(application, Router) else None
        self._entries: dict[str, _Entry] = {}
        self._attached: dict[Hashable, _Entry] = {}
        self._seeing: dict[Events, tuple[_Entry, ...]] = {}
        self._see()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[IVeltixPlugin]:
        return iter([entry.plugin for entry in self._entries.values()])

    def register(self, plugin: IVeltixPlugin, grant: Iterable[Events | str] | None = None) -> Mapping[str, MessageType]:
        """Add a plugin, register its types and attach them to it: all of that or nothing.

        Args:
            plugin: what to add.
            grant: the events it may see, of those it asks for; all of them by default.

        Returns:
            its message types by their names. Each is called ``plugin.type``; one that the
            registry has already under this name and code is used as it is.

        Raises:
            SettingsError: it is no plugin, its name is used already, it is granted what it does
                not ask for, or one of its types has a route.
            MessageTypeError: a code cannot be, or another type has it.
        """
        declaration = declared(plugin)
        name, asked = declaration.name, declaration.events
        if name in self._entries:
            raise SettingsError(
                "plugin", name, f"a name that is free: {self._entries[name].plugin!r} has it, rename one of the two"
            )
        granted = asked if grant is None else _events(f"grant for plugin {name!r}", grant)
        if not granted <= asked:
            rule = f"of what it asks for: {event_names(asked) or 'nothing'} (not {event_names(granted - asked)})"
            raise SettingsError(f"grant for plugin {name!r}", event_names(granted), rule)
        types = self._register_types(plugin, declaration, granted)
        entry = self._entries[name] = _Entry(plugin, name, granted)
        for message_type in types.values():
            self._attach(message_type, entry)
        self._see()
        handled = ", ".join(f"{type_name} {code}" for type_name, code in declaration.codes.items()) or "no types"
        _log.info(
            "plugin {name} sees {events} and handles {types}", name=name, events=event_names(granted) or "no events", types=handled
        )
        return types

    def attach(self, message_type: MessageType, plugin: IVeltixPlugin | str) -> None:
        """Attach one more type to a plugin, which handles its messages from now on.

        Args:
            message_type: a type that has no handler yet.
            plugin: a registered plugin, or its name.

        Raises:
            SettingsError: the plugin is not registered, or the type has a route or a plugin.
        """
        entry = self._find(plugin)
        self._check_free(message_type)
        self._attach(message_type, entry)

    def granted(self, plugin: IVeltixPlugin | str) -> frozenset[Events]:
        """Return the events that a plugin sees.

        Raises:
            SettingsError: it is not registered.
        """
        return self._find(plugin).granted

    # From the turns.

    def connected(self, session: Session) -> object:
        """Call ``connected`` of the plugins that are granted it, one after another, then of the application."""
        return self._connected(session) if self._seeing[Events.ON_CONNECT] else self._application.connected(session)

    def received(self, session: Session, message: Response) -> object:
        """Show the message to the plugins that may see it, then give it to its plugin or the application."""
        for entry in self._seeing[Events.ON_RECV]:
            self._show(entry, session, message)
        entry_of_type = self._attached.get(message.type.key)
        if entry_of_type is None:
            return self._application.received(session, message)
        received = entry_of_type.plugin.received
        return received(session, message) if self._router is None else self._router.around(session, message, received)

    @property
    def direct(self) -> dict[Hashable, Callable[..., object]]:
        """The application's own table, that of a Router with the plugins' types; none where a plugin may see each message first."""
        return {} if self._seeing[Events.ON_RECV] else self._table.direct

    def handler_for(self, key: Hashable, kind: str | None = None) -> object:
        """Return what handles the messages of a type, of sessions of a kind."""
        entry = self._attached.get(key)
        return self._table.handler_for(key, kind) if entry is None else entry.plugin.received

    def disconnected(self, session: Session, reason: SessionClosed) -> object:
        """Call ``disconnected`` of the application, then of the plugins that are granted it, the last one first."""
        seeing = self._seeing[Events.ON_DISCONNECT]
        if not seeing:
            return self._application.disconnected(session, reason)
        done = call(session._reactor, self._application.disconnected, session, reason)
        for entry in reversed(seeing):
            done.addBoth(self._say_goodbye, entry, session, reason)
        return done

    # Inside.

    async def _connected(self, session: Session) -> None:
        welcomed: list[_Entry] = []
        welcome = False
        try:
            for entry in self._seeing[Events.ON_CONNECT]:
                await call(session._reactor, entry.plugin.connected, session).addErrback(_blame, entry)
                welcomed.append(entry)
            await call(session._reactor, self._application.connected, session)
            welcome = True
        finally:
            if not welcome:  # those who did take the session in are told of its end, and nobody else
                session.when_closed().addCallback(self._take_leave, welcomed, session)

    def _take_leave(self, reason: SessionClosed, welcomed: list[_Entry], session: Session) -> Deferred[SessionClosed]:
        done: Deferred[Any] = succeed(reason)
        for entry in reversed(welcomed):
            if entry in self._seeing[Events.ON_DISCONNECT]:
                done.addBoth(self._say_goodbye, entry, session, reason)
        return done

    def _show(self, entry: _Entry, session: Session, message: Response) -> None:
        try:
            seen = entry.plugin.observed(session, message)
        except BaseException:  # as the turns do
            _failed(Failure(), "observed", entry, session)
            return
        if isinstance(seen, LATER):
            seen = as_deferred(seen, session._reactor).addErrback(_failed, "observed", entry, session).addCallback(lambda _: None)
            session.reply(message, seen)  # with nothing, but bounded: a peer that is too fast is read no more

    def _say_goodbye(self, result: object, entry: _Entry, session: Session, reason: SessionClosed) -> Deferred[object]:
        told = call(session._reactor, entry.plugin.disconnected, session, reason)
        told.addErrback(_failed, "disconnected", entry, session)
        return told.addCallback(lambda _: result)

    def _register_types(
        self, plugin: IVeltixPlugin, declaration: Declaration, granted: frozenset[Events]
    ) -> Mapping[str, MessageType]:
        known = {message_type.code: message_type for message_type in self.types}
        types: dict[str, MessageType] = {}
        added: list[MessageType] = []
        try:
            for type_name, code in declaration.codes.items():
                full_name = f"{declaration.name}.{type_name}"
                message_type = known.get(code)
                if message_type is None:
                    message_type = MessageType(code, full_name, registry=self.types)
                    added.append(message_type)
                elif message_type.name != full_name:
                    raise MessageTypeError(_taken(declaration.name, type_name, code, repr(message_type.name)))
                self._check_free(message_type)
                types[type_name] = message_type
            plugin.registered(MappingProxyType(types), granted)
        except BaseException:
            for message_type in added:
                self.types.unregister(message_type)
            raise
        return MappingProxyType(types)

    def _find(self, plugin: IVeltixPlugin | str) -> _Entry:
        for entry in self._entries.values():
            if plugin is entry.plugin or plugin == entry.name:
                return entry
        raise SettingsError("plugin", plugin, f"one that is registered: {', '.join(self._entries) or 'there is none'}")

    def _check_free(self, message_type: MessageType) -> None:
        owner = self._attached.get(message_type.key)
        if owner is not None:
            raise SettingsError("type", message_type.name, f"a type that no plugin handles yet: plugin {owner.name!r} does")
        if message_type.key in self._table.direct or (self._router is not None and self._router.has_route(message_type)):
            raise SettingsError("type", message_type.name, "a type that has no route: unregister it first")

    def _attach(self, message_type: MessageType, entry: _Entry) -> None:
        self._attached[message_type.key] = entry
        if self._router is not None:
            self._router.take(message_type.key, f"plugin {entry.name!r}", entry.plugin.received)

    def _see(self) -> None:
        entries = self._entries.values()
        self._seeing = {event: tuple(entry for entry in entries if event in entry.granted) for event in Events}


def _blame(failure: Failure, entry: _Entry) -> NoReturn:
    raise StepFailed(f"connected of plugin {entry.name}", failure)


def _failed(failure: Failure, step: str, entry: _Entry, session: Session) -> None:
    if session._may_log():
        _log.failure(
            *("{step} of plugin {plugin} failed for {session}", SanitizedFailure(failure)),
            step=step,
            plugin=entry.name,
            session=session,
            connection=session.id,
        )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _events(setting: str, given: Iterable[Events | str]) -> frozenset[Events]:
    try:
        return frozenset(map(Events, [given] if isinstance(given, (str, Events)) else given))
    except (TypeError, ValueError):
        raise SettingsError(setting, given, f"some of {event_names(Events)}") from None


def _taken(plugin: str, type_name: str, code: int, owner: str) -> str:
    return (
        f"plugin {plugin!r}: its type {type_name!r} cannot have code {code}, which {owner} has: give one of the two "
        f"another code from {_CODES[0]} to {_CODES[-1]}, in every program that uses it"
    )
