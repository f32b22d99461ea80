"""Several workers administered as one server: what is merged, who is asked, and what one costs that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.administration import BAD, NEWS
from tests.support.fleet import FleetWorld, Worker
from veltix_tx.ops import fleet
from veltix_tx.ops.admin_api import ANSWERS, ApiError, Call
from veltix_tx.ops.channel import DEADLINE, NoAnswer
from veltix_tx.ops.fleet import _ANSWERS
from veltix_tx.ops.supervisor import WorkerState
from veltix_tx.testing import MemoryNetwork


@pytest.fixture
def world() -> Iterator[FleetWorld]:
    """Two workers."""
    with MemoryNetwork() as network:
        yield FleetWorld(network)


# What is merged.


def test_counts_are_added_up(world: FleetWorld) -> None:
    """Sessions, counters, traffic and the page's numbers are those of all workers together; each worker is shown, too."""
    world.connect(1, 3)
    world.connect(2, 2)
    world.network.advance(3)
    server, now = world.get("server"), world.get("now")
    assert (server["sessions"], server["counters"]["ready"], server["ready"]) == (5, 5, True)
    assert [(each["worker"], each["pid"], each["state"], each["sessions"]) for each in server["workers"]] == [
        (1, 101, "ready", 3),
        (2, 102, "ready", 2),
    ]
    assert (now["sessions"], now["half_open"], now["slow"]) == (5, 0, 0)
    assert now["traffic"] == server["traffic"]
    assert server["traffic"]["bytes_in"] == sum(each.server.meters[0].bytes_in for each in world.processes)


def test_a_listener_is_shown_once(world: FleetWorld) -> None:
    """Workers that listen on one place are one listener, with the connections of all."""
    world.connect(1)
    world.connect(2)
    for each in world.processes:
        each.server.meters[0].listener = "tcp:8080"
        each.server._where = lambda place: "tcp:8080"  # type: ignore[method-assign]
    (listener,) = world.get("listeners")
    assert (listener["open"], listener["ready"]) == (2, 2)


@pytest.mark.parametrize("sort", ["id", "-id", "-queued", "address", "-slow"])
def test_pages_are_cut_from_the_sessions_of_all(sort: str, world: FleetWorld) -> None:
    """Page after page has each session once, in the order asked for, whoever has it, and says which worker that is."""
    expected = {each.id for each in [*world.connect(1, 7), *world.connect(2, 4)]}
    pages = [world.get("sessions", sort=sort, offset=offset, limit=4) for offset in (0, 4, 8, 12)]
    rows = [row for each in pages for row in each["sessions"]]
    assert [(each["total"], each["offset"], len(each["sessions"])) for each in pages] == [
        (11, 0, 4),
        (11, 4, 4),
        (11, 8, 3),
        (11, 12, 0),
    ]
    assert {row["id"] for row in rows} == expected
    whose = {each.server.backplane.node_id: each.number for each in world.processes}
    assert all(row["worker"] == whose[row["id"].partition("-")[0]] for row in rows)
    assert rows == world.get("sessions", sort=sort, limit=100)["sessions"]


def test_the_last_page_is_reached(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to an operator has more rows than it may, and yet each session is on a page."""
    monkeypatch.setattr(fleet, "MOST_ROWS", 5)
    world.connect(1, 9)
    world.connect(2, 2)
    assert len(world.get("sessions", limit=100)["sessions"]) == 5
    assert len(world.get("sessions", offset=8, limit=5)["sessions"]) == 3


def test_the_slow_one_is_first_whoever_has_it(world: FleetWorld) -> None:
    """By what is queued, and by slowness, the one of all sessions that does not read comes first."""
    world.connect(1, 2)
    slow = world.connect(2, 2)[1]
    slow._transport.transport.pauseProducing = lambda: None  # type: ignore[attr-defined]
    slow._flow.queued = 4711
    for sort in ("-queued", "-slow"):
        first = world.get("sessions", sort=sort, limit=1)["sessions"][0]
        assert (first["id"], first["worker"], first["queued"]) == (slow.id, 2, 4711)
    assert [row["id"] for row in world.get("sessions", state="slow")["sessions"]] == [slow.id]
    assert world.get("sessions", search=slow.id)["total"] == 1
    slow._flow.queued = 0


def test_half_open_connections_are_merged_by_age(world: FleetWorld) -> None:
    """The one that has been in its handshake for longest is first."""
    for worker in (2, 1):
        world.network._place = world.network._places[world.processes[worker - 1].server]
        world.network.dial()
        world.network.advance(1)
    rows = world.get("sessions", state="half-open")["sessions"]
    assert [row["worker"] for row in rows] == [2, 1]


def test_routes_have_the_counts_of_all(world: FleetWorld) -> None:
    """Messages, failures and timed calls are added up, and a mean is that of all timed calls."""
    for each in world.processes:
        each.server.route(NEWS)(lambda client, message: None)
        each.server.route(BAD)(lambda client, message: 1 / 0)
        each.server.rpc("add")(lambda: 3)
    for worker, count in ((1, 1), (2, 3)):
        (session,) = world.connect(worker)
        for _ in range(count):
            world.processes[worker - 1].metrics._handler_seconds.labels("route news").observe(worker / 1000)
        session._transport.context.shared.failures["route bad"] = count
    found = world.get("routes")
    rows = {row["name"]: row for row in found["routes"]}
    assert (rows["news"]["timed"], rows["news"]["mean_ms"]) == (4, 1.75)
    assert rows["bad"]["failed"] == 4
    assert [row["name"] for row in found["methods"]] == ["add"]
    assert [row["name"] for row in world.get("routes", offset=1, limit=1)["routes"]] == ["bad"]


def test_limits_are_added_up_and_the_fullest_worker_is_named(world: FleetWorld) -> None:
    """Each worker has its limits for itself: the sum may be far from full where one of them is."""
    world.connect(1, 1)
    world.connect(2, 3)
    use = world.get("limits")["in_use"]["max_connections"]
    assert (use["used"], use["limit"]) == (4, 20_000)
    assert use["fullest"] == {"used": 3, "limit": 10_000, "worker": 2}
    assert world.get("limits")["limits"]["half_open"] == 256


def test_metrics_are_one_exposition_with_the_worker_as_a_label(world: FleetWorld) -> None:
    """Every sample has its worker; a family has one head, with the samples of all below it."""
    world.connect(2)
    lines = world.ask("GET", "metrics").content.decode().splitlines()
    assert [line for line in lines if line.startswith("veltix_ready_total")] == [
        'veltix_ready_total{worker="1"} 0.0',
        'veltix_ready_total{worker="2"} 1.0',
    ]
    heads = [line for line in lines if line.startswith("# TYPE ")]
    assert len(heads) == len(set(heads))
    assert all('{worker="' in line for line in lines if not line.startswith("#"))
    assert len([line for line in lines if line.startswith("veltix_start_time_seconds{")]) == 2
    before = None
    for line in lines:  # a family's samples stand below its head
        before = line.split()[2] if line.startswith("# HELP ") else before
        assert before is not None
        assert line.startswith(("#", before.removesuffix("_total")))


def test_metrics_that_a_worker_has_not_are_refused(world: FleetWorld) -> None:
    """Where nothing is measured, that is said, as one server says it."""
    world.processes.append(Worker(world, 3, 103, measured=False).start())
    world.network.advance(0)
    with pytest.raises(ApiError, match="nothing is measured"):
        world.ask("GET", "metrics")


# Who is asked.


def test_a_session_is_found_by_its_id(world: FleetWorld) -> None:
    """Its detail comes from the worker that has it, and what is done to it is done there."""
    world.connect(1)
    (session,) = world.connect(2)
    shown = world.get(f"sessions/{session.id}")
    assert (shown["id"], shown["worker"]) == (session.id, 2)
    assert world.ask("POST", f"api/v1/sessions/{session.id}/ping") == {"milliseconds": 0}
    assert world.ask("POST", f"api/v1/sessions/{session.id}/send", {"type": "news", "text": "hi"}) == {"sent": 2}
    assert world.ask("POST", f"api/v1/sessions/{session.id}/disconnect") == {"closing": session.id}
    assert session.closed is not None
    assert len(world.processes[0].server.clients) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "api/v1/sessions/999999-1", 404),
        ("POST", "api/v1/sessions/999999-1/disconnect", 404),
        ("GET", "api/v1/nothing", 404),
        ("POST", "api/v1/server", 405),
        ("GET", "events?", 404),
    ],
)
def test_a_wrong_request_is_refused(method: str, path: str, status: int, world: FleetWorld) -> None:
    """There is what there is with one server, and nothing else."""
    with pytest.raises(ApiError) as caught:
        world.ask(method, path)
    assert caught.value.status == status


def test_a_workers_own_refusal_is_the_answer(world: FleetWorld) -> None:
    """What the worker that has the session refuses is said in its words."""
    (session,) = world.connect(1)
    with pytest.raises(ApiError) as caught:
        world.ask("POST", f"api/v1/sessions/{session.id}/send", {"type": 9999})
    assert (caught.value.status, caught.value.said) == (400, "the server knows no type 9999")
    with pytest.raises(ApiError, match="sort must be one of"):
        world.get("sessions", sort="nonsense")


def test_a_level_is_set_everywhere_and_for_those_to_come(world: FleetWorld) -> None:
    """The supervisor's log, the workers' and that of a worker that is started later have it; a reload takes it back."""
    assert world.ask("POST", "api/v1/log", {"namespace": "shop", "level": "error"}) == {"": "info", "shop": "error"}
    world.processes.append(Worker(world, 1, 104).start())
    world.network.advance(0)
    assert [each.levels.levels.get("shop") for each in (world, *world.processes)] == ["error"] * 4
    world.levels.use("info", {})
    world.processes.append(Worker(world, 1, 105).start())
    world.network.advance(0)
    assert world.processes[-1].levels.levels == {"": "info"}


def test_each_path_is_answered(world: FleetWorld) -> None:
    """Whatever one server answers, several do: what does not name a session, and is not merged, is meant to be asked of any."""
    shared = ("api/v1/nodes", "api/v1/rooms", "api/v1/members", r"api/v1/openapi\.json")  # the same, whichever worker tells it
    asked_of_any = {(path, "GET") for path in shared}
    own = {(path, method) for path, methods in ANSWERS.items() for method in methods if "(" not in path}
    assert own - set(_ANSWERS) == asked_of_any
    assert set(_ANSWERS) <= own


# Those that do not answer, come and go.


def test_who_does_not_answer_is_waited_for_once(world: FleetWorld) -> None:
    """A worker that hangs delays one answer by a second, and none after that, until it says something again."""
    world.connect(1)
    (session,) = world.connect(2)
    hanging = world.processes[1]
    hanging.hangs = True
    answer = world.fleet.answer("GET", "api/v1/sessions", Call())
    world.network.advance(DEADLINE - 0.1)
    assert not answer.called  # type: ignore[attr-defined]
    world.network.advance(0.1)
    assert world.network.result(answer)["total"] == 1  # type: ignore[arg-type]
    assert world.get("sessions")["total"] == 1
    assert [each["answers"] for each in world.get("server")["workers"]] == [True, False]
    with pytest.raises(NoAnswer, match="worker 2 does not answer"):
        world.get(f"sessions/{session.id}")
    assert 'veltix_worker_up{worker="2"} 0.0' in world.ask("GET", "metrics").content.decode()
    hanging.go_on()
    world.network.advance(0)
    assert world.get("sessions")["total"] == 2
    assert [each["answers"] for each in world.get("server")["workers"]] == [True, True]


def test_without_workers_there_are_numbers_and_no_limits(world: FleetWorld) -> None:
    """While no worker answers, what can be shown is shown."""
    for each in world.processes:
        each.calls.end()
    assert world.get("server")["sessions"] == 0
    assert world.get("now")["sessions"] == 0
    assert world.get("sessions")["total"] == 0
    with pytest.raises(NoAnswer):
        world.get("limits")


def test_it_is_ready_while_one_worker_serves(world: FleetWorld) -> None:
    """It is red while fewer than one worker serves, hung ones not among them, and first of all when it is to stop."""
    first, second = world.processes
    assert world.ask("GET", "readyz").status == 200
    first.state = WorkerState.STOPPING
    assert world.ask("GET", "readyz").status == 200
    second.state = WorkerState.STARTING
    assert (world.ask("GET", "readyz").status, world.ask("GET", "readyz").content) == (503, b"no worker serves\n")
    second.state, second.hangs = WorkerState.READY, True
    answer: Any = world.fleet.answer("GET", "readyz", Call())
    world.network.advance(DEADLINE)
    assert world.network.result(answer).status == 503
    first.state = WorkerState.READY
    assert world.ask("GET", "readyz").status == 200
    world.fleet.ready = False
    assert (world.ask("GET", "readyz").status, world.ask("GET", "readyz").content) == (503, b"stopping\n")
    assert world.ask("GET", "healthz").status == 200
    assert not world.get("server")["ready"]


def test_both_are_shown_while_one_replaces_the_other(world: FleetWorld) -> None:
    """During a roll the predecessor's sessions are there until it is gone, and its metrics have a label of their own."""
    old = world.processes[0]
    world.connect(1, 2)
    world.processes.append(Worker(world, 1, 104))
    assert world.get("server")["workers"][-1] == {"worker": 1, "pid": 104, "state": "starting", "answers": False}
    world.processes[-1].start()
    world.network.advance(0)
    old.state, old.label = WorkerState.STOPPING, "1-101"
    world.connect(3)
    found = world.get("sessions")
    assert (found["total"], {row["worker"] for row in found["sessions"]}) == (3, {1})
    text = world.ask("GET", "metrics").content.decode()
    assert [line.partition("{")[2] for line in text.splitlines() if line.startswith("veltix_ready_total")] == [
        'worker="1-101"} 2.0',
        'worker="2"} 0.0',
        'worker="1"} 1.0',
    ]
    old.calls.end()
    world.processes.remove(old)
    assert world.get("sessions")["total"] == 1
