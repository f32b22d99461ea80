"""Backplane on Redis or Valkey: the nodes of a service, on as many machines as one likes, meet on one server."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from os import getpid
from random import SystemRandom
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
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
    NodeStatus,
    Position,
    PresenceDiff,
    PresenceEntry,
)
from veltix_tx.backplane.pending import PendingRequests
from veltix_tx.backplane.redis.frames import Frame, Kind, MalformedFrame, decode, frame, header, numbered, split_number
from veltix_tx.backplane.redis.line import LineTimes
from veltix_tx.backplane.redis.link import RedisLink
from veltix_tx.backplane.redis.membership import Membership
from veltix_tx.backplane.redis.outbox import Batch, Outbox
from veltix_tx.backplane.redis.protocol import Argument
from veltix_tx.backplane.redis.scripts import COUNTS, HISTORY, MEMBERS, NODES, PUBLISH, SEND, Script
from veltix_tx.backplane.redis.subscriptions import Subscriptions
from veltix_tx.backplane.redis.url import RedisUrl
from veltix_tx.errors import (
    BackplaneError,
    BackplaneRefused,
    BackplaneUnavailable,
    NoSuchNode,
    SettingsError,
)
from veltix_tx.net.clock import Clocks

__all__ = ["RedisBackplane"]

_log = Logger()

_EPOCH_LIFE = 2 * 24 * 3600.0
"""Seconds for which an epoch outlives its latest message."""

_CHUNK = 200
"""Topics that are counted in one go."""

_LEAVING = 1.0
"""Maximum seconds of a stop to tell the others."""

_MAX_OFFSET = 1 << 53
"""Highest offset: Redis's scripts count in floating point."""

_Said = tuple[str, int, float, int, bool]  # host, pid, started, connections, draining


class RedisBackplane:
    """A node that meets the others on a Redis server, 6.2 or later, or Valkey.

    It has two connections to it, one for commands and one for subscriptions, each made again for ever. What comes is handed over as
    it is read, without a queue: of a node that is too slow Redis drops the subscriptions, which is told by ``interrupted``.

    Args:
        url: where the server is, and how to log in.
        limits: its maxima.
        times: how long to wait for the server.
    """

    def __init__(self, url: RedisUrl, *, limits: BackplaneLimits | None = None, times: LineTimes | None = None) -> None:
        self._url = url
        self._limits = limits or BackplaneLimits()
        self._times = times or LineTimes()
        self._random = SystemRandom()
        self._node_id = ""
        self._counters: Counter[str] = Counter()
        self._prefix = url.prefix.encode() + b":"
        self._receiver: BackplaneReceiver | None = None
        self._clocks: Clocks
        self._state = BackplaneState.DOWN

    def __repr__(self) -> str:
        return f"<RedisBackplane {self._node_id} on {self._url}, {self._state.value}>"

    @property
    def node_id(self) -> str:
        """Id of this node, chosen when it is first asked for. Two forks of one process have different ones."""
        if not self._node_id:
            self._node_id = f"{self._random.getrandbits(64):016x}"
        return self._node_id

    @property
    def state(self) -> BackplaneState:
        """The state."""
        return self._state

    @property
    def counters(self) -> Counter[str]:
        """Counts by name, those of :data:`veltix_tx.backplane.redis.link.COUNTERS` among them."""
        return Counter(self._counters)

    def start(self, receiver: BackplaneReceiver, clocks: Clocks) -> Deferred[None]:
        """Connect, join, and stay joined."""
        if self._receiver is not None:
            return fail(SettingsError("start", "called again", "called once until stop"))
        self._headers = {kind: header(kind, self.node_id) for kind in Kind}
        self._own = self._headers[Kind.MESSAGES][3:]
        self._topics: dict[bytes, str] = {}  # by channel
        self._unsure: set[str] = set()  # topics of which something may have been lost
        self._tracked = OwnEntries(self._limits)
        self._looking: dict[str, bool] = {}  # nodes that are looked up, and whether to do it again
        self._requests = PendingRequests(clocks.reactor, self._counters)
        self._outbox = Outbox(clocks.reactor, self._limits, self._send_group)
        self._subscriptions = Subscriptions(clocks.reactor, self._received, self._update_state)
        for channel in (self._node_channel(self.node_id), self._prefix + b"all"):
            self._subscriptions.add(channel).addErrback(_ignore_unavailable)
        try:
            self._link = RedisLink(
                *(self._url, clocks, self._random, self._times, self._subscriptions, self._counters),
                connected=self._connected,
                disconnected=self._disconnected,
                changed=self._link_changed,
            )
        except SettingsError:
            return fail()
        self._membership = Membership(
            *(self._link, clocks, self.node_id, self._url.lease, self._tracked, self._describe, self._counters),
            changed=self._update_state,
            lease_lost=self._be_unsure,
        )
        self._receiver, self._clocks = receiver, clocks
        self._started = clocks.calendar()
        self._joining: Deferred[None] | None = Deferred()
        self._link.start()
        return self._joining

    def stop(self) -> Deferred[None]:
        """Leave."""
        if self._receiver is None:
            return succeed(None)
        stopped = BackplaneUnavailable("it was stopped", uncertain=True)
        left = self._membership.leave(stopped)
        left.addTimeout(_LEAVING, self._clocks.reactor).addErrback(lambda _: None)  # the lease ends by itself
        self._outbox.give_up(BackplaneUnavailable("it was stopped"))
        self._requests.fail_all(stopped)
        self._update_state()
        self._receiver = None
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.errback(stopped)
        return left.addCallback(lambda _: self._link.stop())

    # Topics.

    def publish(self, topic: str, payload: bytes, history: History | None = None) -> Deferred[Position | None]:
        """Publish a message to the other nodes that subscribe a topic."""
        error = self._refusal(topic, payload)
        if error is not None:
            self._counters["publish_refused"] += 1
            return fail(error)
        self._counters["published"] += 1
        return self._outbox.put(self._topic_channel(topic), history or Kind.MESSAGES, payload, len(payload))

    def subscribe(self, topic: str) -> Deferred[bool]:
        """Subscribe a topic."""
        if self._receiver is None:
            return fail(self._unavailable())
        channel = self._topic_channel(topic)
        if channel not in self._topics:
            error = self._limits.refusal(topic, subscribed=len(self._topics))
            if error is not None:
                return fail(error)
            self._topics[channel] = topic
        in_effect: Deferred[Any] = self._subscriptions.add(channel)

        def failed(failure: Failure) -> bool:
            if failure.check(BackplaneUnavailable) is None:
                self._topics.pop(channel, None)
                return failure  # type: ignore[return-value]
            if channel in self._topics:
                self._unsure.add(topic)
            return False

        if self._state is BackplaneState.DOWN:
            self._unsure.add(topic)
            in_effect.addErrback(_ignore_unavailable)
            return succeed(False)
        return in_effect.addCallbacks(lambda _: True, failed)

    def unsubscribe(self, topic: str) -> Deferred[None]:
        """Unsubscribe a topic."""
        if self._receiver is not None and self._topics.pop(self._topic_channel(topic), None) is not None:
            self._unsure.discard(topic)
            self._subscriptions.discard(self._topic_channel(topic))
        return succeed(None)

    def history(self, topic: str, since: Position | None, limit: int) -> Deferred[HistoryPage]:
        """Look up a topic's history."""
        error = self._unavailable() if self._receiver is None else self._limits.refusal(topic)
        if error is not None:
            return fail(error)
        place = ("", -1) if since is None else (since.epoch, since.offset)
        most = min(limit, self._limits.page), self._limits.page_bytes
        asked = self._ask(HISTORY, topic, self._link.run, self._new_epoch(), *place, *most)
        return asked.addCallback(_page)

    # Nodes.

    def send(self, node: str, payload: bytes) -> Deferred[bool]:
        """Send a message to one node."""
        error = self._refusal(payload=payload)
        if error is not None:
            self._counters["publish_refused"] += 1
            return fail(error)
        return self._outbox.put(self._node_channel(node), Kind.DIRECTED, payload, len(payload)).addCallback(bool)

    def request(self, node: str, payload: bytes, timeout: float, accepts: Callable[[bytes], bool] | None = None) -> Deferred[bytes]:
        """Ask one node."""
        error = self._refusal(payload=payload)
        if error is None and len(self._requests) >= self._limits.requests:
            error = BackplaneRefused("requests", self._limits.requests)
        if error is not None:
            self._counters["requests_refused"] += 1
            return fail(error)
        self._counters["requests"] += 1
        requests = self._requests
        number, reply = requests.add(node, timeout, accepts)
        sent = self._outbox.put(self._node_channel(node), Kind.REQUEST, numbered(number, payload), len(payload))
        sent.addCallbacks(
            lambda takers: None if takers else requests.fail(number, NoSuchNode(node)),
            lambda failure: requests.fail(number, failure.value),
        )
        return reply

    def nodes(self) -> Deferred[list[NodeInfo]]:
        """Return a Deferred of the nodes whose leases run."""
        return self._ask(NODES).addCallback(self._node_list)

    # Presence.

    def track(self, topic: str, member: str, info: bytes) -> Deferred[bool]:
        """Enter a member of this node on a topic, or change its info."""
        if self._receiver is None:
            return fail(self._unavailable())
        try:
            self._tracked.add(topic, member, info)
        except BackplaneRefused as error:
            return fail(error)
        return self._change(topic, member, b"+", info)

    def untrack(self, topic: str, member: str) -> Deferred[None]:
        """Take a member of this node out of a topic."""
        if self._receiver is None or not self._tracked.discard(topic, member):
            return succeed(None)
        return self._change(topic, member, b"-", b"").addCallback(lambda _: None)

    def members(self, topic: str) -> Deferred[list[PresenceEntry]]:
        """Return a Deferred of the entries of all nodes on a topic."""

        def listed(found: list[Any]) -> list[PresenceEntry]:
            entries = [
                PresenceEntry(fields[each].decode(), node.decode(), fields[each + 1])
                for node, fields in found
                for each in range(0, len(fields), 2)
            ]
            return sorted(entries, key=lambda entry: (entry.node, entry.member))[: self._limits.page]

        return self._ask(MEMBERS, topic).addCallback(listed)

    def count(self, topic: str) -> Deferred[int]:
        """Return a Deferred of how many entries there are on a topic."""
        return self._ask(COUNTS, topic).addCallback(lambda counts: counts[0])

    def topics(self, pattern: str = "*") -> Deferred[dict[str, int]]:
        """Return a Deferred of the topics that have entries, and how many."""
        return Deferred.fromCoroutine(self._count_topics(glob_matcher(pattern)))

    async def _count_topics(self, matches: Callable[[str], object]) -> dict[str, int]:
        names: set[str] = set()
        cursor = b"0"
        while True:
            cursor, found = await self._execute("SSCAN", self._prefix + b"topics", cursor, "COUNT", 1000)
            names.update(topic for topic in map(bytes.decode, found) if matches(topic))  # Redis's own globs match bytes
            if cursor == b"0":
                break
        wanted = sorted(names)[: self._limits.page]
        counted: dict[str, int] = {}
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            counted |= zip(chunk, await self._ask(COUNTS, *chunk), strict=True)
        return {topic: number for topic, number in counted.items() if number}

    # Commands.

    def _refusal(self, topic: str = "", payload: bytes = b"") -> BackplaneError | None:
        if self._state is BackplaneState.DOWN:
            return self._unavailable()
        return self._limits.refusal(topic, payload) or self._outbox.refusal(len(payload))

    def _unavailable(self) -> BackplaneUnavailable:
        if self._receiver is None:
            return BackplaneUnavailable("it is not started")
        return BackplaneUnavailable(self._link.problem or "it has not joined the others yet")

    def _execute(self, *command: Argument) -> Deferred[Any]:
        """Send a command of the application's."""
        if self._state is BackplaneState.DOWN:
            return fail(self._unavailable())
        connection = self._link.connection
        if connection is not None and connection.pending_bytes > self._limits.publish_bytes:
            return fail(BackplaneRefused("publish_bytes", self._limits.publish_bytes))
        return self._link.execute(*command)

    def _ask(self, script: Script, *arguments: Argument) -> Deferred[Any]:
        return self._execute("EVALSHA", script.sha, 0, self._prefix, *arguments)

    def _send_group(self, group: list[Batch]) -> Deferred[list[list[Any]]]:
        first = group[0]
        if isinstance(first.kind, History):
            return self._send_with_history(group)
        if first.kind is Kind.PRESENCE:
            done = self._membership.change(self._name(first.channel), first.items)
            return done.addCallback(lambda _: [[None] * len(first.waiting)])
        messages: list[bytes] = []
        for batch in group:
            messages += batch.channel, frame(self._headers[batch.kind], batch.items)  # type: ignore[index]

        def sent(takers: list[int]) -> list[list[Any]]:
            return [
                [None if batch.kind is Kind.MESSAGES else number] * len(batch.waiting)
                for batch, number in zip(group, takers, strict=True)
            ]

        if len(group) == 1:
            return self._link.execute("PUBLISH", *messages).addCallback(lambda taken: sent([taken]))
        return self._link.run_script(SEND, *messages).addCallback(sent)

    def _send_with_history(self, group: list[Batch]) -> Deferred[list[list[Any]]]:
        said: list[Argument] = [self._link.run, self._new_epoch(), self._headers[Kind.HISTORY], self.node_id]
        for batch in group:
            kept: History = batch.kind  # type: ignore[assignment]
            life = round(max(_EPOCH_LIFE, 2 * kept.ttl) * 1000)
            said += self._name(batch.channel), kept.size, max(1, round(kept.ttl * 1000)), life, len(batch.items)
            said += batch.items

        def sent(places: list[Any]) -> list[list[Any]]:
            each = zip(group, places[::2], places[1::2], strict=True)
            return [
                [Position(epoch.decode(), number) for number in range(first, first + len(batch.waiting))]
                for batch, epoch, first in each
            ]

        return self._link.run_script(PUBLISH, *said).addCallback(sent)

    def _change(self, topic: str, member: str, sign: bytes, info: bytes) -> Deferred[bool]:
        """Enter a member, or take one out, at the end of the turn; of several changes in a turn the latest counts.

        Returns:
            a Deferred of True once it is in effect; of False, at once, where that is left to the next join.
        """
        if not self._membership.joined:
            return succeed(False)
        change = (sign, member, info)
        changed = self._outbox.put(self._topic_channel(topic), Kind.PRESENCE, change, len(info), member).addCallback(lambda _: True)
        if self._state is BackplaneState.DOWN:  # joined, and entering what was tracked until now
            changed.addErrback(_ignore_unavailable)
            return succeed(False)
        return changed

    def _describe(self) -> bytes:
        status = self._receiver.status() if self._receiver is not None else NodeStatus()
        said: _Said = (socket.gethostname(), getpid(), self._started, status.connections, status.draining)
        return msgspec.msgpack.encode(said)

    # States.

    def _connected(self) -> None:
        self._membership.connected()

    def _disconnected(self) -> None:
        self._membership.disconnected()
        self._update_state()

    def _link_changed(self) -> None:
        if not self._subscriptions.connected:
            self._be_unsure()
        self._update_state()

    def _be_unsure(self) -> None:
        self._unsure.update(self._topics.values())

    def _update_state(self) -> None:
        """Find the state, and tell of a new one."""
        member = self._membership
        if member.complete and self._subscriptions.complete and not self._link.slow:
            state = BackplaneState.UP
        elif not member.joined or self._joining is not None:
            state = BackplaneState.DOWN
        else:
            state = BackplaneState.DEGRADED
        before, self._state = self._state, state
        if state is before:
            return
        self._counters["outages"] += before is BackplaneState.UP and not self._membership.leaving
        if state is BackplaneState.DOWN:
            cause = self._link.problem or "the connection was lost"
            self._outbox.give_up(BackplaneUnavailable(cause))
            self._requests.fail_all(BackplaneUnavailable(cause, uncertain=True))
        self._call(lambda receiver: receiver.state_changed(state))
        if state is BackplaneState.UP:
            self._tell_up()

    def _tell_up(self) -> None:
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.callback(None)
        unsure, self._unsure = frozenset(self._unsure), set()
        if unsure:
            self._call(lambda receiver: receiver.interrupted(unsure))

    # Messages received.

    def _received(self, channel: bytes, data: bytes) -> None:
        if data.startswith(self._own, 3) and channel in self._topics:
            return
        try:
            self._take(channel, decode(data))
        except (ValueError, LookupError):  # MalformedFrame is the one
            self._counters["malformed"] += 1

    def _take(self, channel: bytes, come: Frame) -> None:
        kind, node, items = come
        topic = self._topics.get(channel)
        if topic is not None:
            if kind is Kind.MESSAGES:
                self._deliver(topic, node, [(None, each) for each in items])
            elif kind is Kind.HISTORY:
                epoch, first = items[0].decode(), int(items[1])
                if not 0 < first <= _MAX_OFFSET:
                    raise MalformedFrame(items[1])
                self._deliver(topic, node, [(Position(epoch, number), each) for number, each in enumerate(items[2:], first)])
            elif kind is Kind.PRESENCE:
                diff = _diff(node, items)
                self._call(lambda receiver: receiver.presence_changed(topic, diff))
            else:
                raise MalformedFrame(kind)
        elif kind is Kind.GONE:
            self._look_after(node)
        elif kind is Kind.DIRECTED:
            for each in items:
                self._call(partial(_hand_over_directed, each, node))
        elif kind is Kind.REQUEST:
            for each in items:
                self._call(partial(self._serve, each, node))
        elif kind is Kind.REPLY:
            for each in items:
                self._requests.settle(*split_number(each))
        else:
            raise MalformedFrame(kind)

    def _look_after(self, node: str) -> None:
        """Fail the requests to a node that is said to be gone if it is: whoever can publish may say so."""
        if node in self._looking:
            self._looking[node] = True  # and once more, when what was found is older than this
        elif self._requests.waits_for(node):
            self._looking[node] = False

            def found(nodes: list[bytes]) -> None:
                if node.encode() not in nodes[::2]:
                    self._requests.node_gone(node)

            def looked(_: object) -> None:
                if self._looking.pop(node):
                    self._look_after(node)

            self._ask(NODES).addCallbacks(found, _ignore_unavailable).addBoth(looked)

    def _deliver(self, topic: str, node: str, messages: list[tuple[Position | None, bytes]]) -> None:
        channel = self._topic_channel(topic)
        for position, payload in messages:
            if channel not in self._topics:  # unsubscribed by one of those before
                return
            self._counters["received"] += 1
            self._call(partial(_hand_over, topic, payload, position, node))

    def _serve(self, request: bytes, node: str, receiver: BackplaneReceiver) -> None:
        number, asked = split_number(request)

        def reply(payload: bytes) -> None:
            if self._refusal(payload=payload) is None:  # else the request times out, and so it does where the reply is lost
                sent = self._outbox.put(self._node_channel(node), Kind.REPLY, numbered(number, payload), len(payload))
                sent.addErrback(lambda _: None)

        def failed(failure: Failure) -> None:
            self._counters["receiver_failed"] += 1
            _log.failure("a request of another node failed", failure)

        receiver.request_received(asked, node).addCallbacks(reply, failed)

    def _call(self, call: Callable[[BackplaneReceiver], object]) -> None:
        if self._receiver is None:
            return
        try:
            call(self._receiver)
        except Exception:
            self._counters["receiver_failed"] += 1
            _log.failure("the backplane's receiver failed")

    def _node_list(self, found: list[bytes]) -> list[NodeInfo]:
        nodes = []
        for node, said in zip(found[::2], found[1::2], strict=True):
            with suppress(msgspec.DecodeError, ValueError):  # of another release
                nodes.append(NodeInfo(node.decode(), *msgspec.msgpack.decode(said, type=_Said)))
        self._counters["malformed"] += len(found) // 2 - len(nodes)
        return sorted(nodes, key=lambda info: info.node)

    # Names.

    def _topic_channel(self, topic: str) -> bytes:
        return self._prefix + b"t:" + topic.encode()

    def _name(self, channel: bytes) -> bytes:
        """Return the topic of a channel."""
        return channel[len(self._prefix) + 2 :]

    def _node_channel(self, node: str) -> bytes:
        return self._prefix + b"n:" + node.encode()

    def _new_epoch(self) -> str:
        return f"{self._random.getrandbits(48):012x}"


def _hand_over(topic: str, payload: bytes, position: Position | None, node: str, receiver: BackplaneReceiver) -> None:
    receiver.message_received(topic, payload, position, node)


def _hand_over_directed(payload: bytes, node: str, receiver: BackplaneReceiver) -> None:
    receiver.directed_received(payload, node)


def _ignore_unavailable(failure: Failure) -> None:
    failure.trap(BackplaneUnavailable)


def _page(answer: list[Any]) -> HistoryPage:
    epoch, top, recovered, found = answer
    items = [HistoryItem(int(found[at]), found[at + 2], found[at + 1].decode()) for at in range(0, len(found), 3)]
    return HistoryPage(tuple(items), top, epoch.decode(), bool(recovered))


def _diff(node: str, items: list[bytes]) -> PresenceDiff:
    changes: dict[bytes, list[PresenceEntry]] = {b"l": [], b"j": [], b"u": []}
    for at in range(0, len(items), 3):
        changes[items[at]].append(PresenceEntry(items[at + 1].decode(), node, items[at + 2]))
    return PresenceDiff(tuple(changes[b"j"]), tuple(changes[b"u"]), tuple(changes[b"l"]))
