"""Requests and pings that were given up: what comes late is never taken for anything else."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support.deferreds import outcome
from veltix_tx.errors import TooManyRequests
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire import pending
from veltix_tx.wire.messages import ERROR, PING, Response
from veltix_tx.wire.veltix.layouts import Header
from veltix_tx.wire.veltix.request_ids import CLIENT_IDS, LEGACY_CLIENT_IDS, SERVER_IDS

NEVER = Timeouts(ping_interval=1_000_000)
WHOLE_HALVES = pytest.mark.parametrize(
    ("role", "wire", "half"),
    [("client", "2.0.3", LEGACY_CLIENT_IDS), ("client", "3.3.0", CLIENT_IDS), ("server", "3.3.0", SERVER_IDS)],
    ids=["client to 2.0.3", "client", "server"],
)


@pytest.fixture
def either(server_line: Any, client_line: Any) -> Any:
    """Make a line in the role that a test names."""
    return lambda role, *args, **kwargs: (server_line if role == "server" else client_line)(*args, timeouts=NEVER, **kwargs)


def asked(line: Any) -> list[Response]:
    """Messages said since."""
    return [event for event in line.take() if isinstance(event, Response)]


def give_up(line: Any, waiting: Deferred[Any], how: str) -> Header:
    """Give up a request or ping that has just been made, in one of two ways; return its header. The peer has it then."""
    (header,) = headers(line)
    line.take()
    result = outcome(waiting)
    if how == "cancel":
        waiting.cancel()
    else:
        line.clock.advance(1)
    assert len(result) == 1
    return header


def headers(line: Any) -> list[Header]:
    """The headers of the frames that wait to be taken by the peer."""
    line.clock.advance(0)
    said, layout = line.transport.value(), line.protocol.session.peer.layout
    found, position = [], 0
    while position < len(said):
        found.append(layout.unpack(said[position : position + layout.header_size]))
        position += layout.header_size + found[-1].size
    return found


def most_of(half: range) -> range:
    """Numbers of thousands, so that the thousand after them comes round to the first id of the half again."""
    return range(0, len(half) // 1000 * 1000, 1000)


def ask_many(line: Any, session: Any, half: range) -> None:
    """Make requests and have them answered, a thousand at a time; each must get its own content."""
    for start in most_of(half):
        waiting = {number: outcome(session.send_and_wait(line.chat, b"%d" % number)) for number in range(start, start + 1000)}
        for question in asked(line):
            line.far.send(question.type, question.content, question.request_id)
        line.deliver()
        assert all(reply[0].content == b"%d" % number for number, reply in waiting.items())


@WHOLE_HALVES
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_late_reply_reaches_no_other_request(how: str, role: str, wire: str, half: range, either: Any) -> None:
    """However many requests follow a given-up one, none gets its late reply, which is dropped and counted; nor do messages."""
    line = either(role, wire)
    session = line.shake()
    late = give_up(line, session.send_and_wait(line.chat, b"A", timeout=1), how)
    ask_many(line, session, half)
    waiting = [outcome(session.send_and_wait(line.chat, b"B", timeout=100)) for _ in range(1000)]
    line.say(b"A", request_id=late.request_id)
    assert waiting == [[]] * 1000
    assert (session.late_replies, line.application.contents) == (1, [])
    for question in asked(line):
        line.say(b"B", request_id=question.request_id)
    assert {reply[0].content for reply in waiting} == {b"B"}
    assert (session.late_replies, session.pending_requests) == (1, 0)


def test_with_every_id_given_up_requests_are_refused(either: Any) -> None:
    """When no other id is left a request errbacks TooManyRequests, which says so, and nothing is sent; a late reply frees one."""
    line = either("client", "2.0.3")
    session = line.shake()
    count = len(LEGACY_CLIENT_IDS)
    for _ in range(count):
        waiting = session.send_and_wait(line.chat, b"A")
        waiting.addErrback(lambda _: None).cancel()
    given_up = asked(line)
    assert len({question.request_id for question in given_up}) == count
    (error,) = outcome(session.send_and_wait(line.chat, b"B"))
    assert isinstance(error, TooManyRequests)
    assert (error.limit, error.given_up) == (count, count)
    assert all(part in str(error) for part in (str(count), "given up", "still awaited", "new connection"))
    assert asked(line) == []
    assert line.side.shared.counters["requests_refused"] == 1
    assert outcome(session.ping()) == []  # its ids are others
    line.take()
    line.deliver()
    late = given_up[1234]
    line.say(b"A", request_id=late.request_id)
    assert session.late_replies == 1
    reply = outcome(session.send_and_wait(line.chat, b"B"))
    (question,) = asked(line)
    assert question.request_id == late.request_id
    line.say(b"B", request_id=question.request_id)
    assert reply[0].content == b"B"


def test_a_new_connection_knows_nothing_of_the_old_ones_ids(either: Any) -> None:
    """What was given up on one connection holds nothing back on the next."""
    line = either("client", "2.0.3")
    session = line.shake()
    give_up(line, session.send_and_wait(line.chat, b"A", timeout=1), "cancel")
    again = either("client", "2.0.3")
    session = again.shake()
    outcome(session.send_and_wait(again.chat, b"B"))
    assert [question.request_id for question in asked(again)] == [LEGACY_CLIENT_IDS.start]


@WHOLE_HALVES
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_late_pong_settles_no_other_ping(how: str, role: str, wire: str, half: range, either: Any) -> None:
    """However many pings follow a given-up one, none is settled by its late pong, which is no strike either."""
    line = either(role, wire, limits=Limits(protocol_errors=1))
    session = line.shake()
    give_up(line, session.ping(timeout=1), how)
    late = b"".join(line.far.data_to_send())
    for _ in most_of(half):
        trips = [outcome(session.ping()) for _ in range(1000)]
        line.take()
        line.deliver()
        assert trips == [[0.0]] * 1000
    trips = [outcome(session.ping(timeout=100)) for _ in range(1000)]
    line.protocol.dataReceived(late)
    assert trips == [[]] * 1000
    line.take()
    line.clock.advance(0.5)
    line.deliver()
    assert trips == [[500.0]] * 1000
    assert (session.late_replies, session.pending_requests, session.closed) == (1, 0, None)


@pytest.mark.parametrize("wire", ["1.3.0", "1.6.3", "1.6.10", "1.7.5", "3.3.0"])
@pytest.mark.parametrize("role", ["server", "client"])
def test_late_pongs_are_no_strikes(role: str, wire: str, either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that answers late, be it to more pings than are remembered, breaks no rule; one that answers twice does."""
    monkeypatch.setattr(pending, "MOST_GIVEN_UP", 512)
    line = either(role, wire, limits=Limits(protocol_errors=2))
    session = line.shake()
    for _ in range(2000):
        session.ping(timeout=1).addErrback(lambda _: None)
    line.clock.advance(1)
    assert len(session._requests.pings.given_up) <= 512
    line.take()
    pongs = b"".join(line.far.data_to_send())
    line.protocol.dataReceived(pongs)
    assert (session.late_replies, session.closed) == (2000, None)
    line.protocol.dataReceived(pongs[: 3 * (len(pongs) // 2000)])
    assert session.closed is not None


@pytest.mark.parametrize("probes_first", [True, False])
@pytest.mark.parametrize("wire", ["1.0", "1.3.0", "1.6.3", "1.6.10", "1.7.5", "3.3.0"])
@pytest.mark.parametrize("role", ["server", "client"])
def test_the_heartbeats_pings_and_the_programs_are_kept_apart(role: str, wire: str, probes_first: bool, either: Any) -> None:
    """The pong of a heartbeat's ping settles none of the program's, and a late one of those does not count as the heartbeat's."""
    line = either(role, wire, limits=Limits(protocol_errors=1))
    session = line.shake()
    can_ping = wire != "1.0"
    pings = [give_up(line, session.ping(timeout=1), "timeout")] if can_ping else []
    trip = outcome(session.ping()) if can_ping else []
    for _ in range(3):
        session._send_probe()
    said = headers(line)
    line.take()
    pings, probes = pings + said[:-3], said[-3:]
    assert {each.code for each in said} == {PING.code}
    if can_ping:
        assert not {each.request_id for each in pings} & {each.request_id for each in probes}
    pongs = b"".join(line.far.data_to_send())
    size = len(pongs) // (len(pings) + 3)
    of_pings, of_probes = pongs[: -3 * size], pongs[-3 * size :]
    for some in (of_probes, of_pings) if probes_first else (of_pings, of_probes):
        line.protocol.dataReceived(some)
        assert bool(trip) == (can_ping and not (probes_first and some is of_probes))
    assert (session.late_replies, session.closed) == (int(can_ping), None)
    assert line.protocol._violations is None
    line.protocol.dataReceived(of_probes[:size])  # one too many
    assert session.late_replies == int(can_ping) + 1
    assert line.protocol._violations is not None


@pytest.mark.parametrize("wire", ["1.3.0", "1.6.3", "1.6.10", "1.7.5"])
def test_a_late_error_frees_the_id_too(wire: str, either: Any) -> None:
    """An ERROR is a reply: after it the id of the given-up request is awaited no more."""
    line = either("client", wire)
    session = line.shake()
    late = give_up(line, session.send_and_wait(line.chat, b"A", timeout=1, request_id=77), "timeout")
    line.say(b"", request_id=late.request_id, message_type=ERROR)
    assert session.late_replies == 1
    assert len(session._requests.requests.given_up) == 0
    outcome(session.send_and_wait(line.chat, b"B", request_id=77))
    assert asked(line)[0].request_id == 77


@pytest.mark.parametrize("wire", ["1.3.0", "1.6.3", "1.6.10", "1.7.5"])
def test_a_wanted_id_that_was_given_up_is_not_taken(wire: str, either: Any) -> None:
    """A program that asks again with the id of a request it gave up gets another id, until the late reply came."""
    line = either("client", wire)
    session = line.shake()
    late = give_up(line, session.send_and_wait(line.chat, b"A", timeout=1, request_id=5), "cancel")
    assert late.request_id == 5
    reply = outcome(session.send_and_wait(line.chat, b"B", request_id=5))
    (question,) = asked(line)
    assert question.request_id != 5
    line.say(b"A", request_id=5)
    assert (reply, session.late_replies) == ([], 1)
    line.say(b"B", request_id=question.request_id)
    assert reply[0].content == b"B"
    outcome(session.send_and_wait(line.chat, b"C", request_id=5))
    assert asked(line)[0].request_id == 5
