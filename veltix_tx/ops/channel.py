"""Channel between the supervisor and a worker: requests of the administration one way, their answers the other.

Each is a frame of msgpack on a pipe that only the two have: its length in four bytes, then a request or an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.net.shared.turn_queue import TurnQueue
from veltix_tx.ops.admin_api import ApiError, Call, Text

__all__ = ["DEADLINE", "MOST_ANSWER", "MOST_PENDING", "MOST_REQUEST", "Answering", "NoAnswer", "WorkerCalls", "WorkerChannel"]

DEADLINE = 1.0
"""Seconds that a worker has for an answer; one that takes longer is not waited for again until it says something."""

MOST_PENDING = 64
"""Requests that wait for their answers, of one worker."""

MOST_REQUEST = 256 * 1024
"""Bytes of a request: more than any that the administration lets in."""

MOST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer."""

_log = Logger()


class NoAnswer(ApiError):
    """A worker does not answer, or is gone."""

    def __init__(self, said: str) -> None:
        super().__init__(503, said)


class Answering(Protocol):
    """API that a worker answers with, see :class:`~veltix_tx.ops.interface.Administered`."""

    def answer(self, method: str, path: str, call: Call) -> object:
        """Return the answer to a request, or a Deferred of it; raise ApiError."""


class _Request(msgspec.Struct, array_like=True):
    number: int
    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    who: str


class _Answer(msgspec.Struct, array_like=True):
    """Answer to a request; that of number 0 comes once, without one, when the worker listens, and has its node's id."""

    number: int
    kind: Literal["value", "text", "error"]
    value: Any
    status: int = 200
    content_type: str = ""


class _FrameTooLong(Exception):
    """The other side announces a frame that is too long."""


class _Frames:
    """Frames that come in parts.

    Args:
        limit: bytes of a frame.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Yield the contents of the frames that are complete; raise _FrameTooLong."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[:4], "big")
            if end > 4 + self._limit:
                raise _FrameTooLong(end)
            if len(buffer) < end:
                return
            content = bytes(buffer[4:end])
            del buffer[:end]
            yield content


def _frame(message: msgspec.Struct) -> bytes:
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(4, "big") + content


class WorkerCalls:
    """Supervisor's end: asks one worker, and waits for its answers.

    Args:
        name: what the worker is called in errors.
        reactor: for the deadlines.
        write: writes to the worker's pipe.
        when_ready: called when the worker listens.

    Attributes:
        node: the worker's node, with which the ids of its sessions begin; empty until it listens.
    """

    def __init__(
        self, name: str, reactor: IReactorTime, write: Callable[[bytes], object], when_ready: Callable[[], object]
    ) -> None:
        self.node = ""
        self._name = name
        self._reactor = reactor
        self._write = write
        self._when_ready = when_ready
        self._frames = _Frames(MOST_ANSWER)
        self._pending: dict[int, tuple[Deferred[object], IDelayedCall]] = {}
        self._number = 0
        self._overdue = False
        self._ended = False

    @property
    def answers(self) -> bool:
        """True if it may be asked: it listens, is not gone, and has not let the last request wait for too long."""
        return bool(self.node) and not (self._ended or self._overdue)

    def ask(self, method: str, path: str, call: Call, seconds: float = DEADLINE) -> Deferred[object]:
        """Ask the worker's API.

        Args:
            method: GET or POST.
            path: the path, without a slash in front.
            call: the rest of the request.
            seconds: how long its answer is waited for.

        Returns:
            a Deferred of the answer, as the worker's API gives it. It errbacks with that API's ApiError, and with NoAnswer when
            the worker is gone, has not answered in time, or not the last request. Cancelling it drops the answer.

        Raises:
            ApiError: the request has what cannot be passed on, such as a number of a hundred digits.
        """
        if not self.answers or len(self._pending) >= MOST_PENDING:
            return fail(NoAnswer(f"{self._name} {'is gone' if self._ended else 'does not answer'}"))
        self._number += 1
        number = self._number
        try:
            request = _frame(_Request(number, method, path, dict(call.query), dict(call.body), call.who))
        except (ValueError, OverflowError, RecursionError):
            raise ApiError(400, "the body has what cannot be passed on to a worker") from None
        answer: Deferred[object] = Deferred(partial(self._drop, number))
        self._pending[number] = answer, self._reactor.callLater(seconds, self._give_up, number, seconds)
        self._write(request)
        return answer

    def receive(self, data: bytes) -> None:
        """Take what the worker has written; what is no answer ends the channel."""
        try:
            for content in self._frames.receive(data):
                self._settle(msgspec.msgpack.decode(content, type=_Answer))
        except (_FrameTooLong, msgspec.DecodeError, UnicodeDecodeError):
            _log.error("{name} is asked no more: it has written what is no answer", name=self._name)
            self.end()

    def end(self) -> None:
        """Ask no more: the worker is gone."""
        self._ended = True
        for number in list(self._pending):
            answer = self._take(number)
            if answer is not None:
                answer.errback(NoAnswer(f"{self._name} is gone"))

    def _take(self, number: int) -> Deferred[object] | None:
        """Return who waits for an answer, and forget about it; None where nobody does any more."""
        answer, deadline = self._pending.pop(number, (None, None))
        if deadline is not None and deadline.active():
            deadline.cancel()
        return answer

    def _drop(self, number: int, _: Deferred[object]) -> None:
        self._take(number)

    def _give_up(self, number: int, seconds: float) -> None:
        self._overdue = True
        answer = self._take(number)
        assert answer is not None
        answer.errback(NoAnswer(f"{self._name} has not answered within {seconds:g} s; it may do so later"))

    def _settle(self, said: _Answer) -> None:
        if self._ended:
            return
        self._overdue = False
        if said.number == 0:
            self.node = str(said.value)
            self._when_ready()
            return
        answer = self._take(said.number)
        if answer is None:
            return
        if said.kind == "error":
            answer.errback(ApiError(said.status, str(said.value)))
        else:
            answer.callback(said.value if said.kind == "value" else Text(said.value, said.content_type, said.status))


class WorkerChannel(TwistedProtocol):
    """Worker's end: answers what the supervisor asks.

    Args:
        api: answers.
        node: the server's node.
        when_lost: called when the supervisor is gone.
        turns: in which it answers, so that many requests hold up nobody else.
    """

    def __init__(self, api: Answering, node: str, when_lost: Callable[[], object], turns: TurnQueue) -> None:
        self._api = api
        self._node = node
        self._when_lost = when_lost
        self._turns = turns
        self._ends = False
        self._frames = _Frames(MOST_REQUEST)

    def connectionMade(self) -> None:
        """Report to the supervisor that this process listens."""
        self._write(_frame(_Answer(0, "value", self._node)))

    def dataReceived(self, data: bytes) -> None:
        """Answer requests."""
        for content in self._frames.receive(data):
            self._turns.add(partial(self._answer, msgspec.msgpack.decode(content, type=_Request)))

    def _answer(self, asked: _Request) -> None:
        call = Call(asked.query, asked.body, asked.who)
        said: Deferred[Any] = maybeDeferred(self._api.answer, asked.method, asked.path, call)
        said.addCallback(_encoded, asked.number).addErrback(_encoded_error, asked.number).addCallback(self._write)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say that the supervisor is gone, unless it is this process that ends."""
        if not self._ends:
            self._when_lost()

    def expect_end(self) -> None:
        """Go on while the process stops, and take the channel's end as a part of that."""
        self._ends = True

    def _write(self, answer: bytes) -> None:
        assert self.transport is not None
        self.transport.write(answer)


def _encoded(value: object, number: int) -> bytes:
    answer = _Answer(number, "value", value)
    if isinstance(value, Text):
        answer = _Answer(number, "text", value.content, value.status, value.content_type)
    frame = _frame(answer)
    if len(frame) > MOST_ANSWER:
        raise ApiError(503, "the answer is too long: ask for less")
    return frame


def _encoded_error(failure: Failure, number: int) -> bytes:
    error = failure.value
    if not isinstance(error, ApiError):
        _log.failure("a request to the administration failed", failure)
        error = ApiError(500, "it failed; the log has more")
    return _frame(_Answer(number, "error", error.said, error.status))
