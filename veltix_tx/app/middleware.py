"""Middleware: functions around the handlers of one server or client, each of which passes a message on, or does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from functools import partial
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any, Protocol, TypeVar, Union

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from veltix_tx.errors import SettingsError, excerpt
from veltix_tx.net.awaitables import call
from veltix_tx.net.session.session import Session
from veltix_tx.wire.messages import Response

__all__ = ["Chain", "Middleware", "Next", "Step", "step_of"]

S = TypeVar("S")


class Next(Protocol):
    """Function that passes a message on in middleware: to what is within, in the end to the handler."""

    def __call__(self, message: Response[Any], /) -> Awaitable[Any]:
        """Pass a message on; return an awaitable of what comes back."""


Middleware = Union[  # noqa: UP007 (mypy knows no alias of a type variable and |)
    Callable[[S, Response[Any], Next], object],
    Callable[[S, Response[Any]], Union[Iterator[Any], AsyncIterator[Any]]],  # noqa: UP007 (as a generator may be annotated)
]
"""Function, or coroutine function, of a session, a message and a :data:`Next`, whose result answers the message; or generator
function of a session and a message, which yields once where the handler is to be called."""

PassOn = Callable[[Response[Any]], "Deferred[object]"]
Step = Callable[[Any, Response[Any], PassOn], object]
"""Middleware in one form."""

_Handler = Callable[[Response[Any]], object]


class Chain:
    """Middleware of one server or client, in the order of its registration: the first is around all others.

    Attributes:
        steps: the functions, called with session, message and what passes it on.
    """

    def __init__(self) -> None:
        self.steps: tuple[Step, ...] = ()

    def add(self, middleware: object) -> None:
        """Add a function, within those added before.

        Raises:
            SettingsError: it cannot be called.
        """
        self.steps = (*self.steps, step_of(middleware))

    def around(self, session: Session, message: Response, handler: _Handler) -> object:
        """Call the functions around a handler.

        Args:
            session: whose message it is.
            message: the message.
            handler: called with the message, as the functions have passed it on.

        Returns:
            what answers the message, as of a handler.
        """
        return self._begin(0, session, handler, message)

    def _begin(self, position: int, session: Session, handler: _Handler, message: Response) -> object:
        if not isinstance(message, Response):
            raise TypeError(f"middleware passes on a message, and not {excerpt(message)}")
        if position == len(self.steps):
            return handler(message)
        return self.steps[position](session, message, partial(self._pass_on, position + 1, session, handler))

    def _pass_on(self, position: int, session: Session, handler: _Handler, message: Response) -> Deferred[object]:
        return call(session._reactor, self._begin, position, session, handler, message)


def step_of(middleware: object) -> Step:
    """Return middleware of any form as a function of session, message and what passes it on.

    Raises:
        SettingsError: it cannot be called.
    """
    if not callable(middleware):
        raise SettingsError("use", middleware, "a function of a session, a message and what passes it on")
    if isgeneratorfunction(middleware):
        return partial(_run_generator, middleware)
    if isasyncgenfunction(middleware):
        return partial(_run_async_generator, middleware)
    return middleware


def _run_generator(
    function: Callable[[Session, Response], Generator[Any, Any, object]], session: Session, message: Response, pass_on: PassOn
) -> object:
    """Run a generator to its yield, pass the message on, or what it yielded, and run it to its end with what came back."""
    steps = function(session, message)
    try:
        changed = next(steps)
    except StopIteration as end:
        return end.value
    return pass_on(message if changed is None else changed).addBoth(_end_generator, steps, function)


def _end_generator(result: object, steps: Generator[Any, Any, object], function: object) -> object:
    try:
        if isinstance(result, Failure):
            result.throwExceptionIntoGenerator(steps)
        else:
            steps.send(result)
    except StopIteration as end:
        return result if end.value is None and not isinstance(result, Failure) else end.value
    steps.close()
    raise _yielded_twice(function)


async def _run_async_generator(
    function: Callable[[Session, Response], AsyncGenerator[Any, Any]], session: Session, message: Response, pass_on: PassOn
) -> object:
    """Do the same with an asynchronous generator, which cannot change what came back."""
    steps = function(session, message)
    try:
        changed = await steps.__anext__()
    except StopAsyncIteration:
        return None
    result = None
    try:
        try:
            result = await pass_on(message if changed is None else changed)
        except BaseException as error:  # its cancellation among them
            await steps.athrow(error)
        else:
            await steps.asend(result)
    except StopAsyncIteration:
        return result
    await steps.aclose()
    raise _yielded_twice(function)


def _yielded_twice(function: object) -> RuntimeError:
    return RuntimeError(f"{getattr(function, '__qualname__', function)} yields more than once: middleware calls a handler once")
