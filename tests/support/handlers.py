"""Handlers that a test finishes, or nobody."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


class Slow:
    """Handlers that a test finishes one by one; ``style`` says what they return."""

    def __init__(self, style: str = "deferred") -> None:
        self.style = style
        self.running: list[Deferred[Any]] = []

    def __call__(self, session: Any, message: Any) -> Any:
        """Start one more."""
        deferred: Deferred[Any] = Deferred()
        self.running.append(deferred)

        async def coroutine() -> Any:
            return await deferred

        return deferred if self.style == "deferred" else coroutine()


def deaf() -> Deferred[Any]:
    """Make a Deferred that is nobody's to cancel: what it brings comes all the same."""
    made: Deferred[Any] = Deferred(lambda _: None)
    made.cancel = lambda: None  # type: ignore[method-assign]
    return made
