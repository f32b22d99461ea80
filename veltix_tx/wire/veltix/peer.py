"""A Veltix peer: header layout and handshake of its generation."""

from __future__ import annotations

from dataclasses import dataclass

from veltix_tx.wire.peer import Peer
from veltix_tx.wire.veltix.layouts import Layout
from veltix_tx.wire.veltix.releases import HandshakeKind, Release, release_of

__all__ = ["VeltixPeer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VeltixPeer(Peer):
    """A Veltix peer of any generation.

    Attributes:
        layout: the header layout agreed on; ``wire`` is its name.
        handshake: the handshake that was used.
        protocol: the ``pv`` of its JSON hello, None where it sends none.
    """

    layout: Layout
    handshake: HandshakeKind
    protocol: str | None = None

    @property
    def release(self) -> Release:
        """The first upstream release that it may be of; for an unknown one, what holds for its layout."""
        return release_of(self.layout, self.version, self.protocol)
