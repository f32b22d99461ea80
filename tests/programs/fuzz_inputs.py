"""The inputs a fuzzer begins with, and how they are changed."""

from __future__ import annotations

from pathlib import Path
from random import Random

__all__ = ["corpus", "mutated"]

_LONGEST = 20_000


def corpus(name: str) -> list[bytes]:
    """Return a target's seeds, and those of ``corpus.txt``: inputs that once broke a rule, or nearly did."""
    if __package__:
        from .fuzz_targets import seeds
    else:
        from fuzz_targets import seeds
    lines = (Path(__file__).parents[1] / "fuzz" / "corpus.txt").read_text().splitlines()
    kept = (line.split()[:2] for line in lines if line and not line.startswith("#"))
    return seeds(name) + [bytes.fromhex(data) for target, data in kept if target == name]


def mutated(known: list[bytes], dice: Random) -> bytes:
    """Return one of the known inputs, changed in a few places."""
    if __package__:
        from .fuzz_targets import DICTIONARY
    else:
        from fuzz_targets import DICTIONARY
    data = bytearray(dice.choice(known))
    for _ in range(1 + int(dice.expovariate(0.5))):
        at = dice.randrange(len(data) + 1)
        to = min(len(data), at + 1 + int(dice.expovariate(0.1)))
        match dice.randrange(10):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(data):
                data[at] = dice.choice((0, 1, 2, 10, 11, 20, 127, 128, 200, 255))
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = data[at:to] * dice.randrange(1, 4)
            case 4:
                data[at:at] = dice.randbytes(dice.randrange(1, 20))
            case 5:
                data[at:at] = dice.choice(DICTIONARY)
            case 6:
                word = dice.choice(DICTIONARY)
                data[at : at + len(word)] = word
            case 7:
                other = dice.choice(known)
                data[at:] = other[dice.randrange(len(other) + 1) :]
            case 8:
                start = dice.randrange(len(data) + 1)
                data[at:at] = data[start : start + dice.randrange(1, 400)]
            case _ if data:
                data[dice.randrange(min(3, len(data)))] = dice.randrange(256)
    return bytes(data[:_LONGEST])
