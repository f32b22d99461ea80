"""Message types, all in one registry of the process."""

from __future__ import annotations

from veltix_tx.wire import messages
from veltix_tx.wire.messages import SYSTEM_TYPES, MessageRegistry

__all__ = ["HELLO", "HELLO_ACK", "PING", "PONG", "MessageType", "MessageTypeRegistry"]


class _Registry(MessageRegistry):
    """A registry as upstream's: a second definition of a code is an error even if it says the same."""

    def _same(self, known: messages.MessageType, message_type: messages.MessageType) -> bool:
        return known is message_type


REGISTRY = _Registry(codes=range(65536))
"""Types that servers and clients of this package know. Upstream allows every code, 2.0 and later only those from 200 on."""


class MessageType(messages.MessageType):
    """A kind of message, known to the whole process from now on. Two are equal when their codes are.

    The types that Veltix itself uses (PING, HELLO and the like) may be named again, which gives
    them another name and nothing else.

    Args:
        code: 0 to 65535; by convention 200 to 499 for applications, from 500 on for plugins.
        name: ``type_<code>`` by default.
        description: for people.

    Raises:
        MessageTypeError: the code cannot be, or is taken.
    """

    __slots__ = ()

    def __init__(self, code: int, name: str | None = None, description: str | None = None) -> None:
        named_again = MessageRegistry(codes=range(65536)) if code in SYSTEM_TYPES else REGISTRY
        super().__init__(code, name or "", description or "", named_again)
        object.__setattr__(self, "description", description)

    def __eq__(self, other: object) -> bool:  # a dataclass's is not equal to one of a subclass
        return self.code == other.code if isinstance(other, messages.MessageType) else NotImplemented

    __hash__ = messages.MessageType.__hash__

    def __repr__(self) -> str:
        return f"MessageType(code={self.code}, name={self.name!r})"


PING = MessageType(0, "ping", "measures the round trip")
PONG = MessageType(1, "pong", "answers a ping")
HELLO = MessageType(10, "hello", "a server's version")
HELLO_ACK = MessageType(11, "hello_ack", "a client's version")


class MessageTypeRegistry:
    """The process's registry. Each object of this class is a view of the same one."""

    @classmethod
    def register(cls, msg_type: messages.MessageType) -> None:
        """Add a type; one that is there already stays.

        Raises:
            MessageTypeError: another type has its code.
        """
        REGISTRY.register(msg_type)

    @classmethod
    def get(cls, code: int) -> messages.MessageType | None:
        """Return the type with a code, None where there is none."""
        return REGISTRY.get(code)

    @classmethod
    def has(cls, code: int) -> bool:
        """Return True if a code has a type."""
        return REGISTRY.get(code) is not None

    @classmethod
    def list_all(cls) -> list[messages.MessageType]:
        """Return all types, Veltix's own first."""
        return [*SYSTEM_TYPES.values(), *REGISTRY]
