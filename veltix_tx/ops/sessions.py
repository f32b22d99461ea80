"""Sessions as an operator sees them: rows that are searched, sorted and cut in pages, made in slices; one session's detail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from veltix_tx.errors import excerpt
from veltix_tx.net.addresses import shown
from veltix_tx.net.session.session import Session
from veltix_tx.net.session.status import SessionStatus
from veltix_tx.ops.answers import SessionDetail, SessionRow, SessionsAnswer, Totals

__all__ = ["SLICE", "SORTS", "STATES", "Query", "detail", "half_open_page", "merged", "page", "row", "totals"]

SLICE = 200
"""Sessions that are looked at in one turn of the reactor: some 2 ms, 4 where a text is searched for."""

SORTS = ("id", "address", "version", "identity", "idle", "queued", "waiting", "pending", "inbox_bytes", "slow")
"""Fields of a row that sessions are sorted by, and ``slow``: those whose peers take nothing, other slow ones, the rest."""

STATES = ("open", "paused", "blocked", "closing", "slow", "half-open")
"""What sessions are selected by: the state of a row, ``slow`` for those with a ``why``, or connections still in their handshake."""

_MOST_TAGS = 32

_LONGEST = 64
"""Characters of a peer's own words in a row."""


@dataclass(frozen=True, slots=True)
class Query:
    """Selection of sessions, their order, and the page that is shown of them.

    Attributes:
        search: a text that a session's id, address, version, identity or state has in it; empty for all of them.
        state: one of :data:`STATES`; empty for all sessions.
        sort: the field they are sorted by, one of :data:`SORTS`.
        descending: the highest first.
        offset: how many are passed over.
        limit: how many are returned.
    """

    search: str = ""
    state: str = ""
    sort: str = "id"
    descending: bool = False
    offset: int = 0
    limit: int = 100


def row(session: Session) -> SessionRow:
    """Return what a list shows of a session.

    ``state`` is ``blocked``, its peer takes nothing; ``paused``, nothing is read from it, with the reasons in ``paused``;
    ``closing``; else ``open``. ``why`` says in words why it is slow, empty for one that is not.
    """
    status = session.status()
    return {
        "id": session.id,
        "address": shown(session.address),
        "wire": session.peer.wire,
        "version": session.peer.version[:_LONGEST],
        "identity": _identity(session),
        "state": _state(status),
        "why": _why(status),
        "paused": list(status.pause_reasons),
        "idle": round(status.idle, 3),
        "queued": status.queued,
        "waiting": status.waiting,
        "pending": status.pending,
        "inbox_bytes": status.inbox_bytes,
    }


def detail(session: Session) -> SessionDetail:
    """Return all that is known of a session now."""
    status, tags = session.status(), sorted(session.tags)
    return {
        **row(session),
        "admitted": session.admitted,
        "busy": status.busy,
        "mode": status.mode.lower(),
        "unfinished_bytes": status.unfinished_bytes,
        "silent_since_ping": status.silent,
        "late_replies": session.late_replies,
        "frames_rejected": session.frames_rejected,
        "broadcasts_dropped": session.broadcasts_dropped,
        "tags": {name: excerpt(session.get_tag(name)) for name in tags[:_MOST_TAGS]},
        "tag_count": len(tags),
    }


async def page(sessions: Iterable[Session], reactor: IReactorTime, query: Query) -> SessionsAnswer:
    """Return a page of sessions, and how many the query finds.

    A few hundred are looked at in a turn of the reactor, so that messages do not wait for it.

    Args:
        sessions: the sessions.
        reactor: whose turns these are.
        query: which of them; its state is not ``half-open``.
    """
    key, end = _KEYS[query.sort], query.offset + query.limit
    total, first = 0, []
    async for few in _slices(sessions, reactor):
        found = [session for session in few if not session.is_gone and _is_found(session, query)]
        total += len(found)
        # No two have the same number, so that sessions are not compared.
        first += [(key(session), _drawn(session.id), session) for session in found]
        first.sort(reverse=query.descending)
        del first[end:]  # many objects that stay for several turns would set the garbage collector going
    rows: list[SessionRow] = []
    async for few in _slices([session for _, _, session in first[query.offset :]], reactor):
        rows += map(row, few)
    return {"total": total, "offset": query.offset, "sessions": rows}


def merged(pages: Iterable[Mapping[str, Any]], query: Query) -> dict[str, Any]:
    """Return a page of the sessions of several servers.

    Args:
        pages: each server's, of the same query, but from its first session to the last of the page that is asked for.
        query: that page.
    """
    pages = list(pages)
    rows = [row for each in pages for row in each["sessions"]]
    if query.state == "half-open":
        rows.sort(key=lambda row: row["idle"], reverse=True)
    else:
        rows.sort(key=_key_of_row(query.sort), reverse=query.descending)
    return {
        "total": sum(each["total"] for each in pages),
        "offset": query.offset,
        "sessions": rows[query.offset : query.offset + query.limit],
    }


def half_open_page(connections: Mapping[Any, float], now: float, query: Query) -> SessionsAnswer:
    """Return a page of the connections that are still in their handshake, the oldest first, as rows like those of sessions.

    Args:
        connections: when each of them came, in seconds of uptime.
        now: the uptime.
        query: the page; they are neither searched nor sorted.
    """
    found = list(islice(connections.items(), query.offset, query.offset + query.limit))
    return {
        "total": len(connections),
        "offset": query.offset,
        "sessions": [_half_open_row(link, round(now - since, 3)) for link, since in found],
    }


async def totals(sessions: Iterable[Session], reactor: IReactorTime) -> Totals:
    """Return what all sessions have together, looked at in slices: how many are paused, blocked, slow; what waits."""
    sums: Totals = {"paused": 0, "blocked": 0, "slow": 0, "waiting": 0, "pending": 0, "queued": 0}
    async for few in _slices(sessions, reactor):
        for session in few:
            status = session.status()
            sums["paused"] += bool(status.pause_reasons)
            sums["blocked"] += status.blocked
            sums["slow"] += status.slow
            sums["waiting"] += status.waiting
            sums["pending"] += status.pending
            sums["queued"] += status.queued
    return sums


async def _slices(sessions: Iterable[Session], reactor: IReactorTime) -> AsyncIterator[list[Session]]:
    """Yield a few hundred sessions at a time, with a turn of the reactor between them."""
    left = iter(sessions)
    while few := list(islice(left, SLICE)):
        yield few
        if len(few) == SLICE:
            await deferLater(reactor, 0)


def _is_found(session: Session, query: Query) -> bool:
    if query.state == "slow":
        if not session.status().slow:
            return False
    elif query.state and query.state != _state(session.status()):
        return False
    text = query.search
    return not text or any(
        text in each
        for each in (session.id, shown(session.address), session.peer.version, _identity(session), _state(session.status()))
    )


def _state(status: SessionStatus) -> str:
    return "closing" if status.closing else "blocked" if status.blocked else "paused" if status.pause_reasons else "open"


def _why(status: SessionStatus) -> str:
    reasons = []
    if status.closing:
        reasons.append("it is being closed")
    if status.blocked:
        reasons.append(f"its peer does not read: {status.queued:,} bytes wait for it")
    elif status.queued:
        reasons.append(f"{status.queued:,} bytes wait for its peer")
    if status.pause_reasons:
        reasons.append(f"nothing is read from it ({', '.join(status.pause_reasons)})")
    if status.waiting:
        reasons.append(f"{status.waiting:,} messages wait for their turn")
    if status.silent:
        reasons.append(f"a ping is unanswered, and it has been silent for {status.idle:.0f} s")
    return "; ".join(reasons)


def _half_open_row(link: Any, seconds: float) -> SessionRow:
    return {
        "id": link.connection_id,
        "address": shown(link.address),
        "state": "half-open",
        "why": f"its handshake is not complete after {seconds:.0f} s",
        "paused": [],
        "idle": seconds,
        "wire": "",
        "version": "",
        "identity": "",
        "queued": 0,
        "waiting": 0,
        "pending": 0,
        "inbox_bytes": 0,
    }


def _identity(session: Session) -> str:
    """Return who a peer is: the name of its identity, which may be any object, or else what that looks like."""
    if session.identity is None:
        return ""
    name = getattr(session.identity, "name", None)
    return name[:_LONGEST] if isinstance(name, str) else excerpt(session.identity)


def _drawn(session_id: str) -> int:
    """Return the number in an id, by which sessions are in the order of their coming."""
    return int(session_id.rpartition("-")[2])


_KEYS: dict[str, Callable[[Session], Any]] = {
    "id": lambda session: _drawn(session.id),
    "address": lambda session: shown(session.address),
    "version": lambda session: session.peer.version,
    "identity": _identity,
    "idle": lambda session: session.status().idle,
    "queued": lambda session: session.status().queued,
    "waiting": lambda session: session.status().waiting,
    "pending": lambda session: session.pending_requests,
    "inbox_bytes": lambda session: session.status().inbox_bytes,
    "slow": lambda session: _slowness(session.status()),
}


def _slowness(status: SessionStatus) -> tuple[int, ...]:
    """Return the key by which those whose peers take nothing come last, before them other slow ones, before these the rest."""
    return status.blocked, status.slow, status.queued, status.waiting, status.inbox_bytes


def _key_of_row(sort: str) -> Callable[[dict[str, Any]], Any]:
    """Return the key by which the rows of several servers are sorted: as :data:`_KEYS` does, then by their numbers and servers."""

    def key(row: dict[str, Any]) -> Any:
        first = row.get(sort, 0)
        if sort == "id":
            first = 0
        elif sort == "slow":
            first = row["state"] == "blocked", bool(row["why"]), row["queued"], row["waiting"], row["inbox_bytes"]
        return first, _drawn(row["id"]), row["worker"]

    return key
