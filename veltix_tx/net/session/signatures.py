"""Signatures of functions that are, or stand for, methods called over the wire."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from veltix_tx.errors import SettingsError

__all__ = ["hints_of", "methods_of", "return_type"]


def hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """Return the annotations of a function, or of a callable object, as types.

    Raises:
        SettingsError: one of them cannot be looked up.
    """
    known = function if inspect.isroutine(function) else type(function).__call__
    try:
        return typing.get_type_hints(known, include_extras=True)
    except NameError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise SettingsError("rpc", name, f"a function whose annotations can be looked up in its module ({error})") from None


def return_type(function: Callable[..., object]) -> Any:
    """Return the type of what a function returns in the end; of ``-> Awaitable[T]`` and ``-> Deferred[T]`` that is T.

    Raises:
        SettingsError: an annotation cannot be looked up.
    """
    hint = hints_of(function).get("return", Any)
    origin = typing.get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, (Awaitable, Deferred)):
        return typing.get_args(hint)[-1]
    return hint


def methods_of(service: object) -> dict[str, Callable[..., Any]]:
    """Return the public methods of an object or a class by name."""
    return {name: each for name, each in inspect.getmembers(service, inspect.isroutine) if not name.startswith("_")}
