"""Kept messages of one room on one node, given to the members in the order of their offsets, and to who comes back.

Every message of the room has an offset, whoever published it. One that is missing is fetched from the history, and what the history
has no more is a gap, of which the members are told. A member that comes back is not live until it has been given what it
missed, up to the room's position here.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from veltix_tx.app.hub import send_encoded
from veltix_tx.app.node import Node, ignore_unavailable
from veltix_tx.backplane.envelope import Message
from veltix_tx.backplane.interface import HistoryItem, HistoryPage, Position
from veltix_tx.errors import BackplaneError, LocalProtocolError
from veltix_tx.net.clock import Clocks
from veltix_tx.net.session.session import Session
from veltix_tx.wire.messages import ROOM, ROOM_LEFT, ROOM_POSITION, MessageType
from veltix_tx.wire.rooms import Presented, RoomContent, RoomLeft, RoomPosition, encode_room

__all__ = ["AWAITED", "DROPPED", "EXPIRED", "LOST", "UNREADABLE", "RoomLog"]

LOST = "history_lost"
"""Reason of a gap: the history itself was lost, or is another one, as after a restart of what keeps it."""

EXPIRED = "history_expired"
"""Reason of a gap: the history was kept, but not for so long, or not so many messages."""

DROPPED = "dropped"
"""Reason of a gap: the server left messages out for this client, which read too slowly, could not take them, or had too much to say
of where it was."""

UNREADABLE = "unreadable"
"""Reason of a gap: the node cannot read a message of the history, as one that was made with another backplane key."""

_PAGE = 500
"""Messages asked for at once."""

_PLACE_SIZE = 512
"""Bytes that a message with its place takes at most beside its payload."""

_RETRY = 1.0
"""Seconds after which a history that could not be asked is asked again."""

_AHEAD = 1_000
"""Maximum messages that wait for one before them; over it the history is asked at once, and these come from there."""

_PATIENCE = 0.1
"""Seconds that a missing message may take before the history is asked: its publisher has not heard of its offset yet."""

_UNCONFIRMED = 10_000
"""Maximum numbers kept of this node's messages of which it is not known whether the history has them, and that may come twice: as
many as may wait for an engine that hangs."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Place of a member that is to say what it has.

    Attributes:
        joined_at: the room's position when it joined, where it begins if it has nothing; None until that is known.
    """

    joined_at: Position | None = None


AWAITED = Awaited()


class RoomLog:
    """Order of one room's messages on one node.

    Args:
        room: the room's name.
        topic: its topic.
        node: the node.
        clocks: its clocks.
        send_plain: sends a message to the members that do not understand places, and returns how many those are.

    Attributes:
        position: place up to which the live members have everything; None until that is known.
    """

    def __init__(self, room: str, topic: str, node: Node, clocks: Clocks, send_plain: Callable[[Message], int]) -> None:
        self.position: Position | None = None
        self._room = room
        self._topic = topic
        self._node = node
        self._clocks = clocks
        self._send_plain = send_plain
        self._live: dict[object, dict[Session, None]] = {}  # by encoding key
        self._catching_up: dict[Session, Presented | Awaited | None] = {}
        self._waiting: dict[Session, None] = {}  # of those that catch up: for a page
        self._held: set[Session] = set()  # and until they have read what they were sent
        self._reading = False
        self._ahead: dict[int, tuple[Message, str]] = {}
        self._fetching = False
        self._again = False
        self._seen: Position | None = None  # of the first message that came before the position was known
        self._timer: IDelayedCall | None = None
        self._retry: IDelayedCall | None = None
        self._unconfirmed: OrderedDict[int, None] = OrderedDict()
        self._fetched_own: OrderedDict[int, None] = OrderedDict()  # which the history had before their publisher heard of it
        self._closed = False

    @property
    def _counters(self) -> Counter[str]:
        return self._node.counters

    # From the room.

    def begin(self) -> None:
        """Find out where the room is, now that its messages come."""
        self._fetch()

    def end(self) -> None:
        """Take no more: the last member has left."""
        self._closed = True
        self._clear_timer()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def enter(self, session: Session, since: Presented | Awaited | None) -> None:
        """Let a session that understands places in.

        Args:
            session: the session.
            since: what it presented; None for a new member, AWAITED for one that is to say it; without an epoch for one whose place
                was not read, who is told that there may be a gap.
        """
        self._catching_up[session] = Awaited(self.position) if isinstance(since, Awaited) else since
        self._catch_up(session)

    def resume(self, session: Session, since: Presented | None) -> None:
        """Go on with a member that has said what it has; None for nothing of this room."""
        waiting = self._catching_up.get(session)
        if isinstance(waiting, Awaited):
            begin = waiting.joined_at
            if since is None and begin is not None:
                since = Presented(self._room, begin.epoch, begin.offset, session.id)
            self._catching_up[session] = since
            self._catch_up(session)

    def leave(self, session: Session, *, told: bool) -> None:
        """Let a session go; tell its client, unless that is to keep its place."""
        self._catching_up.pop(session, None)
        self._waiting.pop(session, None)
        self._held.discard(session)
        self._discard_live(session)
        if told and session.closed is None:
            self._send([session], ROOM_LEFT, RoomLeft(self._room))

    def add(self, position: Position, message: Message, node: str) -> int:
        """Take a message that was published; return how many sessions here it was given to now."""
        here = self.position
        if here is not None and position.epoch == here.epoch and position.offset == here.offset + 1 and not self._fetching:
            sent = self._deliver(position, message, node)
            self._deliver_ahead()
            return sent
        if here is None:
            if self._seen is None or self._seen.epoch != position.epoch or position.offset < self._seen.offset:
                self._seen = position
            self._fetch()
        elif position.epoch != here.epoch:
            self._fetch()
        elif position.offset > here.offset:
            if len(self._ahead) >= _AHEAD:
                self._ahead.clear()
                self._fetch()
                return 0
            self._ahead[position.offset] = (message, node)
            if self._timer is None and not self._fetching:
                self._timer = self._clocks.reactor.callLater(_PATIENCE, self._missed)
        return 0

    def add_unpositioned(self, message: Message, *, uncertain: bool) -> int:
        """Give the members here a message that could not be published; return how many they are.

        Args:
            message: the message.
            uncertain: True if the history may have it all the same.
        """
        if message.number in self._fetched_own:
            return 0
        if uncertain:
            _remember(self._unconfirmed, message.number)
        return self._give(message, self._node.id, Position("", 0), [*self._catching_up], plain=True)

    def check(self, position: Position) -> None:
        """Have the history say what is at a position, of which only somebody that cannot be trusted has said that it is taken."""
        here = self.position
        if here is None or position.epoch != here.epoch or position.offset > here.offset:
            self._fetch()

    def interrupted(self) -> None:
        """Fetch what may have been lost."""
        self._fetch()

    def _discard_live(self, session: Session) -> None:
        group = self._live.get(session._encoding_key, {})
        group.pop(session, None)
        if not group:
            self._live.pop(session._encoding_key, None)

    # Catching up.

    def _missed(self) -> None:
        self._timer = None
        self._fetch()

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fetch(self) -> None:
        """Ask the history for what is behind the position, or where the room is."""
        if self._closed:
            return
        self._again = self._fetching
        if self._fetching:
            return
        self._fetching = True
        self._clear_timer()
        limit = 0 if self.position is None else _PAGE
        fetched = self._node.backplane.history(self._topic, self.position, limit)
        fetched.addCallbacks(self._fetched, self._not_fetched, callbackArgs=(tuple(self._ahead),))

    def _not_fetched(self, failure: Failure) -> None:
        """Go on where the room is: it is told when the backplane is back."""
        self._fetching = False
        ignore_unavailable(failure)
        if self._again:  # it is back already
            self._fetch()
        elif self._catching_up or self._ahead:
            self._try_again()

    def _try_again(self) -> None:
        """Ask again after a while: not every failure of the backplane is followed by word that it is back."""
        if self._retry is None and not self._closed:
            self._retry = self._clocks.reactor.callLater(_RETRY, self._retried)

    def _retried(self) -> None:
        self._retry = None
        self._fetch()

    def _fetched(self, page: HistoryPage, ahead: tuple[int, ...]) -> None:
        """Go on with a page; of what had come before it was asked for, the history has everything that is genuine."""
        self._fetching = False
        for offset in ahead:
            if offset > page.top and self._ahead.pop(offset, None) is not None:
                self._counters["envelopes_unreadable"] += 1
        if self._closed:
            return
        here = self.position
        if here is None:
            seen, self._seen = self._seen, None
            since_first = seen is not None and seen.epoch == page.epoch and seen.offset <= page.top
            self.position = Position(page.epoch, seen.offset - 1 if seen is not None and since_first else page.top)
            self._again |= since_first
            self._place_members(self.position)
        elif not page.recovered:
            self._jump(*_end_of_gap(here, page))
        for item in page.items:
            self._deliver_item(page.epoch, item)
        if page.items:
            self._hold_slow()
        assert self.position is not None
        if self._again or (page.items and self.position.offset < page.top):
            self._fetch()
            return
        self._deliver_ahead()
        for session in list(self._catching_up):
            self._catch_up(session)

    def _place_members(self, begin: Position) -> None:
        """Let those who joined before the position was known begin there."""
        for session, since in list(self._catching_up.items()):
            if since is None:
                self._make_live(session)
            elif isinstance(since, Awaited):
                self._catching_up[session] = Awaited(begin)

    def _jump(self, until: Position, reason: str) -> None:
        """Go on behind messages that nobody has any more, and tell the members."""
        if self.position is not None and self.position.epoch != until.epoch:
            self._ahead.clear()
        self._counters["room_gaps"] += 1
        for session in self._held:  # what they have may be no more: they look again, when this node has gone on
            since = self._catching_up[session]
            assert isinstance(since, Presented)
            self._catching_up[session] = Presented(since.room, since.epoch, since.offset, since.member)
        self._held.clear()
        self._tell_live(until, reason)

    def _tell_live(self, position: Position, gap: str) -> None:
        """Go on to a position without a message."""
        self.position = position
        for session in [session for group in self._live.values() for session in group]:
            self._tell_position(session, position, gap)

    def _deliver_item(self, epoch: str, item: HistoryItem) -> None:
        here, position = self.position, Position(epoch, item.offset)
        if here is not None and epoch == here.epoch and item.offset <= here.offset:
            return
        message = self._node.read(self._topic, item.payload)
        if message is None:
            self._counters["room_gaps"] += 1
            self._tell_live(position, UNREADABLE)
        else:
            if item.node == self._node.id:
                _remember(self._fetched_own, message.number)
            self._deliver(position, message, item.node)

    def _deliver_ahead(self) -> None:
        """Deliver what has come already behind the position; look for what is missing before the rest."""
        assert self.position is not None
        while (waiting := self._ahead.pop(self.position.offset + 1, None)) is not None:
            self._deliver(Position(self.position.epoch, self.position.offset + 1), *waiting)
        here = self.position.offset
        for offset in [each for each in self._ahead if each <= here]:
            del self._ahead[offset]
        if not self._ahead:
            self._clear_timer()
        elif self._timer is None and not self._fetching:
            self._timer = self._clocks.reactor.callLater(_PATIENCE, self._missed)

    # To the members.

    def _deliver(self, position: Position, message: Message, node: str) -> int:
        self.position = position
        plain = node != self._node.id or self._unconfirmed.pop(message.number, self) is self  # else they have it
        return self._give(message, node, position, (), plain=plain)

    def _give(self, message: Message, node: str, position: Position, others: Iterable[Session], *, plain: bool) -> int:
        """Give a message to the live members, and to others; return how many sessions that is."""
        sent = self._send_plain(message) if plain else 0
        groups = {key: list(group) for key, group in self._live.items()}
        for session in others:
            groups.setdefault(session._encoding_key, []).append(session)
        if not groups:
            return sent
        if message.exclude:
            left_out = set(message.exclude)
            for key, group in groups.items():
                groups[key] = [session for session in group if session.id not in left_out]
                if position.epoch:
                    for session in group:
                        if session.id in left_out:
                            self._tell_position(session, position)
        frame = self._frame(message, node, position)
        for group in groups.values():
            if frame is not None:
                sent += self._send(group, ROOM, frame, drop=message.drop)
            elif position.epoch:
                for session in group:
                    self._tell_position(session, position)
        return sent

    def _frame(self, message: Message, node: str, position: Position) -> RoomContent | None:
        """Return what a member gets; None for what no Veltix wire carries."""
        if isinstance(message.key, str) or message.form == "v":
            self._counters["room_messages_uncarried"] += 1
            return None
        name = self._id(message, node)
        return RoomContent(self._room, position.epoch, position.offset, name, message.key, message.content)

    def _send(self, group: list[Session], message_type: MessageType, said: object, *, drop: bool = False) -> int:
        first = next((session for session in group if session.closed is None), None)
        if first is None:
            return 0
        try:
            buffers = first._encode(message_type, encode_room(said))
        except LocalProtocolError:
            self._counters["room_messages_uncarried"] += len(group)
            return 0
        return send_encoded([(group, buffers)], "drop" if drop else "close")

    def _tell_position(self, session: Session, position: Position, gap: str = "") -> None:
        self._send([session], ROOM_POSITION, RoomPosition(self._room, position.epoch, position.offset, session.id, gap))

    def _id(self, message: Message, node: str) -> str:
        return f"{node}:{message.number}"

    # Members that are not live.

    def _catch_up(self, session: Session) -> None:
        """Give a member what it missed, and make it live."""
        here, since = self.position, self._catching_up[session]
        if here is None or isinstance(since, Awaited) or session in self._held:
            return
        if since is None or not since.epoch:
            self._make_live(session, "" if since is None else DROPPED)
            return
        self._waiting[session] = None
        if not self._reading:
            self._reading = True
            Deferred.fromCoroutine(self._read())

    async def _read(self) -> None:
        """Read the history page by page, one at a time, and give each to all who need it.

        In turn it is read for who lacks most, so that the others are joined on the way, and for who has waited for longest.
        """
        turns = cycle((self._furthest, lambda: next(iter(self._waiting))))
        try:
            while self._waiting and not self._closed:
                here, since = self.position, self._catching_up[next(turns)()]
                assert here is not None
                assert isinstance(since, Presented)
                page = await self._node.backplane.history(self._topic, Position(since.epoch, since.offset), _PAGE)
                now = self.position or here
                if now.epoch != here.epoch or now.offset < here.offset:
                    continue  # the room has another place since it was asked for
                if page.epoch != here.epoch or page.top < here.offset:
                    self._waiting.clear()
                    self._fetch()  # this node has to go on first; then all that catch up do
                else:
                    self._give_page(page)
        except BackplaneError:
            self._waiting.clear()
            self._try_again()
        finally:
            self._reading = False

    def _furthest(self) -> Session:
        """Return who waits and lacks most."""

        def place(session: Session) -> int:
            since = self._catching_up[session]
            return since.offset if isinstance(since, Presented) and self.position and since.epoch == self.position.epoch else -1

        return min(self._waiting, key=place)

    def _give_page(self, page: HistoryPage) -> None:
        """Give a page to those who wait and have everything before it."""
        first, last = (page.items[0].offset, page.items[-1].offset) if page.items else (page.top + 1, page.top)
        for session in list(self._waiting):
            since = self._catching_up.get(session)
            if session not in self._waiting or not isinstance(since, Presented):
                continue  # it has left while others were given theirs
            whole = since.epoch == page.epoch and first - 1 <= since.offset <= page.top
            if (since.offset < last or last == page.top) if whole else not page.recovered:
                del self._waiting[session]
                self._give_missed(session, since, page, whole=whole)

    def _give_missed(self, session: Session, since: Presented, page: HistoryPage, *, whole: bool) -> None:
        """Give a member what it has not of a page, as far as it reads; the rest when it has."""
        here, last = self.position, since.offset
        assert here is not None
        if not whole:
            until, reason = _end_of_gap(Position(since.epoch, since.offset), page)
            last = until.offset
            session.recovered = False
            self._counters["room_gaps"] += 1
            self._tell_position(session, until, reason)
        for item in page.items:
            if last < item.offset <= here.offset:
                if not session.can_send(len(item.payload) + _PLACE_SIZE) and not session.when_writable().called:
                    break
                self._give_one(session, since.member, Position(page.epoch, item.offset), item)
                last = item.offset
        if session in self._catching_up:  # else it was too slow
            self._hold(session, Presented(self._room, page.epoch, last, since.member))

    def _hold(self, session: Session, since: Presented) -> None:
        """Go on with a member when it has read what it has been sent."""
        self._catching_up[session] = since
        self._held.add(session)
        session.when_writable().addCallback(lambda _: self._go_on(session, since))

    def _go_on(self, session: Session, since: Presented) -> None:
        here = self.position
        if self._catching_up.get(session) is not since or here is None:
            return  # it has left meanwhile, and may have joined again
        self._held.discard(session)
        if since.epoch != here.epoch or since.offset < here.offset:
            self._catch_up(session)
            return
        if since.member != session.id:
            self._counters["rooms_resumed"] += 1
            if session.recovered is None:
                session.recovered = True
        self._make_live(session)

    def _hold_slow(self) -> None:
        """Let live members who have not read what they were sent have the rest as who comes back."""
        here = self.position
        assert here is not None
        slow = [session for group in self._live.values() for session in group if not session.when_writable().called]
        for session in slow:
            self._discard_live(session)
            self._hold(session, Presented(self._room, here.epoch, here.offset, session.id))

    def _give_one(self, session: Session, before: str, position: Position, item: HistoryItem) -> None:
        message = self._node.read(self._topic, item.payload)
        if message is None:
            session.recovered = False
            self._counters["room_gaps"] += 1
            self._tell_position(session, position, UNREADABLE)
            return
        frame = None if before in message.exclude else self._frame(message, item.node, position)
        if frame is None:
            self._tell_position(session, position)
        else:
            self._send([session], ROOM, frame)

    def _make_live(self, session: Session, gap: str = "") -> None:
        del self._catching_up[session]
        self._live.setdefault(session._encoding_key, {})[session] = None
        assert self.position is not None
        self._tell_position(session, self.position, gap)


def _remember(numbers: OrderedDict[int, None], number: int) -> None:
    """Keep a message's number, in place of the oldest where there are many."""
    numbers[number] = None
    if len(numbers) > _UNCONFIRMED:
        numbers.popitem(last=False)


def _end_of_gap(since: Position, page: HistoryPage) -> tuple[Position, str]:
    """Return up to where messages behind a position are missing, and why, by a page that could not recover them."""
    if page.epoch == since.epoch and page.top < since.offset:  # an engine that took over from another had not heard of all
        return Position(page.epoch, page.top), LOST
    first = page.items[0].offset if page.items else page.top + 1
    return Position(page.epoch, first - 1), EXPIRED if page.epoch == since.epoch else LOST
