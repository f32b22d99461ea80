"""Answers of the administration: what each of its paths shows, of which its OpenAPI document is made."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "Closing",
    "Event",
    "Frame",
    "InUse",
    "LimitsAnswer",
    "Listener",
    "Member",
    "MembersAnswer",
    "Method",
    "Node",
    "NodesAnswer",
    "NowAnswer",
    "Room",
    "RoomsAnswer",
    "RoundTrip",
    "Route",
    "RoutesAnswer",
    "Sent",
    "ServerAnswer",
    "SessionDetail",
    "SessionRow",
    "SessionsAnswer",
    "Totals",
    "TraceAnswer",
    "Traffic",
    "Worker",
    "WorkerUse",
]


class Traffic(TypedDict):
    """Sums of what has gone through all listeners."""

    bytes_in: int
    bytes_out: int
    buffers_out: int
    messages_in: int


class _WorkerNumbers(TypedDict, total=False):
    uptime: float
    sessions: int


class Worker(_WorkerNumbers):
    """A worker process; its numbers are there if it answers."""

    worker: int
    pid: int
    state: str
    answers: bool


class _Workers(TypedDict, total=False):
    workers: list[Worker]


class ServerAnswer(_Workers):
    """The server: ``traffic`` is null where nothing is measured, ``workers`` there with several of them."""

    version: str
    build: str
    pid: int
    uptime: float
    ready: bool
    addresses: list[str]
    sessions: int
    counters: dict[str, int]
    traffic: Traffic | None


class Totals(TypedDict):
    """Numbers of all sessions together."""

    paused: int
    blocked: int
    slow: int
    waiting: int
    pending: int
    queued: int


class NowAnswer(Totals):
    """Numbers for charts; ``cpu`` and ``uptime`` in seconds, ``late`` those that the reactor is behind."""

    sessions: int
    half_open: int
    uptime: float
    cpu: float
    late: float
    traffic: Traffic | None


class _Place(TypedDict):
    listener: str
    address: str
    wire: str
    encrypted: bool


class Listener(_Place, total=False):
    """A place where the server listens; its traffic is there where that is measured."""

    open: int
    ready: int
    bytes_in: int
    bytes_out: int


class _OfWorker(TypedDict, total=False):
    worker: int


class SessionRow(_OfWorker):
    """A session, or a connection that is still in its handshake, in a list.

    ``why`` says why it is slow, empty if it is not; ``worker`` is there with several of them.
    """

    id: str
    address: str
    wire: str
    version: str
    identity: str
    state: str
    why: str
    paused: list[str]
    idle: float
    queued: int
    waiting: int
    pending: int
    inbox_bytes: int


class SessionsAnswer(TypedDict):
    """A page of sessions; ``total`` of all that are found."""

    total: int
    offset: int
    sessions: list[SessionRow]


class SessionDetail(SessionRow):
    """All that is known of a session."""

    admitted: bool
    busy: bool
    mode: str
    unfinished_bytes: int
    silent_since_ping: bool
    late_replies: int
    frames_rejected: int
    broadcasts_dropped: int
    tags: dict[str, str]
    tag_count: int


class RoundTrip(TypedDict):
    """A ping's round trip."""

    milliseconds: float


class Sent(TypedDict):
    """A message that was sent: bytes of its content."""

    sent: int


class Closing(TypedDict):
    """A session that is being closed: its id."""

    closing: str


class _FrameFacts(TypedDict):
    number: int
    time: float
    direction: str
    name: str
    size: int


class Frame(_FrameFacts, total=False):
    """One frame of a traced session.

    ``number`` is its place in the trace, ``time`` in seconds since 1970, ``direction`` ``in`` from the peer or ``out`` to it,
    ``type`` a code, or a name where the wire has names, ``id`` that of a request and of what answers it, ``size`` the bytes of
    its content, and ``content`` the first of these, as a text, or as hexadecimal digits behind ``hex:``.
    """

    type: int | str
    id: int
    content: str


class TraceAnswer(_OfWorker):
    """A session's trace: seconds that it still goes on, the number of its last frame, and frames."""

    remaining: float
    last: int
    frames: list[Frame]


class _Handler(TypedDict):
    name: str
    failed: int


class _HandlerNumbers(_Handler, total=False):
    timed: int
    mean_ms: float


class _Received(_HandlerNumbers, total=False):
    received: int


class Route(_Received):
    """A route; what is not measured is not there."""

    type: int | str


class Method(_HandlerNumbers):
    """A method; what is not measured is not there."""

    concurrent: bool


class RoutesAnswer(TypedDict):
    """Routes and methods."""

    routes: list[Route]
    methods: list[Method]


class Node(TypedDict):
    """A server that shares the backplane; ``started`` in seconds since 1970."""

    node: str
    host: str
    pid: int
    started: float
    connections: int
    draining: bool


class NodesAnswer(TypedDict):
    """The nodes, which of them was asked, and the state and the counters of its backplane."""

    backplane: str
    this: str
    counters: dict[str, int]
    total: int
    nodes: list[Node]


class Room(TypedDict):
    """A room and how many are in it."""

    name: str
    members: int


class RoomsAnswer(TypedDict):
    """Rooms that have members, those with the most first; ``total`` of all that are found."""

    total: int
    rooms: list[Room]


class Member(TypedDict):
    """A member of a room; ``since`` in seconds since 1970, ``state`` what it says of itself."""

    id: str
    node: str
    identity: Any
    since: float
    state: Any


class MembersAnswer(TypedDict):
    """Members of a room, those that are there longest first; ``total`` of all of them."""

    total: int
    members: list[Member]


class Event(_OfWorker):
    """A line of the log; ``time`` in seconds since 1970, ``connection`` the id of the one it is about."""

    number: int
    time: float | None
    level: str
    namespace: str
    connection: str | None
    text: str


class WorkerUse(TypedDict):
    """Use of a limit by one worker."""

    worker: int
    used: int
    limit: int


class _Fullest(TypedDict, total=False):
    fullest: WorkerUse


class InUse(_Fullest):
    """Use of a limit that all connections share, -1 for no limit; with several workers sums, and the one that uses the most."""

    used: int
    limit: int


class LimitsAnswer(TypedDict):
    """Limits and timeouts with what is used; ``"inf"`` is a time without end."""

    in_use: dict[str, InUse]
    limits: dict[str, int | float | None]
    timeouts: dict[str, float | str | None]
    max_message_size: int
