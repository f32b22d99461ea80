"""The other side of a connection, as its handshake made it known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Peer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other side of a connection. A wire that knows more of it has a subclass.

    Attributes:
        wire: name of the format that was agreed on, such as ``"W15"``.
        version: version the peer announced, ``""`` where it announces none.
        meta: what else the peer said in its handshake.
        features: extensions that both sides agreed on, between two of this package.
    """

    wire: str
    version: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)
    features: tuple[str, ...] = ()
