"""The targets of the fuzzer, each for a short while; ``python tests/programs/fuzz.py`` goes on for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.programs.fuzz_inputs import corpus, mutated
from tests.programs.fuzz_targets import TARGETS

FUZZER = Path(__file__).parents[1] / "programs" / "fuzz.py"
TRIES = {"server": 300, "authentication": 300, "client": 300}
"""Changed inputs for each target; 1000 unless said here."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_rule(name: str) -> None:
    """Recorded sessions, inputs that once broke a rule, and what chance makes of them: events or a typed error, nothing else."""
    known, dice = corpus(name), Random(name)
    assert known
    for data in (b"", *known, *(mutated(known, dice) for _ in range(TRIES.get(name, 1000)))):
        tried(name, data)


def tried(name: str, data: bytes) -> None:
    """Give a target an input; an error says which it was, as a line of ``corpus.txt``."""
    try:
        TARGETS[name](data)
    except Exception as error:
        raise AssertionError(f"broken by: {name} {data.hex()}") from error


@pytest.mark.parametrize("arguments", [["--seconds", "2"], ["--seconds", "1", "--target", "frames", "--seed", "1"]])
def test_the_fuzzer_runs_by_hand(arguments: list[str]) -> None:
    """``fuzz.py`` tries every target, or one, and says how many inputs there were."""
    command = [sys.executable, str(FUZZER), "--plain", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" inputs in ") == (1 if "--target" in arguments else len(TARGETS))


def test_the_fuzzer_keeps_what_breaks_a_rule(tmp_path: Path) -> None:
    """An input that breaks a rule is written down, and the command says where and fails; given again it fails again."""
    code = (
        "import os, sys; sys.argv[0] = sys.argv.pop(1); sys.path[:0] = [os.path.dirname(sys.argv[0])]\n"
        "import fuzz, fuzz_targets\n"
        "def broken(data): assert len(data) < 9, 'too long'\n"
        "fuzz_targets.TARGETS['frames'] = broken\n"
        "sys.exit(fuzz.main())"
    )
    command = [sys.executable, "-c", code, str(FUZZER), "--plain", "--target", "frames", "--seconds", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 1
    (kept,) = tmp_path.rglob("frames.bin")
    assert str(kept) in done.stdout
    again = subprocess.run([*command, "--input", str(kept)], capture_output=True, text=True, timeout=60, check=False)
    assert "too long" in again.stderr
