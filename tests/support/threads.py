"""Calls in threads of their own, and the methods that users can call in any."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

SEARCH = {"_owner_thread", "_settle", "__init__"}
"""The search for the reactor's thread, with all that it calls."""

ENGINE_ROOM = {
    *("tag_names", "admit", "reject"),
}
"""What the hub and the protocol call on a session: not for users."""


async def in_thread(function: Callable[[], Any], ran: list[str] | None = None) -> Any:
    """Call a function in a new thread; return or raise its outcome. ``ran`` gets what of the package runs in that thread."""
    from twisted.internet import reactor

    outcome: Deferred[Any] = Deferred()

    searching: list[Any] = []

    def note(frame: Any, event: str, _: object) -> None:
        name = frame.f_code.co_name
        if event == "return" and searching[-1:] == [frame]:
            searching.pop()
        elif event == "call" and not searching and frame.f_globals["__name__"].startswith("veltix_tx"):
            if name in SEARCH:
                searching.append(frame)
            elif not name.startswith("<"):
                ran.append(name)  # type: ignore[union-attr]

    def run() -> None:
        sys.setprofile(note if ran is not None else None)
        try:
            result, told = function(), outcome.callback
        except BaseException as error:
            result, told = error, outcome.errback
        finally:
            sys.setprofile(None)
        reactor.callFromThread(told, result)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return await outcome
    finally:
        thread.join(5)
        assert not thread.is_alive()


def public_methods(kind: type) -> Iterator[str]:
    """Find the methods that users can call, those of bases included."""
    for name in dir(kind):
        if not name.startswith("_") and callable(getattr(kind, name)) and not isinstance(getattr(kind, name), type):
            yield name


class Waiter(threading.Thread):
    """Calls something in a thread and keeps what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.outcome: list[Any] = []
        self._call = call
        self.start()

    def run(self) -> None:
        """Call it."""
        try:
            self.outcome.append(self._call())
        except BaseException as error:
            self.outcome.append(error)
