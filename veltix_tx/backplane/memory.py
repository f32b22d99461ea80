"""Backplane in memory: several servers of one process join one hub as its nodes. It is what a server has by default."""

from __future__ import annotations

import socket
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from os import getpid
from random import Random

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.entries import OwnEntries
from veltix_tx.backplane.globs import glob_matcher
from veltix_tx.backplane.interface import (
    BackplaneLimits,
    BackplaneReceiver,
    BackplaneState,
    History,
    HistoryItem,
    HistoryPage,
    NodeInfo,
    Position,
    PresenceDiff,
    PresenceEntry,
    check_node_id,
)
from veltix_tx.errors import (
    BackplaneError,
    BackplaneRefused,
    BackplaneUnavailable,
    NodeGone,
    NoSuchNode,
    RequestTimeout,
    SettingsError,
)
from veltix_tx.limits import check_seconds
from veltix_tx.net.clock import Clocks

__all__ = ["MemoryBackplane", "MemoryHub"]

_log = Logger()

LEASE = 10.0
"""Seconds after which a node that is cut off is taken for dead."""

HISTORY_BYTES = 64 << 20
"""Maximum bytes of all histories of a hub; over it, those of the topics that were used least recently lose their messages."""

HISTORY_TOPICS = 100_000
"""Maximum topics whose epochs a hub keeps; over it, that which was used least recently is forgotten."""


@dataclass(slots=True)
class _Log:
    """History of one topic."""

    epoch: str
    top: int = 0
    items: deque[tuple[HistoryItem, float]] = field(default_factory=deque)  # and when each expires

    def drop_expired(self, now: float, size: int | None = None) -> int:
        """Drop what is too old, or too much; return how many bytes that was."""
        dropped = 0
        while self.items and (self.items[0][1] <= now or (size is not None and len(self.items) > size)):
            dropped += len(self.items.popleft()[0].payload)
        return dropped


class MemoryHub:
    """Engine of the backplanes of one process, in place of Redis. What is in it ends with the process.

    Nodes that are cut off (:meth:`cut`) and what the hub loses (:meth:`flush`) are for tests, and for who hosts nodes of others.

    Args:
        lease: seconds after which a node that was cut off is taken for dead.
        history_bytes: maximum bytes of all histories together.
        history_topics: maximum topics with a history.
        random: for the epochs' names.

    Raises:
        SettingsError: the lease is no number of seconds above 0.
    """

    def __init__(
        self,
        *,
        lease: float = LEASE,
        history_bytes: int = HISTORY_BYTES,
        history_topics: int = HISTORY_TOPICS,
        random: Random | None = None,
    ) -> None:
        check_seconds("lease", lease)
        self._lease = lease
        self._history_bytes = history_bytes
        self._history_topics = history_topics
        self._random = random or Random()
        self._nodes: dict[str, MemoryBackplane] = {}  # those whose leases run
        self._numbers = count(1)
        self._subscribers: dict[str, dict[MemoryBackplane, None]] = {}
        self._present: dict[str, dict[tuple[str, str], bytes]] = {}
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._logged_bytes = 0
        self._with_mail: deque[MemoryBackplane] = deque()
        self._delivering = False

    # For tests, and for who hosts nodes of other processes.

    def cut(self, node: MemoryBackplane) -> None:
        """Cut a node off: it is down, and the others take it for dead when its lease ends."""
        if node._joined and not node._cut:
            node._go_down("it was cut off")
            node._expiry = node._clocks.reactor.callLater(self._lease, self._reap, node)

    def restore(self, node: MemoryBackplane) -> None:
        """Let a node that was cut off join again."""
        if node._cut:
            node._rejoin()

    def flush(self) -> None:
        """Lose every history and all presence, as an engine that is started again; the nodes repair what is theirs."""
        self._logs.clear()
        self._logged_bytes = 0
        self._present.clear()
        for node in list(self._nodes.values()):
            if not node._cut:
                node._repair()

    # From the nodes.

    def _draw_id(self) -> str:
        number = next(self._numbers)
        return str(getpid()) if number == 1 else f"{getpid()}.{number}"

    def _join(self, node: MemoryBackplane) -> None:
        self._nodes[node.node_id] = node

    def _reap(self, node: MemoryBackplane) -> None:
        """End a node's lease."""
        if self._nodes.pop(node.node_id, None) is None:
            return
        node._expired = True
        for topic in list(node._entered):
            self._enter(node, topic, {})
        for other in list(self._nodes.values()):
            other._count_reaped(node)
        self._deliver()

    def _publish(self, node: MemoryBackplane, topic: str, payload: bytes, position: Position | None) -> None:
        name = node.node_id

        def message(receiver: BackplaneReceiver) -> None:
            receiver.message_received(topic, payload, position, name)

        for other in self._subscribers.get(topic, ()):
            if other is not node:
                other._counters["received"] += other._post(topic, message)
        self._deliver()

    def _subscribe(self, node: MemoryBackplane, topic: str, wanted: bool) -> None:
        if wanted:
            self._subscribers.setdefault(topic, {})[node] = None
            return
        subscribers = self._subscribers.get(topic, {})
        subscribers.pop(node, None)
        if not subscribers:
            self._subscribers.pop(topic, None)

    def _enter(self, node: MemoryBackplane, topic: str, entries: dict[str, bytes]) -> None:
        """Make a node's entries on a topic these, and tell the others of the difference."""
        before = node._entered.get(topic, {})
        if not entries:
            node._entered.pop(topic, None)
        else:
            node._entered[topic] = dict(entries)
        present = self._present.setdefault(topic, {})
        name = node.node_id
        for member in before:
            if member not in entries:
                present.pop((name, member), None)
        for member, info in entries.items():
            present[name, member] = info
        if not present:
            del self._present[topic]
        self._tell_presence(
            node,
            topic,
            PresenceDiff(
                joined=tuple(PresenceEntry(each, name, info) for each, info in entries.items() if each not in before),
                updated=tuple(PresenceEntry(each, name, info) for each, info in entries.items() if before.get(each, info) != info),
                left=tuple(PresenceEntry(each, name, info) for each, info in before.items() if each not in entries),
            ),
        )

    def _enter_one(self, node: MemoryBackplane, topic: str, member: str, info: bytes | None) -> None:
        """Enter one member, or change its info, or take it out."""
        name = node.node_id
        entered = node._entered.setdefault(topic, {})
        before = entered.get(member)
        if info is None:
            entered.pop(member, None)
            present = self._present.get(topic, {})
            present.pop((name, member), None)
            if not present:
                self._present.pop(topic, None)
        else:
            entered[member] = info
            self._present.setdefault(topic, {})[name, member] = info
        if not entered:
            del node._entered[topic]
        if before != info:
            entry = (PresenceEntry(member, name, (before or b"") if info is None else info),)
            kind = "left" if info is None else "joined" if before is None else "updated"
            self._tell_presence(node, topic, PresenceDiff(**{kind: entry}))

    def _tell_presence(self, node: MemoryBackplane, topic: str, diff: PresenceDiff) -> None:
        if diff.joined or diff.updated or diff.left:
            for other in self._subscribers.get(topic, ()):
                if other is not node:
                    other._post(topic, lambda receiver: receiver.presence_changed(topic, diff))
            self._deliver()

    def _append(self, topic: str, payload: bytes, node: str, history: History, now: float) -> Position:
        log = self._log_of(topic)
        log.top += 1
        log.items.append((HistoryItem(log.top, payload, node), now + history.ttl))
        self._logged_bytes += len(payload) - log.drop_expired(now, history.size)
        if self._logged_bytes > self._history_bytes:
            self._shrink()
        return Position(log.epoch, log.top)

    def _log_of(self, topic: str) -> _Log:
        log = self._logs.get(topic)
        if log is None:
            if len(self._logs) >= self._history_topics:
                self._logged_bytes -= self._logs.popitem(last=False)[1].drop_expired(0, 0)
            log = self._logs[topic] = _Log(f"{self._random.getrandbits(48):012x}")
        self._logs.move_to_end(topic)
        return log

    def _shrink(self) -> None:
        for log in self._logs.values():
            if self._logged_bytes <= self._history_bytes:
                return
            self._logged_bytes -= log.drop_expired(0, 0)

    def _page(self, topic: str, since: Position | None, limit: int, size: int, now: float) -> HistoryPage:
        log = self._log_of(topic)
        self._logged_bytes -= log.drop_expired(now)
        kept = [item for item, _ in log.items]
        if since is None:
            latest = _first(reversed(kept), limit, size)
            return HistoryPage(tuple(reversed(latest)), log.top, log.epoch, True)
        first = kept[0].offset if kept else log.top + 1
        recovered = since.epoch == log.epoch and first - 1 <= since.offset <= log.top
        if recovered:
            kept = kept[since.offset - first + 1 :]
        return HistoryPage(tuple(_first(kept, limit, size)), log.top, log.epoch, recovered)

    def _deliver(self) -> None:
        """Let receivers take what was posted; what they publish meanwhile comes behind it, so that order is the same everywhere."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._with_mail:
                self._with_mail.popleft()._take()
        finally:
            self._delivering = False


def _first(items: Iterable[HistoryItem], limit: int, size: int) -> list[HistoryItem]:
    """Return the first of some items, up to a number and to a size of all in bytes; one at least, unless the number is 0."""
    taken: list[HistoryItem] = []
    for item in islice(items, limit):
        size -= len(item.payload)
        if taken and size < 0:
            break
        taken.append(item)
    return taken


class MemoryBackplane:
    """A node of a :class:`MemoryHub`.

    Args:
        hub: what it shares with other nodes; one of its own by default.
        node_id: its id; chosen by the hub by default.
        limits: its maxima.

    Raises:
        SettingsError: the id is none.
    """

    def __init__(self, hub: MemoryHub | None = None, *, node_id: str | None = None, limits: BackplaneLimits | None = None) -> None:
        self._hub = hub or MemoryHub()
        self._node_id = "" if node_id is None else check_node_id(node_id)
        self._limits = limits or BackplaneLimits()
        self._counters: Counter[str] = Counter()
        self._receiver: BackplaneReceiver | None = None
        self._clocks: Clocks
        self._started = 0.0
        self._joined = False  # from start to stop
        self._cut = False
        self._expired = False  # its lease has ended
        self._expiry: IDelayedCall | None = None
        self._topics: set[str] = set()
        self._tracked = OwnEntries(self._limits)
        self._entered: dict[str, dict[str, bytes]] = {}  # what the hub has of it
        self._mail: deque[tuple[str | None, Callable[[BackplaneReceiver], object]]] = deque()
        self._interrupted = False
        self._requests: dict[Deferred[bytes], tuple[str, IDelayedCall]] = {}

    def __repr__(self) -> str:
        return f"<MemoryBackplane {self.node_id}, {self.state.value}>"

    @property
    def node_id(self) -> str:
        """Id of this node, chosen when it is first asked for. It names the process, which may be a fork of another."""
        if not self._node_id:
            self._node_id = self._hub._draw_id()
        return self._node_id

    @property
    def state(self) -> BackplaneState:
        """The state."""
        return BackplaneState.UP if self._joined and not self._cut else BackplaneState.DOWN

    @property
    def counters(self) -> Counter[str]:
        """Counts by name."""
        return Counter(self._counters)

    @property
    def subscribed(self) -> set[str]:
        """Topics that it subscribes, a copy."""
        return set(self._topics)

    @property
    def tracked(self) -> set[tuple[str, str]]:
        """Topic and member of each of its entries, a copy."""
        return {(topic, member) for topic in self._tracked for member in self._tracked.on(topic)}

    def start(self, receiver: BackplaneReceiver, clocks: Clocks) -> Deferred[None]:
        """Join the hub."""
        if self._joined:
            return fail(SettingsError("start", "called again", "called once until stop"))
        if self.node_id in self._hub._nodes:
            return fail(SettingsError("node_id", self.node_id, "an id that no other node has"))
        self._receiver, self._clocks = receiver, clocks
        self._started = clocks.calendar()
        self._joined, self._cut, self._expired = True, False, False
        self._hub._join(self)
        receiver.state_changed(self.state)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Leave the hub."""
        if not self._joined:
            return succeed(None)
        for topic in self._topics:
            self._hub._subscribe(self, topic, False)
        self._topics.clear()
        self._tracked.clear()
        self._mail.clear()
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        was_up = not self._cut
        self._hub._reap(self)
        self._joined = self._cut = False
        self._fail_requests(lambda node: BackplaneUnavailable("it was stopped", uncertain=True))
        if was_up:
            self._state_changed()
        self._receiver = None
        return succeed(None)

    # Topics.

    def publish(self, topic: str, payload: bytes, history: History | None = None) -> Deferred[Position | None]:
        """Publish a message to the other nodes that subscribe a topic."""
        error = self._refusal(topic, payload)
        if error is not None:
            self._counters["publish_refused"] += 1
            return fail(error)
        self._counters["published"] += 1
        hub = self._hub
        position = None if history is None else hub._append(topic, payload, self.node_id, history, self._clocks.uptime())
        hub._publish(self, topic, payload, position)
        return succeed(position)

    def subscribe(self, topic: str) -> Deferred[bool]:
        """Subscribe a topic."""
        if topic not in self._topics:
            error = self._limits.refusal(topic, subscribed=len(self._topics))
            if error is not None:
                return fail(error)
            if not self._joined:
                return fail(self._unavailable())
            self._topics.add(topic)
            if not self._cut:
                self._hub._subscribe(self, topic, True)
        return succeed(not self._cut)

    def unsubscribe(self, topic: str) -> Deferred[None]:
        """Unsubscribe a topic."""
        if topic in self._topics:
            self._topics.discard(topic)
            self._hub._subscribe(self, topic, False)
        return succeed(None)

    def history(self, topic: str, since: Position | None, limit: int) -> Deferred[HistoryPage]:
        """Look up a topic's history."""
        error = self._refusal(topic)
        if error is not None:
            return fail(error)
        page = self._hub._page(topic, since, min(limit, self._limits.page), self._limits.page_bytes, self._clocks.uptime())
        return succeed(page)

    # Nodes.

    def send(self, node: str, payload: bytes) -> Deferred[bool]:
        """Send a message to one node."""
        error = self._refusal(payload=payload)
        if error is not None:
            self._counters["publish_refused"] += 1
            return fail(error)
        target = self._hub._nodes.get(node)
        taken = target is not None and not target._cut
        if target is not None and taken:
            taken = target._post(None, lambda receiver: receiver.directed_received(payload, self.node_id))
            self._hub._deliver()
        return succeed(taken)

    def request(self, node: str, payload: bytes, timeout: float, accepts: Callable[[bytes], bool] | None = None) -> Deferred[bytes]:
        """Ask one node."""
        error = self._refusal(payload=payload)
        if error is None and len(self._requests) >= self._limits.requests:
            error = BackplaneRefused("requests", self._limits.requests)
        if error is not None:
            self._counters["requests_refused"] += 1
            return fail(error)
        target = self._hub._nodes.get(node)
        if target is None:
            self._counters["requests_failed"] += 1
            return fail(NoSuchNode(node))
        self._counters["requests"] += 1
        waiting: Deferred[bytes] = Deferred(self._forget)
        timer = self._clocks.reactor.callLater(timeout, self._fail_request, waiting, RequestTimeout(timeout))
        self._requests[waiting] = (node, timer)
        if not target._cut:
            target._post(None, partial(target._serve, payload, self.node_id, partial(self._replied, waiting, accepts)))
            self._hub._deliver()
        return waiting

    def nodes(self) -> Deferred[list[NodeInfo]]:
        """Return a Deferred of the nodes whose leases run."""
        error = self._refusal()
        if error is not None:
            return fail(error)
        return succeed([node._info() for _, node in sorted(self._hub._nodes.items())])

    # Presence.

    def track(self, topic: str, member: str, info: bytes) -> Deferred[bool]:
        """Enter a member of this node on a topic, or change its info."""
        if not self._joined:
            return fail(self._unavailable())
        try:
            self._tracked.add(topic, member, info)
        except BackplaneRefused as error:
            return fail(error)
        if self._cut:
            return succeed(False)
        self._hub._enter_one(self, topic, member, info)
        return succeed(True)

    def untrack(self, topic: str, member: str) -> Deferred[None]:
        """Take a member of this node out of a topic."""
        if self._tracked.discard(topic, member) and not self._cut:
            self._hub._enter_one(self, topic, member, None)
        return succeed(None)

    def members(self, topic: str) -> Deferred[list[PresenceEntry]]:
        """Return a Deferred of the entries of all nodes on a topic."""
        error = self._refusal()
        if error is not None:
            return fail(error)
        present = sorted(self._hub._present.get(topic, {}).items())[: self._limits.page]
        return succeed([PresenceEntry(member, node, info) for (node, member), info in present])

    def count(self, topic: str) -> Deferred[int]:
        """Return a Deferred of how many entries there are on a topic."""
        error = self._refusal()
        return succeed(len(self._hub._present.get(topic, ()))) if error is None else fail(error)

    def topics(self, pattern: str = "*") -> Deferred[dict[str, int]]:
        """Return a Deferred of the topics that have entries, and how many."""
        error = self._refusal()
        if error is not None:
            return fail(error)
        matches = glob_matcher(pattern)
        found = {topic: len(entries) for topic, entries in sorted(self._hub._present.items()) if matches(topic)}
        return succeed(dict(list(found.items())[: self._limits.page]))

    # Inside.

    def _refusal(self, topic: str = "", payload: bytes = b"") -> BackplaneError | None:
        if not self._joined or self._cut:
            return self._unavailable()
        return self._limits.refusal(topic, payload)

    def _unavailable(self) -> BackplaneUnavailable:
        return BackplaneUnavailable("it was cut off" if self._cut else "it is not started")

    def _info(self) -> NodeInfo:
        assert self._receiver is not None
        status = self._receiver.status()
        return NodeInfo(self.node_id, socket.gethostname(), getpid(), self._started, status.connections, status.draining)

    def _go_down(self, cause: str) -> None:
        self._cut = True
        self._counters["outages"] += 1
        for topic in self._topics:
            self._hub._subscribe(self, topic, False)
        self._mail.clear()
        self._fail_requests(lambda node: BackplaneUnavailable(cause, uncertain=True))
        self._state_changed()

    def _rejoin(self) -> None:
        self._cut = False
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        if self._expired:
            self._expired = False
            self._counters["leases_lost"] += 1
            self._hub._join(self)
        self._state_changed()
        self._repair()

    def _repair(self) -> None:
        """Subscribe and enter again all that is this node's, and tell its receiver that it may have missed something."""
        hub = self._hub
        for topic in self._topics:
            hub._subscribe(self, topic, True)
        lost = [topic for topic in self._entered if topic not in hub._present]
        for topic in lost:
            del self._entered[topic]
        for topic in dict.fromkeys([*self._entered, *self._tracked]):
            hub._enter(self, topic, self._tracked.on(topic))
        if self._topics:
            self._interrupted = True
            self._post(None, lambda receiver: None)
            hub._deliver()

    def _count_reaped(self, node: MemoryBackplane) -> None:
        if node._cut:
            self._counters["nodes_reaped"] += 1
        for waiting, (asked, _) in list(self._requests.items()):
            if asked == node.node_id:
                self._fail_request(waiting, NodeGone(asked))

    def _post(self, topic: str | None, call: Callable[[BackplaneReceiver], object]) -> bool:
        """Queue a call of the receiver, for a topic; return False where too many wait."""
        if len(self._mail) >= self._limits.receive_queue:
            self._counters["overflowed"] += 1
            self._interrupted = True
            return False
        if not self._mail:
            self._hub._with_mail.append(self)
        self._mail.append((topic, call))
        return True

    def _take(self) -> None:
        """Let the receiver take what is queued."""
        while self._mail:
            topic, call = self._mail.popleft()
            if topic is None or topic in self._topics:  # not unsubscribed meanwhile
                self._call(call)
        if self._interrupted:
            self._interrupted = False
            topics = frozenset(self._topics)
            self._call(lambda receiver: receiver.interrupted(topics))

    def _state_changed(self) -> None:
        state = self.state
        self._call(lambda receiver: receiver.state_changed(state))

    def _call(self, call: Callable[[BackplaneReceiver], object]) -> None:
        if self._receiver is None:
            return
        try:
            call(self._receiver)
        except Exception:
            self._counters["receiver_failed"] += 1
            _log.failure("the backplane's receiver failed")

    def _serve(self, payload: bytes, node: str, reply: Callable[[bytes], None], receiver: BackplaneReceiver) -> None:
        receiver.request_received(payload, node).addCallbacks(reply, self._receiver_failed)

    def _receiver_failed(self, failure: Failure) -> None:
        self._counters["receiver_failed"] += 1
        _log.failure("a request of another node failed", failure)

    def _replied(self, waiting: Deferred[bytes], accepts: Callable[[bytes], bool] | None, reply: bytes) -> None:
        if accepts is not None and not accepts(reply):
            return
        if self._settle(waiting):
            waiting.callback(reply)

    def _fail_request(self, waiting: Deferred[bytes], error: Exception) -> None:
        if self._settle(waiting):
            self._counters["requests_failed"] += 1
            waiting.errback(error)

    def _fail_requests(self, error: Callable[[str], Exception]) -> None:
        for waiting, (node, _) in list(self._requests.items()):
            self._fail_request(waiting, error(node))

    def _forget(self, waiting: Deferred[bytes]) -> None:
        self._settle(waiting)

    def _settle(self, waiting: Deferred[bytes]) -> bool:
        _, timer = self._requests.pop(waiting, ("", None))
        if timer is not None and timer.active():
            timer.cancel()
        return timer is not None
