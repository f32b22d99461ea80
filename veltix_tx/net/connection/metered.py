"""Protocol of a listener whose traffic is measured, made in place of the ordinary one, which so has nothing to ask."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.net.shared.meter import Meter
from veltix_tx.net.transport.flow_control import FlowControl
from veltix_tx.wire.events import Event, Pong
from veltix_tx.wire.messages import Response

__all__ = ["MeteredProtocol"]


class _MeteredFlow(FlowControl):
    __slots__ = ("_key_of", "_meter")

    _meter: Meter
    _key_of: Callable[[bytes], Hashable]

    def write(self, buffers: list[bytes], size: int, owed: int) -> None:
        meter = self._meter
        if meter.sent.left > 0:
            meter.look_at_sent(buffers, self._key_of)
        meter.bytes_out += size
        meter.buffers_out += len(buffers)
        FlowControl.write(self, buffers, size, owed)


class MeteredProtocol(VeltixProtocol):
    """One connection whose traffic the :class:`~veltix_tx.net.shared.meter.Meter` of its context counts."""

    flow_kind = _MeteredFlow
    _counted = False

    def __init__(self, context: ConnectionContext) -> None:
        super().__init__(context)
        assert context.meter is not None
        self._meter = context.meter

    def connectionMade(self) -> None:
        """Count the connection, and begin the handshake."""
        self._meter.open += 1
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count the connection no more, and settle everything that waits."""
        self._meter.open -= 1
        self._meter.ready -= self._counted
        super().connectionLost(reason)

    def handle_events(self, events: list[Event]) -> None:
        """Count the messages of a read, and handle them."""
        meter = self._meter
        if meter.received.left > 0:
            meter.look_at_received(events, self.connection.overhead)
        count = len(events)
        if count == 1:
            event = events[0]
            if type(event) is Pong and self.pinged_at is not None:
                meter.observe_round_trip(self.clocks.uptime() - self.pinged_at)
            count = isinstance(event, Response)
        meter.messages_in += count
        VeltixProtocol.handle_events(self, events)
        if not self._counted and self.session is not None and not self._lost:
            self._counted = True
            self._meter.ready += 1

    def _prepare(self) -> None:
        super()._prepare()
        flow = self.flow
        assert isinstance(flow, _MeteredFlow)
        flow._meter, flow._key_of = self._meter, self.connection.key_of

    def _process(self, data: bytes) -> int:
        self._meter.bytes_in += len(data)
        return VeltixProtocol._process(self, data)
