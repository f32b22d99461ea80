"""Connections with fixed clocks and dice, and a wire between two of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from random import Random
from typing import Any

import pytest

from veltix_tx.wire.events import Event
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import RELEASES

collect_ignore = [] if find_spec("veltix_tx.wire._messages") else ["test_compiled.py"]
"""Tests of what is compiled are collected where it was built."""

CALENDAR_MS = 1_795_000_000_000
UPTIME_MS = 1_000_000


@pytest.fixture(scope="session")
def make() -> Callable[..., VeltixConnection]:
    """Makes a connection that has not started; every message type is known unless ``types`` says otherwise."""

    def make_connection(role: Role, release: str | None = None, *, seed: int = 0, **settings: Any) -> VeltixConnection:
        settings.setdefault("types", MessageRegistry(open=True))
        return VeltixConnection(
            role,
            RELEASES[release] if release else None,
            calendar_ms=lambda: CALENDAR_MS,
            uptime_ms=lambda: UPTIME_MS,
            getrandbits=Random(f"{role} {seed}").getrandbits,
            **settings,
        )

    return make_connection


@pytest.fixture(scope="session")
def converse() -> Callable[..., tuple[list[Event], list[Event]]]:
    """Carries bytes between two connections until both are quiet; returns each one's events."""

    def carry(server: VeltixConnection, client: VeltixConnection, *, start: bool = True) -> tuple[list[Event], list[Event]]:
        heard: dict[VeltixConnection, list[Event]] = {server: [], client: []}
        if start:
            for side in (server, client):
                heard[side] += side.start()
        quiet = False
        while not quiet:
            quiet = True
            for near, far in ((server, client), (client, server)):
                data = b"".join(near.data_to_send())
                if data:
                    quiet = False
                    heard[far] += far.receive_data(data, CALENDAR_MS)
        return heard[server], heard[client]

    return carry


# This floor knows no reactor and no log: nothing to start, watch or wait for.


@pytest.fixture(scope="session", autouse=True)
def running_reactor() -> None:
    """No reactor is needed here."""


@pytest.fixture(autouse=True)
def logged_failures() -> None:
    """Nothing here logs."""


@pytest.fixture(scope="module", autouse=True)
def late_failures() -> None:
    """Nothing here logs."""


@pytest.fixture(autouse=True)
def clean_reactor() -> None:
    """Nothing here can leave a delayed call or a connection behind."""
