"""Arguments of a call as a map."""

from __future__ import annotations

from typing import Any

__all__ = ["data", "params"]


def data(**kwargs: Any) -> dict[str, Any]:
    """Return arguments given by name."""
    return kwargs


def params(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return arguments given by position and by name. Positional ones are called ``_0``, ``_1`` and so on, as netconduit has it."""
    return {**{f"_{position}": value for position, value in enumerate(args)}, **kwargs}
