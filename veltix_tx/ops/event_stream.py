"""Stream of snapshots: a server's numbers once a second, as server-sent events, for a bounded number of readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from veltix_tx.ops.admin_api import ApiError, Call, Watch
from veltix_tx.ops.interface import Administered

__all__ = ["INTERVAL", "MOST_READERS", "MOST_SNAPSHOT", "PATIENCE", "EventStream"]

INTERVAL = 1.0
"""Seconds between two snapshots."""

MOST_READERS = 16
"""Readers at once; more are refused with 503."""

MOST_SNAPSHOT = 64 * 1024
"""Bytes of a snapshot; the page that would make it longer is left out."""

PATIENCE = 30.0
"""Seconds in which a reader may take nothing; then it makes room for others."""

_log = Logger()


class EventStream:
    """Readers of a server's snapshots.

    A snapshot is made once a second, in slices, for each page that somebody looks at, and for no page while nobody does. A reader
    that does not take what it was sent is given nothing more until it does, and then the latest: nothing piles up for it.

    Args:
        api: what is shown.
    """

    def __init__(self, api: Administered) -> None:
        self._api = api
        self._readers: dict[_Reader, None] = {}
        self._woken: Deferred[None] | None = None
        self._runs = False

    def add(self, request: Request, watch: Watch, may: Callable[[], bool]) -> None:
        """Send snapshots to a request until its connection is lost.

        Args:
            request: the request, whose headers have been set.
            watch: what is shown.
            may: returns False once it may see no more.

        Raises:
            ApiError: there are as many readers as may be.
        """
        if len(self._readers) >= MOST_READERS:
            raise ApiError(503, f"there are {MOST_READERS} readers already")
        reader = _Reader(request, watch, may, self._api.clocks.uptime)
        self._readers[reader] = None
        request.notifyFinish().addBoth(lambda _: self._readers.pop(reader, None))
        request.registerProducer(reader, True)
        request.write(b"retry: 1000\n\n")
        if self._runs:
            self._wake()
        else:
            self._runs = True
            Deferred.fromCoroutine(self._run()).addErrback(lambda failure: _log.failure("snapshots have ended", failure))

    def stop(self) -> None:
        """End all streams; their readers come again where the server does."""
        for reader in list(self._readers):
            reader.finish()
        self._readers.clear()
        self._wake()

    def _wake(self) -> None:
        woken, self._woken = self._woken, None
        if woken is not None:
            woken.callback(None)

    async def _run(self) -> None:
        """Serve all readers once a second, and new ones at once, as long as there are any."""
        uptime = self._api.clocks.uptime
        due, late = uptime(), 0.0
        try:
            while self._readers:
                is_due = uptime() >= due
                if is_due:
                    late, due = max(0.0, uptime() - due), uptime() + INTERVAL
                try:
                    await self._serve([reader for reader in self._readers if is_due or reader.is_new], late)
                except Exception:
                    _log.failure("a snapshot could not be made", Failure())
                if not any(reader.is_new for reader in self._readers):
                    await self._sleep(due - uptime())
        finally:
            self._runs = False

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until somebody comes."""
        self._woken = Deferred()
        call = self._api.clocks.reactor.callLater(max(0.0, seconds), self._wake)
        await self._woken
        if call.active():
            call.cancel()

    async def _serve(self, readers: Iterable[_Reader], late: float) -> None:
        groups: dict[Watch, list[_Reader]] = {}
        for reader in readers:
            reader.is_new = False
            if not reader.may():
                reader.finish()
            elif reader.is_stuck:
                reader.abort()
            elif not reader.paused:
                groups.setdefault(reader.watch, []).append(reader)
        if not groups:
            return
        now = await self._ask("now")
        base = {
            "server": await self._ask("server"),
            "now": now | {"late": max(late, now["late"])},
            "log": self._api.last_event,
        }
        for watch, group in groups.items():
            event = b"data: %b\n\n" % _encoded(base, await self._shown(watch))
            for reader in group:
                reader.send(event)

    async def _ask(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return what a path of the API shows; raises ApiError."""
        answer = self._api.answer("GET", f"api/v1/{path}", Call(query or {}))
        return await answer if isinstance(answer, Deferred) else answer

    async def _shown(self, watch: Watch) -> object:
        """Return the part of a snapshot that only who looks at this page gets."""
        if not watch.path:
            return None
        try:
            shown: object = await self._ask(watch.path, dict(watch.query))
        except ApiError as error:
            return {"error": error.said}
        return shown


@implementer(IPushProducer)
class _Reader:
    """One reader: a request that is answered until its connection is lost.

    Attributes:
        watch: what is shown.
        may: returns False once it may see no more.
        is_new: True until its first snapshot.
        paused: True while it does not take what it was sent.
    """

    def __init__(self, request: Request, watch: Watch, may: Callable[[], bool], uptime: Callable[[], float]) -> None:
        self._request = request
        self._uptime = uptime
        self._since = 0.0
        self._ended = False
        self.watch = watch
        self.may = may
        self.is_new = True
        self.paused = False

    @property
    def is_stuck(self) -> bool:
        """True if it has taken nothing for too long."""
        return self.paused and self._uptime() - self._since > PATIENCE

    def send(self, event: bytes) -> None:
        """Write an event, unless earlier ones wait to be read, or the connection is lost."""
        if not (self.paused or self._ended):
            self._request.write(event)

    def finish(self) -> None:
        """End the stream."""
        if not self._ended:
            self._ended = True
            self._request.unregisterProducer()
            self._request.finish()

    def abort(self) -> None:
        """Close its connection at once."""
        transport: Any = self._request.transport
        transport.abortConnection()

    def pauseProducing(self) -> None:
        """Send nothing for a while."""
        self.paused, self._since = True, self._uptime()

    def resumeProducing(self) -> None:
        """Go on with the next snapshot."""
        self.paused = False

    def stopProducing(self) -> None:
        """Send nothing any more: the connection is lost."""
        self._ended = True


def _encoded(base: dict[str, Any], shown: object) -> bytes:
    content = msgspec.json.encode(base | {"shown": shown})
    if len(content) > MOST_SNAPSHOT:
        return msgspec.json.encode(base | {"shown": {"error": "it is too long to be shown"}})
    return content
