"""The real releases, installed once for a test run."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from .driver import install_all


@pytest.fixture(scope="session")
def folders(running_reactor: None) -> dict[str, Path]:
    """Each release's folder."""
    installed: dict[str, Path]
    installed, failed = pytest_twisted.blockon(Deferred.fromCoroutine(install_all()))
    if failed:
        pytest.fail(
            f"{len(failed)} of {len(installed)} releases of veltix could not be installed, the first with: {failed[0]}",
            pytrace=False,
        )
    return installed
