"""Calls of a program's functions, which are coroutine functions or plain ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import Any

__all__ = ["call_in_turn"]

_log = logging.getLogger("conduit.handlers")


async def call_in_turn(functions: Iterable[Callable[..., object]], *arguments: object) -> Any:
    """Call functions, one after another; return what the last one returned that raised nothing.

    The exception of one is logged.
    """
    last: object = None
    for function in functions:
        try:
            result = function(*arguments)
            last = await result if isawaitable(result) else result
        except Exception:  # noqa: PERF203 (one does not keep the others from being called)
            _log.exception("%s failed", getattr(function, "__qualname__", function))
    return last
