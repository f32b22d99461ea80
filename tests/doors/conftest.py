"""Real servers and clients on loopback, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from tests.support.loopback import Loopback


@pytest.fixture
def loopback(clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Loopback]:
    """Make real servers and clients on 127.0.0.1."""
    loopback = Loopback()
    yield loopback
    finish(Deferred.fromCoroutine(loopback.end()).addErrback(lambda f: f.trap(ConnectionDone)))
