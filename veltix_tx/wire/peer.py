"""What a handshake makes known of the other side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from veltix_tx.wire.veltix.layouts import Layout
from veltix_tx.wire.veltix.releases import HandshakeKind

__all__ = ["Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side, as the handshake made it known.

    Attributes:
        version: the version it announced, ``""`` where it announces none.
        layout: the header layout agreed on.
        handshake: the handshake that was used.
        protocol: the ``pv`` of its JSON hello, None where it sends none.
        meta: the ``meta`` of its JSON hello.
        features: what both sides agreed on beyond upstream's protocol, see :mod:`veltix_tx.wire.veltix.extensions`.
    """

    version: str
    layout: Layout
    handshake: HandshakeKind
    protocol: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)
    features: tuple[str, ...] = ()
