"""Backplane that another process hosts: a node of a MemoryHub, over a connection to it that is made again for ever."""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from os import getpid
from random import SystemRandom
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.entries import OwnEntries
from veltix_tx.backplane.globs import check_pattern
from veltix_tx.backplane.interface import (
    BackplaneLimits,
    BackplaneReceiver,
    BackplaneState,
    History,
    HistoryPage,
    NodeInfo,
    Position,
    PresenceEntry,
)
from veltix_tx.backplane.pending import PendingRequests
from veltix_tx.client import Client
from veltix_tx.disconnect import DisconnectState
from veltix_tx.errors import (
    AuthenticationFailed,
    BackplaneError,
    BackplaneRefused,
    BackplaneUnavailable,
    NodeGone,
    NoSuchNode,
    PlaintextCredentials,
    SettingsError,
    VeltixError,
)
from veltix_tx.hosted import messages
from veltix_tx.hosted.messages import COMMAND, EVENT, MAX_MESSAGE_SIZE, TYPES, VERSION, Command, Fault, decode_event, encode
from veltix_tx.hosted.url import HostUrl
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.session.session import Session
from veltix_tx.passwords import BACKPLANE_PASSWORD_REMEDY
from veltix_tx.settings import RetryPolicy
from veltix_tx.wire.credentials import Token
from veltix_tx.wire.messages import Response

__all__ = ["HostedBackplane"]

_log = Logger()

_RETRY = RetryPolicy(initial_delay=0.05, max_delay=1.0, after_refusal=True)
"""Short waits: whoever backs off for long stays deaf long after the host is back."""

_TIMEOUTS = Timeouts(ping_interval=1.0, ping_timeout=4.0, write=5.0, close=1.0)

_LEAVING = 1.0
"""Maximum seconds of a stop to tell the host."""

_CONNECT = 2.0

_ONE = 200
"""Bytes that a command has at most besides what it carries."""


class HostedBackplane:
    """A node of a hub that a :class:`~veltix_tx.hosted.server.BackplaneServer` has.

    Args:
        url: where that is.
        limits: its maxima.
    """

    def __init__(self, url: HostUrl, *, limits: BackplaneLimits | None = None) -> None:
        self._url = url
        self._limits = limits or BackplaneLimits()
        self._node_id = ""
        self._counters: Counter[str] = Counter()
        self._receiver: BackplaneReceiver | None = None
        self._clocks: Clocks
        self._state = BackplaneState.DOWN

    def __repr__(self) -> str:
        return f"<HostedBackplane {self._node_id} on {self._url}, {self._state.value}>"

    @property
    def node_id(self) -> str:
        """Id of this node, chosen when it is first asked for. Two forks of one process have different ones."""
        if not self._node_id:
            self._node_id = f"{SystemRandom().getrandbits(64):016x}"
        return self._node_id

    @property
    def state(self) -> BackplaneState:
        """The state."""
        return self._state

    @property
    def counters(self) -> Counter[str]:
        """Counts by name."""
        return Counter(self._counters)

    def start(self, receiver: BackplaneReceiver, clocks: Clocks) -> Deferred[None]:
        """Connect, join, and stay joined."""
        if self._receiver is not None:
            return fail(SettingsError("start", "called again", "called once until stop"))
        write_hard = max(Limits().write_hard, 2 * self._limits.publish_bytes)
        try:
            client = self._client = Client(
                endpoint=self._url.endpoint(clocks),
                types=TYPES,
                reactor=clocks,
                retry=_RETRY,
                connect_timeout=_CONNECT,
                credentials=None if self._url.password is None else Token(self._url.password),
                allow_plaintext_credentials=self._url.plaintext,
                max_message_size=MAX_MESSAGE_SIZE,
                limits=Limits(write_hard=write_hard),
                timeouts=_TIMEOUTS,
            )
        except SettingsError:
            return fail()
        client._noisy = False  # an outage is told here, once
        self._receiver, self._clocks = receiver, clocks
        self._started = clocks.calendar()
        self._topics: set[str] = set()
        self._unsure: set[str] = set()  # topics of which something may have been lost
        self._tracked = OwnEntries(self._limits)
        self._session: Session | None = None
        self._waiting: deque[tuple[Deferred[Any], Any, int]] = deque()  # for results, their types, and what each counts
        self._waiting_bytes = 0
        self._meanwhile: list[Command] | None = None  # changes while a new connection is told the state
        self._told = False  # all of the state
        self._had_joined = False
        self._problem = "it has not joined the others yet"
        self._requests = PendingRequests(clocks.reactor, self._counters)
        self._timers = Timers(clocks.reactor, clocks.uptime)
        self._joining: Deferred[None] | None = Deferred()
        client.register_route(EVENT, partial(self._event_received, client))
        client.set_callback("on_connect", self._connected)
        client.set_callback("on_disconnect", partial(self._disconnected, client))
        self._connect()
        return self._joining

    def stop(self) -> Deferred[None]:
        """Leave."""
        if self._receiver is None:
            return succeed(None)
        self._timers.clear_all()
        stopped = BackplaneUnavailable("it was stopped", uncertain=True)
        unanswered = len(self._waiting)
        self._fail_waiting(stopped)
        for _ in range(unanswered):  # whose results come before that of Leave
            self._expect(Any, 0).addErrback(_ignore)
        left: Deferred[Any] = succeed(None)
        if self._state is BackplaneState.UP:
            left = self._say(messages.Leave()).addTimeout(_LEAVING, self._clocks.reactor).addErrback(lambda _: None)
        self._problem = "it was stopped"
        self._set_state(BackplaneState.DOWN)
        self._receiver = None
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.errback(stopped)
        return left.addCallback(lambda _: self._client.disconnect())

    # Topics.

    def publish(self, topic: str, payload: bytes, history: History | None = None) -> Deferred[Position | None]:
        """Publish a message to the other nodes that subscribe a topic."""
        error = self._refusal(topic, payload)
        if error is not None:
            self._counters["publish_refused"] += 1
            return fail(error)
        self._counters["published"] += 1
        kept = () if history is None else (history.size, history.ttl)
        return self._say(messages.Publish(topic, payload, *kept), len(payload))

    def subscribe(self, topic: str) -> Deferred[bool]:
        """Subscribe a topic."""
        if self._receiver is None:
            return fail(self._unavailable())
        error = self._limits.refusal(topic, subscribed=None if topic in self._topics else len(self._topics))
        if error is not None:
            return fail(error)
        self._topics.add(topic)
        in_effect = self._change(messages.Subscribe(topic))
        if self._state is BackplaneState.DOWN:
            self._unsure.add(topic)

        def refused(failure: Failure) -> Failure:
            self._topics.discard(topic)
            return failure

        return in_effect.addErrback(refused)

    def unsubscribe(self, topic: str) -> Deferred[None]:
        """Unsubscribe a topic."""
        if self._receiver is None or topic not in self._topics:
            return succeed(None)
        self._topics.discard(topic)
        self._unsure.discard(topic)
        return self._change(messages.Unsubscribe(topic)).addCallback(lambda _: None)

    def history(self, topic: str, since: Position | None, limit: int) -> Deferred[HistoryPage]:
        """Look up a topic's history."""
        return self._ask(messages.LookUp(topic, since, limit), topic)

    # Nodes.

    def send(self, node: str, payload: bytes) -> Deferred[bool]:
        """Send a message to one node."""
        error = self._refusal(payload=payload)
        if error is not None:
            self._counters["publish_refused"] += 1
            return fail(error)
        return self._say(messages.Send(node, payload), len(payload))

    def request(self, node: str, payload: bytes, timeout: float, accepts: Callable[[bytes], bool] | None = None) -> Deferred[bytes]:
        """Ask one node."""
        error = self._refusal(payload=payload)
        if error is None and len(self._requests) >= self._limits.requests:
            error = BackplaneRefused("requests", self._limits.requests)
        if error is not None:
            self._counters["requests_refused"] += 1
            return fail(error)
        self._counters["requests"] += 1
        number, reply = self._requests.add(node, timeout, accepts)
        self._write(messages.Ask(number, node, payload, timeout))
        return reply

    def nodes(self) -> Deferred[list[NodeInfo]]:
        """Return a Deferred of the nodes whose leases run."""
        return self._ask(messages.ListNodes())

    # Presence.

    def track(self, topic: str, member: str, info: bytes) -> Deferred[bool]:
        """Enter a member of this node on a topic, or change its info."""
        if self._receiver is None:
            return fail(self._unavailable())
        try:
            self._tracked.add(topic, member, info)
        except BackplaneRefused as error:
            return fail(error)
        return self._change(messages.Track(topic, member, info))

    def untrack(self, topic: str, member: str) -> Deferred[None]:
        """Take a member of this node out of a topic."""
        if self._receiver is None or not self._tracked.discard(topic, member):
            return succeed(None)
        return self._change(messages.Untrack(topic, member)).addCallback(lambda _: None)

    def members(self, topic: str) -> Deferred[list[PresenceEntry]]:
        """Return a Deferred of the entries of all nodes on a topic."""
        return self._ask(messages.ListMembers(topic))

    def count(self, topic: str) -> Deferred[int]:
        """Return a Deferred of how many entries there are on a topic."""
        return self._ask(messages.CountMembers(topic))

    def topics(self, pattern: str = "*") -> Deferred[dict[str, int]]:
        """Return a Deferred of the topics that have entries, and how many."""
        return self._ask(messages.ListTopics(check_pattern(pattern)))

    # Commands.

    def _refusal(self, topic: str = "", payload: bytes = b"") -> BackplaneError | None:
        if self._state is BackplaneState.DOWN:
            return self._unavailable()
        limits = self._limits
        error = limits.refusal(topic, payload)
        if error is not None:
            return error
        if len(self._waiting) >= limits.publish_queue:
            return BackplaneRefused("publish_queue", limits.publish_queue)
        if self._waiting_bytes + len(payload) > limits.publish_bytes:
            return BackplaneRefused("publish_bytes", limits.publish_bytes)
        return None

    def _unavailable(self) -> BackplaneUnavailable:
        return BackplaneUnavailable("it is not started" if self._receiver is None else self._problem)

    def _ask(self, command: Command, topic: str = "") -> Deferred[Any]:
        error = self._refusal(topic)
        return self._say(command) if error is None else fail(error)

    def _change(self, command: Command) -> Deferred[bool]:
        """Say that the state has changed; where that has not been said yet, it will be with all of it: False then, at once."""
        if self._state is BackplaneState.UP:
            return self._say(command).addErrback(_not_yet)
        if self._told:
            self._say(command).addErrback(_ignore)
        elif self._meanwhile is not None:
            self._meanwhile.append(command)
        return succeed(False)

    def _expect(self, kind: Any, size: int) -> Deferred[Any]:
        """Return a Deferred of the result that comes behind those that are expected already."""
        result: Deferred[Any] = Deferred()
        self._waiting.append((result, kind, size))
        self._waiting_bytes += size
        return result

    def _say(self, command: Command, size: int = 0) -> Deferred[Any]:
        result = self._expect(command.result, size)
        self._write(command)
        return result

    def _write(self, command: Command) -> Any:
        """Send a command; return an awaitable for who sends many."""
        assert self._session is not None
        try:
            return self._session.send(COMMAND, encode(command))
        except VeltixError as error:  # too much waits for a host that hangs: all of it fails, and the state is said anew
            self._lost(str(error))
            self._client.disconnect().addCallback(self._connect)
            return succeed(None)

    # Connections.

    def _connect(self, _: object = None) -> None:
        if self._receiver is not None:
            self._client.connect().addErrback(_ignore)  # told by on_disconnect

    def _connected(self) -> None:
        """Say on a new connection all that this node subscribes and tracks."""
        self._session = self._client.session
        Deferred.fromCoroutine(self._join()).addErrback(self._not_joined)

    async def _join(self) -> None:
        assert self._receiver is not None
        status, limits = self._receiver.status(), self._limits
        beat = self._say(
            messages.Join(
                *(VERSION, self.node_id, socket.gethostname(), getpid(), self._started, status.connections, status.draining),
                *(limits.page, limits.page_bytes),
            )
        )
        said: list[Command] = [messages.Subscribe(topic) for topic in self._topics]
        said += [messages.Track(topic, *entry) for topic in self._tracked for entry in self._tracked.on(topic).items()]
        self._meanwhile = []
        session = self._session
        for command in said:
            self._expect(command.result, 0).addErrback(_ignore)
            await self._write(command)
            if self._session is not session:
                beat.addErrback(_ignore)
                return
        for command in self._meanwhile:
            self._say(command).addErrback(_ignore)
        known, self._meanwhile, self._told = self._say(messages.Ready()), None, True
        seconds, has_lease = await gatherResults([beat, known], consumeErrors=True).addErrback(_first_error)
        self._joined(has_lease, seconds)

    def _joined(self, known: bool, beat: float) -> None:
        if self._had_joined and not known:
            self._counters["leases_lost"] += 1
        self._had_joined = True
        self._timers.set("beat", beat, partial(self._beat, beat))
        self._problem = ""
        self._set_state(BackplaneState.UP)
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.callback(None)
        unsure, self._unsure = frozenset(self._unsure), set()
        if unsure:
            self._call(lambda receiver: receiver.interrupted(unsure))

    def _not_joined(self, failure: Failure) -> None:
        """Say why the host has refused this node, which it then closes; where the connection was lost that is known."""
        if failure.check(BackplaneUnavailable) is None:
            _log.error("the host of the backplane on {url} refuses this node: {why}", url=self._url, why=str(failure.value))

    def _disconnected(self, client: Client, state: DisconnectState) -> None:
        if client is self._client and self._receiver is not None:
            self._lost(self._problem_of(state))

    def _problem_of(self, state: DisconnectState) -> str:
        """Return why there is no connection, in words of who gives the URL."""
        if isinstance(state.error, PlaintextCredentials):
            return "a password goes to another machine over veltix+tls:// alone, or with plaintext=yes behind a '?' of the URL"
        if isinstance(state.error, AuthenticationFailed):
            refused = "it lets nobody in without a password." if self._url.password is None else "it refused the password."
            return f"{refused} {BACKPLANE_PASSWORD_REMEDY}"
        return str(state.error or state.reason)

    def _lost(self, problem: str) -> None:
        if problem != self._problem:  # an outage of hours is one line
            _log.warn("no connection to the backplane on {url}: {problem}; trying again", url=self._url, problem=problem)
        self._problem = problem
        self._counters["outages"] += self._state is BackplaneState.UP
        self._session = self._meanwhile = None
        self._told = False
        self._timers.clear_all()
        self._unsure.update(self._topics)
        self._fail_waiting(BackplaneUnavailable(problem, uncertain=True))
        self._set_state(BackplaneState.DOWN)

    def _fail_waiting(self, error: BackplaneUnavailable) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        for result, _, _ in waiting:
            result.errback(error)
        self._requests.fail_all(error)

    def _beat(self, seconds: float) -> None:
        assert self._receiver is not None
        self._timers.set("beat", seconds, partial(self._beat, seconds))
        status = self._receiver.status()
        self._write(messages.Beat(status.connections, status.draining))

    def _set_state(self, state: BackplaneState) -> None:
        before, self._state = self._state, state
        if state is not before:
            self._call(lambda receiver: receiver.state_changed(state))

    # Events of the host.

    def _event_received(self, client: Client, message: Response[bytes]) -> None:
        if client is not self._client or self._session is None:
            return  # of a connection that is given up
        try:
            event = decode_event(message.content)
        except (msgspec.MsgspecError, ValueError):
            self._counters["malformed"] += 1
            return
        self._ON_EVENT[type(event)](self, event)

    def _result_received(self, event: messages.Result) -> None:
        result, expected, size = self._waiting.popleft()
        self._waiting_bytes -= size
        result.callback(event.value if event.value is None else msgspec.convert(event.value, expected))

    def _fault_received(self, event: Fault) -> None:
        result, _, size = self._waiting.popleft()
        self._waiting_bytes -= size
        result.errback(_error(event))

    def _message_received(self, event: messages.Came) -> None:
        if event.topic in self._topics:
            self._counters["received"] += 1
            self._call(lambda receiver: receiver.message_received(event.topic, event.payload, event.position, event.node))

    def _directed_received(self, event: messages.Directed) -> None:
        self._call(lambda receiver: receiver.directed_received(event.payload, event.node))

    def _asked(self, event: messages.Asked) -> None:
        session = self._session

        def reply(payload: bytes) -> None:
            if self._session is session and self._refusal(payload=payload) is None:  # else the request times out
                self._write(messages.Answer(event.number, payload))

        def serve(receiver: BackplaneReceiver) -> None:
            receiver.request_received(event.payload, event.node).addCallbacks(reply, self._receiver_failed)

        self._call(serve)

    def _replied(self, event: messages.Replied) -> None:
        self._requests.settle(event.number, event.payload)

    def _not_replied(self, event: messages.NotReplied) -> None:
        self._requests.fail(event.number, _error(event.fault))

    def _presence_changed(self, event: messages.Changed) -> None:
        if event.topic in self._topics:
            self._call(lambda receiver: receiver.presence_changed(event.topic, event.diff))

    def _interrupted(self, event: messages.Interrupted) -> None:
        topics = self._topics.intersection(event.topics)
        self._call(lambda receiver: receiver.interrupted(frozenset(topics)))

    def _reaped(self, event: messages.Reaped) -> None:
        self._counters["nodes_reaped"] += event.count

    _ON_EVENT: dict[type, Callable[[HostedBackplane, Any], None]] = {  # noqa: RUF012 (a table)
        messages.Result: _result_received,
        Fault: _fault_received,
        messages.Came: _message_received,
        messages.Directed: _directed_received,
        messages.Asked: _asked,
        messages.Replied: _replied,
        messages.NotReplied: _not_replied,
        messages.Changed: _presence_changed,
        messages.Interrupted: _interrupted,
        messages.Reaped: _reaped,
    }

    def _call(self, call: Callable[[BackplaneReceiver], object]) -> None:
        if self._receiver is None:
            return
        try:
            call(self._receiver)
        except Exception:
            self._counters["receiver_failed"] += 1
            _log.failure("the backplane's receiver failed")

    def _receiver_failed(self, failure: Failure) -> None:
        self._counters["receiver_failed"] += 1
        _log.failure("a request of another node failed", failure)


_ERRORS: dict[str, Callable[[Fault], BackplaneError]] = {
    "BackplaneRefused": lambda fault: BackplaneRefused(fault.name, fault.limit),
    "BackplaneUnavailable": lambda fault: BackplaneUnavailable(fault.name),
    "NoSuchNode": lambda fault: NoSuchNode(fault.name),
    "NodeGone": lambda fault: NodeGone(fault.name),
}


def _error(fault: Fault) -> BackplaneError:
    """Return a fault as the exception that it was."""
    known = _ERRORS.get(fault.error)
    return BackplaneError(f"the backplane's host: {fault.error} {fault.name}") if known is None else known(fault)


def _first_error(failure: Failure) -> Failure:
    return failure.value.subFailure if isinstance(failure.value, FirstError) else failure


def _not_yet(failure: Failure) -> bool:
    """Return False: the connection was lost, and the state is said anew on the next."""
    failure.trap(BackplaneUnavailable)
    return False


def _ignore(_: Failure) -> None:
    """Ignore a failure that is known otherwise: a lost connection is told, and the state is said anew on the next."""
