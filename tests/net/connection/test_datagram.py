"""Sessions over UDP: one for each address, its idle end, the limit of them, and what an unvalidated address is sent."""

from __future__ import annotations

import errno
import gc
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from tests.support.datagrams import FAR, NEAR, Datagrams
from tests.support.line import Recorder
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import MessageTooLarge, SessionClosed, SettingsError, UnvalidatedAddress
from veltix_tx.limits import Timeouts
from veltix_tx.net.connection.datagram import AMPLIFICATION, VeltixDatagramProtocol
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.interface import MAX_DATAGRAM
from veltix_tx.wire.messages import TEXT
from veltix_tx.wire.plain.options import Lines, Raw

RAW = Raw(text=False)


def echoing() -> Recorder:
    """An application that answers each message with itself."""
    application = Recorder()
    application.on_message = lambda session, message: message.content
    return application


# Sessions.


def test_each_address_has_a_session_of_its_own() -> None:
    """A session begins with an address's first datagram, and has the later ones; what it sends goes back there."""
    udp = Datagrams(echoing())
    udp.come(b"one\n")
    udp.come(b"two\n", FAR)
    udp.come(b"three\n")
    assert udp.application.calls == [
        ("connected",),
        ("received", b"one"),
        ("connected",),
        ("received", b"two"),
        ("received", b"three"),
    ]
    assert udp.port.sent == [(b"one\n", NEAR), (b"two\n", FAR), (b"three\n", NEAR)]
    near, far = udp.session(), udp.session(FAR)
    assert (near.ip, near.port) == NEAR
    assert (far.ip, far.port) == FAR
    assert near.id != far.id
    assert len(udp.protocol) == len(list(udp.connections)) == 2
    assert (udp.counters["accepted"], udp.counters["ready"]) == (2, 2)


def test_what_comes_in_one_turn_is_handled_together_and_in_order() -> None:
    """A peer's datagrams of one turn of the reactor are handled in their order, and so are those of the others."""
    udp = Datagrams(echoing())
    udp.protocol._datagrams_received([(b"%d\n" % number, (NEAR, FAR)[number % 2]) for number in range(100)])
    for sender, first in ((NEAR, 0), (FAR, 1)):
        assert udp.sent(sender) == [b"%d\n" % number for number in range(first, 100, 2)]


def test_an_empty_datagram_is_counted_and_begins_nothing() -> None:
    """No wire has a message of no bytes: the datagram is dropped, from a new address and from a known one."""
    udp = Datagrams()
    udp.come(b"")
    assert len(udp.protocol) == 0
    udp.come(b"one\n")
    udp.come(b"")
    assert udp.application.contents == [b"one"]
    assert udp.counters["datagrams_dropped"] == 2


def test_a_bad_datagram_costs_its_peer_nothing() -> None:
    """It is counted, any number of them: somebody else may have sent them in the peer's name, whose session goes on."""
    udp = Datagrams()
    for _ in range(1000):
        udp.come(b"\xff\xfe\n")
    udp.come(b"one\n")
    assert udp.application.contents == [b"one"]
    assert udp.session().frames_rejected == udp.counters["frames_refused"] == 1000
    assert udp.session().closed is None


def test_a_datagram_of_65507_bytes_is_taken_whole_and_a_longer_message_refused_where_it_is_sent() -> None:
    """Nothing is cut, in either direction; the error names the size and the limit."""
    udp = Datagrams(echoing(), RAW)
    udp.come(b"x" * MAX_DATAGRAM)
    assert udp.sent() == [b"x" * MAX_DATAGRAM]
    udp.session().validate()
    with pytest.raises(MessageTooLarge) as caught:
        udp.session().send(TEXT, bytes(MAX_DATAGRAM + 1))
    assert (caught.value.size, caught.value.limit) == (MAX_DATAGRAM + 1, MAX_DATAGRAM)
    assert len(udp.port.sent) == 1


def test_a_datagram_of_nothing_but_line_ends_is_rejected() -> None:
    """1,024 messages go into one datagram, and are answered as far as the address may be; one with more is rejected whole."""
    udp = Datagrams(echoing())
    udp.come(b"\n" * MAX_DATAGRAM)
    assert (udp.application.contents, udp.counters["frames_refused"]) == ([], 1)
    udp.come(b"\n" * 1024)
    assert len(udp.application.contents) == 1024
    assert len(udp.port.sent) == 2 * AMPLIFICATION
    assert udp.counters["datagrams_withheld"] == 1024 - 2 * AMPLIFICATION


def test_a_failing_handler_costs_nobody_else_anything(logged_failures: Any) -> None:
    """An exception is logged and counted; the session and the others go on."""
    application = Recorder()
    application.on_message = lambda session, message: 1 / 0 if message.content == b"bad" else message.content
    udp = Datagrams(application)
    udp.protocol._datagrams_received([(b"bad\n", NEAR), (b"good\n", NEAR), (b"good\n", FAR)])
    assert udp.port.sent == [(b"good\n", NEAR), (b"good\n", FAR)]
    assert udp.counters["handlers_failed"] == 1
    logged_failures.flush(ZeroDivisionError)


def test_messages_wait_for_a_handler_and_then_their_datagrams_are_dropped() -> None:
    """While a handler's Deferred waits, ``limits.inflight`` messages wait as well, the rest is dropped, and it goes on after it."""
    waiting: list[Deferred[bytes]] = []
    application = Recorder()

    def on_message(session: Any, message: Any) -> object:
        waiting.append(Deferred())
        return waiting[-1]

    application.on_message = on_message
    udp = Datagrams(application, inflight=10)
    for number in range(100):
        udp.come(b"%d\n" % number)
    udp.come(b"other\n", FAR)
    assert (len(waiting), udp.counters["datagrams_dropped"]) == (2, 90)
    assert udp.connections.shared.receive_budget.used > 0
    while waiting:
        waiting.pop(0).callback(b"done")
    assert len(udp.sent()) == 10
    udp.come(b"again\n")
    assert len(waiting) == 1
    waiting[0].callback(b"done")
    assert udp.connections.shared.receive_budget.used == 0


def test_too_much_kept_for_all_ends_the_one_with_the_most() -> None:
    """Beyond ``limits.receive_buffers`` the session that keeps the most is ended, its waiting messages dropped."""
    application = Recorder()
    application.on_message = lambda session, message: Deferred()
    udp = Datagrams(application, receive_buffers=10_000)
    udp.come(b"one\n", FAR)
    for _ in range(10):
        udp.come(b"x" * 2000)
    assert udp.counters["closed_overload"] == 0  # told in the next turn
    udp.clock.advance(0)
    assert udp.counters["closed_overload"] == 1
    assert udp.session(FAR).closed is None
    udp.protocol.doStop()
    udp.clock.advance(0)


def test_a_rejected_peer_is_told_nothing_and_asked_again() -> None:
    """An ``on_connect`` that fails ends the session, unheard; the address's next datagram begins another."""
    application = echoing()
    outcomes = iter([False, True])

    def on_connected(session: Any) -> None:
        if not next(outcomes):
            from veltix_tx.errors import Rejected

            raise Rejected("no")

    application.on_connected = on_connected
    udp = Datagrams(application)
    udp.come(b"one\n")
    assert (udp.application.contents, udp.port.sent, len(udp.protocol)) == ([], [], 0)
    udp.clock.advance(0)
    udp.come(b"two\n")
    assert udp.sent() == [b"two\n"]
    assert udp.counters["closed_rejected"] == 1


# The end.


def test_a_silent_peers_session_ends() -> None:
    """After ``timeouts.datagram_idle`` without a datagram, to the second, whoever has said something lately apart."""
    udp = Datagrams(timeouts=Timeouts(datagram_idle=10))
    udp.come(b"one\n")
    first = udp.session()
    udp.clock.advance(6)
    udp.come(b"two\n", FAR)
    udp.come(b"three\n")
    udp.clock.advance(9)
    assert first.closed is None
    udp.come(b"four\n", FAR)
    udp.clock.advance(1.01)
    assert first.closed is not None
    assert first.closed.reason is DisconnectReason.IDLE
    assert first.is_gone
    assert udp.session(FAR).closed is None
    udp.clock.advance(10)
    assert len(udp.protocol) == len(list(udp.connections)) == 0
    assert udp.counters["closed_idle"] == 2
    assert [call[0] for call in udp.application.calls].count("disconnected") == 2
    assert udp.clock.getDelayedCalls() == []


def test_a_peer_that_waits_for_its_answer_is_not_silent() -> None:
    """While a handler works on its message its session stays, and has the whole time after that."""
    answer: Deferred[bytes] = Deferred()
    application = Recorder()
    application.on_message = lambda session, message: answer
    udp = Datagrams(application, timeouts=Timeouts(datagram_idle=10))
    udp.come(b"one\n")
    session = udp.session()
    udp.clock.advance(10)
    udp.clock.advance(5)
    answer.callback(b"done")
    assert udp.sent() == [b"done\n"]
    udp.clock.advance(4)
    assert session.closed is None
    udp.clock.advance(10)
    assert session.closed is not None


def test_a_closed_session_takes_and_sends_nothing_and_the_next_datagram_begins_another() -> None:
    """``disconnect`` fires with MANUAL in a later turn; the peer hears nothing of it."""
    udp = Datagrams(echoing())
    udp.come(b"one\n")
    session, closed = udp.session(), list[SessionClosed]()
    session.disconnect().addCallback(closed.append)
    with pytest.raises(SessionClosed):
        session.send(TEXT, "x")
    assert closed == []
    udp.clock.advance(0)
    assert closed[0].reason is DisconnectReason.MANUAL
    udp.come(b"two\n")
    assert udp.session() is not session
    assert udp.sent() == [b"one\n", b"two\n"]


def test_a_handler_may_end_its_session_in_the_middle_of_a_datagram() -> None:
    """What it has sent before leaves, the messages behind are dropped."""
    application = Recorder()

    def on_message(session: Any, message: Any) -> object:
        if message.content == b"bye":
            session.send(TEXT, "bye")
            session.disconnect()
        return message.content

    application.on_message = on_message
    udp = Datagrams(application)
    udp.come(b"one\nbye\ntwo\n")
    assert udp.sent() == [b"one\n", b"bye\n"]
    assert udp.application.contents == [b"one", b"bye"]
    udp.clock.advance(0)
    assert udp.counters["closed_manual"] == 1


def test_a_closed_port_ends_its_sessions() -> None:
    """Whoever closes the port under a protocol, as ``stopListening`` does, has told all peers' sessions."""
    udp = Datagrams()
    udp.come(b"one\n")
    session = udp.session()
    udp.protocol.doStop()
    udp.clock.advance(0)
    assert session.is_gone
    assert udp.clock.getDelayedCalls() == []


def test_a_draining_port_takes_no_new_peers_and_tells_when_the_last_has_gone() -> None:
    """Those there are go on until they are closed."""
    udp, drained = Datagrams(echoing()), list[None]()
    udp.come(b"one\n")
    udp.protocol.drain().addCallback(drained.append)
    udp.come(b"two\n", FAR)
    udp.come(b"three\n")
    assert udp.port.sent == [(b"one\n", NEAR), (b"three\n", NEAR)]
    assert (udp.counters["datagrams_dropped"], drained) == (1, [])
    udp.session().disconnect()
    assert drained == [None]
    udp.clock.advance(0)


# How many.


def test_where_there_is_no_room_the_one_silent_for_longest_gives_way(log_events: list[Any]) -> None:
    """Of ``limits.datagram_peers`` sessions the one that has been silent for longest is ended for a new one, counted and logged."""
    udp = Datagrams(datagram_peers=3)
    for number in (1, 2, 3):
        udp.come(b"one\n", ("10.0.0.1", number))
    udp.come(b"two\n", ("10.0.0.1", 1))
    second = udp.session(("10.0.0.1", 2))
    udp.come(b"one\n", ("10.0.0.1", 4))
    assert second.closed is not None
    assert second.closed.reason is DisconnectReason.EVICTED
    assert [address[1] for address in udp.protocol._peers] == [1, 3, 4]
    assert udp.counters["evicted"] == 1
    said = [formatEvent(event) for event in log_events if "limits.datagram_peers" in str(event.get("log_format"))]
    assert len(said) == 1
    assert "10.0.0.1:2" in said[0]
    assert "10.0.0.1:4" in said[0]
    udp.clock.advance(0)


def test_a_validated_peer_never_gives_way() -> None:
    """Where all are validated a new one is dropped and counted; else one that is not goes, though others are silent for longer."""
    udp = Datagrams(datagram_peers=2)
    udp.come(b"one\n")
    udp.session().validate()
    udp.come(b"one\n", FAR)
    udp.come(b"one\n", ("10.0.0.3", 3))
    assert list(udp.protocol._peers) == [NEAR, ("10.0.0.3", 3)]
    udp.session(("10.0.0.3", 3)).validate()
    udp.come(b"one\n", ("10.0.0.4", 4))
    assert list(udp.protocol._peers) == [NEAR, ("10.0.0.3", 3)]
    assert (udp.counters["refused"], udp.counters["datagrams_dropped"]) == (1, 1)
    udp.clock.advance(udp.protocol.config.timeouts.datagram_idle)
    assert len(udp.protocol) == 0


def test_the_log_has_no_line_for_each_spoofed_address(log_events: list[Any]) -> None:
    """A flood of new addresses costs the log as many lines as one source may cause, whatever addresses it writes."""
    udp = Datagrams(datagram_peers=10)
    for number in range(2000):
        udp.come(b"one\n", (f"10.1.{number // 250}.{number % 250}", 5))
    assert len(udp.protocol) == 10
    assert udp.counters["evicted"] == 1990
    assert len([event for event in log_events if "limits.datagram_peers" in str(event.get("log_format"))]) <= 20
    udp.clock.advance(0)


# Addresses that are not validated.


@given(
    st.lists(
        st.tuples(st.sampled_from(["comes", "sends", "validates", "passes"]), st.integers(0, 2), st.integers(1, 400)), max_size=40
    ),
    st.integers(0, 5),
)
def test_no_unvalidated_address_is_sent_more_than_three_times_what_came_from_it(
    steps: list[tuple[str, int, int]], answers: int
) -> None:
    """Bytes and datagrams, whatever handlers return and send, and whoever else is validated."""
    application = Recorder()

    def on_message(session: Any, message: Any) -> bytes:
        for _ in range(answers):
            with suppress(UnvalidatedAddress):
                session.send(TEXT, message.content)
        return bytes(message.content) * 2

    application.on_message = on_message
    udp = Datagrams(application, RAW, timeouts=Timeouts(datagram_idle=50))
    came: Counter[Any] = Counter()
    number_came: Counter[Any] = Counter()
    validated: set[Any] = set()
    for step, who, size in steps:
        sender = ("10.0.0.1", who)
        if step == "comes":
            came[sender] += size
            number_came[sender] += 1
            udp.come(bytes(size), sender)
        elif step == "passes":
            udp.clock.advance(size / 10)
        elif sender in udp.protocol._peers:
            if step == "validates":
                udp.session(sender).validate()
                validated.add(sender)
            else:
                with suppress(UnvalidatedAddress):
                    udp.session(sender).send(TEXT, bytes(size))
        for each in set(came) - validated:
            assert sum(map(len, udp.sent(each))) <= 3 * came[each]
            assert len(udp.sent(each)) <= 3 * number_came[each]
    udp.clock.advance(1000)
    assert udp.clock.getDelayedCalls() == []


def test_too_much_for_an_unvalidated_address_is_an_error_and_nothing_for_a_validated_one() -> None:
    """``send`` raises with the size and what is left, counted; after ``validate`` it sends."""
    udp = Datagrams(wire=RAW)
    udp.come(b"12345")
    session = udp.session()
    session.send(TEXT, b"1234567890")
    assert session.can_send(5)
    assert not session.can_send(6)
    with pytest.raises(UnvalidatedAddress, match=r"6 bytes are over the 5 .*: call session\.validate\(\)") as caught:
        session.send(TEXT, b"123456")
    assert (caught.value.size, caught.value.left) == (6, 5)
    assert udp.counters["datagrams_withheld"] == 1
    session.validate()
    session.validate()
    assert session.can_send(60_000)
    session.send(TEXT, bytes(60_000))
    assert [len(datagram) for datagram in udp.sent()] == [10, 60_000]


def test_an_answer_that_is_too_much_is_withheld_counted_and_logged(log_events: list[Any]) -> None:
    """What a handler returns has nobody to raise an error to."""
    application = Recorder()
    application.on_message = lambda session, message: b"x" * 100
    udp = Datagrams(application)
    udp.come(b"one\n")
    assert udp.port.sent == []
    assert udp.counters["datagrams_withheld"] == 1
    assert any("is not validated" in str(event.get("log_format")) for event in log_events)


def test_the_first_datagram_counts_before_on_connect() -> None:
    """A greeting that ``on_connect`` sends may be as long as what came allows."""
    application = Recorder()
    application.on_connected = lambda session: session.send(TEXT, "hello") and None
    udp = Datagrams(application)
    udp.come(b"hi\n")
    assert udp.sent() == [b"hello\n"]


# The system, and settings.


def test_what_the_system_does_not_take_is_counted() -> None:
    """An error of the system's, such as no route, costs that datagram alone."""
    udp = Datagrams(echoing())
    udp.port.fails = OSError(errno.ENETUNREACH, "Network is unreachable")
    udp.come(b"one\n")
    udp.port.fails = None
    udp.come(b"two\n")
    assert udp.sent() == [b"two\n"]
    assert udp.counters["datagrams_unsent"] == 1


@pytest.mark.parametrize("wire", ["auto", "1.6.3", "netconduit", "eof", Lines(replies="in-order")])
def test_a_wire_that_is_none_for_datagrams_is_refused_when_the_protocol_is_made(wire: Any) -> None:
    """SettingsError, before there is a port."""
    with pytest.raises(SettingsError):
        VeltixDatagramProtocol(Recorder(), ServerConfig(wire=wire))


def test_a_producer_is_stopped_at_the_end_and_one_alone() -> None:
    """There is never too much queued, so it is never paused; a second one is refused."""
    udp, stopped = Datagrams(), list[str]()

    class Producer:
        def stopProducing(self) -> None:
            stopped.append("stopped")

    udp.come(b"one\n")
    udp.session().register_producer(Producer())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        udp.session().register_producer(Producer())  # type: ignore[arg-type]
    udp.session().disconnect()
    udp.clock.advance(0)
    assert stopped == ["stopped"]


@pytest.mark.parametrize("waits", [False, True])
def test_what_has_ended_leaves_nothing_to_the_garbage_collector(waits: bool) -> None:
    """A flood of addresses would fill the memory with sessions that have ended: the collector comes seldom."""
    application = echoing()
    if waits:
        application.on_message = lambda session, message: Deferred()
    udp = Datagrams(application, datagram_peers=10)

    def flood() -> None:
        for number in range(100):
            udp.come(b"x\n", ("10.0.0.1", number))
            udp.clock.pump([0, 0, 0])
            application.calls.clear()

    flood()
    gc.collect()
    gc.disable()
    try:
        flood()
        assert gc.collect() < 100  # objects of none of a hundred sessions
    finally:
        gc.enable()
    udp.protocol.doStop()
    udp.clock.advance(0)
