"""A netconduit peer: what it says of itself, and whether it is one of this package."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from veltix_tx.wire.peer import Peer

__all__ = ["BARE_RESULTS", "FEATURES", "NetconduitCredentials", "NetconduitPeer", "describe_self", "read_info"]

BARE_RESULTS = "bare-results"
"""Feature of two peers of this package: results of calls are sent without netconduit's second envelope, faults as RPC_ERROR.

It also says that whatever follows AUTH_SUCCESS in one segment is read."""

FEATURES = (BARE_RESULTS,)
"""Features that this side offers and wants, under ``features`` in both infos: real peers ignore the key."""

_LONGEST = 128
"""Characters kept of what a peer calls itself, and of its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetconduitPeer(Peer):
    """A netconduit peer. ``version`` is that of its program, not of netconduit, which no peer tells.

    Attributes:
        name: what it calls itself, empty where it says nothing.
        session_token: what a server gave this client, which is of no use to anybody; empty where it gave nothing.
    """

    name: str = ""
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NetconduitCredentials:
    """What a netconduit client proves itself with: enough to log in again with, so never to be logged or kept.

    Attributes:
        password_hash: SHA-256 of its password, 64 lower-case hexadecimal digits from a real client.
        name: what it calls itself; a claim.
        version: the version of its program; a claim.
    """

    password_hash: str
    name: str = ""
    version: str = ""

    def __repr__(self) -> str:
        return f"NetconduitCredentials(name={self.name!r}, version={self.version!r})"


def describe_self(name: str, version: str, features: tuple[str, ...]) -> dict[str, object]:
    """Return ``client_info`` or ``server_info``; a server that agreed to no feature sends what a real one does."""
    info: dict[str, object] = {"name": name, "version": version}
    return {**info, "features": features} if features else info


def read_info(info: object, token: object = None) -> NetconduitPeer:
    """Return the peer that ``client_info`` or ``server_info`` tells of, which may be anything; features are those known here."""
    said = info if isinstance(info, dict) else {}
    features = said.get("features")
    agreed = tuple(each for each in FEATURES if isinstance(features, list) and each in features)
    return _peer(_text(said.get("name")), _text(said.get("version")), agreed, _text(token))


@lru_cache(maxsize=256)
def _peer(name: str, version: str, features: tuple[str, ...], session_token: str) -> NetconduitPeer:
    """Return a peer, one for all connections to clients that say the same of themselves."""
    return NetconduitPeer(wire="netconduit", version=version, name=name, features=features, session_token=session_token)


def _text(said: object) -> str:
    return said[:_LONGEST] if isinstance(said, str) else ""
