"""The fuzzer, by hand: ``python tests/programs/fuzz.py --seconds 600``.

It tries inputs until the time is over or a rule is broken; then it keeps the input, says where, and exits with 1. Where
atheris is installed the inputs follow the coverage; otherwise the seeds are changed at random.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.append(str(HERE.parents[1]))  # last: an installed package goes first

from fuzz_inputs import corpus, mutated  # noqa: E402


def keep(name: str, data: bytes) -> Path:
    """Write an input down; return where."""
    path = Path(tempfile.mkdtemp(prefix="veltix-fuzz-")) / f"{name}.bin"
    path.write_bytes(data)
    return path


def at_random(name: str, seconds: float, seed: int) -> int:
    """Try changed seeds; return 1 for a broken rule."""
    from fuzz_targets import TARGETS

    dice, target, known = Random(seed), TARGETS[name], corpus(name)
    begun, tried, slowest = time.monotonic(), 0, 0.0
    while time.monotonic() - begun < seconds:
        data = known[tried] if tried < len(known) else mutated(known, dice)
        before = time.perf_counter()
        try:
            target(data)
        except Exception:
            traceback.print_exc()
            sys.stdout.write(f"{name}: broken by {keep(name, data)}: {data.hex()}\n")
            return 1
        slowest = max(slowest, time.perf_counter() - before)
        tried += 1
    sys.stdout.write(f"{name}: {tried} inputs in {seconds:g} s, the slowest took {slowest * 1000:.1f} ms, seed {seed}\n")
    return 0


def guided(name: str, seconds: float, seed: int) -> None:
    """Let atheris try; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["veltix_tx"]):
        from fuzz_targets import DICTIONARY, TARGETS

    folder = Path(tempfile.mkdtemp(prefix="veltix-fuzz-"))
    (folder / "corpus").mkdir()
    for number, data in enumerate(corpus(name)):
        (folder / "corpus" / f"{number}").write_bytes(data)
    words = (b"".join(b"\\x%02x" % byte for byte in word).decode() for word in DICTIONARY if word)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in words))
    options = [f"-max_total_time={seconds:g}", f"-seed={seed}", f"-dict={folder / 'words'}", "-max_len=20000", "-timeout=10"]
    options += [f"-artifact_prefix={folder}{os.sep}{name}-", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Run each target for its share of the time, each in a process of its own."""
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, over all targets")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, default=None, help="where chance begins")
    parser.add_argument("--input", type=Path, help="only this file's bytes, once")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3), "big")
    if options.input is not None:
        TARGETS[options.target](options.input.read_bytes())
        return 0
    with_atheris = not options.plain and importlib.util.find_spec("atheris") is not None
    if options.target is not None:
        if with_atheris:
            for each in [name for name in sys.modules if name.startswith("veltix_tx") or name == "targets"]:
                del sys.modules[each]  # to be imported again with its branches counted
            guided(options.target, options.seconds, seed)
        return at_random(options.target, options.seconds, seed)
    broken = 0
    for name in TARGETS:
        share = options.seconds / len(TARGETS)
        arguments = ["--target", name, "--seconds", f"{share:g}", "--seed", str(seed), *(["--plain"] if options.plain else [])]
        broken |= subprocess.run([sys.executable, __file__, *arguments], check=False).returncode != 0
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
