"""A message as an object."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Message"]


def _now() -> int:
    return int(time.time() * 1000)


@dataclass
class Message:
    """A message. Handlers get its data alone, and ``send`` takes type and data; it is for programs that keep messages.

    Attributes:
        type: its type.
        data: what it says.
        correlation_id: id of the call it belongs to.
        timestamp: when it was made, ms since 1970.
        metadata: what else there is about it.
    """

    type: str
    data: Any = None
    correlation_id: int | None = None
    timestamp: int = field(default_factory=_now)
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a map."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Message:
        """Return the message of such a map."""
        return cls(
            data.get("type", ""),
            data.get("data"),
            data.get("correlation_id"),
            data.get("timestamp", _now()),
            data.get("metadata", {}),
        )
