"""Room whose methods are awaited in asyncio's loop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from veltix_tx.aio.session import Session, natives, view_of
from veltix_tx.app.hub import Slow
from veltix_tx.app.presence import Member, PresenceChange
from veltix_tx.app.rooms import Delivery
from veltix_tx.app.rooms import Room as NativeRoom
from veltix_tx.backplane.interface import History
from veltix_tx.net.tasks import wait
from veltix_tx.wire.messages import BytesLike, MessageType, Request, T

__all__ = ["Begun", "Room"]

V = TypeVar("V")
P = TypeVar("P", bound=Callable[[PresenceChange], object])


class Begun(Generic[V]):
    """Awaitable of what has begun already: it goes on whether it is awaited or not.

    Args:
        outcome: what it comes to.
    """

    __slots__ = ("_outcome",)

    def __init__(self, outcome: Deferred[V]) -> None:
        self._outcome = outcome

    def __await__(self) -> Generator[Any, None, V]:
        return wait(self._outcome).__await__()


class Room:
    """Sessions that hear the same broadcasts, on all nodes, as :class:`veltix_tx.Room`, with methods that are awaited.

    Made by :meth:`Server.room <veltix_tx.aio.Server.room>`.

    Args:
        native: the room behind it.
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeRoom) -> None:
        self._native = native

    def __repr__(self) -> str:
        return repr(self._native)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Room) and other._native is self._native

    def __hash__(self) -> int:
        return hash(self._native)

    @property
    def name(self) -> str:
        """Its name."""
        return self._native.name

    @property
    def history(self) -> History | None:
        """Extent of what is kept of its messages; None for nothing."""
        return self._native.history

    @property
    def presence(self) -> MessageType | None:
        """Type of the messages that tell its members who comes and goes; None for none."""
        return self._native.presence

    @property
    def sessions(self) -> list[Session]:
        """The members on this server."""
        return list(map(view_of, self._native.sessions))

    def join(self, session: Session, state: object = None) -> Begun[None]:
        """Let a session in, at once; awaited, it waits until all nodes know. See :meth:`veltix_tx.Room.join`."""
        (native,) = natives([session])
        return Begun(self._native.join(native, state))

    def leave(self, session: Session) -> None:
        """Let a session go; one that is not in it changes nothing."""
        (native,) = natives([session])
        self._native.leave(native)

    def set_state(self, session: Session, state: object) -> Begun[None]:
        """Set what a member says of itself; see :meth:`veltix_tx.Room.set_state`."""
        (native,) = natives([session])
        return Begun(self._native.set_state(native, state))

    async def members(self) -> list[Member]:
        """List the members on all nodes; see :meth:`veltix_tx.Room.members`."""
        return await wait(self._native.members())

    async def count(self) -> int:
        """Count the members on all nodes; see :meth:`veltix_tx.Room.count`."""
        return await wait(self._native.count())

    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = b"",
        *,
        exclude: Iterable[Session] = (),
        slow: Slow = "close",
    ) -> Begun[Delivery]:
        """Send a message to all members, at once; awaited, it tells what became of it. See :meth:`veltix_tx.Room.broadcast`."""
        return Begun(self._native.broadcast(message, content, exclude=natives(exclude), slow=slow))

    def on_presence(self, callback: P) -> P:
        """Call a function with each :class:`veltix_tx.PresenceChange`; a decorator. It may be a coroutine function."""
        self._native.on_presence(callback)
        return callback

    def close(self) -> None:
        """Let every session of this server go, and forget the room's settings here."""
        self._native.close()
