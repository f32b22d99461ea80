"""Another checkout of this package, to be measured in the same rounds as this one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from veltix_tx.benchmark.peers.program import PROTOCOL
from veltix_tx.benchmark.processes import Program, ProgramError

__all__ = ["CheckoutError", "prepared"]

_TASK = {"role": "server", "mode": "sink", "header": 15, "raw": True}


class CheckoutError(Exception):
    """A folder is no checkout of this package, or one that cannot be measured."""


def prepared(other: Path, scratch: Path) -> tuple[Path, str]:
    """Return the folder to run a checkout's programs from, and a remark, ``""`` for none.

    It is the checkout itself where its programs speak this benchmark's line protocol. The programs of an older one do
    not: then it is a folder with its package and this benchmark, made of links.

    Args:
        other: the checkout.
        scratch: a folder of its own.

    Raises:
        CheckoutError: there is no such package, or it cannot be run.
    """
    package = other.absolute() / "veltix_tx"
    if not (package / "__init__.py").is_file():
        raise CheckoutError(f"{other}: no checkout of this package, nor a file of results with a second one: no veltix_tx in it")
    with suppress(ProgramError):
        if _speaks(package.parent) == PROTOCOL:
            return package.parent, ""
    linked = scratch / "veltix_tx"
    linked.mkdir()
    for name in os.listdir(package):
        if name != "benchmark":
            (linked / name).symlink_to(package / name)
    (linked / "benchmark").symlink_to(Path(__file__).absolute().parent)
    try:
        _speaks(scratch)
    except ProgramError as error:
        raise CheckoutError(f"{other}: neither its own benchmark nor this one can measure it: {error}") from None
    return scratch, f"{other} has a benchmark without the line protocol {PROTOCOL}: its package is run by this one"


def _speaks(root: Path) -> int:
    """Return the number of the line protocol that a checkout's programs speak, 0 where they have none."""
    with Program("own", _TASK, root=root) as server:
        return server.protocol
