"""Registry of wires: name -> Wire. A wire's folder is imported when one of its names is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from veltix_tx.errors import SettingsError
from veltix_tx.wire.annotation import Piece
from veltix_tx.wire.interface import DatagramWire, PasswordWire, Wire

__all__ = [
    "annotate_stream",
    "build_description",
    "find_datagram_wire",
    "find_wire",
    "register_wire",
    "takes_password",
    "wire_names",
    "wire_rule",
    "with_password",
]

_FOLDERS = ("veltix_tx.wire.veltix.wire", "veltix_tx.wire.plain.wire", "veltix_tx.wire.netconduit.wire")
"""Modules with ``find(name) -> Wire | None``, ``NAMES`` (all it knows, an example of each kind where there is no end of them),
``RULE`` (the same for people), ``annotate_stream(wire, data) -> list[Piece]`` and ``build_description()``."""

_registered: dict[str, Callable[[], Wire]] = {}


def register_wire(name: str, make: Callable[[], Wire]) -> None:
    """Register a wire under a name, for ``wire=`` and ``--wire``.

    Args:
        name: the name; a registered one goes before those of the package's own wires.
        make: returns the wire with its default options.
    """
    _registered[name] = make


def takes_password(wire: object) -> bool:
    """Return True if a wire has an option for a password, and it is not given.

    Raises:
        SettingsError: no wire has the name, or it is neither a name nor a wire.
    """
    found = find_wire(wire)
    return isinstance(found, PasswordWire) and found.password is None


def with_password(wire: object, password: str) -> Wire:
    """Return a wire that :func:`takes_password` with one.

    Raises:
        SettingsError: no wire has the name, or the password cannot be one.
    """
    return cast(PasswordWire, find_wire(wire)).with_password(password)


def find_wire(wire: object) -> Wire:
    """Return the wire of a name; a wire given as it is comes back.

    Raises:
        SettingsError: no wire has the name, or it is neither a name nor a wire.
    """
    if not isinstance(wire, str):
        if isinstance(wire, Wire):
            return wire
        raise SettingsError("wire", wire, f"a wire or {wire_rule()}")
    if wire in _registered:
        return _registered[wire]()
    for folder in _FOLDERS:
        found: Wire | None = import_module(folder).find(wire)
        if found is not None:
            return found
    raise SettingsError("wire", wire, wire_rule())


def annotate_stream(name: str, data: bytes) -> list[Piece]:
    """Return the parts of a recorded stream of one direction, for people.

    Args:
        name: the wire's, one of the package's own.
        data: the stream, from its begin or from the begin of a frame.

    Raises:
        SettingsError: none of the package's wires has the name.
    """
    for folder in _FOLDERS:
        module = import_module(folder)
        found = module.find(name)
        if found is not None:
            parts: list[Piece] = module.annotate_stream(found, data)
            return parts
    raise SettingsError("wire", name, wire_rule())


def find_datagram_wire(wire: object) -> DatagramWire:
    """Return the wire that :func:`find_wire` does.

    Raises:
        SettingsError: there is none, or it cannot be spoken in datagrams.
    """
    found = find_wire(wire)
    if isinstance(found, DatagramWire):
        return found
    raise SettingsError("wire", found.name, "one that can be spoken in datagrams, such as 'lines' or 'raw'")


def wire_names() -> list[str]:
    """Return the names that :func:`find_wire` knows, one for each kind of those with a number in them."""
    return [*(name for folder in _FOLDERS for name in import_module(folder).NAMES), *sorted(_registered)]


def wire_rule() -> str:
    """Return the names that :func:`find_wire` knows, as a part of a sentence."""
    return " or ".join([*(import_module(folder).RULE for folder in _FOLDERS), *sorted(_registered)])


def build_description() -> str:
    """Return what of the compiled parts is in use, for ``--version``."""
    return ", ".join(filter(None, (import_module(folder).build_description() for folder in _FOLDERS)))
