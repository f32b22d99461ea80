"""Messages of one type as an asynchronous iterator with a bounded queue."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic
from weakref import finalize

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from veltix_tx.client import Client as NativeClient
from veltix_tx.limits import check_whole
from veltix_tx.net.session.session import Session as NativeSession
from veltix_tx.net.tasks import wait
from veltix_tx.net.waiters import Waiters
from veltix_tx.wire.messages import MessageType, Response, T

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Messages"]


class Messages(AsyncIterator[Response[T]]):
    """Iterator over the messages of one type of a client's session; see :meth:`veltix_tx.aio.Client.messages`.

    It is the type's route, until the session ends, it is closed, or nobody refers to it any more.

    Args:
        client: the client.
        message_type: the type.
        maxsize: messages that may wait for the iterator.

    Raises:
        SettingsError: the type has a route already, or the size is not a whole number from 1.
    """

    def __init__(self, client: NativeClient, message_type: MessageType[T, Any], maxsize: int) -> None:
        check_whole("maxsize", maxsize, 1)
        self._queue: _Queue[T] = _Queue(client, message_type, maxsize)
        finalize(self, self._queue.close).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response[T]:
        return await self._queue.get()

    async def aclose(self) -> None:
        """End it: the type has no route any more, and what waits is dropped."""
        self._queue.close()


class _Queue(Generic[T]):
    """Queue of an iterator, filled by a route, which does not refer to the iterator."""

    def __init__(self, client: NativeClient, message_type: MessageType[T, Any], maxsize: int) -> None:
        self._messages: deque[Response[T]] = deque()
        self._maxsize = maxsize
        self._client = client
        self._type = message_type
        self._ended = False
        self._failure: Failure | None = None
        self._filled: Waiters[None] = Waiters()
        self._emptied: Waiters[None] = Waiters()
        client.register_route(message_type, self._put, timeout=math.inf)
        client.when_connected().addCallback(_when_over).addErrback(self._fail).addCallback(lambda _: self._end())

    async def get(self) -> Response[T]:
        """Return the next message; raise StopAsyncIteration after the last."""
        while not self._messages:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                failure.raiseException()
            if self._ended:
                raise StopAsyncIteration
            await wait(self._filled.wait())
        message = self._messages.popleft()
        if len(self._messages) < self._maxsize:
            self._emptied.fire(None)
        return message

    def close(self) -> None:
        """Take no more, and drop what waits."""
        self._messages.clear()
        self._end()

    def _put(self, message: Response[T]) -> Deferred[None] | None:
        """Take a message; the Deferred of the last that there is room for holds back the session's later messages."""
        self._messages.append(message)
        self._filled.fire(None)
        return self._emptied.wait() if len(self._messages) >= self._maxsize else None

    def _fail(self, failure: Failure) -> None:
        self._failure = failure

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._client.unregister_route(self._type)
            self._filled.fire(None)
            self._emptied.fire(None)


def _when_over(session: NativeSession) -> Deferred[None]:
    """Wait until a session is gone and its last message is handled."""
    return session.when_closed().addCallback(lambda _: session.when_idle())
