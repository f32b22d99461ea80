"""The Veltix wires: :class:`Auto` finds out the peer's generation, :class:`Pinned` speaks one release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veltix_tx.errors import SettingsError
from veltix_tx.wire.annotation import Piece
from veltix_tx.wire.interface import Role, WireContext
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.annotate import annotate
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import AUTO, AUTO_RELEASES, RELEASES, SUPERSET, Release, find_release

__all__ = ["HELLO_GAP", "NAMES", "RULE", "Auto", "Pinned", "annotate_stream", "build_description", "find"]

NAMES = (AUTO, *RELEASES)
"""Names of Veltix's wires."""

RULE = f"{AUTO!r} or a release: {', '.join(RELEASES)}"
"""The same, as a part of a sentence."""

HELLO_GAP = 0.15
"""Seconds between the hellos of a server that detects its client's generation, on a link without delay."""


@dataclass(frozen=True, slots=True)
class Auto:
    """Every generation: a server offers staged hellos on one port, a client mirrors its server.

    Attributes:
        long_headers: as a client, ask a veltix_tx server for 22-byte headers, which carry 4-byte request ids and clocks.
    """

    long_headers: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.long_headers, bool):
            raise SettingsError("long_headers", self.long_headers, "True or False")

    @property
    def name(self) -> str:
        """``"auto"``."""
        return AUTO

    @property
    def type(self) -> None:
        """None: each message has its own."""

    @property
    def authenticates(self) -> bool:
        """False: no Veltix handshake asks who the client is."""
        return False

    def describe(self, *, encrypted: bool) -> str:
        """Return the generations that a listener serves: over TLS only those with a JSON handshake."""
        return f"Veltix {SUPERSET.name if encrypted else AUTO_RELEASES} (wire auto)"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        """Accept every setting."""

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> VeltixConnection:
        """Return a connection that detects its peer's generation.

        A server's over TLS offers one hello: no older release speaks TLS, and TLS's handshake upsets the stages' timing.
        """
        release = SUPERSET if encrypted and role is Role.SERVER else None
        return _connection(role, context, release, gap=HELLO_GAP + 2 * round_trip, long_headers=self.long_headers)


@dataclass(frozen=True, slots=True)
class Pinned:
    """One upstream release, byte for byte.

    Attributes:
        release: the release.
    """

    release: Release

    @property
    def name(self) -> str:
        """The release's name."""
        return self.release.name

    @property
    def type(self) -> None:
        """None: each message has its own."""

    @property
    def authenticates(self) -> bool:
        """False: no Veltix handshake asks who the client is."""
        return False

    def describe(self, *, encrypted: bool) -> str:
        """Return the release."""
        return f"Veltix {self.name}"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        """Accept every setting."""

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> VeltixConnection:
        """Return a connection that speaks the release."""
        return _connection(role, context, self.release)


def _connection(role: Role, context: WireContext, release: Release | None, **options: Any) -> VeltixConnection:
    return VeltixConnection(
        role,
        release,
        calendar_ms=context.calendar_ms,
        uptime_ms=context.uptime_ms,
        getrandbits=context.getrandbits,
        types=context.types,
        max_message_size=context.max_message_size,
        limits=context.limits,
        authenticates=context.authenticates,
        wanted=context.features(),
        **options,
    )


def find(name: str) -> Auto | Pinned | None:
    """Return the wire called ``"auto"`` or as a release, None for another name."""
    if name == AUTO:
        return Auto()
    try:
        return Pinned(find_release(name))
    except SettingsError:
        return None


def annotate_stream(wire: Auto | Pinned, data: bytes) -> list[Piece]:
    """Return the parts of a recorded stream of one direction."""
    return list(annotate(data, wire.release.layout if isinstance(wire, Pinned) else None))


def build_description() -> str:
    """Return which codec and CRC-32 are in use."""
    return codec.description()
