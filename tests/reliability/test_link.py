"""Bad links: the program in a small size, on each kind of link that this machine can have."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.run_program import run_program

LINKS = ["proxy"] + ["namespaces"] * (run_program("link.py", "--available").returncode == 0)


@pytest.mark.parametrize("link", LINKS)
def test_a_bad_link_is_noticed_in_time_and_recovered_from(link: str, held: Callable[..., str]) -> None:
    """Delay and loss lose nothing; partitions and silent peers are noticed within silence and pong; each request ends once."""
    said = held("link.py", "--link", link, "--silence", "0.8", "--pong", "0.8", "--seconds", "0.5")
    assert len(re.findall(r"noticed by the client after", said)) == 4
    assert len(re.findall(r"noticed by the server after", said)) == 3
    assert re.search(r"ended twice or never +0\n", said)


def test_a_link_that_cannot_be_is_one_line() -> None:
    """Where there can be no namespaces, link.py says so in one line with the remedy, and ends with a status that is not 0."""
    ended = run_program("unprivileged.py")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("link.py: no ")
    assert "--link proxy" in line
