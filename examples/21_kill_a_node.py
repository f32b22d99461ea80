"""Kill one of two chat servers, and see that nothing is missing: plays ``20_nodes.py`` with two servers and two people.

It needs a Redis server, redis://127.0.0.1:6379 by default, and takes some ten seconds::

    python 21_kill_a_node.py [REDIS]
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = str(Path(__file__).with_name("20_nodes.py"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Process:
    """One of the chat's processes: what is typed, and what it says."""

    def __init__(self, *arguments):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, PROGRAM, *arguments], stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def type(self, line):
        """Type a line."""
        self.process.stdin.write(line + "\n")

    def read_until(self, wanted):
        """Return the lines up to one that begins with a text."""
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip())
            if line.startswith(wanted):
                return lines
        raise SystemExit(f"it ended before it said {wanted!r}: {lines}")


def members_as_seen_by(person):
    person.type("who")
    return person.read_until("here: ")[-1]


def play(redis, started):
    ports = [free_port(), free_port()]

    def begin(says, *arguments):
        started.append(Process(*arguments))
        started[-1].read_until(says)
        return started[-1]

    first = begin("the backplane is up", "serve", ports[0], redis)
    ann = begin("* connected", "join", "ann", *ports)  # to the first, for there is no other yet
    begin("the backplane is up", "serve", ports[1], redis)
    bob = begin("* connected", "join", "bob", ports[1])
    while members_as_seen_by(ann) != "here: ann, bob":
        time.sleep(0.1)
    print("ann is on one server, bob on the other; both see: ann, bob")

    first.process.kill()
    for number in range(5):
        bob.type(f"line {number}")
    heard = ann.read_until("* connected")  # which she may say behind what she has missed
    if "bob: line 4" not in heard:
        heard += ann.read_until("bob: line 4")
    missed = [line for line in heard if line.startswith("bob: ")]
    print("ann's server was killed; on the other one she got:", ", ".join(missed))
    assert missed == [f"bob: line {number}" for number in range(5)]

    began = time.monotonic()
    while members_as_seen_by(bob) != "here: ann, bob":  # as long as the lease of the dead server runs
        time.sleep(0.5)
    print(f"the members are right again after {time.monotonic() - began:.0f} s: ann, bob")


def main(redis="redis://127.0.0.1:6379"):
    started = []
    try:
        play(redis, started)
    finally:
        for each in started:
            each.process.kill()
            each.process.communicate()


if __name__ == "__main__":
    main(*sys.argv[1:])
