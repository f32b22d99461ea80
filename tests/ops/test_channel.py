"""Channel between supervisor and worker: what is asked and answered, and what bad bytes and silence get."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from veltix_tx.net.shared.turn_queue import TurnQueue
from veltix_tx.ops import channel
from veltix_tx.ops.admin_api import ApiError, Call, Text
from veltix_tx.ops.channel import DEADLINE, MOST_PENDING, NoAnswer, WorkerCalls, WorkerChannel


class Api:
    """An API that answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[Any] = []

    def answer(self, method: str, path: str, call: Call) -> object:
        """Note what is asked, and return or raise what is due."""
        self.asked.append((method, path, dict(call.query), dict(call.body), call.who))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Pair:
    """Both ends, with pipes between them that are emptied by hand, so many bytes at a time."""

    def __init__(self, step: int = 1 << 20) -> None:
        self.api, self.clock, self.step, self.ready, self.lost = Api(), Clock(), step, 0, 0
        self.requests, self.answers = b"", StringTransport()
        self.calls = WorkerCalls("worker 7", self.clock, self._write, self._listens)
        self.channel = WorkerChannel(self.api, "4711", self._lose, TurnQueue(self.clock, self.clock.seconds))
        self.channel.makeConnection(self.answers)
        self.carry()

    def carry(self) -> None:
        """Carry what has been written, both ways."""
        requests, self.requests = self.requests, b""
        for at in range(0, len(requests), self.step):
            self.channel.dataReceived(requests[at : at + self.step])
        self.clock.advance(0)
        answers = self.answers.value()
        self.answers.clear()
        for at in range(0, len(answers), self.step):
            self.calls.receive(answers[at : at + self.step])

    def ask(self, answer: object, seconds: float = DEADLINE) -> Deferred[object]:
        """Ask for what is answered so."""
        self.api.answers.append(answer)
        return self.calls.ask("GET", "path", Call({"a": "b"}, {"c": [1]}, "ann"), seconds)

    def _write(self, data: bytes) -> None:
        self.requests += data

    def _listens(self) -> None:
        self.ready += 1

    def _lose(self) -> None:
        self.lost += 1


@pytest.fixture(params=[1, 1 << 20], ids=["bytewise", "whole"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A pair."""
    return Pair(request.param)


def outcome(answer: Deferred[object]) -> object:
    """Return what a Deferred has come to, an error's words among it."""
    found: list[Any] = []
    answer.addBoth(found.append)
    (value,) = found
    return (value.value.status, value.value.said) if hasattr(value, "trap") else value


def test_a_worker_says_that_it_listens_and_whose_its_sessions_are(pair: Pair) -> None:
    """Its first frame has its node."""
    assert (pair.ready, pair.calls.node, pair.calls.answers) == (1, "4711", True)


def test_a_request_arrives_whole_and_so_does_its_answer(pair: Pair) -> None:
    """All of a request gets there; JSON, texts and errors come back; a late answer goes to who asked."""
    late: Deferred[object] = Deferred()
    waiting = pair.ask(late)
    answers = [pair.ask({"x": [1, None, "ü"]}), pair.ask(Text(b"\0t", "a/b", 503)), pair.ask(ApiError(409, "no"))]
    pair.carry()
    assert pair.api.asked == [("GET", "path", {"a": "b"}, {"c": [1]}, "ann")] * 4
    assert [outcome(each) for each in answers] == [{"x": [1, None, "ü"]}, Text(b"\0t", "a/b", 503), (409, "no")]
    late.callback("later")
    pair.carry()
    assert outcome(waiting) == "later"


def test_requests_are_answered_in_turns_of_the_worker(pair: Pair) -> None:
    """What the supervisor asks is answered in the worker's turn queue, which bounds the time of a turn."""
    pair.ask({})
    pair.channel.dataReceived(pair.requests)
    assert pair.api.asked == []
    pair.clock.advance(0)
    assert len(pair.api.asked) == 1


def test_a_fault_of_the_worker_is_told_without_its_text(pair: Pair, logged_failures: Any) -> None:
    """An exception inside is a 500, and in the worker's log."""
    answer = pair.ask(ZeroDivisionError("secret"))
    pair.carry()
    assert outcome(answer) == (500, "it failed; the log has more")
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_silence_ends_the_wait_and_nothing_more_is_asked(pair: Pair) -> None:
    """After the deadline further requests fail at once; the late answer, which nobody gets, says that the worker is back."""
    answer = pair.ask("late")
    pair.clock.advance(DEADLINE)
    assert outcome(answer) == (503, "worker 7 has not answered within 1 s; it may do so later")
    assert not pair.calls.answers
    assert outcome(pair.calls.ask("GET", "path", Call())) == (503, "worker 7 does not answer")
    assert pair.requests.count(b"path") == 1
    pair.carry()
    assert pair.calls.answers
    again = pair.ask("now")
    pair.carry()
    assert outcome(again) == "now"
    assert pair.clock.getDelayedCalls() == []


def test_so_many_requests_wait_and_no_more(pair: Pair) -> None:
    """One more than may wait is refused, and costs the pipe nothing."""
    waiting = [pair.ask(number) for number in range(MOST_PENDING)]
    size = len(pair.requests)
    assert outcome(pair.calls.ask("GET", "path", Call())) == (503, "worker 7 does not answer")
    assert len(pair.requests) == size
    pair.carry()
    assert [outcome(each) for each in waiting] == list(range(MOST_PENDING))


def test_who_gives_up_gets_nothing(pair: Pair) -> None:
    """The answer to a request that was cancelled is dropped."""
    given_up = pair.ask("dropped")
    given_up.addErrback(lambda _: None)
    given_up.cancel()
    pair.carry()
    assert pair.clock.getDelayedCalls() == []
    assert pair.calls.answers


def test_the_end_of_a_worker_ends_all_waits(pair: Pair) -> None:
    """Who waits is told at once, and so is who asks later."""
    waiting = pair.ask("never")
    pair.calls.end()
    assert outcome(waiting) == outcome(pair.calls.ask("GET", "path", Call())) == (503, "worker 7 is gone")
    assert pair.clock.getDelayedCalls() == []


GARBAGE = {"long": b"\xff\xff\xff\xff", "no msgpack": b"\0\0\0\1\xc1", "no answer": b"\0\0\0\2\x91\1"}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_the_channel(garbage: bytes) -> None:
    """A worker that writes what is no answer is asked no more; nothing of it is kept."""
    pair = Pair()
    waiting = pair.ask("never")
    pair.calls.receive(garbage)
    assert outcome(waiting) == (503, "worker 7 is gone")
    assert not pair.calls.answers
    pair.carry()


def test_an_answer_that_is_too_long_is_an_error(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker itself says that there is too much of it."""
    monkeypatch.setattr(channel, "MOST_ANSWER", 1000)
    answer = pair.ask("x" * 1000)
    pair.carry()
    assert outcome(answer) == (503, "the answer is too long: ask for less")


@pytest.mark.parametrize("body", [{"x": 10**40}, {"x": "\ud800"}], ids=["number", "text"])
def test_what_cannot_be_passed_on_is_refused(body: dict[str, Any], pair: Pair) -> None:
    """A body that JSON has, and msgpack has not, is the asker's mistake; nothing is written, and nothing waits."""
    with pytest.raises(ApiError, match="cannot be passed on"):
        pair.calls.ask("POST", "path", Call({}, body))
    assert (pair.requests, pair.clock.getDelayedCalls()) == (b"", [])


def test_the_supervisors_end_is_told_unless_the_worker_ends(pair: Pair) -> None:
    """A worker minds the loss of its supervisor, and not that of its own pipes at its end."""
    pair.channel.connectionLost()
    assert pair.lost == 1
    pair.channel.expect_end()
    pair.channel.connectionLost()
    assert pair.lost == 1


def test_what_cannot_be_encoded_is_a_fault(pair: Pair, logged_failures: Any) -> None:
    """An answer that no pipe carries is a 500 like any other fault, not silence."""
    answer = pair.ask(object())
    pair.carry()
    assert outcome(answer) == (500, "it failed; the log has more")
    assert logged_failures.flush(TypeError, msgspec.MsgspecError, NoAnswer)
