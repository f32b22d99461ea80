"""Callbacks: functions of the user's that are told of something, none of which keeps the others from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.errors import SettingsError
from veltix_tx.net.awaitables import call

__all__ = ["Callbacks"]

_log = Logger()

T = TypeVar("T")


class Callbacks(Generic[T]):
    """Functions that are called with the same things. They may be coroutine functions; their failures are logged.

    Args:
        name: how they are registered, for the errors and the log.
    """

    __slots__ = ("_functions", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._functions: list[Callable[[T], object]] = []

    def __bool__(self) -> bool:
        return bool(self._functions)

    def add(self, function: Callable[[T], object]) -> None:
        """Add a function; raises SettingsError for what cannot be called."""
        if not callable(function):
            raise SettingsError(self._name, function, "a function of one argument")
        self._functions.append(function)

    def clear(self) -> None:
        """Forget all of them."""
        self._functions.clear()

    def call(self, thing: T, reactor: IReactorTime) -> None:
        """Call each of them with something."""
        for function in list(self._functions):
            call(reactor, function, thing).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        _log.failure("a function given to {name} failed", failure, name=self._name)
