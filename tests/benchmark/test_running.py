"""Programs as processes, and tiny runs of everything that needs nothing installed."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis_server import find_redis
from veltix_tx.benchmark.compare import prepared
from veltix_tx.benchmark.install import InstallError, installed
from veltix_tx.benchmark.options import main
from veltix_tx.benchmark.peers import COMPILED, COSTS, HEADERS, OWN, PEERS, PURE, Peer
from veltix_tx.benchmark.peers.program import PROTOCOL
from veltix_tx.benchmark.processes import Program, ProgramError, run_python
from veltix_tx.benchmark.results import Case, Outcome, Results
from veltix_tx.benchmark.runner import jobs, run
from veltix_tx.benchmark.stage import Sizes
from veltix_tx.benchmark.workloads import COMPARED, WORKLOADS, Workload

TINY = (
    *("--scale", "0.01", "--repeats", "0", "--latency-iterations", "20"),
    *("--burst-count", "200", "--stress-clients", "3", "--stress-msgs", "20"),
)
PLAY = ("--fps-players", "3", "--fps-tick-rate", "20", "--fps-duration", "0.2")
OWN_WORKLOADS = (
    *("memory", "latency", "fps_1", "burst", "stress", "receive", "echo_1", "pipeline_64", "aio_pipeline_64"),
    *("clients_100", "large_1_echo", "broadcast_50", "churn", "codec", "idle", "growth_10", "lines", "udp"),
    *("conduit_rpc_1", "conduit_rpc_100", "conduit_oneway", "conduit_1m", "conduit_idle", "workers_2", "rooms_1000", "join_leave"),
)
OVER_REDIS = ("cross_node_1000", "join_leave_redis")
SINK = {"role": "server", "mode": "sink", "header": 15, "raw": True}
RAW = {"wire": "veltix15"}
ROOT = Path(__file__).resolve().parents[2]
HERE = [peer for peer in PEERS.values() if not peer.needs and peer.name not in (OWN, COMPILED)]
SMALL = Sizes(scale=0.004, repeats=0, stress_clients=2, stress_msgs=10)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is compiled, once for all tests."""
    return tmp_path_factory.mktemp("cache")


def alive(pid: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{pid}/stat").exists() if os.path.isdir("/proc") else True


@pytest.mark.parametrize("name", OVER_REDIS)
def test_every_workload_over_redis_delivers_everything(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same of those that need Redis."""
    find_redis()
    test_every_workload_of_ours_delivers_everything(name, tmp_path, capsys)


@pytest.mark.parametrize("name", OWN_WORKLOADS)
def test_every_workload_of_ours_delivers_everything(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tiny run of this package gives a workload a figure, nothing lost or wrong, status 0, and the same in the file."""
    file = tmp_path / "results.json"
    assert main(["--only", name, *TINY, *PLAY, "--save", str(file)]) == 0
    found = Results.load(file)
    assert len(found.outcomes) == (2 if name == "codec" else 1)
    for case, peers in found.outcomes.items():
        (outcome,) = peers[OWN]
        assert outcome.error == "", case
        assert (outcome.lost, outcome.wrong, outcome.reordered) == (0, 0, False), case
        assert outcome.figures["value"] >= 0, case
        assert case.what.unit in ("KiB", "MiB") or {"server_cpu", "seconds"} & set(outcome.figures), case
        assert set(peers) == {OWN, *case.what.costs}, case
    printed = capsys.readouterr().out
    assert all(f"{case}: " in printed for case in found.outcomes)
    assert main(["--compare", str(file), str(file)]) == 0
    assert capsys.readouterr().out.count("as before") == len(found.outcomes)


@pytest.mark.parametrize("peer", HERE, ids=lambda peer: peer.name)
def test_every_peer_that_is_here_delivers_everything(peer: Peer, cache: Path) -> None:
    """Its own client and the raw one get every message through, in order, one way, there and back, and to all."""
    names = ("stress", "echo_64", "pipeline_4", "large_1", "broadcast_50", "rpc_64", "typed_json", *sorted(peer.rows))
    chosen = [WORKLOADS[name] for name in names]
    chosen = [workload for workload in chosen if workload.can(peer)]
    found = run(chosen, [peer], SMALL, 1, cache, lambda what: None, costs={})
    assert {str(case): found.trouble(case, peer.name) for case in found.outcomes} == {each.name: "" for each in chosen}
    assert all(found.values(case, peer.name)[0] > 0 for case in found.outcomes)
    assert not any(outcome.reordered for peers in found.outcomes.values() for outcome in peers[peer.name])


@pytest.mark.parametrize("name", [PURE, "asyncio", "streams", "floor", "floor-bare"])
def test_every_header_delivers_everything(name: str, cache: Path) -> None:
    """Peers with a choice have their figures with each header, under the case of that header."""
    headers = [header for header in HEADERS if header in PEERS[name].wires]
    chosen = [WORKLOADS[each] for each in ("receive", "pipeline_4") if WORKLOADS[each].can(PEERS[name])]
    found = run(chosen, [PEERS[name]], SMALL, 1, cache, lambda what: None, headers, {})
    assert set(found.outcomes) == {Case(workload.name, header) for workload in chosen for header in headers}
    assert {found.trouble(case, name) for case in found.outcomes} == {""}


@pytest.mark.parametrize("name", COSTS)
def test_what_the_benchmark_costs_is_measured_wherever_it_counts(name: str) -> None:
    """The handler in every workload in which messages are counted, the driver wherever a peer's own client drives."""
    chosen = [workload for workload in WORKLOADS.values() if workload.name in ("stress", "receive", "pipeline_4")]
    chosen = [workload for workload in chosen if workload.can(COSTS[name])]
    found = run(chosen, [], SMALL, 1, Path(), lambda what: None, costs={name: COSTS[name]})
    figure = "server_cpu" if name == "handler" else "client_cpu"
    assert [found.values(case, name, figure)[0] > 0 for case in found.outcomes] == [True, True]


def test_the_profile_says_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """It names the stages of the server and of the client."""
    assert main(["--profile", "--only", "oneway", "--scale", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "oneway, server: " in printed
    assert "oneway, client: " in printed
    assert "encode" in printed
    assert "ns a message" in printed


def test_peers_take_turns_at_being_first() -> None:
    """In each round of a workload another peer begins: who begins has no advantage."""
    order: list[str] = []
    idle = Workload("idle", "nothing", "", lambda stage: {"value": 1.0, "lost": 0})
    run([idle], [PEERS["own"], PEERS["asyncio"]], Sizes(), 4, Path(), lambda what: order.append(what.split()[1]))
    assert order == ["own", "asyncio", "asyncio", "own", "asyncio", "own", "own", "asyncio"]


def test_a_peer_with_one_header_is_measured_once_for_all() -> None:
    """Its outcome counts for each header asked for; with a choice a peer is measured with each."""
    planned = jobs(WORKLOADS["receive"], [PEERS["own"], PEERS["veltix-3.3.0"], PEERS["int32"]], [15, 22])
    assert [(job.peer.name, job.header, job.headers) for job in planned] == [
        ("own", 15, (15,)),
        ("veltix-3.3.0", 15, (15, 22)),
        ("int32", 15, (15, 22)),
        ("own", 22, (22,)),
    ]


def test_another_checkout_follows_this_one_in_the_same_round() -> None:
    """Next to each other, so that what slows the machine down for a while slows both down."""
    planned = jobs(WORKLOADS["receive"], [PEERS["pure"]], [15, 22], Path("elsewhere"))
    assert [(job.peer.name, job.header, job.root) for job in planned] == [
        ("pure", 15, None),
        ("pure@other", 15, Path("elsewhere")),
        ("pure", 22, None),
        ("pure@other", 22, Path("elsewhere")),
    ]


def test_a_peer_that_fails_does_not_end_the_run() -> None:
    """It is a row with a reason; the others are measured."""

    def measure(stage: Any) -> dict[str, float]:
        if stage.peer.name != OWN:
            raise ProgramError("it fell over")
        return {"value": 1.0, "lost": 0}

    found = run([Workload("idle", "", "", measure)], [PEERS["asyncio"], PEERS[OWN]], Sizes(), 1, Path(), lambda what: None)
    assert found.trouble(Case("idle"), "asyncio") == "it fell over"
    assert found.values(Case("idle"), OWN) == [1.0]


@pytest.mark.parametrize("figure", ["lost", "wrong", "reordered"])
def test_a_fault_of_ours_is_an_error(figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is 1 where a message of this package did not arrive, or not as it was sent."""
    faulty = replace(WORKLOADS["idle"], measure=lambda stage: {"value": 1.0, "lost": 0, "of": 2} | {figure: 1})
    monkeypatch.setattr("veltix_tx.benchmark.options.find_workloads", lambda names: [faulty])
    assert main(["--only", "idle"]) == 1


def test_two_checkouts_are_measured_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its own programs: what is compared delivers everything in both, and the table has a row for each."""
    file = tmp_path / "results.json"
    chosen = ("receive", "oneway", "idle", "import")
    arguments = ("--only", *chosen, "--peers", PURE, "--wire", "22", "--rounds", "1", "--save", str(file))
    assert main(["--compare", str(ROOT), *arguments, *TINY]) == 0
    found = Results.load(file)
    assert {peer for peers in found.outcomes.values() for peer in peers} == {PURE, f"{PURE}@other"}
    assert not any(outcome.error for peers in found.outcomes.values() for outcomes in peers.values() for outcome in outcomes)
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[4:]]
    assert rows == ["receive@22", "oneway@22", "idle@22", "import"]


def test_a_checkout_with_the_line_protocol_is_run_as_it_is(tmp_path: Path) -> None:
    """Its own programs, from its own folder."""
    assert prepared(ROOT, tmp_path) == (ROOT, "")
    assert list(tmp_path.iterdir()) == []


def test_an_older_checkout_is_run_by_this_benchmark(tmp_path: Path) -> None:
    """Its package, and nothing else of it: a benchmark without the line protocol is left out."""
    old, scratch = tmp_path / "old", tmp_path / "scratch"
    (old / "veltix_tx" / "benchmark").mkdir(parents=True)
    scratch.mkdir()
    for entry in (ROOT / "veltix_tx").iterdir():
        if entry.name not in ("benchmark", "_version.py", "__pycache__"):
            (old / "veltix_tx" / entry.name).symlink_to(entry)
    (old / "veltix_tx" / "_version.py").write_text('__version__ = "0.0.1"\n')
    (old / "veltix_tx" / "benchmark" / "__init__.py").write_text("")
    root, remark = prepared(old, scratch)
    assert root == scratch
    assert "is run by this one" in remark
    assert run_python("import json, veltix_tx; print(json.dumps(veltix_tx.__version__))", root=root) == "0.0.1"
    with Program("own", SINK, root=root) as server:
        assert server.protocol == PROTOCOL


def test_the_line_protocol_is_what_another_checkout_relies_on() -> None:
    """A task and its answers, word for word: whoever changes them changes PROTOCOL."""
    assert PROTOCOL == 2
    with Program("own", {"role": "server", "mode": "sink", "header": 22, "raw": False}) as server:
        assert (server.protocol, 0 < server.port < 65536) == (2, True)
        assert server.call("expect", 3, 64) is None
        assert server.call("usage") > 0
        assert server.call("rss") > 2**20
        with Program("own", {"role": "client", "header": 22}) as client:
            assert client.protocol == 2
            assert client.call("connect", server.port, 1) is None
            assert set(client.call("oneway", 3, 64)) == {"begun", "sent", "cpu"}
            told = server.call("wait", 3, 10.0)
            assert set(told) == {"got", "wrong", "reordered", "at"}
            assert (told["got"], told["wrong"], told["reordered"]) == (3, 0, 0)
            assert set(client.call("ping", 5)) == {"seconds", "cpu", "lost", "wrong", "times"}
    assert set(COMPARED) <= set(WORKLOADS)


def test_a_program_of_another_line_protocol_is_not_asked_for_anything(tmp_path: Path) -> None:
    """The error says which two these are."""
    peers = tmp_path / "veltix_tx" / "benchmark" / "peers"
    peers.mkdir(parents=True)
    for folder in (peers, peers.parent, peers.parent.parent):
        (folder / "__init__.py").write_text("")
    (peers / "own.py").write_text('print("[\\"ready\\", 8080]", flush=True)\ninput()\n')
    with Program("own", SINK, root=tmp_path) as server:
        assert server.protocol == 0
        with pytest.raises(ProgramError, match=f"line protocol 0 instead of {PROTOCOL}"):
            server.call("usage")


def test_a_server_counts_what_its_handler_was_given() -> None:
    """Fewer messages than expected are told as fewer, after the time given."""
    with Program("minimal", SINK) as server, Program("raw", RAW) as client:
        client.call("connect", server.port, 1)
        server.call("expect", 11, 64)
        client.call("oneway", 10, 64)
        assert server.call("wait", 11, 0.5)["got"] == 10


def test_a_program_that_fails_says_why() -> None:
    """Its last words are in the error."""
    with Program("raw", {"wire": "none"}) as client, pytest.raises(ProgramError, match="KeyError"):
        client.call("usage")


def test_a_command_that_fails_leaves_the_program_running() -> None:
    """The error has its text, and the next command is carried out."""
    with Program("raw", RAW) as client:
        with pytest.raises(ProgramError, match="TypeError"):
            client.call("connect", "nowhere", 1)
        assert client.call("usage") > 0


def test_a_program_that_does_not_answer_is_ended_by_force() -> None:
    """A command has a deadline, and nothing is left behind."""
    with Program("minimal", SINK) as server:
        pid = server._process.pid
        with pytest.raises(ProgramError, match="has not answered 'wait'"):
            server.call("wait", 1, 30.0, seconds=0.1)
    assert server._process.returncode is not None
    assert not alive(pid)


def test_a_peer_installed_already_is_not_installed_again(tmp_path: Path) -> None:
    """Its folder in the cache is used as it is; a peer that needs nothing has none."""
    assert installed(PEERS[OWN], tmp_path) is None
    wanted = replace(PEERS["websockets"], needs=("no-such-package-of-veltix-tx",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        with pytest.raises(InstallError, match="no-such-package"):
            installed(wanted, tmp_path)
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / f"websockets-py{sys.version_info[0]}.{sys.version_info[1]}"
    folder.mkdir()
    assert installed(wanted, tmp_path) == folder


def test_the_floor_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a folder named after its source and the Python; both floors share it."""
    folder = installed(PEERS["floor"], cache)
    assert folder is not None
    assert folder.parent == cache
    assert [file.name.split(".")[0] for file in folder.iterdir()] == ["_floor"]
    monkeypatch.setenv("CC", "false")
    assert installed(PEERS["floor-bare"], cache) == folder


@pytest.mark.parametrize(
    ("compiler", "said"), [("false", "false cannot compile _floor.c"), ("no-such-compiler", "No such file or directory")]
)
def test_without_a_compiler_the_floor_is_a_row_with_a_reason(
    compiler: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left in the cache, and the others are measured."""
    monkeypatch.setenv("CC", compiler)
    idle = Workload("idle", "", "", lambda stage: {"value": 1.0, "lost": 0})
    found = run([idle], [PEERS["floor"], PEERS[OWN]], Sizes(), 1, tmp_path, lambda what: None)
    assert said in found.trouble(Case("idle"), "floor")
    assert found.values(Case("idle"), OWN) == [1.0]
    assert list(tmp_path.iterdir()) == []


def test_without_any_compiler_the_reason_is_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallError, match=r"no C compiler for _floor\.c: install one"):
        installed(PEERS["floor"], tmp_path / "cache")


def test_a_failed_measurement_has_no_figures() -> None:
    """Whatever else was found out."""
    assert Outcome({"value": 1.0}, error="it fell over").get("value") is None
