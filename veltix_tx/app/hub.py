"""Hub: the live sessions of one server, selected by tags, sent broadcasts in groups, drained when it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from twisted.internet.defer import Deferred, DeferredList

from veltix_tx.errors import QueueFull, SessionClosed, SettingsError, StreamEnded, UnvalidatedAddress
from veltix_tx.net.session.session import Session, send_as_usual
from veltix_tx.net.session.tags import Watcher, check_names
from veltix_tx.wire.messages import BytesLike, MessageType, Request, T, parts_of

__all__ = ["Hub", "Slow", "check_sessions", "check_slow", "grouped", "send_encoded"]

Slow = Literal["close", "drop"]
"""Policy of a broadcast for a session whose queue is full because its peer reads slowly: close it, or drop the message for it."""


class Hub:
    """Keeps sessions from the completed handshake until their last message has been handled.

    A session whose ``on_connect`` is not done is kept, but neither selected nor sent a broadcast.
    """

    def __init__(self) -> None:
        self._sessions: dict[Session, None] = {}
        self._groups: dict[object, dict[Session, None]] = {}  # those that take the same bytes
        self._watchers: tuple[Watcher, ...] = (self._index,)
        self._keepers: tuple[Callable[[Session], None], ...] = (self._discard,)
        self._admitters: tuple[Callable[[Session], None], ...] = (self._admit,)
        self._tagged: dict[str, dict[Session, None]] = {}
        self._by_id: dict[str, Session] | None = None  # from the first look-up on

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: object) -> bool:
        return session in self._sessions

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions))

    def add(self, session: Session) -> None:
        """Keep a session until it is gone and the application knows."""
        self._sessions[session] = None
        session._on_closed += self._keepers
        if session.admitted:
            self._admit(session)
        else:
            session._admitters += self._admitters
        for name in session._tag_names():
            self._index(session, name, True)
        session._tag_observers += self._watchers
        if self._by_id is not None:
            self._by_id[session.id] = session

    def find(self, connection_id: str) -> Session | None:
        """Return the open session with an id, None without one. The first look-up makes an index."""
        if self._by_id is None:
            self._by_id = {session.id: session for session in self._sessions}
        found = self._by_id.get(connection_id)
        return found if found is not None and found.admitted and found.closed is None else None

    def select(self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None) -> list[Session]:
        """Return the open sessions with all of some tags, with any of some others, and with an identity.

        The time it takes grows with the sessions that have the rarest of ``all_of``, or with those
        that have one of ``any_of`` if these are fewer, and with all there are only where neither is given.

        Args:
            all_of: tags that must all be set; none excludes nobody.
            any_of: tags of which one must be set; none excludes nobody.
            identity: what ``session.identity`` must be equal to; None excludes nobody.

        Raises:
            SettingsError: one of them is a text, or no iterable.
        """
        check_names("all_of", all_of)
        check_names("any_of", any_of)
        required, either = list(all_of), list(any_of)
        rarest = min((self._tagged.get(name, {}) for name in required), key=len, default=None)
        some = [self._tagged.get(name, {}) for name in either]
        if rarest is not None and (not either or len(rarest) <= sum(map(len, some))):
            found = rarest
        elif either:
            found = {session: None for tagged in some for session in tagged}
        else:
            found = dict.fromkeys(self)
        return [
            session
            for session in found
            if session.admitted
            and session.closed is None
            and (not required or session.tags.has_all(required))
            and (not either or session.tags.has_any(either))
            and (identity is None or session.identity == identity)
        ]

    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = b"",
        *,
        to: Iterable[Session] | None = None,
        exclude: Iterable[Session] = (),
        slow: Slow = "close",
    ) -> int:
        """Send a message to many sessions, encoded once for each generation among them, with a ``before_send`` for each session.

        Args:
            message: its type, or a whole Request.
            content: a value of the type's ``content=``, or its bytes; or a value that the sessions' wires carry.
            to: the sessions to send to; every one by default. Closed ones are left out, and so are
                those whose ``on_connect`` is not done.
            exclude: sessions to leave out. So are those over UDP whose address is not validated and for which it would be too
                much (counted in ``session.broadcasts_dropped``).
            slow: what becomes of a session whose peer reads so slowly that its queue is full: the
                message is dropped for it (and counted in ``session.broadcasts_dropped``), or it is closed.

        Returns:
            how many sessions it was sent to.

        Raises:
            MessageTooLarge: it is over ``max_message_size``; it was sent to nobody.
            InvalidContent: the content is not of the type's ``content=``; it was sent to nobody.
            TypeError: the content is none a wire carries.
            SettingsError: ``slow`` is neither, or ``to`` or ``exclude`` is no iterable of sessions.
        """
        if to is not None:
            check_sessions("to", to)
        check_sessions("exclude", exclude)
        check_slow(slow)
        message_type, body, _ = parts_of(message, content)
        left_out = set(exclude)
        groups = [list(group) for group in self._groups.values()]
        if to is not None or left_out:
            wanted = self if to is None else to
            groups = grouped(session for session in wanted if session.admitted and session not in left_out)
        encoded = [(group, group[0]._encode(message_type, body)) for group in groups]
        return send_encoded(encoded, slow, (message_type, body))

    def _admit(self, session: Session) -> None:
        _keep(self._groups, session._encoding_key, session, True)

    def _discard(self, session: Session) -> None:
        del self._sessions[session]
        if self._by_id is not None:
            del self._by_id[session.id]
        if session.admitted:
            _keep(self._groups, session._encoding_key, session, False)
        session._tag_observers = tuple(each for each in session._tag_observers if each not in self._watchers)
        for name in session._tag_names():
            self._index(session, name, False)

    def _index(self, session: Session, name: str, present: bool) -> None:
        _keep(self._tagged, name, session, present)

    def drain(self) -> Deferred[None]:
        """Drain every session: finish what it has received, then close it.

        Sessions whose peer has left already finish, too: what was accepted is handled.

        Returns:
            a Deferred that fires when all are gone. Cancelling it stops waiting, and fires it.
        """
        finished = DeferredList([session.drain() for session in self], consumeErrors=True)
        return finished.addCallback(lambda _: None)


def send_encoded(
    groups: Iterable[tuple[Iterable[Session], list[bytes]]], slow: Slow, own: tuple[MessageType, object] | None = None
) -> int:
    """Send groups of sessions what was encoded for each; return how many sessions it was sent to.

    Args:
        groups: sessions, and what :meth:`Session._encode` of one of them returned.
        slow: what becomes of a session whose queue is full.
        own: type and content of the message, which a session with a ``before_send`` encodes anew; None for what none may change.
    """
    sent = 0
    for group, buffers in groups:
        size, sessions = sum(map(len, buffers)), iter(group)
        while True:
            taken, session = send_as_usual(sessions, buffers, size)
            sent += taken
            if session is None:
                break
            try:
                if own is not None and session._hooked:
                    sent += session._send_own(*own)
                else:
                    session._send_encoded(buffers, size)
                    sent += 1
            except (SessionClosed, StreamEnded):
                continue
            except UnvalidatedAddress:
                session._count_drop()
            except QueueFull:
                if slow == "close":
                    session._abort_slow_reader()
                else:
                    session._count_drop()
    return sent


def check_slow(slow: object) -> None:
    """Raise SettingsError for what is none of :data:`Slow`."""
    if slow not in ("close", "drop"):
        raise SettingsError("slow", slow, "'close' or 'drop'")


def check_sessions(argument: str, sessions: object) -> None:
    """Raise SettingsError for an argument that is no iterable of sessions."""
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Iterable):
        raise SettingsError(argument, sessions, "several sessions, such as [client]")


def _keep(index: dict[Any, dict[Session, None]], name: object, session: Session, present: bool) -> None:
    """Enter a session under a name, or take it out."""
    if present:
        index.setdefault(name, {})[session] = None
        return
    del index[name][session]
    if not index[name]:
        del index[name]


def grouped(sessions: Iterable[Session]) -> list[list[Session]]:
    """Return sessions in groups that take the same bytes."""
    groups: dict[object, list[Session]] = {}
    for session in sessions:
        groups.setdefault(session._encoding_key, []).append(session)
    return list(groups.values())
