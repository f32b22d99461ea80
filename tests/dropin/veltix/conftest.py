"""The stage that the scripts run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support.dropin.loopback import ends, log, wire  # noqa: F401 (fixtures)
from tests.support.dropin.stage import OURS, REAL, RELEASE, Stage


@pytest.fixture
def package() -> str:
    """The drop-in, where a test does not ask for both."""
    return OURS


@pytest.fixture
def stage(
    clean_reactor: None, package: str, tmp_path: Path, request: pytest.FixtureRequest, finish: Callable[..., Any]
) -> Iterator[Stage]:
    """A stage, with the real package if a test asks for it; what still runs behind the test is killed, by its id."""
    wanted = package == REAL or "folders" in request.fixturenames
    stage = Stage(tmp_path, package, request.getfixturevalue("folders")[RELEASE] if wanted else None)
    yield stage
    for script in stage.scripts:
        if script.status is None:
            finish(Deferred.fromCoroutine(script.kill()))
