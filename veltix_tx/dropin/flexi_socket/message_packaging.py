"""Message strategies: what tells one message from the next, each a plain wire with upstream's habits."""

from __future__ import annotations

from abc import ABC, abstractmethod

from veltix_tx.errors import SettingsError
from veltix_tx.limits import check_whole
from veltix_tx.wire.plain.options import EndOfStream, Fixed, Lines, PlainWire, Raw

__all__ = ["EOFStrategy", "FixedLengthStrategy", "MessageStrategy", "RawStrategy", "SeparatorStrategy"]

_MOST = 10 * 1024 * 1024
"""Maximum bytes of a message where the strategy has no limit of its own."""


class MessageStrategy(ABC):
    """Strategy: a plain wire, and how contents are cut for it. One serves any number of connections.

    Attributes:
        max_message_size: maximum bytes of a message. A longer one that is received ends its connection.
    """

    max_message_size: int = _MOST

    def __str__(self) -> str:
        return type(self).__name__

    @abstractmethod
    def wire(self, as_bytes: bool) -> PlainWire:
        """Return the wire, which takes any bytes as contents; ``as_bytes`` if they are no text."""

    def datagram_wire(self, as_bytes: bool) -> PlainWire:
        """Return the wire over UDP, where no message goes on in another datagram."""
        return self.wire(as_bytes)

    def pack(self, content: bytes) -> list[bytes]:
        """Return the wire's contents for one that the program sends."""
        return [content]


class EOFStrategy(MessageStrategy):
    """One message in each direction, which the end of the stream ends; over UDP, one in each datagram."""

    def wire(self, as_bytes: bool) -> PlainWire:
        """Return a wire of streams."""
        return EndOfStream(text=False)

    def datagram_wire(self, as_bytes: bool) -> PlainWire:
        """Return a wire of datagrams."""
        return Raw(text=False)


class SeparatorStrategy(MessageStrategy):
    """Messages with a separator behind each, which is left at the end of those received.

    Args:
        separator: the separator, 1 to 16 bytes of UTF-8.

    Raises:
        SettingsError: it cannot be.
    """

    def __init__(self, separator: str = "\n") -> None:
        if not isinstance(separator, str):
            raise SettingsError("separator", separator, "text, such as '\\n'")
        self.separator = separator
        self._wire = Lines(separator=separator.encode(), keep=True, text=False)

    def wire(self, as_bytes: bool) -> PlainWire:
        """Return a wire of lines."""
        return self._wire

    def pack(self, content: bytes) -> list[bytes]:
        """Return the lines that a content has, as it may have more than one; a separator at its end is not doubled."""
        separator = self.separator.encode()
        return content.removesuffix(separator).split(separator)


class FixedLengthStrategy(MessageStrategy):
    """Messages of one length. Shorter ones are filled up with spaces, which are left at the end of those received.

    Args:
        length: bytes of a message.

    Raises:
        SettingsError: it cannot be.
    """

    def __init__(self, length: int = 1024) -> None:
        check_whole("length", length, 1, _MOST)
        self.length = length

    def wire(self, as_bytes: bool) -> PlainWire:
        """Return a wire of blocks."""
        return Fixed(self.length, pad=None, text=False)

    def pack(self, content: bytes) -> list[bytes]:
        """Fill a content up."""
        return [content.ljust(self.length)]


class RawStrategy(MessageStrategy):
    """No messages: what one read brings is taken for one, however the network has cut or joined what was sent.

    Args:
        read_buffer_size: maximum bytes of a read.

    Raises:
        SettingsError: it cannot be.
    """

    def __init__(self, read_buffer_size: int = 1024) -> None:
        check_whole("read_buffer_size", read_buffer_size, 128, _MOST)
        self.max_message_size = read_buffer_size

    def wire(self, as_bytes: bool) -> PlainWire:
        """Return a wire of reads, which does not cut through a character of text."""
        return Raw(text=False) if as_bytes else Raw(errors="surrogateescape")

    def pack(self, content: bytes) -> list[bytes]:
        """Cut a content into parts that are no longer than a read."""
        return [content[at : at + self.max_message_size] for at in range(0, len(content), self.max_message_size)]
