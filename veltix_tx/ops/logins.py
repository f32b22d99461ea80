"""Logins of browsers: a cookie in place of a token, for the streams and pages that cannot send a header."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from secrets import token_urlsafe

__all__ = ["LIFETIME", "MOST_LOGINS", "Logins"]

LIFETIME = 12 * 3600.0
"""Seconds that a login holds."""

MOST_LOGINS = 64
"""Logins at once; the oldest gives way to one more."""


class Logins:
    """Logins that hold as long as the process, by random keys that cookies carry.

    Each keeps its token, so that who takes the token back ends the login, too.

    Args:
        uptime: a clock that never jumps, in seconds.
        random: returns so many random bytes as text, from the system's source of secrets by default.
    """

    def __init__(self, uptime: Callable[[], float], random: Callable[[int], str] = token_urlsafe) -> None:
        self._uptime = uptime
        self._random = random
        self._logins: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, token: str) -> str:
        """Return the key of a new login with a token."""
        key = self._random(32)
        self._logins[key] = (token, self._uptime() + LIFETIME)
        if len(self._logins) > MOST_LOGINS:
            self._logins.popitem(last=False)
        return key

    def token(self, key: str) -> str | None:
        """Return the token of a login; None for one that is no more."""
        # As with tokens, a dict's look-up tells nothing of a key of 256 random bits by its time.
        token, until = self._logins.get(key, (None, 0.0))
        if token is not None and self._uptime() >= until:
            self.end(key)
            return None
        return token

    def end(self, key: str) -> None:
        """End a login, where there is one."""
        self._logins.pop(key, None)
