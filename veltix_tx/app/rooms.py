"""Rooms: sessions that hear the same broadcasts, listed on every node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.app.callbacks import Callbacks
from veltix_tx.app.hub import Slow, check_sessions, check_slow, grouped, send_encoded
from veltix_tx.app.node import Node, TopicReceiver, backplane_error, first_error, ignore_unavailable
from veltix_tx.app.portable import from_message, to_message
from veltix_tx.app.presence import Member, PresenceChange, change_of, member_of, members_of, pack_info, public_change
from veltix_tx.app.room_log import AWAITED, Awaited, RoomLog
from veltix_tx.backplane.envelope import Message
from veltix_tx.backplane.globs import check_pattern
from veltix_tx.backplane.interface import History, Position, PresenceDiff, PresenceEntry
from veltix_tx.errors import (
    BackplaneError,
    BackplaneRefused,
    BackplaneUnavailable,
    InvalidContent,
    LocalProtocolError,
    MessageTooLarge,
    RoomError,
    SessionClosed,
    SettingsError,
)
from veltix_tx.limits import Limits
from veltix_tx.net.clock import Clocks
from veltix_tx.net.session.session import Session
from veltix_tx.net.threads import OwnerThread, from_any_thread
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import (
    RESUME,
    ROOM,
    ROOM_LEFT,
    ROOM_POSITION,
    BytesLike,
    MessageRegistry,
    MessageType,
    Request,
    Response,
    T,
    parts_of,
)
from veltix_tx.wire.rooms import RESUMES, ROOMS, Presented, decode_resume

__all__ = ["MAX_NAME_SIZE", "Delivery", "Room", "Rooms", "room_counts", "topic_of"]

_log = Logger()

MAX_NAME_SIZE = 128
"""Maximum bytes of a room's name, as UTF-8."""

_TOPIC = "room:"

_PLACE_SIZE = 512
"""Bytes that a message with its place takes at most beside its content."""

_RESUME_SIZE = 64 * 1024
"""Bytes of a RESUME that are always read; of more only as many as the rooms of a session need. Of a larger one nothing is."""

_MEANWHILE = 10_000
"""Maximum changes kept while a list of members is under way; over it, they are listed again."""

P = TypeVar("P", bound=Callable[[PresenceChange], object])

_NOTHING: dict[str, Presented] = {}

_NOBODY: tuple[Session, ...] = ()

_Groups = dict[object, dict[Session, None]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Outcome of a broadcast.

    Attributes:
        sessions: sessions of this server that it had been sent to by then. In a room with a history a member gets messages in their
            order: one that others, or a member's recovery, still come before is sent soon after, and not counted here.
        position: its place in the room's history; None in a room without one, and where ``error`` tells why.
        error: why the other nodes did not get it, None where they did: BackplaneUnavailable, or BackplaneRefused where it is too
            large for the backplane or too much waits for that.
    """

    sessions: int
    position: Position | None = None
    error: BackplaneError | None = None


class Rooms:
    """Rooms of one server.

    Args:
        node: its part in the backplane.
        config: returns the server's settings.
        types: the message types it knows.
        clocks: returns its clocks.
        owner_thread: returns the thread that rooms are used in.
    """

    def __init__(
        self,
        node: Node,
        config: Callable[[], ServerConfig],
        types: MessageRegistry,
        clocks: Callable[[], Clocks],
        owner_thread: Callable[[], OwnerThread | None],
    ) -> None:
        self.node = node
        self.types = types
        self.clocks = clocks
        self.owner_thread = owner_thread
        self._config = config
        self._rooms: WeakValueDictionary[str, Room] = WeakValueDictionary()
        self._kept: dict[str, Room] = {}
        self._of: dict[Session, dict[Room, None]] = {}
        self._presented: dict[Session, dict[str, Presented] | None] = {}  # None while it is awaited
        self._cut: set[Session] = set()  # those of whose places not all were read
        self._leavers: tuple[Callable[[Session], None], ...] = (self._leave_all,)

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        return self._config().limits

    @property
    def max_message_size(self) -> int:
        """Maximum bytes of a message."""
        return self._config().max_message_size

    @property
    def counters(self) -> Counter[str]:
        """Counters of the node, where rooms count."""
        return self.node.counters

    def room(self, name: str, history: History | None = None, presence: MessageType | None = None) -> Room:
        """Return the room of a name; see :meth:`Server.room <veltix_tx.Server.room>`."""
        if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_SIZE or not _encodable(name):
            raise RoomError(name, f"its name must be a text of 1 to {MAX_NAME_SIZE} bytes")
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(self, name)
        if history is not None or presence is not None:
            room._set(history, presence)
        return room

    def listed(self, pattern: str) -> Deferred[dict[str, int]]:
        """Return a Deferred of the rooms that have members, on any node, and how many."""
        return self.node.backplane.topics(topic_of(check_pattern(pattern))).addCallback(room_counts)

    @property
    def kept(self) -> int:
        """Number of rooms that have members, or settings of their own."""
        return len(self._kept)

    @property
    def here(self) -> dict[str, int]:
        """Rooms that have members on this server, by name, and how many they are."""
        return {name: count for name, room in sorted(self._kept.items()) if (count := len(room.sessions))}

    def of(self, session: Session) -> list[Room]:
        """Return the rooms that a session is in."""
        return list(self._of.get(session, ()))

    # From the server: messages about rooms.

    @property
    def handlers(self) -> dict[Hashable, Callable[[Any, Response], object]]:
        """Handlers of messages about rooms, by type key."""
        return {ROOM.key: _unasked, ROOM_POSITION.key: _unasked, ROOM_LEFT.key: _unasked, RESUME.key: self._resumed}

    def features(self) -> tuple[str, ...]:
        """Return what a server agrees on with each client of this package."""
        return ROOMS, RESUMES

    def opened(self, session: Session) -> None:
        """Await what a client presents that has been here, or on another node, before."""
        if RESUMES in session.peer.features:
            self._presented[session] = None
            session._on_closed += (self._forget,)

    def presented(self, session: Session, room: str) -> Presented | Awaited | None:
        """Return what a session has presented of a room."""
        presented = self._presented.get(session, _NOTHING)
        return AWAITED if presented is None else self._take(session, presented, room)

    def _take(self, session: Session, presented: dict[str, Presented], room: str) -> Presented | None:
        unread = Presented(room, "", 0, "") if session in self._cut else None
        return presented.pop(room, unread)

    def _resumed(self, session: Session, message: Response) -> None:
        if self._presented.get(session, _NOTHING) is not None:
            _unasked(session, message)
            return
        most = self.limits.rooms_per_session
        readable = len(message.content) <= max(_RESUME_SIZE, most * _PLACE_SIZE)
        places = decode_resume(message.content) if readable else []
        if not readable or len(places) > most:
            self._cut.add(session)
        presented = {each.room: each for each in places[:most]}
        self._presented[session] = presented
        for room in self.of(session):
            room._resumed(session, self._take(session, presented, room.name))

    def _forget(self, session: Session) -> None:
        self._presented.pop(session, None)
        self._cut.discard(session)

    # From the rooms.

    def keep(self, room: Room) -> None:
        """Keep a room for as long as it has members or settings; raise RoomError where there are too many."""
        if room.name not in self._kept:
            if len(self._kept) >= self.limits.rooms:
                raise RoomError(room.name, "there are too many rooms", self.limits.rooms)
            self._kept[room.name] = room

    def discard(self, room: Room) -> None:
        """Keep a room no more, unless somebody else does."""
        self._kept.pop(room.name, None)

    def entered(self, session: Session, room: Room) -> None:
        """Remember that a session is in a room."""
        if session not in self._of:
            self._of[session] = {}
            session._on_closed += self._leavers
        self._of[session][room] = None

    def left(self, session: Session, room: Room) -> None:
        """Remember that a session has left a room."""
        rooms = self._of.get(session, {})
        rooms.pop(room, None)
        if not rooms and self._of.pop(session, None) is not None:
            session._on_closed = tuple(each for each in session._on_closed if each not in self._leavers)

    def count_in(self, session: Session) -> int:
        """Return how many rooms a session is in."""
        return len(self._of.get(session, ()))

    def _leave_all(self, session: Session) -> None:
        for room in list(self._of.get(session, ())):
            room._leave(session)


class Room:
    """Sessions that hear the same broadcasts, those of other nodes among them.

    Made by :meth:`Server.room <veltix_tx.Server.room>`. Its methods may be called in any thread, where those that return
    Deferreds block.

    Attributes:
        name: its name.
        history: what is kept of its messages; None for nothing.
        presence: type of the messages that tell its members who comes and goes; None for none.
    """

    def __init__(self, rooms: Rooms, name: str) -> None:
        self.name = name
        self.history: History | None = None
        self.presence: MessageType | None = None
        self._rooms = rooms
        self._topic = topic_of(name)
        self._infos: dict[Session, bytes] = {}
        self._groups: _Groups = {}  # of those that take the same bytes
        self._callbacks: Callbacks[PresenceChange] = Callbacks("on_presence")
        self._known: dict[tuple[str, str], PresenceEntry] | None = None  # other nodes' members, where changes are told
        self._meanwhile: list[PresenceDiff] | None = None  # changes that came while a list is under way; None while none is
        self._list_again = False
        self._log: RoomLog | None = None
        self._subscribed = False

    def __repr__(self) -> str:
        count = len(self._infos)
        return f"<Room {self.name!r}, {count} member{'' if count == 1 else 's'} here>"

    @property
    def _owner_thread(self) -> OwnerThread | None:
        return self._rooms.owner_thread()

    # Public methods.

    @property
    def sessions(self) -> list[Session]:
        """The members on this server."""
        return list(self._infos)

    @from_any_thread
    def join(self, session: Session, state: object = None) -> Deferred[None]:
        """Let a session in; it leaves by itself when it ends. One that is in it gets the state, unless that is None.

        Args:
            session: an open session of this server.
            state: what the session says of itself to whoever lists the members, of types that MessagePack holds.

        Returns:
            a Deferred that fires when it is a member for all nodes; for this one it is at once. It errbacks with BackplaneRefused,
            or with BackplaneError where the room cannot be subscribed to, the session not being a member then. While the backplane
            is down, or has no way to enter it, it fires all the same, and the other nodes learn of it later. Cancelling it only
            ends the wait.

        Raises:
            SessionClosed: the session is closed.
            RoomError: the room, the session or the server has as many members or rooms as the limits allow, or the state is too
                large.
            InvalidContent: the state cannot be packed.
        """
        rooms, limits = self._rooms, self._rooms.limits
        if session in self._infos:
            return succeed(None) if state is None else self.set_state(session, state)
        if session.closed is not None:
            raise SessionClosed(session.closed.reason, session.closed.cause)
        if len(self._infos) >= limits.room_members:
            raise RoomError(self.name, "it has too many members", limits.room_members)
        if rooms.count_in(session) >= limits.rooms_per_session:
            raise RoomError(self.name, "the session is in too many rooms", limits.rooms_per_session)
        info = pack_info(self.name, rooms.clocks().calendar(), session.identity, state, limits.member_state)
        rooms.keep(self)
        self._infos[session] = info
        rooms.entered(session, self)
        rooms.counters["rooms_joined"] += 1
        subscribed = self._subscribe()
        self._enter(session)
        tracked = rooms.node.backplane.track(self._topic, session.id, info).addErrback(_later)
        self._tell("joined", session, info)
        joined: Deferred[Any] = tracked
        if subscribed is not None:
            joined = gatherResults([subscribed, tracked], consumeErrors=True).addErrback(first_error)
        return joined.addCallbacks(_nothing, partial(self._not_joined, session))

    @from_any_thread
    def leave(self, session: Session) -> None:
        """Let a session go; one that is not in it changes nothing."""
        self._leave(session)

    @from_any_thread
    def set_state(self, session: Session, state: object) -> Deferred[None]:
        """Set what a member says of itself; see :meth:`join`, whose errors it raises, too.

        Raises:
            RoomError: the session is no member.
        """
        before = self._infos.get(session)
        if before is None:
            raise RoomError(self.name, "the session is no member")
        since = member_of(PresenceEntry("", "", before)).since
        info = pack_info(self.name, since, session.identity, state, self._rooms.limits.member_state)
        if info == before:
            return succeed(None)
        self._infos[session] = info
        tracked = self._rooms.node.backplane.track(self._topic, session.id, info)
        self._tell("updated", session, info)
        return tracked.addCallbacks(_nothing, ignore_unavailable)

    @from_any_thread
    def members(self) -> Deferred[list[Member]]:
        """List the members on all nodes.

        Returns:
            a Deferred of the members. It errbacks with BackplaneUnavailable while the backplane is down; :attr:`sessions` has those
            of this server all the same.
        """
        return self._rooms.node.backplane.members(self._topic).addCallback(lambda entries: list(members_of(entries)))

    @from_any_thread
    def count(self) -> Deferred[int]:
        """Count the members on all nodes; fails as :meth:`members`."""
        return self._rooms.node.backplane.count(self._topic)

    @from_any_thread
    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = b"",
        *,
        exclude: Iterable[Session] = _NOBODY,
        slow: Slow = "close",
    ) -> Deferred[Delivery]:
        """Send a message to all members, on all nodes. It is encoded once for each group of members that take the same bytes.

        The members of this server have it when this returns, in a room without history; those of others follow, in the order in
        which this server sends. Members whose wires cannot carry it are left out and counted (``room_messages_uncarried``).

        Args:
            message: its type, or a whole Request.
            content: a value of the type's ``content=``, or its bytes; or a value that the members' wires carry.
            exclude: sessions of this server to leave out.
            slow: what becomes of a member whose peer reads so slowly that its queue is full: ``"close"`` it, or ``"drop"`` the
                message for it.

        Returns:
            a Deferred of what became of it. It never errbacks, and where the other nodes could not be told, ``Delivery.error``
            says so. Cancelling it takes nothing back.

        Raises:
            InvalidContent: the content is not of the type's ``content=``; it was sent to nobody.
            LocalProtocolError: no member's wire can carry it; it was sent to nobody. MessageTooLarge is one.
            TypeError: the content is none a wire carries.
            SettingsError: ``slow`` is neither, or ``exclude`` is no iterable of sessions.
        """
        check_slow(slow)
        message_type, value, _ = parts_of(message, content)
        left_out: Collection[Session] = _NOBODY
        ids: tuple[str, ...] = ()
        if exclude is not _NOBODY:
            check_sessions("exclude", exclude)
            left_out = set(exclude)
            ids = tuple(session.id for session in left_out)
        node, log, topic = self._rooms.node, self._log, self._topic
        carried = to_message(node.next_number(), message_type, value, ids, drop=slow == "drop")
        if self.history is not None and len(carried.content) + _PLACE_SIZE > self._rooms.max_message_size:
            raise MessageTooLarge(len(carried.content) + _PLACE_SIZE, self._rooms.max_message_size)
        self._rooms.counters["room_broadcasts"] += 1
        if self.history is not None:
            published = node.publish(topic, carried, self.history)
            return published.addCallbacks(partial(_kept, log, carried, node.id), partial(_not_kept, log, carried))
        sent = 0
        if self._groups:
            encoded = self._encoded(self._groups.values(), message_type, value, left_out)
            sent = send_encoded(encoded, slow, (message_type, value))
        return node.publish(topic, carried, None).addCallbacks(_sent, _not_sent, (sent,), errbackArgs=(sent,))

    @from_any_thread
    def on_presence(self, callback: P) -> P:
        """Call a function with each :class:`PresenceChange`, of this node's members and others'; a decorator.

        It may be a coroutine function. A failure is logged.

        Raises:
            SettingsError: it cannot be called.
            RoomError: there are too many rooms.
        """
        self._rooms.keep(self)
        self._callbacks.add(callback)
        self._watch()
        return callback

    @from_any_thread
    def close(self) -> None:
        """Let every session of this server go, and forget the room's settings here."""
        self._callbacks.clear()
        self.history = self.presence = None
        for session in list(self._infos):
            self._leave(session)
        self._release()

    # Inside.

    def _set(self, history: History | None, presence: MessageType | None) -> None:
        if presence is not None and presence.content is not PresenceChange:
            raise SettingsError("presence", presence, "a message type with content=PresenceChange")
        if history is not None and self.history is None and self._subscribed:
            raise RoomError(self.name, "it is in use: its history must be given before the first joins")
        self._rooms.keep(self)
        if history is not None:
            self.history = history
        if presence is not None:
            self.presence = presence
            self._watch()

    def _subscribe(self) -> Deferred[Any] | None:
        """Let the room's topic come, unless it does; return the Deferred of that."""
        if self._subscribed:
            return None
        self._subscribed = True
        rooms = self._rooms
        receiver = TopicReceiver(self._message_received, self._presence_changed, self._interrupted, self._unreadable)
        subscribed: Deferred[Any] = rooms.node.subscribe(self._topic, receiver)
        if self.history is None:
            return subscribed
        log = self._log = RoomLog(self.name, self._topic, rooms.node, rooms.clocks(), self._send_plain)
        return subscribed.addCallback(lambda _: log.begin())

    def _release(self) -> None:
        """Stop what nobody needs any more."""
        if self._infos or self._callbacks or self.presence is not None:
            return
        if self._subscribed:
            self._subscribed = False
            self._known = None
            self._rooms.node.unsubscribe(self._topic)
            if self._log is not None:
                self._log.end()
                self._log = None
        if self.history is None:
            self._rooms.discard(self)

    def _enter(self, session: Session) -> None:
        """Let a session hear the broadcasts."""
        if self._log is not None and ROOMS in session.peer.features:
            self._log.enter(session, self._rooms.presented(session, self.name))
        else:
            self._groups.setdefault(session._encoding_key, {})[session] = None

    def _leave(self, session: Session, *, told: bool = True) -> None:
        info = self._infos.pop(session, None)
        if info is None:
            return
        rooms = self._rooms
        group = self._groups.get(session._encoding_key, {})
        group.pop(session, None)
        if not group:
            self._groups.pop(session._encoding_key, None)
        if self._log is not None:
            self._log.leave(session, told=told)
        rooms.left(session, self)
        rooms.counters["rooms_left"] += 1
        rooms.node.backplane.untrack(self._topic, session.id).addErrback(ignore_unavailable)
        self._tell("left", session, info)
        self._release()

    def _not_joined(self, session: Session, failure: Failure) -> Failure | None:
        """Take a session out again that the backplane has no room for; one that it cannot hear of now stays.

        Its client is not told that it left: it keeps its place, and gets what it missed when it joins again.
        """
        if failure.check(BackplaneUnavailable):
            return None
        self._leave(session, told=False)
        return failure

    def _encoded(
        self, groups: Iterable[Iterable[Session]], message_type: MessageType, value: object, left_out: Collection[Session] = ()
    ) -> list[tuple[list[Session], list[bytes]]]:
        """Encode a message for groups of members; those whose wire cannot carry it are left out.

        Raises:
            LocalProtocolError, TypeError, InvalidContent: no member's wire can carry it.
        """
        encoded: list[tuple[list[Session], list[bytes]]] = []
        uncarried, error = 0, None
        for members in groups:
            group = [session for session in members if session not in left_out] if left_out else list(members)
            first = next((session for session in group if session.closed is None), None)
            if first is None:
                continue
            try:
                encoded.append((group, first._encode(message_type, value)))
            except (LocalProtocolError, TypeError, InvalidContent) as each:
                uncarried, error = uncarried + len(group), each
        if error is not None and not encoded:
            raise error
        if uncarried:
            self._rooms.counters["room_messages_uncarried"] += uncarried
        return encoded

    def _resumed(self, session: Session, since: Presented | None) -> None:
        """Go on with a member that has said what it has of the room."""
        if self._log is not None:
            self._log.resume(session, since)

    # From the log.

    def _send_plain(self, message: Message) -> int:
        """Send a message to the members that are to have it as it is; return how many sessions that is."""
        if not self._groups:
            return 0
        try:
            message_type, value = from_message(message, self._rooms.types)
            ids = frozenset(message.exclude)
            left_out = [session for session in self._infos if session.id in ids] if ids else []
            encoded = self._encoded(self._groups.values(), message_type, value, left_out)
            return send_encoded(encoded, "drop" if message.drop else "close", (message_type, value))
        except (LookupError, InvalidContent, LocalProtocolError, TypeError):
            self._rooms.counters["room_messages_uncarried"] += sum(map(len, self._groups.values()))
            return 0

    # From the node.

    def _message_received(self, message: Message, position: Position | None, node: str) -> None:
        """Give the members here another node's message."""
        if self._log is not None and position is not None:
            self._log.add(position, message, node)
        else:
            self._send_plain(message)

    def _unreadable(self, position: Position) -> None:
        """Find out whether the history has a message there that nobody here can be given."""
        if self._log is not None:
            self._log.check(position)

    def _presence_changed(self, diff: PresenceDiff) -> None:
        """Report changes among the members of other nodes, each once: one that a list or a repair repeats is none."""
        known = self._known
        if known is None:
            return
        if self._meanwhile is not None:
            self._meanwhile.append(diff)
            if len(self._meanwhile) > _MEANWHILE:
                self._meanwhile.clear()
                self._list_again = True
        changed = _apply(known, diff)
        if changed.joined or changed.updated or changed.left:
            self._tell_change(change_of(self.name, changed))

    def _interrupted(self) -> None:
        """Find out what has been lost."""
        if self._log is not None:
            self._log.interrupted()
        if self._known is not None:
            self._list_anew()

    # Presence.

    def _watch(self) -> None:
        """Keep the members of other nodes from now on, to tell what changes."""
        if self._known is not None:
            return
        self._known = {}
        subscribed = self._subscribe() or succeed(None)
        subscribed.addCallbacks(lambda _: self._list_anew(first=True), ignore_unavailable)

    def _list_anew(self, *, first: bool = False) -> None:
        self._list_again = self._meanwhile is not None
        if self._meanwhile is None:
            self._meanwhile = []
            listed = self._rooms.node.backplane.members(self._topic)
            listed.addCallbacks(self._listed, self._not_listed, callbackArgs=(first,))

    def _not_listed(self, failure: Failure) -> None:
        self._meanwhile = None
        ignore_unavailable(failure)
        if self._list_again:  # the backplane is back already
            self._list_anew()

    def _listed(self, entries: list[PresenceEntry], first: bool) -> None:
        """Report how the members of other nodes differ from those known before; what came meanwhile is newer than the list.

        Of the first list only callbacks are told: a member is told of changes, not of who was there when it joined.
        """
        before, own = self._known, self._rooms.node.id
        meanwhile, self._meanwhile = self._meanwhile or [], None
        if before is None:
            return
        now = self._known = {_key(entry): entry for entry in entries if entry.node != own}
        for each in meanwhile:
            _apply(now, each)
        diff = PresenceDiff(
            joined=tuple(entry for key, entry in now.items() if key not in before),
            updated=tuple(entry for key, entry in now.items() if before.get(key, entry) != entry),
            left=tuple(entry for key, entry in before.items() if key not in now),
        )
        if diff.joined or diff.updated or diff.left:
            self._tell_change(change_of(self.name, diff), to_members=not first)
        if self._list_again:
            self._list_anew()

    def _tell(self, kind: str, session: Session, info: bytes) -> None:
        """Report a change among the members here."""
        if self._callbacks or self.presence is not None:
            member = member_of(PresenceEntry(session.id, self._rooms.node.id, info))
            self._tell_change(PresenceChange(self.name, **{kind: (member,)}))

    def _tell_change(self, change: PresenceChange, *, to_members: bool = True) -> None:
        self._callbacks.call(change, self._rooms.clocks().reactor)
        if self.presence is not None and to_members:
            self._announce(self.presence, change)

    def _announce(self, presence: MessageType, change: PresenceChange) -> None:
        """Send the members here a change, outside of the room's history."""
        try:
            said = public_change(change)
            send_encoded(self._encoded(grouped(self._infos), presence, said), "drop", (presence, said))
        except (LocalProtocolError, TypeError, InvalidContent):
            _log.failure("a change in room {room} could not be told to its members", room=self.name)


def _key(entry: PresenceEntry) -> tuple[str, str]:
    return entry.node, entry.member


def _apply(known: dict[tuple[str, str], PresenceEntry], diff: PresenceDiff) -> PresenceDiff:
    """Change the entries that are known; return what of it was news."""
    left = tuple(known.pop(_key(entry)) for entry in diff.left if _key(entry) in known)
    changed = [entry for entry in (*diff.joined, *diff.updated) if known.get(_key(entry)) != entry]
    joined = tuple(entry for entry in changed if _key(entry) not in known)
    updated = tuple(entry for entry in changed if _key(entry) in known)
    known.update((_key(entry), entry) for entry in changed)
    return PresenceDiff(joined, updated, left)


def topic_of(room: str) -> str:
    """Return the topic of a room on a backplane; of a pattern of rooms, the pattern of their topics."""
    return _TOPIC + room


def room_counts(topics: dict[str, int]) -> dict[str, int]:
    """Return members by room, of members by topic."""
    return {topic[len(_TOPIC) :]: count for topic, count in topics.items()}


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no other node could be told
        return False
    return True


def _unasked(session: Session, message: Response) -> None:
    """Drop what a client has no reason to send, and count it."""
    session._count_late_reply()


def _nothing(_: object) -> None:
    return None


def _later(failure: Failure) -> Failure | None:
    """Drop why a member was not entered now: the backplane remembers it, unless it has no room for it."""
    failure.trap(BackplaneError)
    return failure if failure.check(BackplaneRefused) else None


_delivered = lru_cache(maxsize=1024)(Delivery)  # the same ones come all the time, and making one takes longer than finding it


def _sent(_: Position | None, sessions: int) -> Delivery:
    return _delivered(sessions)


def _not_sent(failure: Failure, sessions: int) -> Delivery:
    return Delivery(sessions, None, backplane_error(failure))


def _kept(log: RoomLog | None, message: Message, node: str, position: Position | None) -> Delivery:
    assert position is not None
    return Delivery(0 if log is None else log.add(position, message, node), position)


def _not_kept(log: RoomLog | None, message: Message, failure: Failure) -> Delivery:
    error = backplane_error(failure)
    uncertain = isinstance(error, BackplaneUnavailable) and error.uncertain
    return Delivery(0 if log is None else log.add_unpositioned(message, uncertain=uncertain), None, error)
