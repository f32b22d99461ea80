"""Programs as processes, and tiny runs of everything that needs nothing installed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from veltix_tx.benchmark.install import InstallError, installed
from veltix_tx.benchmark.options import main
from veltix_tx.benchmark.peers import COMPILED, OWN, PEERS, Peer
from veltix_tx.benchmark.processes import Program, ProgramError
from veltix_tx.benchmark.results import Results
from veltix_tx.benchmark.runner import run
from veltix_tx.benchmark.stage import Sizes
from veltix_tx.benchmark.workloads import WORKLOADS, Workload

TINY = ("--scale", "0.01", "--latency-iterations", "20", "--burst-count", "200", "--stress-clients", "3", "--stress-msgs", "20")
PLAY = ("--fps-players", "3", "--fps-tick-rate", "20", "--fps-duration", "0.2")
OWN_WORKLOADS = (
    *("memory", "latency", "fps_1", "burst", "stress", "receive", "echo_1", "pipeline_64"),
    *("clients_100", "large_1_echo", "broadcast_50", "churn", "codec", "idle", "growth_10"),
)
SINK = {"role": "server", "mode": "sink"}
HERE = [peer for peer in PEERS.values() if not peer.needs and peer.name not in (OWN, COMPILED)]


def alive(pid: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{pid}/stat").exists() if os.path.isdir("/proc") else True


@pytest.mark.parametrize("name", OWN_WORKLOADS)
def test_every_workload_of_ours_delivers_everything(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tiny run of this package gives a workload a figure, nothing lost, status 0, and the same in the file."""
    file = tmp_path / "results.json"
    assert main(["--only", name, *TINY, *PLAY, "--save", str(file)]) == 0
    found = Results.load(file)
    assert len(found.outcomes) == (2 if name == "codec" else 1)
    for workload, peers in found.outcomes.items():
        (outcome,) = peers[OWN]
        assert outcome.error == "", workload
        assert outcome.lost == 0, workload
        assert outcome.figures["value"] >= 0, workload
    printed = capsys.readouterr().out
    assert all(f"{name}: " in printed for name in found.outcomes)
    assert main(["--compare", str(file), str(file)]) == 0
    assert capsys.readouterr().out.count("as before") == len(found.outcomes)


@pytest.mark.parametrize("peer", HERE, ids=lambda peer: peer.name)
def test_every_peer_that_is_here_delivers_everything(peer: Peer, tmp_path: Path) -> None:
    """Its own client and the raw one get every message through, one way, there and back, and to all."""
    chosen = [WORKLOADS[name] for name in ("stress", "echo_64", "pipeline_16", "broadcast_1")]
    sizes = Sizes(scale=0.004, stress_clients=2, stress_msgs=10)
    found = run(chosen, [replace(peer, pace=1)], sizes, 1, tmp_path, lambda what: None)
    assert {name: found.trouble(name, peer.name) for name in found.outcomes} == {each.name: "" for each in chosen}
    assert all(found.values(name, peer.name)[0] > 0 for name in found.outcomes)


def test_the_profile_says_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """It names the stages of the server and of the client."""
    assert main(["--profile", "--only", "oneway", "--scale", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "oneway, server: " in printed
    assert "oneway, client: " in printed
    assert "wire: bytes and messages" in printed


def test_peers_take_turns_at_being_first() -> None:
    """In each round of a workload another peer begins: who begins has no advantage."""
    order: list[str] = []
    idle = Workload("idle", "nothing", "", lambda stage: {"value": 1.0, "lost": 0})
    run([idle], [PEERS["own"], PEERS["asyncio"]], Sizes(), 2, Path(), lambda what: order.append(what.split()[1]))
    assert order == ["own", "asyncio", "asyncio", "own"]


def test_a_peer_that_fails_does_not_end_the_run() -> None:
    """It is a row with a reason; the others are measured."""

    def measure(stage: Any) -> dict[str, float]:
        if stage.peer.name != OWN:
            raise ProgramError("it fell over")
        return {"value": 1.0, "lost": 0}

    found = run([Workload("idle", "", "", measure)], [PEERS["asyncio"], PEERS[OWN]], Sizes(), 1, Path(), lambda what: None)
    assert found.trouble("idle", "asyncio") == "it fell over"
    assert found.values("idle", OWN) == [1.0]


def test_a_loss_of_ours_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is 1 where a message of this package did not arrive."""
    lossy = replace(WORKLOADS["idle"], measure=lambda stage: {"value": 1.0, "lost": 1, "of": 2})
    monkeypatch.setattr("veltix_tx.benchmark.options.find_workloads", lambda names: [lossy])
    assert main(["--only", "idle"]) == 1


def test_a_server_counts_what_its_handler_was_given() -> None:
    """Fewer messages than expected are told as fewer, after the time given."""
    with Program("minimal", SINK) as server, Program("raw", {"wire": "json15", "port": server.ready}) as client:
        client.call("connect", 1)
        server.call("expect", 11)
        client.call("oneway", 10, 64)
        assert server.call("wait", 10, 10.0)["got"] == 10
        assert server.call("wait", 11, 0.1)["got"] == 10


def test_a_program_that_fails_says_why() -> None:
    """Its last words are in the error."""
    with pytest.raises(ProgramError, match="KeyError"):
        Program("raw", {"wire": "none", "port": 1})


def test_a_command_that_fails_leaves_the_program_running() -> None:
    """The error has its text, and the next command is carried out."""
    with Program("raw", {"wire": "json15", "port": 1}) as client:
        with pytest.raises(ProgramError, match="ConnectionRefusedError"):
            client.call("connect", 1)
        assert client.call("cpu") > 0


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
    import sys

    folder = tmp_path / f"websockets-py{sys.version_info[0]}.{sys.version_info[1]}"
    folder.mkdir()
    assert installed(wanted, tmp_path) == folder
