"""Budgets of bytes that the connections of one side share."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from tests.support.line import Line, together
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import FrameTimeout
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.shared.budgets import MemoryBudget

MIB = 1024 * 1024


def test_the_one_that_keeps_the_most_is_ended() -> None:
    """Within the budget nobody is; beyond it the heaviest, as many as it takes, and they count no more."""
    ended: list[str] = []
    budget = MemoryBudget(100, ended.append)
    for name, size in {"a": 30, "b": 50, "c": 20}.items():
        budget.charge(name, size)
    assert (budget.used, ended) == (100, [])
    budget.charge("c", 21)
    assert (budget.used, ended) == (51, ["b"])
    budget.charge("b", 0)
    assert budget.used == 51
    budget.charge("d", 200)
    assert (budget.used, ended) == (51, ["b", "d"])
    budget.charge("a", 0)
    budget.charge("c", 0)
    assert (budget.used, ended) == (0, ["b", "d"])


def test_half_received_messages_of_all_peers_have_a_budget(server_line: Any, log_events: list[Any]) -> None:
    """The bytes that came of unfinished messages count, not the declared ones; beyond the budget the heaviest peer is closed."""
    lines = together(server_line, 4, receive_buffers=3 * MIB)
    content = b"x" * (9 * MIB)
    for line, size in zip(lines, (MIB, MIB - 100, MIB // 2, 0), strict=True):
        line.far.send(line.chat, content)
        (header, body) = line.far.data_to_send()
        line.protocol.dataReceived(header)
        for at in range(0, size, 65536):
            line.protocol.dataReceived(body[at : min(at + 65536, size)])
    assert 2.4 * MIB < lines[0].side.shared.receive_budget.used < 2.6 * MIB
    assert [line.transport.aborted for line in lines] == [0, 0, 0, 0]
    lines[3].protocol.dataReceived(body[: MIB // 2 + 200])
    assert [line.transport.aborted for line in lines] == [1, 0, 0, 0]
    lines[0].lose()
    assert lines[0].protocol._closed.reason is DisconnectReason.OVERLOAD
    assert lines[0].side.shared.counters["closed_overload"] == 1
    assert [event["direction"] for event in log_events if "direction" in event] == ["receive_buffers"]
    for line in lines[1:]:
        line.lose()
    assert lines[0].side.shared.receive_budget.used == 0


def test_a_budget_tells_when_it_is_tight() -> None:
    """Once when less than half is free, once when half is again, whoever kept it."""
    told: list[bool] = []
    budget = MemoryBudget(100, lambda name: None, told.append)
    for name, size in [("a", 50), ("b", 1), ("b", 20), ("b", 0), ("a", 60), ("c", 50), ("a", 0)]:
        budget.charge(name, size)
    assert told == [True, False, True, False]
    assert budget.is_tight is False


class Crowd:
    """Peers of one server that each begin a message of 1 MiB; ``begin`` lets one send the first part of it."""

    def __init__(self, server_line: Any, count: int, receive_buffers: int) -> None:
        settings = {"limits": Limits(receive_buffers=receive_buffers), "timeouts": Timeouts(frame=30, ping_interval=10_000)}
        self.lines: list[Line] = [server_line(**settings)]
        self.shared, self.clock = self.lines[0].side.shared, self.lines[0].clock
        for _ in range(count - 1):
            line = server_line(**settings, shared=self.shared)
            line.clock = self.clock
            self.lines.append(line)
        for line in self.lines:
            line.protocol.timers = type(line.protocol.timers)(self.clock)
            line.protocol.context.clocks = self.lines[0].clocks
            line.shake()
        self._rest: dict[Line, bytes] = {}

    def begin(self, line: Line, size: int) -> None:
        """Let a peer send the first bytes of a message, or more of it."""
        if line not in self._rest:
            line.far.send(line.chat, bytes(MIB))
            self._rest[line] = b"".join(line.far.data_to_send())
        line.protocol.dataReceived(self._rest[line][:size])
        self._rest[line] = self._rest[line][size:]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, a tenth of a second at a time."""
        self.clock.pump([0.1] * round(seconds * 10))

    @property
    def closed(self) -> list[bool]:
        """Who has been closed."""
        return [line.protocol.session.closed is not None for line in self.lines]  # type: ignore[union-attr]

    def end(self) -> None:
        """Let everybody go; nothing may be left."""
        for line in self.lines:
            line.lose()
        self.clock.advance(0)
        assert self.shared.receive_budget.used == 0
        assert self.clock.getDelayedCalls() == []


def test_half_messages_have_their_time_while_there_is_room(server_line: Any) -> None:
    """Where at least half of the budget is free, a message that is begun has timeouts.frame and a second for each 64 KiB."""
    crowd = Crowd(server_line, 4, receive_buffers=2 * MIB)
    for line in crowd.lines:
        crowd.begin(line, MIB // 4)
    crowd.pass_time(45)
    assert crowd.closed == [False] * 4
    crowd.pass_time(2)
    assert crowd.closed == [True] * 4
    assert crowd.shared.counters["frames_timed_out"] == 4
    crowd.end()


def test_the_oldest_half_messages_give_way_sooner_where_room_is_scarce(server_line: Any, log_events: list[Any]) -> None:
    """With less than half free they have less time, the oldest go first, and no more of them than it takes to have half free."""
    crowd = Crowd(server_line, 6, receive_buffers=2 * MIB)
    for line in crowd.lines:
        crowd.begin(line, MIB // 4)
        crowd.pass_time(1)
    crowd.pass_time(12)
    assert crowd.closed == [False] * 6
    crowd.pass_time(2.5)  # with a quarter free: half of 30 seconds, and 4 for 256 KiB
    assert crowd.closed == [True] + [False] * 5
    crowd.pass_time(8)
    assert crowd.closed == [True] * 2 + [False] * 4
    assert crowd.shared.receive_budget.used <= MIB
    assert crowd.shared.counters["frames_timed_out"] == 2
    texts = [formatEvent(event) for event in log_events]
    assert len(texts) == 2
    assert all("all connections together keep more than half of limits.receive_buffers" in text for text in texts)
    closed = crowd.lines[0].protocol._closed
    assert (closed.reason, type(closed.cause)) == (DisconnectReason.PROTOCOL_ERROR, FrameTimeout)
    crowd.pass_time(15)
    assert crowd.closed == [True] * 2 + [False] * 4
    crowd.end()


def test_who_sends_on_does_not_give_way(server_line: Any) -> None:
    """A large message that keeps coming is not among those that give way, however old it is; the silent ones are."""
    crowd = Crowd(server_line, 6, receive_buffers=3 * MIB)
    honest, *silent = crowd.lines
    crowd.begin(honest, MIB // 4)
    for line in silent:
        crowd.begin(line, 3 * MIB // 8)
    for _ in range(8):
        crowd.begin(honest, 80 * 1024)
        crowd.pass_time(1)
    assert not any(crowd.closed)
    crowd.pass_time(5)
    assert crowd.closed[0] is False
    assert any(crowd.closed[1:])
    crowd.end()


def test_who_is_not_read_does_not_give_way(server_line: Any) -> None:
    """While this side has paused reading, time does not run against a peer here either."""
    crowd = Crowd(server_line, 4, receive_buffers=MIB)
    for line in crowd.lines:
        crowd.begin(line, MIB // 5)
        line.protocol.flow.pause("a test")
    crowd.pass_time(60)
    assert crowd.closed == [False] * 4
    crowd.end()


def test_messages_that_wait_for_their_turn_do_not_give_way(server_line: Any) -> None:
    """Only half-received messages do: what has come whole waits for its handler as ever, though it takes most of the room."""
    crowd = Crowd(server_line, 2, receive_buffers=2 * MIB)
    busy, half = crowd.lines
    busy.application.on_message = lambda session, message: Deferred() if message.content == b"first" else None
    busy.say(b"first", bytes(MIB), bytes(MIB // 4))
    crowd.begin(half, MIB // 4)
    crowd.pass_time(29)
    assert crowd.closed == [False, True]
    crowd.end()


def test_a_message_that_is_complete_is_not_kept(server_line: Any) -> None:
    """What was received whole and handled does not count."""
    (line,) = together(server_line, 1, receive_buffers=MIB)
    for _ in range(5):
        line.far.send(line.chat, b"x" * (MIB - 100))
        data = b"".join(line.far.data_to_send())
        for at in range(0, len(data), 65536):
            line.protocol.dataReceived(data[at : at + 65536])
    assert len(line.application.contents) == 5
    assert (line.side.shared.receive_budget.used, line.transport.aborted) == (0, 0)


def test_messages_that_wait_for_their_turn_count(server_line: Any) -> None:
    """While a handler is busy, what is received for later counts, and no more once it is handled."""
    (line,) = together(server_line, 1)
    busy: Deferred[None] = Deferred()
    line.application.on_message = lambda session, message: busy if message.content == b"first" else None
    line.say(b"first", b"x" * 1000, b"y" * 500)
    assert line.side.shared.receive_budget.used == 1500
    busy.callback(None)
    assert line.side.shared.receive_budget.used == 0
    assert len(line.application.contents) == 3


def test_messages_of_peers_that_have_gone_count(server_line: Any, log_events: list[Any]) -> None:
    """What waits for its turn counts when its peer has left, too, or anyone could leave any amount; the heaviest's is dropped."""
    lines = together(server_line, 3, receive_buffers=2 * MIB)
    busy: Deferred[None] = Deferred()
    for line, size in zip(lines, (MIB, MIB // 2, MIB), strict=True):
        line.application.on_message = lambda session, message: busy
        line.say(b"first", b"x" * size)
        line.lose()
    assert lines[0].side.shared.receive_budget.used == MIB * 3 // 2
    assert [line.protocol.session._inbox_bytes for line in lines] == [0, MIB // 2, MIB]
    assert [event["direction"] for event in log_events if "direction" in event] == ["receive_buffers"]
    busy.callback(None)
    assert [len(line.application.contents) for line in lines] == [1, 2, 2]
    assert [line.application.calls[-1][0] for line in lines] == ["disconnected"] * 3
    assert lines[0].side.shared.receive_budget.used == 0


def test_what_waits_for_all_peers_has_a_budget(server_line: Any) -> None:
    """Bytes queued for peers that do not read count together; beyond the budget the peer with the most is closed."""
    lines = together(server_line, 3, send_buffers=5 * MIB)
    for line, count in zip(lines, (2, 3, 0), strict=True):
        line.protocol.flow.pauseProducing()
        for _ in range(count):
            line.protocol.session.send(line.chat, b"x" * (MIB - 100))
    assert [line.transport.aborted for line in lines] == [0, 0, 0]
    lines[2].protocol.session.send(lines[2].chat, b"x" * MIB)
    assert [line.transport.aborted for line in lines] == [0, 1, 0]
    assert lines[1].protocol.session.closed.reason is DisconnectReason.OVERLOAD
    for line in lines:
        line.lose()
    assert lines[0].side.shared.send_budget.used == 0


def test_what_is_read_again_does_not_count(server_line: Any) -> None:
    """Once the peers read, the budget is free again."""
    (line,) = together(server_line, 1)
    line.protocol.flow.pauseProducing()
    line.protocol.session.send(line.chat, b"x" * MIB)
    assert line.side.shared.send_budget.used > MIB
    line.protocol.flow.resumeProducing()
    assert line.side.shared.send_budget.used == 0


def test_the_bytes_of_a_broadcast_do_not_count(server_line: Any) -> None:
    """All queues share them: however many peers do not read, they are there once."""
    lines = together(server_line, 3, send_buffers=MIB)
    sessions = [line.protocol.session for line in lines]
    buffers = sessions[0]._encode(lines[0].chat, b"x" * MIB)
    for line in lines:
        line.protocol.flow.pauseProducing()
        line.protocol.session._send_encoded(buffers)
    assert [session.write_buffer_size for session in sessions] == [MIB + 15] * 3
    assert lines[0].side.shared.send_budget.used == 0
    sessions[0].send(lines[0].chat, b"own")
    lines[0].clock.advance(0)
    assert lines[0].side.shared.send_budget.used == 18


# Sends that are gathered.


def test_what_fails_in_writing_to_one_peer_keeps_nothing_from_the_others(server_line: Any, logged_failures: Any) -> None:
    """What was sent in one turn is written for every connection, whatever a transport of one of them raises."""
    lines = together(server_line, 3)
    assert lines[0].clock is not lines[1].clock
    lines[1].transport.write = lines[1].transport.writeSequence = lambda _: 1 / 0
    for line in lines:
        line.protocol.session.send(line.chat, b"hello")
    lines[0].clock.advance(0)
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert [line.answers() for line in (lines[0], lines[2])] == [[b"hello"], [b"hello"]]
