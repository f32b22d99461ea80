"""Tokens kept in a file: names and hashes, made by ``veltix token new``, and a hook that lets in who has one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from os import fspath
from pathlib import Path, PurePath
from secrets import token_urlsafe

from veltix_tx.errors import SettingsError
from veltix_tx.net.shared.authentication import Credentials

__all__ = ["Identity", "TokenFile", "new_token", "token_line"]

_TOKEN_BYTES = 32
"""Random bytes in a token: 256 bits cannot be guessed."""

_PREFIX = "vtx_"
"""Prefix of every token, by which secret scanners recognise one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")

_LONGEST = 1024 * 1024
"""Bytes of a file that are read, some 10,000 tokens."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a peer: its name. A hook may return any other object.

    Attributes:
        name: the name.
        expires_at: seconds since 1970 until which it is one; None for no end.
    """

    name: str
    expires_at: float | None = None


def new_token(random: Callable[[int], str] = token_urlsafe) -> str:
    """Return a new token.

    Args:
        random: returns so many random bytes as text, from the system's source of secrets by default.
    """
    return _PREFIX + random(_TOKEN_BYTES)


def token_line(name: str, token: str) -> str:
    """Return the line of a token file, without its end, for a token.

    Raises:
        SettingsError: the name cannot be.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError("name", name, "1 to 64 ASCII letters, digits, '_', '.', '@' and '-', the first a letter or a digit")
    return f"{name}:{_hash(token)}"


def _hash(token: str) -> str:
    # A plain hash, without salt or stretching: those protect passwords, which people choose and others guess. A token of 256
    # random bits cannot be found by trying, however fast a hash is, and a slow one would hold up the reactor for each connection.
    return sha256(token.encode()).hexdigest()


class TokenFile:
    """A hook for ``Server(authenticate=...)`` that lets in who has a token of a file.

    Each line is ``name:hash``, as ``veltix token new`` prints it; empty ones and those that begin with ``#`` are passed over.
    A name may have several tokens. A file without any lets nobody in. It is read once, and again by :meth:`use`.

    Args:
        path: the file.

    Attributes:
        names: the names that have tokens.

    Raises:
        SettingsError: the file cannot be read, is too long, or a line is none; the error tells its number.
    """

    def __init__(self, path: str | PurePath) -> None:
        self._path = path
        self._names = self.read()

    def __repr__(self) -> str:
        return f"<TokenFile {fspath(self._path)}, {len(self._names)} tokens>"

    def __call__(self, credentials: Credentials) -> Identity | None:
        """Return the identity of who presents a token of the file, None for anybody else."""
        if credentials.token is None:
            return None
        # A dict compares texts only where Python's own hash of them, which is keyed, is equal: the time of a look-up does not
        # tell how much of a digest was right, and what it was right about would be a digest, for which nobody has the token.
        name = self._names.get(_hash(credentials.token))
        return None if name is None else Identity(name)

    @property
    def names(self) -> set[str]:
        """The names that have tokens."""
        return set(self._names.values())

    def read(self) -> dict[str, str]:
        """Return the names of the tokens that the file has now, by their hashes, for :meth:`use`.

        Raises:
            SettingsError: see the class.
        """
        try:
            with Path(self._path).open("rb") as file:
                content = file.read(_LONGEST + 1)
        except OSError as error:
            raise self._error(f"a file that can be read ({error.strerror})") from None
        if len(content) > _LONGEST:
            raise self._error(f"a file of at most {_LONGEST} bytes")
        names: dict[str, str] = {}
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            self._add(names, number, line.strip())
        return names

    def use(self, names: dict[str, str]) -> None:
        """Let in from now on who has one of the tokens that :meth:`read` returned; who is in stays."""
        self._names = names

    def _add(self, names: dict[str, str], number: int, line: str) -> None:
        if not line or line.startswith("#"):
            return
        name, _, digest = line.partition(":")
        if not _NAME.fullmatch(name) or not _HASH.fullmatch(digest):
            raise self._error(f"a file of lines name:hash, as 'veltix token new NAME' prints them; line {number} is none")
        if digest in names:
            raise self._error(f"a file in which each token stands once; that of line {number} stands there twice")
        names[digest] = name

    def _error(self, rule: str) -> SettingsError:
        return SettingsError("tokens", fspath(self._path), rule)
