"""Timing of single calls: a handler is replaced until its next call, which is timed; every other call costs what it ever did."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

__all__ = ["CallTimer", "TimedCall"]


class CallTimer(NamedTuple):
    """Clock for calls, and what takes their times.

    Attributes:
        uptime: a clock that never jumps, in seconds.
        observe: takes a title, ``route`` or ``method`` and its name, and the seconds of one call, in any thread.
    """

    uptime: Callable[[], float]
    observe: Callable[[str, float], None]


class TimedCall:
    """Function whose next call is timed; calls of other threads in the same moment are not.

    The time of one that returns a Deferred, coroutine or future is that until its result is there.

    Args:
        function: the function.
        title: its title.
        restore: puts it back to where it is called from.
        timer: times it.
    """

    def __init__(self, function: Callable[..., object], title: str, restore: Callable[[], None], timer: CallTimer) -> None:
        update_wrapper(self, function)
        self._function = function
        self._title = title
        self._restore = restore
        self._timer = timer

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Call the function, time it, and have it called directly again."""
        self._restore()
        began = self._timer.uptime()
        try:
            result = self._function(*args, **kwargs)
        except BaseException:
            self._done(began)
            raise
        if isinstance(result, Deferred):
            return result.addBoth(self._pass, began)
        if isinstance(result, Coroutine):
            return self._await(result, began)
        if isinstance(result, Future):
            result.add_done_callback(lambda _: self._done(began))
            return result
        self._done(began)
        return result

    async def _await(self, coroutine: Coroutine[Any, Any, object], began: float) -> object:
        try:
            return await coroutine
        finally:
            self._done(began)

    def _pass(self, result: object, began: float) -> object:
        self._done(began)
        return result

    def _done(self, began: float) -> None:
        self._timer.observe(self._title, self._timer.uptime() - began)
