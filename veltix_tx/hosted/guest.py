"""Guest of a host: a node of its hub that lives in another process, over one connection after another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.interface import BackplaneState, History, NodeInfo, NodeStatus, Position, PresenceDiff
from veltix_tx.backplane.memory import MemoryBackplane
from veltix_tx.errors import (
    BackplaneError,
    BackplaneRefused,
    BackplaneUnavailable,
    NodeGone,
    NoSuchNode,
    SettingsError,
    VeltixError,
)
from veltix_tx.hosted import messages
from veltix_tx.hosted.messages import EVENT, Event, Fault, encode
from veltix_tx.net.session.session import Session

__all__ = ["Guest"]

_log = Logger()

_MOST_ASKED = 10_000
"""Questions to a guest that it has not answered; over it, the oldest one is forgotten, and times out where it was asked."""

_MARGIN = 1.0
"""Seconds that a question is kept here for longer than by who asks: the timeout is to be told there."""


class Guest:
    """A node in another process: receiver of what the hub has for it, and executor of its commands.

    Args:
        node: its part in the hub.
        info_of: returns what a node has said of itself when it joined, by its id; None for one that is none of the guests.

    Attributes:
        node: as given.
        session: its connection; None while there is none.
        joined: what it has said of itself.
        farewell: ends its lease, while there is no connection.
        known: True if its lease had not ended when it had its connection.
    """

    def __init__(self, node: MemoryBackplane, joined: messages.Join, info_of: Callable[[str], messages.Join | None]) -> None:
        self.node = node
        self.session: Session | None = None
        self.joined = joined
        self.farewell: IDelayedCall | None = None
        self.known = False
        self._info_of = info_of
        self._status = NodeStatus(joined.connections, joined.draining)
        self._asked: OrderedDict[int, Deferred[bytes]] = OrderedDict()
        self._numbers = count(1)
        self._reaped = 0
        self._topics: set[str] | None = None  # told since Join, until Ready
        self._tracked: set[tuple[str, str]] = set()
        self._restoring = False

    # Connections.

    def begin(self, session: Session, joined: messages.Join, *, known: bool) -> None:
        """Attach a connection, on which the node's state is told next."""
        self.known = known
        self.session, self.joined = session, joined
        self._status = NodeStatus(joined.connections, joined.draining)
        self._topics, self._tracked = set(), set()

    def end(self) -> None:
        """Detach the connection, which is lost."""
        self.session = self._topics = None
        self._asked.clear()

    def make_alike(self) -> None:
        """Take out what the node has not told on its new connection."""
        told, self._topics = self._topics, None
        if told is not None:
            for topic in self.node.subscribed - told:
                self.node.unsubscribe(topic)
            for topic, member in self.node.tracked - self._tracked:
                self.node.untrack(topic, member)
            self._tracked = set()

    def restore(self, restore: Callable[[MemoryBackplane], None]) -> None:
        """Join the hub again. The node knows by itself what was interrupted."""
        self._restoring = True
        restore(self.node)
        self._restoring = False

    # Commands.

    def execute(self, command: messages.Command) -> None:
        """Execute a command, and send its result."""
        done: Deferred[Any] | None
        try:
            done = self._EXECUTE[type(command)](self, command)
        except (VeltixError, ValueError) as error:
            self.tell(_fault(error))
            return
        if done is not None:
            done.addCallbacks(lambda value: self.tell(messages.Result(value)), lambda failure: self.tell(_fault(failure.value)))

    def _publish(self, command: messages.Publish) -> Deferred[Any]:
        history = History(command.size, command.ttl) if command.size else None
        return self.node.publish(command.topic, command.payload, history)

    def _subscribe(self, command: messages.Subscribe) -> Deferred[Any]:
        if self._topics is not None:
            self._topics.add(command.topic)
        return self.node.subscribe(command.topic)

    def _unsubscribe(self, command: messages.Unsubscribe) -> Deferred[Any]:
        if self._topics is not None:
            self._topics.discard(command.topic)
        return self.node.unsubscribe(command.topic)

    def _look_up(self, command: messages.LookUp) -> Deferred[Any]:
        return self.node.history(command.topic, command.since, command.limit)

    def _send(self, command: messages.Send) -> Deferred[Any]:
        return self.node.send(command.node, command.payload)

    def _ask(self, command: messages.Ask) -> None:
        number = command.number
        asked = self.node.request(command.node, command.payload, command.timeout + _MARGIN)
        asked.addCallbacks(
            lambda payload: self.tell(messages.Replied(number, payload)),
            lambda failure: self.tell(messages.NotReplied(number, _fault(failure.value))),
        )

    def _answer(self, command: messages.Answer) -> None:
        asked = self._asked.pop(command.number, None)
        if asked is not None:
            asked.callback(command.payload)

    def _nodes(self, command: messages.ListNodes) -> Deferred[Any]:
        def described(nodes: list[NodeInfo]) -> list[NodeInfo]:
            infos = []
            for each in nodes:
                said = self._info_of(each.node)
                infos.append(each if said is None else replace(each, host=said.host, pid=said.pid, started=said.started))
            return infos

        self._tell_reaped()
        return self.node.nodes().addCallback(described)

    def _track(self, command: messages.Track) -> Deferred[Any]:
        if self._topics is not None:
            self._tracked.add((command.topic, command.member))
        return self.node.track(command.topic, command.member, command.info)

    def _untrack(self, command: messages.Untrack) -> Deferred[Any]:
        if self._topics is not None:
            self._tracked.discard((command.topic, command.member))
        return self.node.untrack(command.topic, command.member)

    def _members(self, command: messages.ListMembers) -> Deferred[Any]:
        return self.node.members(command.topic)

    def _count(self, command: messages.CountMembers) -> Deferred[Any]:
        return self.node.count(command.topic)

    def _list_topics(self, command: messages.ListTopics) -> Deferred[Any]:
        return self.node.topics(command.pattern)

    def _beat(self, command: messages.Beat) -> None:
        self._status = NodeStatus(command.connections, command.draining)
        self._tell_reaped()

    def _tell_reaped(self) -> None:
        """Report the number of nodes taken for dead since the last report."""
        before, self._reaped = self._reaped, self.node.counters["nodes_reaped"]
        if self._reaped > before:
            self.tell(messages.Reaped(self._reaped - before))

    _EXECUTE: dict[type, Callable[[Guest, Any], Deferred[Any] | None]] = {  # noqa: RUF012 (a table)
        messages.Publish: _publish,
        messages.Subscribe: _subscribe,
        messages.Unsubscribe: _unsubscribe,
        messages.LookUp: _look_up,
        messages.Send: _send,
        messages.Ask: _ask,
        messages.Answer: _answer,
        messages.ListNodes: _nodes,
        messages.Track: _track,
        messages.Untrack: _untrack,
        messages.ListMembers: _members,
        messages.CountMembers: _count,
        messages.ListTopics: _list_topics,
        messages.Beat: _beat,
    }

    def tell(self, event: Event) -> None:
        """Send the node an event. One that reads too slowly is cut off: on its next connection it knows what that means."""
        session = self.session
        if session is None or session.closed is not None:
            return
        try:
            session.send(EVENT, encode(event))
        except VeltixError as error:
            _log.warn("node {node} is cut off: {why}", node=self.node.node_id, why=str(error))
            session.disconnect()

    # From the hub.

    def message_received(self, topic: str, payload: bytes, position: Position | None, node: str) -> None:
        """Pass on a message."""
        self.tell(messages.Came(topic, payload, position, node))

    def directed_received(self, payload: bytes, node: str) -> None:
        """Pass on a directed message."""
        self.tell(messages.Directed(payload, node))

    def request_received(self, payload: bytes, node: str) -> Deferred[bytes]:
        """Pass on a question; return a Deferred of its answer."""
        number = next(self._numbers)
        answer = self._asked[number] = Deferred()
        if len(self._asked) > _MOST_ASKED:
            self._asked.popitem(last=False)
        self.tell(messages.Asked(number, payload, node))
        return answer

    def presence_changed(self, topic: str, diff: PresenceDiff) -> None:
        """Pass on changes."""
        self.tell(messages.Changed(topic, diff))

    def interrupted(self, topics: frozenset[str]) -> None:
        """Pass on that something may have been lost."""
        if not self._restoring:
            self.tell(messages.Interrupted(tuple(topics)))

    def state_changed(self, state: BackplaneState) -> None:
        """Ignore it: the node knows whether it is connected."""

    def status(self) -> NodeStatus:
        """Return what the node has said last."""
        return self._status


def _fault(error: BaseException) -> Fault:
    if isinstance(error, BackplaneRefused):
        return Fault("BackplaneRefused", error.setting, error.limit)
    if isinstance(error, (NoSuchNode, NodeGone)):
        return Fault(type(error).__name__, error.node)
    if not isinstance(error, (BackplaneError, SettingsError)):
        _log.failure("a command failed", Failure(error))
    return Fault(type(error).__name__, error.cause if isinstance(error, BackplaneUnavailable) else str(error))
