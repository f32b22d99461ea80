"""Glob patterns of topics and rooms, in Redis's form."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate

from veltix_tx.errors import SettingsError

__all__ = ["MAX_PATTERN_SIZE", "check_pattern", "escape_glob", "glob_matcher"]

MAX_PATTERN_SIZE = 256
"""Maximum characters of a pattern."""

_ESCAPE = re.compile(r"\\(.)|\\", re.DOTALL)
_SPECIAL = re.compile(r"([*?\[\]^\\-])")


def glob_matcher(pattern: str) -> Callable[[str], object]:
    r"""Return a function that is true of a text which matches a pattern as a whole.

    Args:
        pattern: ``*`` is any text, ``?`` any character, ``[ab]`` one of these, ``[^ab]`` none of these, and ``\`` takes the next
            character as it is.

    Raises:
        SettingsError: it is no text, or a longer one than :data:`MAX_PATTERN_SIZE`.
    """
    check_pattern(pattern)
    # fnmatch's form, whose translation does not go astray on many stars.
    plain = _ESCAPE.sub(lambda match: f"[{match[1]}]" if match[1] in ("*", "?", "[") else match[1] or "[\\\\]", pattern)
    return re.compile(translate(plain.replace("[^", "[!"))).match


def check_pattern(pattern: str) -> str:
    """Return a pattern; raises SettingsError as :func:`glob_matcher`."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_SIZE:
        raise SettingsError("pattern", pattern, f"a text of at most {MAX_PATTERN_SIZE} characters")
    return pattern


def escape_glob(text: str) -> str:
    """Return the pattern that matches a text and no other."""
    return _SPECIAL.sub(r"\\\1", text)
