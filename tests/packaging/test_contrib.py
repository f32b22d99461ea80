"""Files of ``contrib/``: what they run is what this version understands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from veltix_tx.tap import Options

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"


def commands() -> dict[str, list[str]]:
    """Return the arguments of ``veltix`` in each file that starts a server."""
    unit = next(line for line in (CONTRIB / "systemd/veltix.service").read_text().splitlines() if line.startswith("ExecStart="))
    image = (CONTRIB / "Containerfile").read_text().splitlines()
    entry, arguments = (json.loads(line.partition(" ")[2]) for line in image if line.startswith(("ENTRYPOINT", "CMD")))
    pods = next(line for line in (CONTRIB / "kubernetes.yaml").read_text().splitlines() if line.strip().startswith("args:"))
    started = {
        "systemd": shlex.split(unit.partition("=")[2]),
        "container": entry + arguments,
        "kubernetes": entry + json.loads(pods.partition(":")[2]),
    }
    return {name: command[command.index("veltix") + 1 :] for name, command in started.items()}


@pytest.mark.parametrize("name", commands())
def test_a_server_of_contrib_starts_with_options_that_there_are(name: str) -> None:
    """No unit, image or pod has an option that ``twistd veltix`` does not know."""
    options = Options()
    options.parseOptions(commands()[name])
    assert options["port"] == "8080"
