"""Bytes given to a connection whole, or one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.netconduit import RECEIVED_MS
from veltix_tx.wire.events import Event
from veltix_tx.wire.netconduit.connection import NetconduitConnection

Feed = Callable[[NetconduitConnection, bytes], list[Event]]


@pytest.fixture(params=["whole", "bytewise"])
def feed(request: pytest.FixtureRequest) -> Feed:
    """Give bytes to a connection, whole or one at a time; return what happened."""

    def whole(made: NetconduitConnection, data: bytes) -> list[Event]:
        return made.receive_data(data, RECEIVED_MS)

    def bytewise(made: NetconduitConnection, data: bytes) -> list[Event]:
        return [event for at in range(len(data)) for event in made.receive_data(data[at : at + 1], RECEIVED_MS)]

    return whole if request.param == "whole" else bytewise
