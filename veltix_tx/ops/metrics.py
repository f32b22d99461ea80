"""Metrics of a server for Prometheus: a collector of what is counted anyway, and of what is measured on top of that."""

from __future__ import annotations

import platform
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall

import twisted
from veltix_tx._version import __version__
from veltix_tx.app.call_timing import CallTimer
from veltix_tx.backplane.interface import COUNTERS as BACKPLANE_COUNTERS
from veltix_tx.backplane.interface import BackplaneState
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SettingsError
from veltix_tx.net.shared.counters import COUNTERS
from veltix_tx.net.shared.meter import Meter
from veltix_tx.ops.handler_times import HandlerTimes
from veltix_tx.server import Server
from veltix_tx.wire.messages import CALL, RESULT
from veltix_tx.wire.registry import build_description

try:
    from prometheus_client import CollectorRegistry, Histogram, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ImportError as error:
    raise SettingsError("metrics", None, "left out, or its package installed: pip install 'veltix-tx[metrics]'") from error

__all__ = ["Metrics"]

_SAMPLE = 0.05
"""Seconds between two calls of one handler that are timed, at least."""

_LOOP = 0.5
"""Seconds between two looks at how late the reactor is."""

_OTHER = "other"
"""Type of messages without a route of their own: peers choose what they send, and the number of types is bounded by the routes."""

_MOST_SENT = 64
"""Types of messages sent that have no route and a name of their own all the same; those beyond are of the type ``other``."""

_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Metrics of one server: a collector for a registry of prometheus-client.

    Without one nothing is measured. Made before the server listens; what only its reactor can tell, the loop's delay and the
    times of handlers, is measured from :meth:`start` to :meth:`stop`.

    Args:
        server: the server.

    Raises:
        SettingsError: the server listens, or is measured already.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._meters: list[Meter] = []
        self._calls: dict[str, IDelayedCall] = {}
        self._started = 0.0

        def histogram(name: str, meaning: str, *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, registry=None, buckets=_SECONDS)

        self._handler_seconds = histogram("veltix_handler_seconds", "Times of handlers, a sample of them.", "handler")
        self._loop_delay = histogram("veltix_loop_delay_seconds", "How late the reactor calls what is due.")
        self._round_trip = histogram("veltix_heartbeat_seconds", "Round trips of the heartbeat's pings to silent peers.")
        server.measure(self._make_meter)

    def start(self) -> None:
        """Begin to measure the loop's delay and the times of handlers; called in the reactor's thread."""
        self._started = self._server.clocks.calendar()
        timer = CallTimer(self._server.clocks.uptime, lambda title, seconds: self._handler_seconds.labels(title).observe(seconds))
        times = HandlerTimes(self._server, timer)
        self._repeat("sample", _SAMPLE, lambda late: self._look(times))
        self._repeat("loop", _LOOP, self._loop_delay.observe)

    def _look(self, times: HandlerTimes) -> None:
        """Begin to look at what goes through anew."""
        times.arm()
        for meter in self._meters:
            meter.settle()

    def stop(self) -> None:
        """Measure them no more."""
        while self._calls:
            self._calls.popitem()[1].cancel()

    def handler_times(self) -> dict[str, tuple[int, float]]:
        """Return how often each handler was timed, by ``route`` or ``method`` and its name, and the mean of its seconds."""
        found: dict[str, dict[str, float]] = {}
        for family in self._handler_seconds.collect():
            for sample in family.samples:
                if sample.name.endswith(("_count", "_sum")):
                    found.setdefault(sample.labels["handler"], {})[sample.name.rpartition("_")[2]] = sample.value
        return {name: (int(each["count"]), each["sum"] / each["count"]) for name, each in found.items() if each["count"]}

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        yield from self._counters()
        yield from self._traffic()
        yield from self._sessions()
        yield from self._limits()
        yield from self._backplane()
        for histogram in (self._handler_seconds, self._loop_delay, self._round_trip):
            yield from histogram.collect()
        text = "Seconds since 1970 at which the process began to serve: with another one all counters begin anew."
        yield GaugeMetricFamily("veltix_start_time_seconds", text, self._started)
        build = GaugeMetricFamily("veltix_build_info", "Versions of what runs.", labels=("version", "build", "python", "twisted"))
        build.add_metric((__version__, build_description(), platform.python_version(), twisted.__version__), 1)
        yield build

    def _counters(self) -> Iterator[Metric]:
        counters = self._server.counters
        for name, meaning in COUNTERS.items():
            yield CounterMetricFamily(f"veltix_{name}", meaning.replace("`", ""), counters[name])
        closed = CounterMetricFamily("veltix_connections_closed", "Connections that have ended, by reason.", labels=("reason",))
        for reason in DisconnectReason:
            closed.add_metric((reason.name.lower(),), counters[f"closed_{reason.name.lower()}"])
        yield closed
        failed = CounterMetricFamily("veltix_handler_failures", "Failures of handlers, by route or method.", labels=("handler",))
        for handler, count in self._server.handler_failures.items():
            failed.add_metric((handler,), count)
        yield failed

    def _traffic(self) -> Iterator[Metric]:
        labels = ("listener", "wire")
        connections = GaugeMetricFamily("veltix_connections", "Open connections.", labels=(*labels, "state"))
        sizes = CounterMetricFamily("veltix_bytes", "Bytes of the wires, without TLS.", labels=(*labels, "direction"))
        received = CounterMetricFamily("veltix_messages_received", "Messages received, by type.", labels=(*labels, "type"))
        sent = CounterMetricFamily("veltix_messages_sent", "Messages sent, by type.", labels=(*labels, "type"))
        typed = CounterMetricFamily(
            "veltix_message_bytes", "Bytes by type of their messages.", labels=(*labels, "direction", "type")
        )
        parts = CounterMetricFamily("veltix_parts_sent", "Messages sent, pings among them; a long one counts twice.", labels=labels)
        for meter in self._meters:
            meter.settle()
            of = (meter.listener, meter.wire)
            connections.add_metric((*of, "ready"), meter.ready)
            connections.add_metric((*of, "half_open"), meter.open - meter.ready)
            sizes.add_metric((*of, "in"), meter.bytes_in)
            sizes.add_metric((*of, "out"), meter.bytes_out)
            parts.add_metric(of, meter.buffers_out)
            for name, count in self._by_type(meter.received.messages).items():
                received.add_metric((*of, name), round(count))
            for name, count in self._by_type(meter.sent.messages, _MOST_SENT).items():
                sent.add_metric((*of, name), round(count))
            for name, size in self._by_type(meter.received.bytes).items():
                typed.add_metric((*of, "in", name), round(size))
            for name, size in self._by_type(meter.sent.bytes, _MOST_SENT).items():
                typed.add_metric((*of, "out", name), round(size))
        yield from (connections, sizes, received, sent, typed, parts)

    def _by_type(self, of: Mapping[Hashable, float], more: int = 0) -> dict[str, float]:
        """Return numbers by the names of types: those of routes, so many more, and the others together.

        Args:
            of: the numbers by the types' keys.
            more: how many types without a route have names of their own.
        """
        names: dict[Hashable, str] = {CALL.key: "call", RESULT.key: "result"}
        for key, known in self._server.routed_types.items():
            names[key] = names[known.name] = known.name  # a wire of names has no codes
        found: dict[str, float] = {}
        for key, value in of.items():
            if key not in names and key is not None and more:
                sent = self._server.types.get(key) if isinstance(key, int) else None
                names[key], more = str(key) if sent is None else sent.name, more - 1
            name = names.get(key, _OTHER)
            found[name] = found.get(name, 0.0) + value
        return found

    def _backplane(self) -> Iterator[Metric]:
        backplane = self._server.backplane
        state = GaugeMetricFamily("veltix_backplane_state", "State of the backplane, 1 for that it is in.", labels=("state",))
        for each in BackplaneState:
            state.add_metric((each.value,), backplane.state is each)
        yield state
        for name, meaning in BACKPLANE_COUNTERS.items():
            said = f"Backplane: {meaning}."
            yield CounterMetricFamily(f"veltix_backplane_{name}", said, backplane.counters[name])

    def _sessions(self) -> Iterator[Metric]:
        requests = waiting = paused = blocked = queued = 0
        for session in self._server.sessions:
            status = session.status()
            requests += status.pending
            waiting += status.waiting
            paused += bool(status.pause_reasons)
            blocked += status.blocked
            queued += status.queued
        for name, meaning, value in (
            ("sessions", "Sessions, those among them whose last messages are being handled.", len(self._server.sessions)),
            ("requests_pending", "Own requests and pings that wait for their replies.", requests),
            ("messages_waiting", "Messages that wait for their turn.", waiting),
            ("readers_paused", "Sessions from which nothing is read at present: their messages or replies pile up.", paused),
            ("peers_blocked", "Sessions whose peers take nothing at present.", blocked),
            ("queued_bytes", "Bytes that wait for peers to read.", queued),
        ):
            yield GaugeMetricFamily(f"veltix_{name}", meaning, value)

    def _limits(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("veltix_limit_used", "What is used of a limit.", labels=("limit",))
        limit = GaugeMetricFamily("veltix_limit", "The limit; -1 for none.", labels=("limit",))
        for name, (now, most) in self._server.limits_in_use.items():
            used.add_metric((name,), now)
            limit.add_metric((name,), most)
        yield from (used, limit)

    def _make_meter(self, listener: str, wire: str) -> Meter:
        """Return the meter of a listener, the same one each time it listens."""
        for meter in self._meters:
            if (meter.listener, meter.wire) == (listener, wire):
                return meter
        self._meters.append(Meter(listener, wire, self._round_trip.observe))
        return self._meters[-1]

    def _repeat(self, name: str, seconds: float, act: Callable[[float], Any]) -> None:
        """Call a function every so many seconds with how late that is."""
        reactor, uptime = self._server.reactor, self._server.clocks.uptime
        due = uptime() + seconds

        def call() -> None:
            self._repeat(name, seconds, act)
            act(max(0.0, uptime() - due))

        self._calls[name] = reactor.callLater(seconds, call)
