"""Release table: what each published Veltix release speaks, announces and accepts, by which a hello's version is judged.

A release's name is its wheel's; what it *announces* is what it puts on the wire, which differs
for wheels that lie: 1.2.0 and 1.2.1 say 1.1.2, 1.6.1 says 1.6.0, 1.6.5 says 1.6.4. Releases
1.0.0 to 1.1.2 cannot be imported; "1.0" is the 46-byte format of their README.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from veltix_tx.errors import SettingsError
from veltix_tx.wire.veltix.extensions import FEATURES, PARAMETER
from veltix_tx.wire.veltix.layouts import W14, W15, W16, W22, W46, W62, Layout

__all__ = [
    "AUTO",
    "AUTO_HELLOS",
    "AUTO_RELEASES",
    "PAD",
    "RELEASES",
    "SUPERSET",
    "HandshakeKind",
    "Release",
    "find_release",
    "is_version",
    "json_layout",
    "release_of",
]

AUTO = "auto"


class HandshakeKind(Enum):
    """Kind of handshake. In every one of them the server speaks first, or nobody does."""

    NONE = "none"
    HELLO = "HELLO frames"
    JSON = "length-prefixed JSON"


@dataclass(frozen=True, slots=True)
class Release:
    """One release of upstream Veltix.

    Attributes:
        name: the release.
        layout: its header layout.
        handshake: how its connections begin.
        announces: the version it puts on the wire, ``""`` where it puts none.
        versions: the announced versions it talks to.
        protocol: the ``pv`` it sends; of a peer that sends one too, it accepts every minor
            version and does not look at ``versions``. None before 2.0.3.
        meta: what a server of it sends as ``meta`` in its JSON hello.
        monotonic: True if its header clock is the uptime instead of the calendar's.
        prefix: True if it takes a version with a ``v`` in front for the same one.
        waits: True if a client of it goes on waiting after the HELLO of a version it refuses; the later ones close.
        has_error_type: True if it knows ERROR, the answer to a request that failed.
        ids_from_zero: True if a server of it numbers its requests from 0 to 29999, and takes any frame with such an id for
            their reply.
        refuses_with_words: True if a server of it that is full says so before it closes.
    """

    name: str
    layout: Layout
    handshake: HandshakeKind
    announces: str = ""
    versions: frozenset[str] = frozenset()
    protocol: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict, hash=False, compare=False)
    monotonic: bool = False
    prefix: bool = False
    waits: bool = False
    has_error_type: bool = True
    ids_from_zero: bool = False
    refuses_with_words: bool = False

    def __hash__(self) -> int:
        """Return a hash of the name, which is enough: each handshake of a server looks something up."""
        return hash(self.name)

    def accepts(self, version: str, protocol: object = None) -> bool:
        """Return True if this release talks to a peer that announces ``version`` and sends this ``pv``."""
        if self.protocol is None or protocol is None:
            return self.read(version) in self.versions
        # Real peers of 2.0.3 and later want exactly two whole numbers, the first of them theirs.
        numbers = isinstance(protocol, str) and _PROTOCOL.fullmatch(protocol)
        return bool(numbers) and protocol.split(".")[0] == self.protocol.split(".")[0]  # type: ignore[attr-defined]

    def welcomes(self, version: str) -> bool:
        """Return True if a server of this release talks to a client that announces ``version`` (HELLO frames)."""
        return self.read(version) in self.welcome

    def read(self, version: str) -> str:
        """Return a version as this release reads it: the text itself, of which nothing is left out."""
        return version.removeprefix("v") if self.prefix else version

    @property
    def rule(self) -> str:
        """Versions it accepts, as a part of a sentence."""
        rules = [f"pv {self.protocol.split('.')[0]}.x"] if self.protocol else []
        return " or ".join(rules + sorted(self.versions))

    @property
    def hello(self) -> dict[str, object]:
        """Its JSON hello without the ``meta``."""
        return {"v": self.announces} if self.protocol is None else {"v": self.announces, "pv": self.protocol}

    @property
    def welcome(self) -> frozenset[str]:
        """The announced versions whose clients talk to a server of this release (HELLO frames)."""
        return frozenset(
            other.announces for other in RELEASES.values() if other.layout is self.layout and self.announces in other.versions
        )


_NUMBER = r"(?:0|[1-9][0-9]{0,3})"
_PROTOCOL = re.compile(rf"{_NUMBER}\.{_NUMBER}")
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


def is_version(text: str) -> bool:
    """Return True if a text could be a release's version: three whole numbers with points between them, and nothing else."""
    return _VERSION.fullmatch(text) is not None


def _hello(
    name: str, layout: Layout, *versions: str, announces: str = "", monotonic: bool = False, prefix: bool = False
) -> Release:
    said = announces or name
    accepted = frozenset(versions or (said,))
    waits = layout in (W62, W22)
    return Release(name, layout, HandshakeKind.HELLO, said, accepted, monotonic=monotonic, prefix=prefix, waits=waits)


def _json(name: str, *versions: str) -> Release:
    return Release(name, W16, HandshakeKind.JSON, name, frozenset(versions or (name,)))


def _window(name: str, *versions: str) -> Release:
    known = frozenset(versions or (name,))
    return Release(name, W15, HandshakeKind.JSON, name, known, meta={_WINDOW: 30000}, has_error_type=False, ids_from_zero=True)


def _with_pv(name: str, *, window: bool = False, ids_from_zero: bool = False) -> Release:
    return Release(
        *(name, W15, HandshakeKind.JSON, name),
        protocol="1.0",
        meta={_WINDOW: 30000} if window else {},
        has_error_type=False,
        ids_from_zero=ids_from_zero,
        refuses_with_words=True,
    )


_WINDOW = "id_window"
"""Key in a JSON hello's ``meta``."""

_OLD_W62 = ("1.6.0", "1.5.0", "1.4.0")

_TABLE = (
    Release("1.0", W46, HandshakeKind.NONE),
    Release("1.2.0", W62, HandshakeKind.NONE),
    Release("1.2.1", W62, HandshakeKind.NONE),
    Release("1.3.0", W62, HandshakeKind.NONE),
    # These three compare major.minor and then talk to each other all the same.
    _hello("1.4.0", W62, *_OLD_W62),
    _hello("1.5.0", W62, *_OLD_W62),
    _hello("1.6.1", W62, *_OLD_W62, announces="1.6.0"),
    _hello("1.6.2", W22),
    _hello("1.6.3", W22),
    _hello("1.6.4", W22),
    _hello("1.6.5", W22, announces="1.6.4"),
    _hello("1.6.6", W22, prefix=True),
    _hello("1.6.8", W22, "1.6.6", "1.6.8", prefix=True),
    _hello("1.6.9", W22, "1.6.6", "1.6.8", "1.6.9", monotonic=True, prefix=True),
    _hello("1.6.10", W14, prefix=True),
    _hello("1.7.0", W16, prefix=True),
    _hello("1.7.1", W16, "1.7.0", "1.7.1", prefix=True),
    _hello("1.7.2", W16, "1.7.0", "1.7.1", "1.7.2", prefix=True),
    _hello("1.7.5", W16, "1.7.0", "1.7.1", "1.7.2", "1.7.5", prefix=True),
    _json("1.8.0"),
    _json("1.8.1"),
    _json("1.9.0"),
    _window("2.0.0"),
    _window("2.0.1", "2.0.0", "2.0.1"),
    _window("2.0.2", "2.0.0", "2.0.1", "2.0.2"),
    _with_pv("2.0.3", window=True, ids_from_zero=True),
    _with_pv("3.0.0", ids_from_zero=True),
    _with_pv("3.0.1"),
    _with_pv("3.0.2"),
    _with_pv("3.1.0"),
    _with_pv("3.1.1"),
    _with_pv("3.2.0"),
    _with_pv("3.2.1"),
    _with_pv("3.3.0"),
)

RELEASES: dict[str, Release] = {release.name: release for release in _TABLE}

SUPERSET = replace(
    RELEASES["2.0.2"],
    name="2.0.0 - 3.3.0",
    announces="2.0.0",
    protocol="1.0",
    meta={**RELEASES["2.0.2"].meta, "layouts": [W22.name], PARAMETER: list(FEATURES)},
    ids_from_zero=False,
    refuses_with_words=True,
)
"""One JSON hello that every release from 2.0.0 to 3.3.0 accepts. They do not know of ``layouts`` and ``features``: there a
server offers clients of this package other headers, and what they can agree on beyond upstream's protocol."""

PAD = None
"""128 bytes FF between hellos: no release takes them for a frame, and each drops with them what
was left of hellos it did not understand."""

AUTO_HELLOS: tuple[Release | None, ...] = (
    SUPERSET,
    *(RELEASES[name] for name in ("1.6.6", "1.6.4", "1.6.3", "1.6.2")),
    PAD,
    RELEASES["1.6.10"],
    PAD,
    *(RELEASES[name] for name in ("1.6.1", "1.5.0", "1.4.0")),
    PAD,
    # Last, because to the older ones its bytes begin a frame of 655 KB.
    RELEASES["1.7.0"],
)
"""Hellos that a server with ``wire="auto"`` sends, one after another, until the client answers."""

AUTO_RELEASES = "1.4 to 3.3 but 1.8 and 1.9"
"""Releases whose clients understand one of those hellos."""


def find_release(name: str) -> Release:
    """Return the release called ``name``; ``1.2`` or ``3.3`` name the last one of theirs.

    Raises:
        SettingsError: there is none.
    """
    if name in RELEASES:
        return RELEASES[name]
    for release in reversed(_TABLE):
        if release.name.startswith(f"{name}."):
            return release
    raise SettingsError("wire", name, f"{AUTO!r} or a release: {', '.join(RELEASES)}")


def json_layout(message: Mapping[str, object], meta: Mapping[str, object]) -> Layout:
    """Return the layout of a server, of a release that may be unknown, by its JSON hello and the ``meta`` in that."""
    return W15 if "pv" in message or _WINDOW in meta else W16


@lru_cache(maxsize=64)
def release_of(layout: Layout, version: str, protocol: str | None) -> Release:
    """Return the first release that a peer may be of; for an unknown one, what holds for its layout.

    Args:
        layout: the layout agreed on.
        version: what the peer announces.
        protocol: the ``pv`` of its JSON hello, None where it sends none.
    """
    for known in _TABLE:
        if known.layout is layout and known.announces == version and (known.protocol is None) == (protocol is None):
            return known
    counts = layout is W15 and protocol is None
    return Release("", layout, HandshakeKind.NONE, version, has_error_type=layout is not W15, ids_from_zero=counts)
