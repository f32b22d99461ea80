"""Messages of the application on their way out: ``before_send`` sees each, and may change it, drop it or refuse it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from veltix_tx.errors import excerpt
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import CALL, CANCEL, RESULT, MessageType, Request

__all__ = ["BeforeSend", "hooked"]

BeforeSend = Callable[[Any, Request[Any, Any]], Request[Any, Any] | None]
"""Called with a session and a message before that is encoded; returns what is sent in its place, None for the message itself."""

_OWN = (CALL, RESULT, CANCEL)
"""Types of the messages that carry calls, which are the package's."""


class _HookedConnection:
    """Proxy of a WireConnection that asks hooks before a message is encoded.

    Args:
        connection: the connection.
        session: whose it is.
        hooks: what to ask, one after another.
    """

    def __init__(self, connection: WireConnection, session: object, hooks: tuple[BeforeSend, ...]) -> None:
        self._connection = connection
        self._session = session
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Encode and queue what the hooks make of a message; raises what they raise."""
        return self._connection.send(*self._ask(message_type, value, request_id), request_id)

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        """Encode what the hooks make of a message; raises what they raise."""
        return self._connection.encode(*self._ask(message_type, value, request_id), request_id)

    def _ask(self, message_type: MessageType, value: object, request_id: int | None) -> tuple[MessageType, object]:
        if any(message_type is own for own in _OWN):  # another registry may have types of these codes
            return message_type, value
        message: Request[Any, Any] = Request(message_type, value, request_id)
        for hook in self._hooks:
            changed: object = hook(self._session, message)
            if isinstance(changed, Request):
                message = changed
            elif changed is not None:
                raise TypeError(f"before_send returned {excerpt(changed)}, and not a Request or None")
        return message.type, message.content


def hooked(connection: WireConnection, session: object, hooks: tuple[BeforeSend, ...]) -> WireConnection:
    """Return a connection of a session that asks hooks about each message, and does as the one given in everything else."""
    return cast(WireConnection, _HookedConnection(connection, session, hooks))
