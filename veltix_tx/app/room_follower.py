"""Client's part of rooms with a history: it knows what it has got, presents that when it connects again, and drops what it has."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from veltix_tx.app.callbacks import Callbacks
from veltix_tx.app.room_log import DROPPED, LOST
from veltix_tx.backplane.interface import Position
from veltix_tx.errors import InvalidContent, LocalProtocolError
from veltix_tx.net.awaitables import LATER, as_deferred
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.handlers import handler_table
from veltix_tx.wire.messages import RESUME, ROOM, ROOM_LEFT, ROOM_POSITION, MessageRegistry, Request, Response
from veltix_tx.wire.rooms import (
    RESUMES,
    ROOMS,
    Presented,
    RoomContent,
    decode_room_content,
    decode_room_left,
    decode_room_position,
    encode_room,
)

__all__ = ["Gap", "RoomFollower", "RoomMessage"]

T = TypeVar("T")

_IDS = 10_000
"""Ids kept of the latest messages of all rooms that came without a place, and as many of those with one: a message may come both
ways, from this node and from another. No more than that wait for an engine that hangs."""

_REASON_SIZE = 64
"""Maximum characters of a gap's reason."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of a room that this client did not get, and will not.

    Attributes:
        room: the room's name.
        since: place of the last message before them.
        until: place of the last of them. In another epoch, and where it is before ``since`` (an engine took over from another that
            knew more), nobody knows how many there were.
        reason: ``history_expired``: they were kept, but not for so long, or not so many; ``history_lost``: the history itself was
            lost; ``dropped``: the server left them out because this client read too slowly, could not take them, or did not say
            where it was; ``unreadable``: its server could not read them, as where they were made with another backplane key.
    """

    room: str
    since: Position
    until: Position
    reason: str


@dataclass(init=False, eq=False, match_args=False)
class RoomMessage(Response[T]):
    """Message of a room with a history, as a client gets it.

    Attributes:
        room: the room's name.
        position: its place in the history; None for one that was sent while that could not be reached.
    """

    room: str = ""
    position: Position | None = None


@dataclass(slots=True)
class _Followed:
    """A room as far as the client has it."""

    position: Position | None = None
    member: str = ""
    unpresented: bool = False  # on this connection, of which nothing has come yet


class RoomFollower:
    """Positions of one client in rooms, over all its connections.

    Args:
        limit: returns the maximum of rooms that it follows; over it, that which has been silent for longest is forgotten.
        types: the message types it knows.
        counters: where it counts.

    Attributes:
        gap_callbacks: called with each gap.
    """

    def __init__(self, limit: Callable[[], int], types: MessageRegistry, counters: Counter[str]) -> None:
        self._limit = limit
        self._types = types
        self._counters = counters
        self._rooms: OrderedDict[str, _Followed] = OrderedDict()
        self._resuming: set[str] = set()
        self._ids: dict[bool, OrderedDict[int, None]] = {True: OrderedDict(), False: OrderedDict()}  # by whether they had places
        self.gap_callbacks: Callbacks[Gap] = Callbacks("on_gap")
        self._direct: dict[Hashable, Callable[..., object]] = {}
        self._received: Callable[..., object] = _unasked

    def follow(self, application: Application[Session]) -> None:
        """Give the messages in rooms to an application, before it connects."""
        self._direct, self._received = handler_table(application).direct, application.received

    @property
    def positions(self) -> dict[str, Position]:
        """Places of the last messages of each room."""
        return {name: room.position for name, room in self._rooms.items() if room.position is not None}

    # From the connections.

    @property
    def handlers(self) -> dict[Hashable, Callable[[Any, Response], object]]:
        """Handlers of messages about rooms, by type key."""
        return {
            ROOM.key: self._room_message,
            ROOM_POSITION.key: self._room_position,
            ROOM_LEFT.key: self._room_left,
            RESUME.key: _unasked,
        }

    def features(self) -> tuple[str, ...]:
        """Return what to agree on with the server."""
        return (ROOMS, RESUMES) if self.positions else (ROOMS,)

    def opened(self, session: Session) -> None:
        """Present what has been got so far, before anything else is sent."""
        self._resuming = set()
        for room in self._rooms.values():
            room.unpresented = True
        if RESUMES not in session.peer.features:
            return
        presented = [
            Presented(name, room.position.epoch, room.position.offset, room.member)
            for name, room in self._rooms.items()
            if room.position is not None
        ]
        try:
            session.send(RESUME, encode_room(presented))
            for each in presented:
                self._resuming.add(each.room)
                self._rooms[each.room].unpresented = False
        except LocalProtocolError:  # max_message_size is small: the server waits for something
            session.send(RESUME, encode_room([]))

    # Inside.

    def _room_message(self, session: Session, frame: Response) -> object:
        said = decode_room_content(frame.content)
        room = self._followed(said.room)
        here = room.position
        if said.epoch and here is not None and here.epoch == said.epoch and said.offset <= here.offset:
            self._counters["room_messages_repeated"] += 1
            return None
        if said.epoch:
            if here is not None and (here.epoch != said.epoch or said.offset > here.offset + 1):
                self._tell_gap(session, Gap(said.room, here, Position(said.epoch, said.offset - 1), DROPPED))
            room.position = Position(said.epoch, said.offset)
        if not self._is_new(said, room.position):
            self._counters["room_messages_repeated"] += 1
            return None
        message_type = self._types.get(said.key)
        if message_type is None:
            session._reject(frame, "a message of a room is of a type that is not known here", reply=False)
            return None
        position = room.position if said.epoch else None
        message: RoomMessage[Any] = RoomMessage(
            message_type, said.content, frame.request_id, 0, frame.received_at, frame.timestamp, said.room, position
        )
        try:
            result = self._direct.get(message_type.key, self._received)(session, message)
        except InvalidContent as error:
            if error.value is not message.content:
                raise
            raise InvalidContent(frame.content, error.rule, error.detail, error.path) from None  # as of any other message
        if isinstance(result, LATER):
            return as_deferred(result, session._reactor).addCallback(_as_reply, message)
        return _as_reply(result, message)

    def _room_position(self, session: Session, frame: Response) -> None:
        said = decode_room_position(frame.content)
        room = self._followed(said.room)
        here, there = room.position, Position(said.epoch, said.offset)
        room.member = said.member
        unpresented, room.unpresented = room.unpresented, False
        rewound = said.gap == LOST and here is not None and there.offset < here.offset
        if said.gap and here is not None:
            if here.epoch != there.epoch or there.offset > here.offset or rewound:
                self._tell_gap(session, Gap(said.room, here, there, said.gap[:_REASON_SIZE]))
        elif here is not None and (here.epoch != there.epoch or there.offset > here.offset + (not unpresented)):
            self._tell_gap(session, Gap(said.room, here, there, DROPPED))  # of one message the server says by this that it is none
        elif said.room in self._resuming:
            self._resuming.discard(said.room)
            if session.recovered is None:
                session.recovered = True
        if here is None or here.epoch != there.epoch or there.offset > here.offset or rewound:
            room.position = there

    def _room_left(self, session: Session, frame: Response) -> None:
        self._rooms.pop(decode_room_left(frame.content).room, None)

    def _is_new(self, said: RoomContent, here: Position | None) -> bool:
        """Return True for a message that has not come before, and keep its id: of one epoch, for a node may begin anew."""
        epoch = "" if here is None else here.epoch
        name, before = (hash((said.room, each, said.id)) for each in (epoch, ""))
        if any(name in ids or before in ids for ids in self._ids.values()):
            return False
        ids = self._ids[bool(said.epoch)]
        ids[name] = None
        if len(ids) > _IDS:
            ids.popitem(last=False)
        return True

    def _followed(self, name: str) -> _Followed:
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self._limit():
                self._rooms.popitem(last=False)
            room = self._rooms[name] = _Followed()
        else:
            self._rooms.move_to_end(name)
        return room

    def _tell_gap(self, session: Session, gap: Gap) -> None:
        self._counters["room_gaps"] += 1
        session.recovered = False
        self.gap_callbacks.call(gap, session._transport.clocks.reactor)


def _as_reply(result: object, message: Response) -> object:
    """Return what a handler answered as a message of its own type, not of the frame's that brought it."""
    if result is None or isinstance(result, Request):
        return result
    return Request(message.type, message._encode_reply(result))


def _unasked(session: Session, message: Response) -> None:
    """Drop what a server has no reason to send, and count it."""
    session._count_late_reply()
