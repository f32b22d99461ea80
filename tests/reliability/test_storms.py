"""The load programs, in short: what they promise but for the times, which a busy machine cannot show."""

from __future__ import annotations

import pytest

from tests.support.run_program import run_program

SCALES = {
    "half-open": 0.1,
    "slow-drip": 0.2,
    "connects": 0.2,
    "garbage": 0.05,
    "resets": 0.2,
    "ping-flood": 0.1,
    "non-reading": 0.2,
    "endless-lines": 0.2,
    "bad-text": 0.2,
    "half-closed": 0.2,
    "split-lines": 0.2,
    "udp-spoofed": 0.2,  # 20,000 addresses
    "udp-sizes": 0.3,
    "udp-icmp": 0.3,
}


def _run(program: str, *arguments: str) -> str:
    """Run a program to its end; it must say that every bar held."""
    ended = run_program(program, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("storm", SCALES)
def test_storm_leaves_the_well_behaved_unharmed_and_nothing_behind(storm: str) -> None:
    """No echo is lost, memory keeps to its budget and comes back, no descriptor stays, bad peers are closed by the rules."""
    assert "held" in _run("canary.py", "--storm", storm, "--scale", str(SCALES[storm]), "--untimed")


def test_a_short_soak_accounts_for_every_message() -> None:
    """Under churn, faults and slow readers each request ends once, each broadcast is heard or counted, nothing is left."""
    assert "requests" in _run("soak.py", "--seconds", "30")
