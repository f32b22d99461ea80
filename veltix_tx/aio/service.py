"""Base of both doors for asyncio: their methods by name, and the members they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar, overload

from veltix_tx.aio.session import Session, view_of
from veltix_tx.app.middleware import Middleware, step_of
from veltix_tx.app.rpc import context_of
from veltix_tx.app.service import RoutedService
from veltix_tx.interfaces import IVeltixPlugin
from veltix_tx.net.session.session import Session as NativeSession
from veltix_tx.net.tasks import wait
from veltix_tx.wire.messages import MessageType, Request
from veltix_tx.wire.rpc import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veltix_tx.app.plugins import Plugin

__all__ = ["Allow", "CallContext", "Service", "with_view"]

F = TypeVar("F", bound=Callable[..., object])
M = TypeVar("M", bound=Middleware[Session])
B = TypeVar("B", bound=Callable[[Session, Request], Request | None])

Allow = Callable[[Session], bool]
"""Decides whether a session's messages to a route, or its calls of a method, are handled."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Facts about the call that a function serves, as :class:`veltix_tx.CallContext`.

    Attributes:
        session: the caller's session.
        method: the method's name.
        timeout: seconds the caller waits, from its sending on; None where it did not say.
        metadata: what the caller gave as ``metadata=``.
    """

    session: Session
    method: str
    timeout: float | None
    metadata: Mapping[str, str]


class Service:
    """Members that a server and a client have in common.

    Args:
        native: the :mod:`veltix_tx` server or client behind it.
    """

    _native: RoutedService

    def __init__(self, native: RoutedService) -> None:
        native._methods.provide(Session, lambda session, call: view_of(session))
        native._methods.provide(CallContext, _context)

    def __repr__(self) -> str:
        return repr(self._native)

    def unregister_route(self, message_type: MessageType, kind: str | None = None) -> bool:
        """Take a route back, that of all kinds or of one; return whether there was one."""
        return self._native.unregister_route(message_type, kind)

    def use(self, middleware: M) -> M:
        """Call a function, or a coroutine or generator function, around all handlers; see :meth:`veltix_tx.Server.use`.

        It gets :class:`veltix_tx.aio.Session`, and ``next`` returns an awaitable of asyncio's.

        Raises:
            SettingsError: as that does.
        """
        self._native.use(_with_view_and_wait(middleware))
        return middleware

    def before_send(self, hook: B) -> B:
        """Call a plain function with each message before it is sent; see :meth:`veltix_tx.Server.before_send`.

        Raises:
            SettingsError: as that does.
        """
        viewed: Callable[[NativeSession, Request], Request | None] = with_view(hook, coroutine=False)
        self._native.before_send(viewed)
        return hook

    @overload
    def rpc(self, function: F, /) -> F: ...
    @overload
    def rpc(
        self,
        name: str | None = None,
        /,
        *,
        thread: bool = ...,
        concurrent: bool = ...,
        timeout: float | None = ...,
        allow: Allow | None = ...,
    ) -> Callable[[F], F]: ...
    def rpc(self, function: Any = None, /, **terms: Any) -> Any:
        """Serve a function as a method that the other side calls by name; see :meth:`veltix_tx.Server.rpc`.

        A parameter annotated :class:`veltix_tx.aio.Session` or :class:`veltix_tx.aio.CallContext` gets the caller's.

        Args:
            function: the function, or the method's name where that is another than the function's.
            terms: ``thread``, ``concurrent``, ``timeout`` and ``allow`` as :meth:`register_rpc` has them.

        Raises:
            SettingsError: as :meth:`register_rpc`.
        """
        if "allow" in terms:
            terms["allow"] = with_view(terms["allow"], coroutine=False)
        return self._native.rpc(function, **terms)

    def register_rpc(
        self,
        function: Callable[..., object],
        name: str | None = None,
        *,
        thread: bool = False,
        concurrent: bool = True,
        timeout: float | None = None,
        allow: Allow | None = None,
    ) -> None:
        """Serve a function, which may be a coroutine function, as a method; see :meth:`veltix_tx.Server.register_rpc`.

        Raises:
            SettingsError: as that does.
        """
        viewed = with_view(allow, coroutine=False)
        self._native.register_rpc(function, name, thread=thread, concurrent=concurrent, timeout=timeout, allow=viewed)

    def register_service(self, service: object, *, prefix: str = "") -> None:
        """Serve the public methods of an object, each under ``prefix`` and its name; all of them or, where one cannot be, none.

        Raises:
            SettingsError: as :meth:`register_rpc`.
        """
        self._native.register_service(service, prefix=prefix)

    def unregister_rpc(self, name: str) -> bool:
        """Serve a method no more; return whether there was one."""
        return self._native.unregister_rpc(name)

    def attach(self, message_type: MessageType, plugin: IVeltixPlugin | Plugin | str) -> None:
        """Attach one more type to a registered plugin."""
        self._native.attach(message_type, plugin)

    @property
    def plugins(self) -> list[IVeltixPlugin]:
        """The plugins, in the order of their registration."""
        return self._native.plugins


def _context(session: NativeSession, call: Call) -> CallContext:
    known = context_of(session, call)
    return CallContext(view_of(session), known.method, known.timeout, known.metadata)


def _with_view_and_wait(middleware: Any) -> Any:
    """Return middleware that calls another one with the session's view, and with what is awaited in asyncio's loop."""
    step = step_of(middleware)
    if step is not middleware:  # a generator, which awaits nothing itself
        return lambda session, message, pass_on: step(view_of(session), message, pass_on)
    return lambda session, message, pass_on: step(view_of(session), message, lambda passed: wait(pass_on(passed)))


def with_view(function: Any, *, coroutine: bool = True) -> Any:
    """Return a function that gets a session, and calls another one with the session's view.

    Args:
        function: the other one; what is none is returned as it is, to be refused.
        coroutine: whether it may be a coroutine function; else that is returned as it is, to be refused.
    """
    if not callable(function) or (not coroutine and iscoroutinefunction(function)):
        return function

    @wraps(function)
    def call(session: NativeSession, *message: Any) -> Any:
        return function(view_of(session), *message)

    return call
