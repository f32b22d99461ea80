"""Metrics: what is exported, under which names, and that nothing is measured unasked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred

from veltix_tx import Client, MessageRegistry, MessageType, Server, SettingsError
from veltix_tx.backplane.interface import COUNTERS as BACKPLANE_COUNTERS
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.shared.counters import COUNTERS
from veltix_tx.ops.exposition import merge_expositions
from veltix_tx.ops.metrics import Metrics
from veltix_tx.testing import MemoryNetwork

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"

TYPES = MessageRegistry(open=True)
ASK = MessageType(200, "ask", registry=TYPES)
SLOW = MessageType(201, "slow", registry=TYPES)
NEWS = MessageType(202, "news", registry=TYPES)
STRANGE = MessageType(999, "strange", registry=TYPES)


class World:
    """A measured server and a client of it."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.server, self.client = Server(types=TYPES), Client(types=TYPES)
        self.metrics = Metrics(self.server)
        self.results: list[Deferred[bytes]] = []
        self.server.route(ASK)(lambda client, message: b"answer")
        self.server.route(SLOW)(lambda client, message: self._later())
        self.server.rpc("add")(self._add)

    def _later(self) -> Deferred[bytes]:
        self.results.append(Deferred())
        return self.results[-1]

    @staticmethod
    def _add(a: int, b: int) -> int:
        return a + b

    def values(self) -> dict[str, float]:
        """Return every sample by its name and its labels' values."""
        return {
            " ".join(
                [sample.name, *(sample.labels[name] for name in sorted(set(sample.labels) - {"listener", "wire"}))]
            ): sample.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
        }


@pytest.fixture
def world() -> Iterator[World]:
    """Return a world that runs."""
    with MemoryNetwork() as network:
        world = World(network)
        network.serve(world.server)
        world.metrics.start()
        yield world
        world.metrics.stop()


def test_connections_messages_and_bytes_are_those_of_the_listener(world: World) -> None:
    """Connections by state, messages by the types of routes, others together, bytes both ways; gone is gone."""
    session = world.network.connect(world.client)
    peer = world.network.dial()
    for message_type in (ASK, ASK, STRANGE):
        session.send(message_type, b"x" * 100)
    world.network.pump()
    values = world.values()
    assert (values["veltix_connections ready"], values["veltix_connections half_open"]) == (1, 1)
    assert (values["veltix_messages_received_total ask"], values["veltix_messages_received_total other"]) == (2, 1)
    assert 300 < values["veltix_bytes_total in"] < 1000
    assert 12 < values["veltix_bytes_total out"] < 1000
    assert values["veltix_unhandled_total"] == 1
    peer.hang_up()
    world.network.result(session.disconnect())
    world.network.pump()
    values = world.values()
    assert (values["veltix_connections ready"], values["veltix_connections half_open"]) == (0, 0)
    assert values["veltix_connections_closed_total peer_closed"] >= 1


def _sizes(values: dict[str, float], direction: str) -> dict[str, float]:
    begin = f"veltix_message_bytes_total {direction} "
    return {name.removeprefix(begin): value for name, value in values.items() if name.startswith(begin)}


def test_few_messages_are_counted_by_type_one_by_one(world: World) -> None:
    """Messages sent and the bytes of both directions are those of each type; what is no message is of the type other."""
    session = world.network.connect(world.client)
    for _ in range(3):
        session.send(ASK, b"x" * 100)
    world.network.pump()
    world.server.broadcast(NEWS, b"y" * 1000)
    world.server.broadcast(NEWS, b"z" * 100_000)
    world.network.pump()
    values, overhead = world.values(), session._overhead
    sent = {name: value for name, value in values.items() if name.startswith("veltix_messages_sent_total")}
    assert sent == {"veltix_messages_sent_total ask": 3, "veltix_messages_sent_total news": 2}
    received, out = _sizes(values, "in"), _sizes(values, "out")
    assert received["ask"] == 3 * (100 + overhead)
    assert (out["ask"], out["news"]) == (3 * (len("answer") + overhead), 101_000 + 2 * overhead)
    assert sum(received.values()) == values["veltix_bytes_total in"]
    assert sum(out.values()) == values["veltix_bytes_total out"]


def test_many_messages_are_shared_out_by_a_sample(world: World) -> None:
    """Of many messages some are looked at; the sums are exact, and so are the shares where the messages are alike."""
    session = world.network.connect(world.client)
    world.values()
    for message_type in [ASK] * 300 + [STRANGE] * 300:
        session.send(message_type, b"x" * 50)
        world.network.pump()
    values = world.values()
    assert sum(_sizes(values, "in").values()) == pytest.approx(values["veltix_bytes_total in"], abs=2)
    assert sum(_sizes(values, "out").values()) == pytest.approx(values["veltix_bytes_total out"], abs=2)
    assert values["veltix_messages_sent_total ask"] == pytest.approx(300, abs=100)
    world.network.advance(1)
    before = _sizes(world.values(), "in")
    for _ in range(200):
        session.send(STRANGE, b"x" * 50)
        world.network.pump()
    assert _sizes(world.values(), "in")["other"] - before["other"] == 200 * (50 + session._overhead)


def test_types_that_peers_or_programs_choose_are_bounded(world: World) -> None:
    """Types without a route have no series of what comes, and 64 of what goes; all others are one."""
    session = world.network.connect(world.client)
    for code in range(300, 400):
        world.server.broadcast(MessageType(code, f"type-{code}", registry=MessageRegistry()), b"")
        session.send(MessageType(code, f"type-{code}", registry=MessageRegistry()), b"")
        world.network.advance(1)
    values = world.values()
    assert len([name for name in values if name.startswith("veltix_messages_sent_total")]) == 65
    assert {name.rpartition(" ")[2] for name in values if name.startswith("veltix_messages_received_total")} == {"other"}


def test_the_backplane_is_measured(world: World) -> None:
    """Its state is 1 among all states, and each of its counters is exported."""
    values = world.values()
    assert [values[f"veltix_backplane_state {state}"] for state in ("up", "degraded", "down")] == [1, 0, 0]
    assert {f"veltix_backplane_{name}_total" for name in BACKPLANE_COUNTERS} <= set(values)


def test_failures_are_those_of_a_route_or_method(world: World, logged_failures: Any) -> None:
    """A handler that fails is counted by the name of its route or method, and one that does not is none of them."""
    session = world.network.connect(world.client)
    for _ in range(2):
        session.send(SLOW)
        world.network.pump()
        world.results[-1].errback(ZeroDivisionError())
    session.send(ASK)
    world.network.pump()
    failed = {name: value for name, value in world.values().items() if name.startswith("veltix_handler_failures_total")}
    assert failed == {"veltix_handler_failures_total route slow": 2}
    logged_failures.flush(ZeroDivisionError)


def test_the_time_of_a_handler_is_that_until_its_result(world: World) -> None:
    """Now and then a call is timed: a plain handler, one whose Deferred comes later, a method; in between none is."""
    session = world.network.connect(world.client)
    world.network.advance(1)
    assert world.network.result(session.call("add", 1, 2)) == 3
    for message_type in (ASK, ASK, SLOW, SLOW):
        session.send(message_type)
    world.network.pump()
    for uptime in (2, 5):
        world.network.advance(uptime)
        world.results[-1].callback(b"")
        world.network.pump()
    values = world.values()
    assert values["veltix_handler_seconds_count route ask"] == 1
    assert values["veltix_handler_seconds_sum route ask"] == 0
    assert values["veltix_handler_seconds_count route slow"] == 2
    assert values["veltix_handler_seconds_sum route slow"] == pytest.approx(2 + 5)
    assert values["veltix_handler_seconds_count method add"] == 1
    world.network.advance(1)
    session.send(ASK)
    world.network.pump()
    assert world.values()["veltix_handler_seconds_count route ask"] == 2


def test_a_handler_that_is_to_be_timed_is_the_users_own_again(world: World) -> None:
    """A route that is taken back while its handler is replaced stays taken back, and a new one is not touched."""
    session = world.network.connect(world.client)
    world.network.advance(1)
    session.send(SLOW)
    world.network.pump()
    world.results[0].callback(b"")
    assert world.server.unregister_route(ASK)
    world.server.register_route(ASK, lambda client, message: b"new")
    assert world.network.result(world.client.send_and_wait(ASK)).content == b"new"


def test_a_call_that_waits_for_a_thread_gives_no_later_route_away(world: World) -> None:
    """A handler that was to be timed, and runs when another has its route, leaves the route to that one."""
    world.network.advance(1)
    assert world.server._router is not None
    waiting = world.server._router._routes[ASK.key].handler
    world.server.unregister_route(ASK)
    world.server.register_route(ASK, lambda client, message: b"new")
    waiting(None, None)  # type: ignore[arg-type]
    world.network.connect(world.client)
    assert world.network.result(world.client.send_and_wait(ASK)).content == b"new"


def test_the_loops_delay_and_the_heartbeat_are_measured(world: World) -> None:
    """A look at the reactor twice a second tells how late it is; a pong to the heartbeat's ping is a round trip."""
    world.network.connect(world.client)
    world.network.advance(60)
    values = world.values()
    assert values["veltix_loop_delay_seconds_count"] == pytest.approx(120, abs=2)
    assert values["veltix_heartbeat_seconds_count"] >= 1


def test_limits_are_exported_with_their_use(world: World) -> None:
    """The use of each shared limit stands beside the limit."""
    world.network.connect(world.client)
    values = world.values()
    assert (values["veltix_limit_used max_connections"], values["veltix_limit max_connections"]) == (1, 10_000)
    assert values["veltix_limit limits.half_open"] == 256


def test_every_counter_is_exported(world: World) -> None:
    """Whatever is counted is exported, with its name."""
    world.network.connect(world.client)
    assert {f"veltix_{name}_total" for name in COUNTERS} - set(world.values()) == set()


def test_nothing_is_measured_unasked() -> None:
    """A server without metrics makes ordinary protocols; one that listens cannot be measured any more, nor one twice."""
    server = Server(types=TYPES)
    with MemoryNetwork() as network:
        network.serve(server)
        network.connect(Client(types=TYPES))
        assert type(server.clients[0]._transport) is VeltixProtocol
        with pytest.raises(SettingsError, match="before the server listens"):
            Metrics(server)
    measured = Server(types=TYPES)
    Metrics(measured)
    with pytest.raises(SettingsError, match="given once"):
        Metrics(measured)


def _expressions() -> list[tuple[str, str]]:
    alerts = (CONTRIB / "prometheus-alerts.yml").read_text(encoding="utf-8")
    dashboard = json.loads((CONTRIB / "grafana-dashboard.json").read_text(encoding="utf-8"))
    found = [("alerts", each) for each in re.findall(r"expr: (.*)", alerts)]
    return found + [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("place", "expression"), _expressions())
def test_dashboard_and_alerts_name_metrics_that_are_exported(place: str, expression: str, world: World) -> None:
    """Each name and label in an expression of contrib/ is one that a server, or one with workers, exports."""
    world.network.connect(world.client)
    world.network.advance(60)
    world.network.result(world.client.send_and_wait(ASK))
    text = merge_expositions({"1": world.metrics.text()}).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    names = {sample.name for sample in samples}
    used = re.findall(r"\bveltix_\w+", expression)
    assert used
    assert set(used) - names == set()
    labels = {"instance"}.union(*(sample.labels for sample in samples if sample.name in used))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r", ?", group)) <= labels
