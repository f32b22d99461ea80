"""Sanitized text: the only form in which what others wrote stands in a log."""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted.python.failure import Failure

__all__ = ["SanitizedFailure", "escape_controls", "one_line"]

_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Characters that end a line somewhere, move a cursor, turn the direction of text, are not seen, or cannot be encoded."""

_LINES = 60
"""Lines of a traceback that are kept: a recursion has thousands."""

_LONGEST = 500
"""Characters of one of these lines."""


def escape_controls(text: str) -> str:
    r"""Return a text with control characters as escapes, such as ``\n``: it can look like one line only."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Return a text as a line of the log, escaped, and cut where it is long."""
    return escape_controls(_cut(text))


class SanitizedFailure(Failure):
    """A failure whose traceback is short and harmless, whatever text of a peer an exception was made of.

    Args:
        failure: the failure to show.
        secrets: texts that must not be shown, as the KeyError of a look-up would.
    """

    def __init__(self, failure: Failure, secrets: Iterable[str] = ()) -> None:
        super().__init__(failure)
        self._secrets = [form for secret in secrets for form in (repr(secret)[1:-1], secret)]

    def getTraceback(self, elideFrameworkCode: int = 0, detail: str = "default") -> str:  # noqa: N802, N803 (Twisted's names)
        """Return the traceback: its ends, where it is long."""
        text = super().getTraceback(elideFrameworkCode, detail)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        lines = text.split("\n")
        left_out = len(lines) - _LINES
        if left_out > 0:
            half = _LINES // 2
            lines[half:-half] = [f"... {left_out} more lines ..."]
        return "\n".join(escape_controls(_cut(line)) for line in lines)


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
