"""Connection: one peer, as the program's handlers get it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Hashable

from veltix_tx.aio import Session
from veltix_tx.dropin.flexi_socket.client_classifier import ClientClassifier
from veltix_tx.dropin.flexi_socket.handlers import Handlers, call
from veltix_tx.dropin.flexi_socket.message import Message
from veltix_tx.dropin.flexi_socket.message_packaging import MessageStrategy
from veltix_tx.errors import SessionClosed
from veltix_tx.wire.messages import TEXT

__all__ = ["Connection"]

_KEPT_MESSAGES = 100
_KEPT_BYTES = 64 * 1024
"""Bounds of a history; its last message is kept whatever its size."""


class Connection:
    """A connection to a peer. Handlers get it; programs make none.

    Attributes:
        address: the peer's address.
        port: the peer's port.
        state: for the program's own use.
        data: for the program's own use.
        message_strategy: what tells its messages apart.
        selected_classifier: the peer's type as the classifier named it; None before its first message.
    """

    def __init__(self, session: Session, message_strategy: MessageStrategy, handlers: Handlers) -> None:
        self.address = session.ip
        self.port = session.port
        self.state: object = None
        self.data: object = None
        self.message_strategy = message_strategy
        self.selected_classifier: Hashable = None
        self._session = session
        self._handlers = handlers
        self._kind: Hashable = ClientClassifier.DEFAULT  # whose handlers serve it
        self._history: deque[tuple[Message, int]] = deque()
        self._history_bytes = 0
        self._received = 0

    def __str__(self) -> str:
        return f"Connection: {self.address}:{self.port}, {self.status}, {self.state}, {self.message_strategy}"

    # Public methods.

    async def send(self, message: str | bytes) -> None:
        """Send a message, and wait until there is room for more.

        Args:
            message: text, which is sent in UTF-8, or bytes. ``before_send`` may put another in its place.

        Raises:
            ConnectionResetError: the connection is closed; nothing was sent.
            StreamEnded: it carries one message in each direction, and this side has sent its own.
            MessageTooLarge: it is longer than the strategy's messages may be. Of several lines in one, those before it were sent.
            QueueFull: the peer reads too slowly; the same.
            UnvalidatedAddress: over UDP, it is too much for what has come from the peer, see :meth:`validate`; the same.
            TypeError: it is neither text nor bytes.
        """
        room = await self._send(message)
        if room is not None:
            await room

    async def close(self) -> None:
        """Close it, what was sent being written first; return when it is gone."""
        await self._session.disconnect()

    def validate(self) -> None:
        """Vouch that the peer is where its address says; see :meth:`veltix_tx.Session.validate`. Without effect over TCP.

        Over UDP a server sends an address at most three times the bytes that have come from it, until this is called.
        """
        self._session.validate()

    @property
    def is_connected(self) -> bool:
        """True if messages can be sent."""
        return self._session.closed is None

    @property
    def status(self) -> str:
        """``"connected"`` or ``"disconnected"``."""
        return "connected" if self.is_connected else "disconnected"

    @property
    def client_type(self) -> Hashable:
        """The peer's type, as releases before 0.0.7 call it."""
        return self.selected_classifier

    @property
    def history(self) -> list[Message]:
        """The last messages in both directions, at most 100 and, but for the very last, 64 KiB of them."""
        return [message for message, _ in self._history]

    @property
    def messages_from_client(self) -> list[Message]:
        """Messages of the history that were received."""
        return [message for message in self.history if message.incoming]

    @property
    def messages_from_server(self) -> list[Message]:
        """Messages of the history that were sent."""
        return [message for message in self.history if not message.incoming]

    @property
    def is_first_message_from_client(self) -> bool:
        """True if one message has been received so far, and no other."""
        return self._received == 1

    def print_history(self) -> None:
        """Write the history to standard output."""
        rule = "-----------------------------------"
        sys.stdout.write("\n".join([rule, *map(str, self.history), rule]) + "\n")

    # For the socket.

    async def _send(self, message: str | bytes) -> Awaitable[None] | None:
        """Send a message; return what waits for room, None where nothing had to be sent. Raises as :meth:`send`."""
        processed: object = message
        hook = self._handlers.before_send.get(self._kind)
        if hook is not None:
            changed = await call(hook, self, message)
            processed = message if changed is None else changed
        room = None
        try:
            for content in self.message_strategy.pack(_as_content(processed)):
                room = self._session.send(TEXT, content)
        except SessionClosed as closed:
            raise ConnectionResetError(str(closed)) from closed
        self._record(Message(message, processed))
        return room

    def _record(self, message: Message) -> None:
        """Append a message to the history, and drop its oldest where that is too long."""
        self._received += message.incoming
        size = sum(len(each) for each in (message.message, message.processed_message) if isinstance(each, (str, bytes)))
        self._history.append((message, size))
        self._history_bytes += size
        while len(self._history) > _KEPT_MESSAGES or (self._history_bytes > _KEPT_BYTES and len(self._history) > 1):
            self._history_bytes -= self._history.popleft()[1]

    def _classify(self, client_type: Hashable) -> None:
        """Let the handlers of a type serve the connection."""
        self.selected_classifier = client_type
        self._kind = self._handlers.kind_of(client_type)


def _as_content(message: object) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message)
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
