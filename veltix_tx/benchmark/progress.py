"""Progress on a long run: a bar where rich is installed and somebody looks, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

__all__ = ["shown_progress"]


@contextmanager
def shown_progress(steps: int) -> Iterator[Callable[[str], None]]:
    """Show on stderr how far a run is.

    Args:
        steps: how many there will be.

    Returns:
        a context manager of what is to be called before each step with what it is.
    """
    if sys.stderr.isatty() and find_spec("rich") is not None:
        progress = import_module("rich.progress")
        console = import_module("rich.console").Console(stderr=True)
        columns = (
            *(progress.TextColumn("{task.description:<32}"), progress.BarColumn(), progress.MofNCompleteColumn()),
            *(progress.TimeElapsedColumn(), progress.TimeRemainingColumn()),
        )
        with progress.Progress(*columns, console=console) as shown:
            task = shown.add_task("", total=steps)
            begun = [False]

            def tell(what: str) -> None:
                shown.update(task, description=what, advance=int(begun[0]))
                begun[0] = True

            yield tell
        return
    started = time.monotonic()
    done = [0]

    def tell_plainly(what: str) -> None:
        done[0] += 1
        sys.stderr.write(f"[{done[0]}/{steps}, {time.monotonic() - started:.0f} s] {what}\n")
        sys.stderr.flush()

    yield tell_plainly
