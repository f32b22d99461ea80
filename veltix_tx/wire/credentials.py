"""Credentials that a client presents in its handshake. Their ``repr`` shows no secret."""

from __future__ import annotations

import json
from dataclasses import dataclass

from veltix_tx.errors import SettingsError

__all__ = ["MAX_SECRET_SIZE", "Password", "Token"]

MAX_SECRET_SIZE = 1024
"""Maximum bytes of a token, a name or a password, as a JSON string without its quotes: two of them fit into a hello."""


def _check(name: str, text: object) -> None:
    """Raise SettingsError for a text that no hello carries, without the text: it may be a secret all the same."""
    rule = f"a text of 1 to {MAX_SECRET_SIZE} bytes in JSON"
    if not isinstance(text, str):
        raise SettingsError(name, f"of the type {type(text).__name__}", rule)
    try:
        size = len(json.dumps(text)) - 2 if text.encode() else 0
    except UnicodeEncodeError:
        raise SettingsError(name, "a text with a lone surrogate", rule) from None
    if not 0 < size <= MAX_SECRET_SIZE:
        raise SettingsError(name, f"a text of {size} bytes", rule)


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A secret text that proves who presents it.

    Attributes:
        token: the text, at most 1024 bytes in JSON.

    Raises:
        SettingsError: it is no text, empty or too long.
    """

    token: str

    def __post_init__(self) -> None:
        _check("token", self.token)

    def __repr__(self) -> str:
        return "Token(***)"


@dataclass(frozen=True, slots=True, repr=False)
class Password:
    """A name and the password that goes with it.

    Attributes:
        name: the name, at most 1024 bytes in JSON.
        password: the password, at most 1024 bytes in JSON.

    Raises:
        SettingsError: one of them is no text, empty or too long.
    """

    name: str
    password: str

    def __post_init__(self) -> None:
        _check("name", self.name)
        _check("password", self.password)

    def __repr__(self) -> str:
        return f"Password({self.name!r}, ***)"
