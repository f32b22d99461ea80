"""Right to use a session whose ``on_connect`` is not done: a context variable says whose code is running.

A session is being set up from its handshake until the application's ``connected`` is done. Until then only
that call may use it. It is known by its context: a coroutine carries the context it was begun in, and so does a
Deferred that :func:`keep_context` returns. A thread, a timer and the callbacks of other Deferreds have another context.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from veltix_tx.net.awaitables import LATER, as_deferred

__all__ = ["begin_set_up", "keep_context", "sets_up"]

T = TypeVar("T")

_session: ContextVar[object] = ContextVar("veltix_tx session that is being set up", default=None)


def begin_set_up(function: Callable[[Any], object], session: object, reactor: object) -> object:
    """Call a function with a session that it may use before all others; return its result, a coroutine or future as a Deferred."""
    token = _session.set(session)
    try:
        result = function(session)
        # To be asked whether it is a Deferred costs even None 0.5 µs.
        return as_deferred(result, reactor) if result is not None and isinstance(result, LATER) else result
    finally:
        _session.reset(token)


def sets_up(session: object) -> bool:
    """Return True if the running code is what sets up a session, or was begun by it."""
    return _session.get() is session


def keep_context(result: T) -> T:
    """Return a Deferred that fires as another does, its callbacks running in the context of this call; others as they are."""
    if not isinstance(result, Deferred):
        return result
    context = copy_context()
    kept: Deferred[Any] = Deferred(lambda _: result.cancel())
    result.addBoth(lambda outcome: context.run(kept.callback, outcome))
    return kept  # type: ignore[return-value]
