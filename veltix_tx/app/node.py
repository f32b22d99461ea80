"""Node: one server among those that share a backplane; what comes from the others is read, and given to whom it is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred, FirstError, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.app.callbacks import Callbacks
from veltix_tx.backplane.envelope import Answer, Envelopes, Failed, Message, Question, Unreadable
from veltix_tx.backplane.interface import Backplane, BackplaneState, History, NodeStatus, Position, PresenceDiff
from veltix_tx.errors import BackplaneError, BackplaneUnavailable, RequestTimeout
from veltix_tx.net.clock import Clocks

__all__ = ["Node", "TopicReceiver", "backplane_error", "first_error", "ignore_unavailable"]

_log = Logger()

K = TypeVar("K")


def _nothing(*_: object) -> None:
    """Do nothing: what comes is of no use to whoever subscribed."""


@dataclass(frozen=True, slots=True)
class TopicReceiver:
    """Functions that hear of a topic.

    Attributes:
        message_received: called with another node's message, its position and the node.
        presence_changed: called with changes of other nodes' members.
        interrupted: called when something may have been lost.
        unreadable: called with the position of another node's message that cannot be read.
    """

    message_received: Callable[[Message, Position | None, str], None]
    presence_changed: Callable[[PresenceDiff], None] = _nothing
    interrupted: Callable[[], None] = _nothing
    unreadable: Callable[[Position], None] = _nothing


class Node:
    """One server's part in a backplane: a BackplaneReceiver.

    Args:
        backplane: what it joins.
        counters: where it counts; see :data:`~veltix_tx.net.shared.counters.COUNTERS`.
        status: returns what the other nodes may know of this one.
        key: secret that all nodes share; None for none.

    Attributes:
        backplane: as given.
        answer: answers the questions of other nodes.
        counters: as given.
        state_callbacks: called with each new state of the backplane.
        number: of the latest message it has published.

    Raises:
        SettingsError: the key is too short.
    """

    def __init__(
        self, backplane: Backplane, counters: Counter[str], status: Callable[[], NodeStatus], key: bytes | None = None
    ) -> None:
        self.backplane = backplane
        self.counters = counters
        self.status = status
        self.answer: Callable[[Question], Deferred[Answer]] = lambda question: succeed(Failed("unsupported"))
        self.number = 0
        self.use_key(key)
        self._topics: dict[str, TopicReceiver] = {}
        self.state_callbacks: Callbacks[BackplaneState] = Callbacks("on_backplane_state")
        self._clocks: Clocks
        self._started = False
        self._troubled = False

    def use_key(self, key: bytes | None) -> None:
        """Authenticate what is said by a secret, or by none; raises SettingsError for one that is too short."""
        self._messages = Envelopes[Message](Message, key)
        self._questions = Envelopes[Question](Question, key)
        self._answers = Envelopes[Answer](Answer, key)

    @property
    def id(self) -> str:
        """Id of the node, the first part of the ids of its connections."""
        return self.backplane.node_id

    def start(self, clocks: Clocks) -> None:
        """Join the others, unless that is done."""
        if not self._started:
            self._started, self._clocks = True, clocks
            self.backplane.start(self, clocks).addErrback(self._not_started)
            for topic, receiver in list(self._topics.items()):  # of before
                self.backplane.subscribe(topic).addCallbacks(partial(_go_on, receiver), ignore_unavailable)

    def stop(self) -> Deferred[None]:
        """Leave the others; fires when that is done."""
        if not self._started:
            return succeed(None)
        self._started = False
        return self.backplane.stop()

    # From the server's other parts.

    def next_number(self) -> int:
        """Return the number of a new message."""
        self.number += 1
        return self.number

    def publish(self, topic: str, message: Message, history: History | None = None) -> Deferred[Position | None]:
        """Publish a message; see :meth:`Backplane.publish`."""
        return self.backplane.publish(topic, self._messages.seal(message, topic), history)

    def read(self, topic: str, payload: bytes) -> Message | None:
        """Return a message of a topic's history, None for one that cannot be read, which is counted."""
        return self._open(self._messages, payload, topic)

    def subscribe(self, topic: str, receiver: TopicReceiver) -> Deferred[bool]:
        """Subscribe a topic for a receiver; see :meth:`Backplane.subscribe`."""
        self._topics[topic] = receiver
        return self.backplane.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Unsubscribe a topic."""
        if self._topics.pop(topic, None) is not None:
            self.backplane.unsubscribe(topic).addErrback(ignore_unavailable)

    def ask(self, node: str, question: Question, timeout: float) -> Deferred[Answer | None]:
        """Ask a node; fails as :meth:`Backplane.request`.

        A reply that cannot be read is counted, and the question waits on: whoever can write to the engine can guess its number.

        Returns:
            a Deferred of the answer, None where none came that can be read and one that cannot.
        """
        answers: list[Answer | None] = []

        def readable(reply: bytes) -> bool:
            answers[:] = [self._open(self._answers, reply, node)]
            return answers[-1] is not None

        def unreadable(failure: Failure) -> Failure | None:
            return None if answers and failure.check(RequestTimeout) else failure

        asked = self.backplane.request(node, self._questions.seal(question, node), timeout, readable)
        return asked.addCallbacks(lambda _: answers[-1], unreadable)

    # From the backplane.

    def message_received(self, topic: str, payload: bytes, position: Position | None, node: str) -> None:
        """Give a message to the receiver of its topic."""
        receiver, message = self._topics.get(topic), self._open(self._messages, payload, topic)
        if receiver is None:
            return
        if message is not None:
            receiver.message_received(message, position, node)
        elif position is not None:
            receiver.unreadable(position)

    def directed_received(self, payload: bytes, node: str) -> None:
        """Count a directed message: this version sends none."""
        self.counters["envelopes_unreadable"] += 1

    def request_received(self, payload: bytes, node: str) -> Deferred[bytes]:
        """Answer a question."""
        question = self._open(self._questions, payload, self.id)
        answer: Deferred[Answer] = succeed(Failed("unsupported")) if question is None else self.answer(question)
        return answer.addCallback(self._answers.seal, self.id)

    def presence_changed(self, topic: str, diff: PresenceDiff) -> None:
        """Give changes to the receiver of their topic."""
        if topic in self._topics:
            self._topics[topic].presence_changed(diff)

    def interrupted(self, topics: frozenset[str]) -> None:
        """Report to the receivers of topics that something may have been lost."""
        for topic in topics:
            if topic in self._topics:
                self._topics[topic].interrupted()

    def state_changed(self, state: BackplaneState) -> None:
        """Call who wants to know of a new state; log it, unless it is the beginning or the end."""
        if state is not BackplaneState.UP and self._started:
            _log.warn("the backplane of node {node} is {state}", node=self.id, state=state.value)
        elif self._troubled:
            _log.info("the backplane of node {node} is up again", node=self.id)
        self._troubled = state is not BackplaneState.UP and self._started
        self.state_callbacks.call(state, self._clocks.reactor)

    # Inside.

    def _open(self, envelopes: Envelopes[K], payload: bytes, to: str) -> K | None:
        try:
            return envelopes.open(payload, to)
        except Unreadable as error:
            self.counters["envelopes_unreadable"] += 1
            if self.counters["envelopes_unreadable"] == 1:
                _log.warn("a message of another node cannot be read: {reason}; further ones are only counted", reason=str(error))
            return None

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(BackplaneUnavailable):  # it was stopped before
            _log.failure("the backplane of node {node} could not start", failure, node=self.id)


def _go_on(receiver: TopicReceiver, _: bool) -> None:
    receiver.interrupted()


def backplane_error(failure: Failure) -> BackplaneError:
    """Return why something was not published; raise what is no such reason."""
    if not isinstance(failure.value, BackplaneError):
        failure.raiseException()
    return failure.value


def first_error(failure: Failure) -> Failure:
    """Return the failure of the first of several Deferreds that failed."""
    return failure.value.subFailure if isinstance(failure.value, FirstError) else failure


def ignore_unavailable(failure: Failure) -> None:
    """Drop a failure of the backplane that its own counters have, and its state tells."""
    failure.trap(BackplaneError)
