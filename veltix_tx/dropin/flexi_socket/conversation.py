"""Conversation: the task of one connection, in which the program's handlers are called one after another."""

from __future__ import annotations

from asyncio import CancelledError, Queue, create_task
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.aio import Session
from veltix_tx.dropin.flexi_socket.client_classifier import ClientClassifier
from veltix_tx.dropin.flexi_socket.connection import Connection
from veltix_tx.dropin.flexi_socket.handlers import Handlers, call
from veltix_tx.dropin.flexi_socket.message import Message
from veltix_tx.errors import excerpt
from veltix_tx.sanitize import SanitizedFailure

__all__ = ["Conversation"]

_log = Logger()


class Conversation:
    """Task of one connection: ``on_connect``, the handlers of its messages, ``on_disconnect``, each after the one before has ended.

    A handler runs to its end, also where its connection is gone meanwhile. One that raises is logged, and ends nothing.

    Args:
        connection: the connection.
        session: the session behind it.
        handlers: the socket's.
        classifier: names the peer's type.
        as_bytes: whether messages are bytes, not text.
        on_end: called when the last handler has ended.

    Attributes:
        connection: the same.
        task: the task.
    """

    def __init__(
        self,
        connection: Connection,
        session: Session,
        handlers: Handlers,
        classifier: ClientClassifier,
        as_bytes: bool,
        on_end: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._session = session
        self._handlers = handlers
        self._classifier = classifier
        self._as_bytes = as_bytes
        self._on_end = on_end
        self._classified = self._cut_off = False
        self._queue: Queue[tuple[bytes, Deferred[None]] | None] = Queue()
        self.task = create_task(self._run())

    def received(self, content: bytes) -> Deferred[None]:
        """Take a message; return a Deferred that fires once it has been handled."""
        handled: Deferred[None] = Deferred()
        self._queue.put_nowait((content, handled))
        return handled

    def ended(self) -> None:
        """Take no more: the connection is gone."""
        self._queue.put_nowait(None)

    def cut_off(self) -> None:
        """Cancel the handler that runs, and call no further one but ``on_disconnect``."""
        self._cut_off = True
        self.task.cancel()

    async def _run(self) -> None:
        handlers = self._handlers
        try:
            if handlers.on_connect is not None:
                with self._logged("on_connect"):
                    await call(handlers.on_connect, self.connection)
            while (taken := await self._queue.get()) is not None:
                content, handled = taken
                with self._logged("a message's handler"):
                    await self._handle(content)
                handled.callback(None)
        finally:
            try:
                if handlers.on_disconnect is not None:
                    with self._logged("on_disconnect"):
                        await call(handlers.on_disconnect, self.connection)
            finally:
                self._on_end()

    async def _handle(self, content: bytes) -> None:
        connection, handlers = self.connection, self._handlers
        try:
            message = content if self._as_bytes else content.decode()
        except UnicodeDecodeError:
            if self._session._native._may_log():
                _log.warn("a message of {session} is no text in UTF-8: {said}", session=self._session, said=excerpt(content))
            return
        if not self._classified:
            self._classified = True
            with self._logged("classify"):
                connection._classify(self._classifier.classify(message))
        processed: object = message
        hook = handlers.after_receive.get(connection._kind)
        if hook is not None:
            changed = await call(hook, connection, message)
            processed = message if changed is None else changed
        connection._record(Message(message, processed, incoming=True))
        handler = handlers.message_handler(connection._kind)
        if handler is not None:
            await call(handler, connection, processed)

    @contextmanager
    def _logged(self, who: str) -> Iterator[None]:
        """Log an error of the program's; none that its peer has left before it was answered."""
        try:
            yield
        except (Exception, CancelledError) as error:
            if self._cut_off and isinstance(error, CancelledError):  # else it comes from what the handler awaited
                raise
            left = isinstance(error, ConnectionResetError) and not self.connection.is_connected
            if not left and self._session._native._may_log():
                _log.failure("{who} failed for {session}", SanitizedFailure(Failure()), who=who, session=self._session)
