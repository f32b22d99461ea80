"""Interface of every backplane, and the values that pass through it.

A node is one started :class:`Backplane`, as a server has one. Payloads are bytes that a backplane never looks into.

**Clocks.** No node's calendar is used for correctness: leases and times to live run on one clock, that of the backplane.

**Order.** What one node publishes on a topic arrives everywhere in that order. What is published with a history arrives in the
order of its offsets, which are 1, 2, 3 … within an epoch, whoever published it.

**Loss.** A message without history arrives at most once. It is lost for a node that was cut off (told by ``interrupted``), and for
one that took too little for too long (counted as ``overflowed``, and then told by ``interrupted``, too).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred

from veltix_tx.errors import BackplaneRefused, SettingsError
from veltix_tx.limits import check_seconds
from veltix_tx.net.clock import Clocks

__all__ = [
    "COUNTERS",
    "MAX_HISTORY_SIZE",
    "MAX_NODE_SIZE",
    "Backplane",
    "BackplaneLimits",
    "BackplaneReceiver",
    "BackplaneState",
    "History",
    "HistoryItem",
    "HistoryPage",
    "NodeInfo",
    "NodeStatus",
    "Position",
    "PresenceDiff",
    "PresenceEntry",
    "check_node_id",
    "node_of",
]

MAX_NODE_SIZE = 64
"""Maximum bytes of a node's id: printable ASCII without spaces. ``-`` may be in it: a connection id is split at its last one."""

MAX_HISTORY_SIZE = 10_000
"""Maximum messages of one topic's history."""

_NODE_ID = re.compile(rf"[!-~]{{1,{MAX_NODE_SIZE}}}")

COUNTERS = {
    "published": "messages published",
    "publish_refused": "messages not published: the backplane was not up, too much waited for it, or they were too large",
    "received": "messages of other nodes given to the receiver",
    "overflowed": "messages of other nodes dropped because this node took them too slowly",
    "requests": "requests sent to nodes",
    "requests_failed": "requests to nodes that ended without a reply",
    "requests_refused": "requests to nodes not sent: too many waited already, or the backplane was not up",
    "receiver_failed": "calls of the receiver that raised",
    "malformed": "what came from another node, or from the engine, and could not be read",
    "outages": "times that the backplane was up and then was not",
    "leases_lost": "times that this node was taken for dead, and came back",
    "nodes_reaped": "other nodes taken for dead by this one",
}
"""Counters of a backplane by name; an implementation may add its own, with names that begin with its scheme and ``_``."""


class BackplaneState(Enum):
    """State of a backplane."""

    UP = "up"
    """Everything works."""
    DEGRADED = "degraded"
    """Joined, while subscriptions or presence are being repaired, or the engine is slow."""
    DOWN = "down"
    """Not joined, as before the start, after the stop, or without the engine. What needs it fails with BackplaneUnavailable."""


@dataclass(frozen=True, slots=True)
class BackplaneLimits:
    """Maxima of one node's backplane. What is over them fails with an error or is dropped, and is counted.

    Attributes:
        topic: characters of a topic; over it, BackplaneRefused.
        payload: bytes of one payload; over it, BackplaneRefused.
        publish_queue: messages that wait to be published, and directed ones to be sent; over it, BackplaneRefused.
        publish_bytes: bytes of those; likewise.
        receive_queue: messages of other nodes that wait for this node's receiver; over it they are dropped.
        requests: requests that wait for their replies; over it, BackplaneRefused.
        subscriptions: topics subscribed to; over it, BackplaneRefused.
        presence: entries tracked by this node; over it, BackplaneRefused.
        presence_bytes: size of those: characters of their topics and members, bytes of their infos; likewise.
        page: items of one page of history, and entries of one answer about presence or topics; more are left out.
        page_bytes: bytes of one page of history, which ends where they are exceeded but has one item at least.
    """

    topic: int = 512
    payload: int = 1 << 20
    publish_queue: int = 10_000
    publish_bytes: int = 16 << 20
    receive_queue: int = 10_000
    requests: int = 1_000
    subscriptions: int = 100_000
    presence: int = 200_000
    presence_bytes: int = 64 << 20
    page: int = 10_000
    page_bytes: int = 1 << 20

    def refusal(self, topic: str = "", payload: bytes = b"", subscribed: int | None = None) -> BackplaneRefused | None:
        """Return the error for a topic (text) or a payload (bytes) that is too large; None if neither is.

        With ``subscribed``, how many topics are subscribed to, also that for one more of them.
        """
        if len(topic) > self.topic:
            return BackplaneRefused("topic", self.topic)
        if len(payload) > self.payload:
            return BackplaneRefused("payload", self.payload)
        if subscribed is not None and subscribed >= self.subscriptions:
            return BackplaneRefused("subscriptions", self.subscriptions)
        return None


@dataclass(frozen=True, slots=True)
class History:
    """Extent of a topic's history.

    Attributes:
        size: messages kept, the latest ones, from 1 to 10,000.
        ttl: seconds for which a message is kept, above 0.

    Raises:
        SettingsError: one of them is none such.
    """

    size: int = 100
    ttl: float = 300.0

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 0 < self.size <= MAX_HISTORY_SIZE:
            raise SettingsError("size", self.size, f"a whole number from 1 to {MAX_HISTORY_SIZE}")
        check_seconds("ttl", self.ttl)


@dataclass(frozen=True, slots=True)
class Position:
    """Place in a topic's history.

    Attributes:
        epoch: random text that is another one after the history was lost. Empty for a topic that never had one.
        offset: number of the message within the epoch, from 1 on; 0 is before the first.
    """

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """Message in a history.

    Attributes:
        offset: its number within the page's epoch.
        payload: its bytes.
        node: the node that published it.
    """

    offset: int
    payload: bytes
    node: str


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Part of a topic's history.

    Attributes:
        items: messages in the order of their offsets, without a hole between them.
        top: offset of the topic's latest message, in ``items`` or not; 0 where there was none in this epoch.
        epoch: the topic's epoch.
        recovered: True if nothing is missing between ``since`` and the first item (or ``top``, where there is none): ``since`` is
            of this epoch, not beyond ``top``, and everything behind it is still kept. Always True without ``since``.
    """

    items: tuple[HistoryItem, ...]
    top: int
    epoch: str
    recovered: bool


@dataclass(frozen=True, slots=True)
class PresenceEntry:
    """One that is present on a topic.

    Attributes:
        member: its id, which no other of its node has.
        node: the node that tracks it, with whose lease it ends.
        info: what the node says of it.
    """

    member: str
    node: str
    info: bytes


@dataclass(frozen=True, slots=True)
class PresenceDiff:
    """Changes of other nodes' entries on one topic, in the order in which they are to be applied: left, joined, updated.

    Attributes:
        joined: new entries.
        updated: entries whose ``info`` is another one.
        left: entries that are gone, with their latest ``info`` where it is known, else empty.
    """

    joined: tuple[PresenceEntry, ...] = ()
    updated: tuple[PresenceEntry, ...] = ()
    left: tuple[PresenceEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Status of a node, which its receiver reports whenever its lease is renewed.

    Attributes:
        connections: its open connections.
        draining: True if it is stopping.
    """

    connections: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node whose lease runs.

    Attributes:
        node: its id.
        host: the name of its machine.
        pid: its process.
        started: its calendar's seconds since 1970 when it joined, for people.
        connections: its open connections when it renewed its lease last.
        draining: True if it was stopping then.
    """

    node: str
    host: str
    pid: int
    started: float
    connections: int
    draining: bool


def node_of(connection_id: str) -> str:
    """Return the node on which a connection lives, by its id ``<node>-<counter>``; empty where it is no such id."""
    node, _, counter = connection_id.rpartition("-")
    return node if counter.isdecimal() and _NODE_ID.fullmatch(node) else ""


def check_node_id(node_id: str) -> str:
    """Return a node's id.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(node_id, str) or not _NODE_ID.fullmatch(node_id):
        raise SettingsError("node_id", node_id, f"1 to {MAX_NODE_SIZE} printable characters of ASCII, without spaces")
    return node_id


class BackplaneReceiver(Protocol):
    """Receiver of what a backplane delivers to one node. Called in the reactor's thread; must not block.

    An exception is logged and counted (``receiver_failed``), and changes nothing else.
    """

    def message_received(self, topic: str, payload: bytes, position: Position | None, node: str) -> None:
        """Take a message that another node published on a topic subscribed to; a node's own never come back.

        Args:
            topic: the topic.
            payload: the message.
            position: its place in the topic's history; None where it was published without.
            node: the node that published it.
        """
        ...

    def directed_received(self, payload: bytes, node: str) -> None:
        """Take a message that a node, this one or another, sent to this one by ``send``."""
        ...

    def request_received(self, payload: bytes, node: str) -> Deferred[bytes]:
        """Answer a request of a node, this one or another.

        Returns:
            a Deferred of the reply. Where it fails the asker gets no reply, and its request times out.
        """
        ...

    def presence_changed(self, topic: str, diff: PresenceDiff) -> None:
        """Take changes of other nodes' entries on a topic subscribed to."""
        ...

    def interrupted(self, topics: frozenset[str]) -> None:
        """Allow for messages and presence changes of these topics, subscribed to, that may have been lost until now.

        Called once they come again: what is asked for from now on (``history``, ``members``) and what is received join without a
        hole. A receiver that keeps positions or members asks anew.
        """
        ...

    def state_changed(self, state: BackplaneState) -> None:
        """Follow a change to a new state."""
        ...

    def status(self) -> NodeStatus:
        """Return what the other nodes may know of this one."""
        ...


class Backplane(Protocol):
    """What the nodes of a service share.

    Its methods are called in the reactor's thread. A Deferred that is not settled yet when ``stop`` is called errbacks with
    BackplaneUnavailable at once. Cancelling one gives its result up and takes nothing back.

    Errors that any method that returns a Deferred may errback with: BackplaneUnavailable while the state is DOWN, at once, and for
    what is under way when it gets DOWN (``uncertain`` is True then where it may have been done all the same); BackplaneRefused,
    nothing having been done, over a limit of :class:`BackplaneLimits`. It never waits for an engine to come back. A subscription or
    an entry that was under way when the state got DOWN is remembered as one that was made then.
    """

    @property
    def node_id(self) -> str:
        """Id of this node, unlike that of any other Backplane of any process that runs or ran; always the same of one."""
        ...

    @property
    def state(self) -> BackplaneState:
        """The state."""
        ...

    @property
    def counters(self) -> Counter[str]:
        """Counts by the names of ``COUNTERS``, a copy."""
        ...

    def start(self, receiver: BackplaneReceiver, clocks: Clocks) -> Deferred[None]:
        """Join, and stay joined: it connects again by itself for ever, with waits that are bounded and jittered.

        Returns:
            a Deferred that fires when the node has joined for the first time. It errbacks with BackplaneUnavailable only when
            ``stop`` is called before, and with SettingsError for a setting that cannot be.
        """
        ...

    def stop(self) -> Deferred[None]:
        """Leave: end the lease and with it this node's presence, tell the others, fail what is under way.

        Returns:
            a Deferred that fires when that is done, or cannot be; it never errbacks. A stopped one may be started again.
        """
        ...

    # Topics.

    def publish(self, topic: str, payload: bytes, history: History | None = None) -> Deferred[Position | None]:
        """Publish a message to the other nodes that subscribe a topic.

        Args:
            topic: the topic.
            payload: the message.
            history: keeps the message as well, in one step with the publication; None for a message that is not kept.

        Returns:
            a Deferred of its position, None without history, once the engine has it.
        """
        ...

    def subscribe(self, topic: str) -> Deferred[bool]:
        """Subscribe a topic: its messages and presence changes come to the receiver. Again changes nothing.

        Returns:
            a Deferred of True once it is in effect, so that what is published from then on comes. False at once where the state is
            DOWN; then it is remembered, and ``interrupted`` tells when it is in effect.
        """
        ...

    def unsubscribe(self, topic: str) -> Deferred[None]:
        """Unsubscribe a topic. Nothing of it comes to the receiver any more; one that is not subscribed changes nothing."""
        ...

    def history(self, topic: str, since: Position | None, limit: int) -> Deferred[HistoryPage]:
        """Look up a topic's history.

        Asking for one that there is none of begins its epoch, so that a position taken before the first message is one.
        Epoch and top outlive the messages, by a day at least unless the engine loses them.

        Args:
            topic: the topic.
            since: a position: the items behind it are wanted, the oldest first. None for the latest ones.
            limit: maximum of items; 0 for ``top`` and ``epoch`` alone. ``BackplaneLimits.page_bytes`` may make them fewer.

        Returns:
            a Deferred of the page. Where it is not ``recovered``, the items are all that are kept, up to the limit, the oldest
            first.
        """
        ...

    # Nodes.

    def send(self, node: str, payload: bytes) -> Deferred[bool]:
        """Send a message to one node.

        Returns:
            a Deferred of True where the node was there to take it; False where there is none of that id.
        """
        ...

    def request(self, node: str, payload: bytes, timeout: float, accepts: Callable[[bytes], bool] | None = None) -> Deferred[bytes]:
        """Ask one node.

        Args:
            node: its id.
            payload: the request.
            timeout: seconds to wait.
            accepts: called with a reply; where it returns False that is dropped, as one that somebody forged, and the request waits
                on. None takes the first.

        Returns:
            a Deferred of the reply. It errbacks with NoSuchNode at once where there is none of that id; with NodeGone as soon as
            its lease has ended; with RequestTimeout.
        """
        ...

    def nodes(self) -> Deferred[list[NodeInfo]]:
        """Return a Deferred of the nodes whose leases run, this one among them, in the order of their ids."""
        ...

    # Presence.

    def track(self, topic: str, member: str, info: bytes) -> Deferred[bool]:
        """Enter a member of this node on a topic, or change its info; other nodes that subscribe the topic hear of it.

        The entry lasts until ``untrack``, ``stop`` or the end of the node's lease. A node whose lease had ended only because it
        hung enters everything again by itself, and so does one whose engine had lost it. What the engine could not take when it was
        asked is entered later, too; only what errbacks with BackplaneRefused is not remembered.

        Returns:
            a Deferred of True once it is in effect. False at once where the state is DOWN; then it is remembered.
        """
        ...

    def untrack(self, topic: str, member: str) -> Deferred[None]:
        """Take a member of this node out of a topic; one that is not in it changes nothing. Remembered where the state is DOWN."""
        ...

    def members(self, topic: str) -> Deferred[list[PresenceEntry]]:
        """Return a Deferred of the entries of all nodes on a topic, in the order of node and member."""
        ...

    def count(self, topic: str) -> Deferred[int]:
        """Return a Deferred of how many entries there are on a topic."""
        ...

    def topics(self, pattern: str = "*") -> Deferred[dict[str, int]]:
        r"""Return a Deferred of the topics that have entries, and how many.

        Args:
            pattern: what a topic must match as a whole, case and all: ``*`` is any text, ``?`` any character, ``[ab]`` one of
                these, ``[^ab]`` none of these, ``\`` takes the next character as it is (Redis's glob).
        """
        ...
