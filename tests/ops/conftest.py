"""A server in memory with an administration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.administration import World
from veltix_tx import TokenFile
from veltix_tx.app.auth import new_token, token_line
from veltix_tx.testing import MemoryNetwork


@pytest.fixture
def network() -> Iterator[MemoryNetwork]:
    """A network."""
    with MemoryNetwork() as network:
        yield network


@pytest.fixture
def world(network: MemoryNetwork) -> Iterator[World]:
    """A world without tokens."""
    world = World(network)
    yield world
    world.stop()


@pytest.fixture
def token() -> str:
    """A token."""
    return new_token()


@pytest.fixture
def guarded(network: MemoryNetwork, tmp_path: Path, token: str) -> Iterator[World]:
    """A world that asks for a token."""
    (tmp_path / "operators.txt").write_text(token_line("ann", token) + "\n")
    world = World(network, TokenFile(tmp_path / "operators.txt"))
    yield world
    world.stop()
