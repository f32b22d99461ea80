"""The wire of netconduit, with its options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from veltix_tx._version import __version__
from veltix_tx.errors import SettingsError
from veltix_tx.wire.annotation import Piece
from veltix_tx.wire.interface import Role, WireConnection, WireContext
from veltix_tx.wire.netconduit.annotate import annotate
from veltix_tx.wire.netconduit.connection import NetconduitConnection

__all__ = ["NAMES", "RULE", "SETTLE", "Netconduit", "annotate_stream", "build_description", "find"]

_NAME = "netconduit"

_LONGEST = 128
"""Characters of a program's name, and of its version."""

NAMES = (_NAME,)
"""Names of netconduit's wire."""

RULE = repr(_NAME)
"""The same, as a part of a sentence."""

SETTLE = 0.1
"""Seconds between a server's AUTH_SUCCESS and what it sends next to a client that has said nothing, on a link without delay."""


@dataclass(frozen=True, slots=True)
class Netconduit:
    """The wire of netconduit 2.0.0 to 5.0.0, in both roles.

    Its password crosses the network as an unsalted SHA-256, which is all that one needs to log in: use TLS, or a network
    that nobody listens to.

    Attributes:
        password: the password that clients must know. A server without one asks its ``authenticate``, with
            NetconduitCredentials; a client must have one.
        program: what this side calls itself in the handshake.
        version: the version of that, told likewise.
        compress: compress payloads over 1,024 bytes with zlib. What is compressed is read in any case.
    """

    password: str | None = field(default=None, repr=False)
    program: str = "veltix_tx"
    version: str = __version__
    compress: bool = False

    def __post_init__(self) -> None:
        if self.password is not None and (not isinstance(self.password, str) or not self.password):
            raise SettingsError("password", type(self.password).__name__, "a text that is not empty")
        for each in ("program", "version"):
            said = getattr(self, each)
            if not isinstance(said, str) or len(said) > _LONGEST:
                raise SettingsError(each, said, f"a text of at most {_LONGEST} characters")
        if not isinstance(self.compress, bool):
            raise SettingsError("compress", self.compress, "True or False")

    @property
    def name(self) -> str:
        """``"netconduit"``."""
        return _NAME

    @property
    def type(self) -> None:
        """None: each message has its own."""

    @property
    def authenticates(self) -> bool:
        """True: a server lets in only who knows the password, or whom ``authenticate`` takes."""
        return True

    def with_password(self, password: str) -> Netconduit:
        """Return the same with a password."""
        return replace(self, password=password)

    def describe(self, *, encrypted: bool) -> str:
        """Return the releases that a listener serves."""
        return "netconduit 2.0.0 to 5.0.0"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        """Accept every setting."""

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        """Return a connection in this role."""
        return NetconduitConnection(
            role,
            context,
            password=self.password,
            name=self.program,
            version=self.version,
            compress=self.compress,
            settle=SETTLE + 2 * round_trip,
        )


def find(name: str) -> Netconduit | None:
    """Return the wire called ``"netconduit"``, None for another name."""
    return Netconduit() if name == _NAME else None


def annotate_stream(wire: Netconduit, data: bytes) -> list[Piece]:
    """Return the parts of a recorded stream of one direction."""
    return list(annotate(data))


def build_description() -> str:
    """Return nothing: this wire has no compiled part of its own."""
    return ""
