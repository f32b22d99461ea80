"""Servers that are killed, stopped and told to end under load; the programs in a small size."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support.redis_server import find_redis


def test_kills_end_each_request_once(held: Callable[..., str]) -> None:
    """Through kill -9 and restart of the server each request of a reconnecting client ends once, replied or typed."""
    said = held("kills.py", "--requests", "2000", "--kills", "3")
    assert re.search(r"requests +2000\n", said)
    assert re.search(r"SessionClosed \d+", said)


def test_sigterm_under_load_loses_no_accepted_request(held: Callable[..., str]) -> None:
    """SIGTERM under load: what a handler began is answered, the rest fails typed; FIN, no RST; new clients are refused."""
    said = held("drain.py", "--clients", "4", "--window", "64", "--sleepers", "100")
    assert re.search(r"accepted and not answered +0\n", said)
    assert re.search(r"new connections +refused", said)


def test_faults_of_nodes_and_of_redis_leave_the_log_to_everybody(held: Callable[..., str]) -> None:
    """Kills and hangs of nodes and of Redis, flushes, lost connections: positions go on or a gap tells, and nothing comes twice."""
    find_redis()
    said = held("nodes.py", "--seconds", "8", "--seed", "19585")  # a seed whose first seconds have a fault of each kind
    assert re.search(r"with a place +\d\d", said)
    for fault in ("kill node", "hang node", "kill redis", "hang redis", "flush", "drop subscribers", "cut reader"):
        assert re.search(rf"{fault} +\d", said)
