"""A protocol of each role with its far end, an application that writes down every call, and networks to reconnect in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.line import Line, Recorder
from tests.support.reconnecting import POLICY, ByConnector, ByEndpoint, Network
from veltix_tx.settings import RetryPolicy
from veltix_tx.wire.interface import Role


@pytest.fixture
def server_line() -> Callable[..., Line]:
    """Make a server's protocol whose peer speaks one release."""
    return lambda wire="3.3.0", **settings: Line(Role.SERVER, wire, **settings)


@pytest.fixture
def client_line() -> Callable[..., Line]:
    """Make a client's protocol whose peer speaks one release."""
    return lambda wire="3.3.0", **settings: Line(Role.CLIENT, wire, **settings)


@pytest.fixture
def recorder() -> Recorder:
    """Return an application that writes down every call."""
    return Recorder()


@pytest.fixture(params=[ByConnector, ByEndpoint])
def network(request: Any, recorder: Any) -> Iterator[Callable[..., Any]]:
    """Make a network by connectTCP or an endpoint; nothing may be left on its clock in the end."""
    made: list[Network] = []

    def make(retry: RetryPolicy = POLICY, wire: str = "1.6.3") -> Network:
        made.append(request.param(retry, recorder, wire))
        return made[-1]

    yield make
    for each in made:
        each.factory.stop()
        each.wait(10)
        assert each.clock.getDelayedCalls() == []
        assert not each.trying
