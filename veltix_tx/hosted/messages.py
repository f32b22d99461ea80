"""Messages between a node and the process that hosts its backplane: commands there, events back, as MessagePack.

Each is a message of Veltix's wire. A command of a class that has a ``result`` is answered with one Result or Fault, in the order of
the commands; all other events come between them, in the order in which things happened.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from veltix_tx.backplane.interface import HistoryPage, NodeInfo, Position, PresenceDiff, PresenceEntry
from veltix_tx.wire.messages import MessageRegistry, MessageType

__all__ = [
    "COMMAND",
    "EVENT",
    "MAX_MESSAGE_SIZE",
    "TYPES",
    "VERSION",
    "Command",
    "Event",
    "decode_command",
    "decode_event",
    "encode",
]

VERSION = 1
"""Version of these messages. A host takes nodes of its own version only."""

MAX_MESSAGE_SIZE = 64 << 20
"""Maximum bytes of a message: a list of all members of a large room is the longest."""

TYPES = MessageRegistry()
COMMAND = MessageType(200, "backplane_command", registry=TYPES)
EVENT = MessageType(201, "backplane_event", registry=TYPES)


class Command(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """Command of a node to its host.

    Attributes:
        result: type of what answers it; None where nothing does.
    """

    result: ClassVar[Any] = None


class Join(Command, frozen=True, tag="join"):
    """Begin: the node's state follows, and then Ready. The result is how often to send Beat, in seconds.

    Attributes:
        version: :data:`VERSION`.
        node: the node's id.
        host: name of its machine.
        pid: its process.
        started: its calendar's seconds when it was started.
        connections: its open connections.
        draining: True if it is stopping.
        page: maximum items of one answer.
        page_bytes: maximum bytes of a page of history.
    """

    result: ClassVar[Any] = float
    version: int
    node: str
    host: str
    pid: int
    started: float
    connections: int
    draining: bool
    page: int
    page_bytes: int


class Ready(Command, frozen=True, tag="ready"):
    """Say that all that the node subscribes and tracks was said since Join. The result is True if its lease had not ended."""

    result: ClassVar[Any] = bool


class Beat(Command, frozen=True, tag="beat"):
    """Say what other nodes may know of this one."""

    connections: int
    draining: bool


class Leave(Command, frozen=True, tag="leave"):
    """End the lease."""

    result: ClassVar[Any] = type(None)


class Publish(Command, frozen=True, tag="p"):
    """Publish a message; with a history where its size is not 0."""

    result: ClassVar[Any] = Position | None
    topic: str
    payload: bytes
    size: int = 0
    ttl: float = 0.0


class Subscribe(Command, frozen=True, tag="s"):
    """Subscribe a topic."""

    result: ClassVar[Any] = bool
    topic: str


class Unsubscribe(Command, frozen=True, tag="u"):
    """Unsubscribe a topic."""

    result: ClassVar[Any] = type(None)
    topic: str


class LookUp(Command, frozen=True, tag="h"):
    """Look up a topic's history."""

    result: ClassVar[Any] = HistoryPage
    topic: str
    since: Position | None
    limit: int


class Send(Command, frozen=True, tag="d"):
    """Send a message to a node."""

    result: ClassVar[Any] = bool
    node: str
    payload: bytes


class Ask(Command, frozen=True, tag="q"):
    """Ask a node; Replied, or NotReplied, of the same number follows."""

    number: int
    node: str
    payload: bytes
    timeout: float


class Answer(Command, frozen=True, tag="a"):
    """Answer what Asked of the same number has asked."""

    number: int
    payload: bytes


class ListNodes(Command, frozen=True, tag="n"):
    """List the nodes."""

    result: ClassVar[Any] = list[NodeInfo]


class Track(Command, frozen=True, tag="+"):
    """Enter a member on a topic, or change its info."""

    result: ClassVar[Any] = bool
    topic: str
    member: str
    info: bytes


class Untrack(Command, frozen=True, tag="-"):
    """Take a member out of a topic."""

    result: ClassVar[Any] = type(None)
    topic: str
    member: str


class ListMembers(Command, frozen=True, tag="m"):
    """List the entries on a topic."""

    result: ClassVar[Any] = list[PresenceEntry]
    topic: str


class CountMembers(Command, frozen=True, tag="c"):
    """Count the entries on a topic."""

    result: ClassVar[Any] = int
    topic: str


class ListTopics(Command, frozen=True, tag="t"):
    """List the topics that have entries, by a pattern."""

    result: ClassVar[Any] = dict[str, int]
    pattern: str


class Event(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """Event from a host to a node."""


class Result(Event, frozen=True, tag="r"):
    """Result of the oldest command that has none yet."""

    value: Any


class Fault(Event, frozen=True, tag="f"):
    """Failure of that command.

    Attributes:
        error: name of the exception, of those that the node knows.
        name: what it is about: a limit of BackplaneLimits, or a node.
        limit: the limit's value.
    """

    error: str
    name: str = ""
    limit: int = 0


class Came(Event, frozen=True, tag="p"):
    """Message on a topic."""

    topic: str
    payload: bytes
    position: Position | None
    node: str


class Directed(Event, frozen=True, tag="d"):
    """Message to this node."""

    payload: bytes
    node: str


class Asked(Event, frozen=True, tag="q"):
    """Question to this node."""

    number: int
    payload: bytes
    node: str


class Replied(Event, frozen=True, tag="a"):
    """Reply to an Ask."""

    number: int
    payload: bytes


class NotReplied(Event, frozen=True, tag="x"):
    """End of an Ask without a reply."""

    number: int
    fault: Fault


class Changed(Event, frozen=True, tag="c"):
    """Changes of other nodes' entries on a topic."""

    topic: str
    diff: PresenceDiff


class Interrupted(Event, frozen=True, tag="i"):
    """Topics of which something may have been lost."""

    topics: tuple[str, ...]


class Reaped(Event, frozen=True, tag="g"):
    """Number of nodes that were taken for dead."""

    count: int


encode = msgspec.msgpack.Encoder().encode

decode_command = msgspec.msgpack.Decoder(
    Join
    | Ready
    | Beat
    | Leave
    | Publish
    | Subscribe
    | Unsubscribe
    | LookUp
    | Send
    | Ask
    | Answer
    | ListNodes
    | Track
    | Untrack
    | ListMembers
    | CountMembers
    | ListTopics
).decode
"""Return a command; raises msgspec's DecodeError for what is none."""

decode_event = msgspec.msgpack.Decoder(
    Result | Fault | Came | Directed | Asked | Replied | NotReplied | Changed | Interrupted | Reaped
).decode
"""Return an event; raises likewise."""
