"""A flood of spoofed addresses at a UDP port in memory; ``udp-spoofed`` of the storms is the same at a real one."""

from __future__ import annotations

from random import Random

from tests.support.datagrams import NEAR, Datagrams
from tests.support.line import Recorder


def test_ten_thousand_spoofed_addresses_leave_the_others_alone() -> None:
    """Each is a session for as long as there is room; a validated peer is answered all the while, and in the end all is gone."""
    application, random = Recorder(), Random(1)
    application.on_message = lambda session, message: message.content
    udp = Datagrams(application)
    udp.come(b"me\n", NEAR)
    udp.session().validate()
    for number in range(10_000):
        udp.come(b"x\n", (f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}", random.randrange(65536)))
        if number % 100 == 0:
            udp.come(b"%d\n" % number, NEAR)
        if number % 10 == 0:
            udp.clock.advance(0.00001)
            application.calls.clear()
    assert udp.sent(NEAR) == [b"me\n", *(b"%d\n" % number for number in range(0, 10_000, 100))]
    assert len(udp.protocol) == 4096
    assert len(udp.connections.shared.log_limiter._sources) <= 1024
    udp.clock.advance(0)
    assert len(list(udp.connections)) == 4096
    udp.clock.advance(udp.protocol.config.timeouts.datagram_idle + 1)
    udp.clock.advance(1)
    assert len(udp.protocol) == len(list(udp.connections)) == 0
    assert udp.clock.getDelayedCalls() == []
