"""Visit of a backplane: join it for a moment, to ask what is on it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeout

from veltix_tx.backplane.interface import Backplane, BackplaneState, NodeStatus, Position, PresenceDiff
from veltix_tx.errors import BackplaneError
from veltix_tx.net.clock import Clocks

__all__ = ["visit"]

T = TypeVar("T")


class _Visitor:
    """Receiver of a node that is there to ask, and has nothing to say."""

    def message_received(self, topic: str, payload: bytes, position: Position | None, node: str) -> None:
        """Ignore it: nothing is subscribed."""

    def directed_received(self, payload: bytes, node: str) -> None:
        """Ignore it."""

    def request_received(self, payload: bytes, node: str) -> Deferred[bytes]:
        """Refuse it."""
        return fail(BackplaneError("this node only looks around"))

    def presence_changed(self, topic: str, diff: PresenceDiff) -> None:
        """Ignore it."""

    def interrupted(self, topics: frozenset[str]) -> None:
        """Ignore it."""

    def state_changed(self, state: BackplaneState) -> None:
        """Ignore it."""

    def status(self) -> NodeStatus:
        """Report that there are no connections."""
        return NodeStatus()


async def visit(
    backplane: Backplane, clocks: Clocks, timeout: float, ask: Callable[[Backplane], Coroutine[Deferred[Any], Any, T]]
) -> T:
    """Join a backplane, ask, and leave.

    Args:
        backplane: one that is not started.
        clocks: the time.
        timeout: seconds to join, and again for the answer.
        ask: a coroutine function of the backplane; returns what is wanted.

    Raises:
        BackplaneUnavailable: it could not be joined in time, and why.
        TimeoutError: Twisted's, where the answer did not come in time.
        SettingsError: a setting of the backplane cannot be.
    """
    joining = backplane.start(_Visitor(), clocks)
    try:
        try:
            await joining.addTimeout(timeout, clocks.reactor)
        except DeferredTimeout:
            await backplane.nodes()  # fails, and says why
            raise
        return await Deferred.fromCoroutine(ask(backplane)).addTimeout(timeout, clocks.reactor)
    finally:
        await backplane.stop()
