"""What Deferreds have fired with."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with, failures as their errors."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results
