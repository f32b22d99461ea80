"""Message: one entry of a connection's history."""

from __future__ import annotations

__all__ = ["Message"]


class Message:
    """A message that was received or sent.

    Args:
        message: as it was received, or as the program sent it.
        processed_message: as ``after_receive`` or ``before_send`` made it; ``message`` where they did not.
        incoming: True if it was received.
    """

    __slots__ = ("incoming", "message", "processed_message")

    def __init__(self, message: str | bytes, processed_message: object = None, incoming: bool = False) -> None:
        self.message = message
        self.processed_message = message if processed_message is None else processed_message
        self.incoming = incoming

    def __str__(self) -> str:
        kind = "Incoming" if self.incoming else "Outgoing"
        return f"{kind} message: {self.message!r}\n\t processed: {self.processed_message!r}"

    @property
    def from_client(self) -> bool:
        """True if it was received, as releases before 0.0.7 call it."""
        return self.incoming

    @property
    def from_server(self) -> bool:
        """True if it was sent, as releases before 0.0.7 call it."""
        return not self.incoming
