"""The server's factory: its protocols, how many there may be, whose clock they have."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SessionClosed, SettingsError
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.connection.factory import VeltixServerFactory
from veltix_tx.net.connection.reconnect import VeltixClientFactory
from veltix_tx.net.shared.admission import AdmissionControl
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.registry import find_wire


def test_clocks_are_those_given_or_the_reactors() -> None:
    """Given Clocks are used as they are, a reactor is wrapped, None means the global reactor."""
    from twisted.internet import reactor

    clock = Clock()
    clocks = Clocks(clock)
    assert resolve_clocks(clocks) is clocks
    assert resolve_clocks(clock).reactor is clock  # type: ignore[arg-type]
    assert resolve_clocks(None).reactor is reactor


@pytest.mark.parametrize("factory", [VeltixServerFactory, VeltixClientFactory])
def test_an_unknown_wire_is_refused_when_the_factory_is_made(factory: Any, recorder: Any) -> None:
    """A wire that is no release raises SettingsError at once, naming the releases."""
    config = (ServerConfig if factory is VeltixServerFactory else ClientConfig)(wire="7.7")
    with pytest.raises(SettingsError, match=r"3\.3\.0"):
        factory(recorder, config)
    assert find_wire("auto").name == "auto"
    assert find_wire("1.6").name == "1.6.10"


def test_connections_are_counted_until_they_are_gone(recorder: Any) -> None:
    """A connection counts from its start to its end, and half_open() tells those in their handshake."""
    clock = Clock()
    factory = VeltixServerFactory(recorder, ServerConfig(wire="1.3.0"), reactor=clock)  # type: ignore[arg-type]
    auto = VeltixServerFactory(recorder, reactor=clock, connections=factory.connections)  # type: ignore[arg-type]
    ready, half = factory.buildProtocol(None), auto.buildProtocol(None)
    for protocol in (ready, half):
        protocol.makeConnection(StringTransport())
    assert (ready.factory, half.factory) == (factory, auto)
    assert len(factory.connections) == 2
    assert set(factory.connections) == {ready, half}
    assert factory.connections.half_open() == [half]
    ready.connectionLost(connectionDone)
    half.connectionLost(connectionDone)
    assert len(factory.connections) == 0
    assert clock.getDelayedCalls() == []


def test_the_limit_is_for_all_factories_together(recorder: Any) -> None:
    """Factories that share their connections refuse the one over the limit, and accept again when one is gone."""
    clock = Clock()
    connections = AdmissionControl(2, Limits(), Timeouts(), Clocks(clock, clock.seconds, clock.seconds))
    one, two = (
        VeltixServerFactory(recorder, reactor=clock, connections=connections)  # type: ignore[arg-type]
        for _ in range(2)
    )
    protocols, transports = [one.buildProtocol(None), two.buildProtocol(None), one.buildProtocol(None)], []
    for protocol in protocols:
        transports.append(StringTransport())
        protocol.makeConnection(transports[-1])
    assert [transport.disconnecting for transport in transports] == [False, False, True]
    for protocol in protocols[1:]:
        protocol.connectionLost(connectionDone)
    another = one.buildProtocol(None)
    transport = StringTransport()
    another.makeConnection(transport)
    assert not transport.disconnecting
    for protocol in (protocols[0], another):
        protocol.abort(SessionClosed(DisconnectReason.MANUAL))
        protocol.connectionLost(connectionDone)
    assert clock.getDelayedCalls() == []


def test_a_factory_without_settings_has_the_defaults(recorder: Any) -> None:
    """Neither factory needs more than an application."""
    assert VeltixServerFactory(recorder).config == ServerConfig()
    assert VeltixClientFactory(recorder).config == ClientConfig()
    assert VeltixClientFactory(recorder).policy.max_retries is None
