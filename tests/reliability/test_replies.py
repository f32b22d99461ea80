"""Late replies: the program in a small size."""

from __future__ import annotations

import re
from collections.abc import Callable


def test_every_reply_reaches_its_own_request(held: Callable[..., str]) -> None:
    """On every layout, both sides asking, with timeouts, cancels and replies that come late: not one is another's."""
    said = held("replies.py", "--requests", "40000")
    assert re.search(r"wrong +0\n", said)
    assert all(int(count) > 300 for count in re.findall(r"(\d+) late", said))
    assert len(re.findall(r"held back", said)) == 7
