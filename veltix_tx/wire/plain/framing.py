"""Framings: bytes of a stream -> the contents of messages, and back. Each keeps one unfinished message, and no more than its limit.

Time spent on a message grows with its bytes, not with the reads it comes in.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from codecs import getincrementaldecoder
from typing import Literal

from veltix_tx.errors import EndlessMessage, FrameTooLarge, LocalProtocolError, MessageTooLarge, excerpt

__all__ = [
    "MAX_MESSAGES",
    "DelimitedFraming",
    "EndOfStreamFraming",
    "FixedFraming",
    "Framing",
    "LineFraming",
    "PrefixFraming",
    "RawFraming",
]


MAX_MESSAGES = 1024
"""Messages in one datagram; one with more, such as 65,507 empty lines, is rejected."""

_PIECE = 4096
"""Bytes of a datagram that are looked at before its messages are counted."""


class Framing(ABC):
    """Framing of one connection's messages, both ways.

    Args:
        max_size: maximum bytes of a frame. Longer ones end the connection.

    Attributes:
        overhead: bytes that a frame has beside the content, where nothing in that is escaped.
        ends_stream: True if the end of the stream ends the one message in each direction.
        partial: what has arrived of the unfinished message.
    """

    __slots__ = ("max_size", "partial")

    overhead: int
    ends_stream = False

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.partial = bytearray()

    @property
    def incoming_size(self) -> int:
        """Bytes of the unfinished message as far as they are known; 0 without one."""
        return len(self.partial)

    @abstractmethod
    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Append the contents of the messages that are complete now, and None for bytes that belong to none.

        Raises:
            FrameTooLarge: a message is over the limit; those before it are in ``contents``.
        """

    def end(self, contents: list[bytes | None]) -> None:
        """Append the content that the end of the stream completes, None for a message that it leaves unfinished."""
        if self.partial:
            self.partial.clear()
            contents.append(None)

    def cut(self, datagram: bytes, contents: list[bytes | None]) -> None:
        """Append the contents of the messages of a datagram, of which nothing is kept, and None for bytes that belong to none.

        It need not go on behind :data:`MAX_MESSAGES`.
        """
        try:
            for at in range(0, len(datagram), _PIECE):
                self.feed(datagram[at : at + _PIECE], contents)
                if len(contents) > MAX_MESSAGES:
                    break
        except FrameTooLarge:
            self.partial.clear()
            contents.append(None)
        self.end(contents)

    @abstractmethod
    def frame(self, content: bytes) -> bytes:
        """Return a message as it is sent.

        Raises:
            MessageTooLarge: it is over the limit.
            LocalProtocolError: the framing cannot carry the content.
        """

    def _check_unfinished(self) -> None:
        """Raise EndlessMessage where the byte that ends the message would be one too many."""
        if len(self.partial) >= self.max_size:
            raise EndlessMessage(len(self.partial), self.max_size)

    def _check_size(self, size: int) -> None:
        if size > self.max_size:
            raise MessageTooLarge(size, self.max_size)


class LineFraming(Framing):
    """Messages with a separator behind each.

    Args:
        max_size: see :class:`Framing`; the separator counts.
        separator: the separator; None for LF or CRLF, and LF in what is sent.
        keep: leave it at the end of contents.
    """

    __slots__ = ("_bare", "_keep", "_separator", "overhead")

    def __init__(self, max_size: int, separator: bytes | None, keep: bool) -> None:
        super().__init__(max_size)
        self._bare = separator is None and not keep
        self._separator = separator or b"\n"
        self._keep = keep
        self.overhead = 0 if keep else len(self._separator)

    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Split at the separators."""
        separator, partial = self._separator, self.partial
        if partial:
            searched = max(0, len(partial) + 1 - len(separator))
            partial += data
            if partial.find(separator, searched) < 0:
                self._check_unfinished()
                return
            data = bytes(partial)
            partial.clear()
        lines = data.split(separator)
        partial += lines.pop()
        if len(data) > self.max_size:
            most = self.max_size - len(separator)
            for at, line in enumerate(lines):
                if len(line) > most:
                    self._append(lines[:at], contents)
                    raise EndlessMessage(len(line), self.max_size)
        if self._bare and b"\r" not in data:
            contents += lines
        else:
            self._append(lines, contents)
        self._check_unfinished()

    def cut(self, datagram: bytes, contents: list[bytes | None]) -> None:
        """Split at the separators; the end of a datagram ends its last line, too."""
        separator = self._separator
        most = self.max_size - len(separator)
        end = datagram.find(separator)
        if 0 <= end <= most and end + len(separator) == len(datagram):
            line = datagram if self._keep else datagram[:end]  # most are one line
            contents.append(line[:-1] if self._bare and line.endswith(b"\r") else line)
            return
        lines = datagram.split(separator, MAX_MESSAGES + 1)
        last = lines.pop()
        if len(datagram) <= most:
            self._append(lines, contents)
        else:
            for line in lines:
                if len(line) <= most:
                    self._append([line], contents)
                else:
                    contents.append(None)
        if last:
            contents.append(None if len(last) > most else last[:-1] if self._bare and last.endswith(b"\r") else last)

    def _append(self, lines: list[bytes], contents: list[bytes | None]) -> None:
        if self._keep:
            contents += [line + self._separator for line in lines]
        elif self._bare:
            contents += [line[:-1] if line.endswith(b"\r") else line for line in lines]
        else:
            contents += lines

    def frame(self, content: bytes) -> bytes:
        """Append the separator."""
        separator = self._separator
        framed = content if self._keep and content.endswith(separator) else content + separator
        if len(framed) > self.max_size:
            self._check_size(len(framed))
        if framed.find(separator) != len(framed) - len(separator) or (self._bare and content.endswith(b"\r")):
            raise LocalProtocolError(f"a line has no {_shown(self)} in it: {excerpt(content)}")
        return framed


def _shown(framing: LineFraming) -> str:
    return "LF, and no CR at its end," if framing._bare else repr(framing._separator)


class EndOfStreamFraming(Framing):
    """One message in each direction, which the end of the stream ends. A stream that ends without a byte has none."""

    __slots__ = ()

    overhead = 0
    ends_stream = True

    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Keep all of it."""
        if len(self.partial) + len(data) > self.max_size:
            raise EndlessMessage(self.max_size, self.max_size)
        self.partial += data

    def end(self, contents: list[bytes | None]) -> None:
        """Append what was kept."""
        if self.partial:
            contents.append(bytes(self.partial))
            self.partial.clear()

    def frame(self, content: bytes) -> bytes:
        """Return the content."""
        _check_not_empty(content)
        self._check_size(len(content))
        return content


class FixedFraming(Framing):
    """Messages of one length, padded.

    Args:
        length: bytes of each.
        pad: the byte behind shorter ones, taken off what arrives; None for none, where each content has the length.
    """

    __slots__ = ("_pad",)

    overhead = 0

    def __init__(self, length: int, pad: bytes | None) -> None:
        super().__init__(length)
        self._pad = pad

    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Cut into blocks."""
        length, partial = self.max_size, self.partial
        if partial or len(data) < length:
            missing = length - len(partial)
            partial += data[:missing]
            if len(partial) < length:
                return
            self._append(bytes(partial), contents)
            partial.clear()
            data = data[missing:]
        whole = len(data) - len(data) % length
        for at in range(0, whole, length):
            self._append(data[at : at + length], contents)
        partial += data[whole:]

    def _append(self, block: bytes, contents: list[bytes | None]) -> None:
        contents.append(block if self._pad is None else block.rstrip(self._pad))

    def frame(self, content: bytes) -> bytes:
        """Pad the content."""
        self._check_size(len(content))
        if self._pad is not None:
            return content.ljust(self.max_size, self._pad)
        if len(content) < self.max_size:
            raise LocalProtocolError(f"a message without padding has {self.max_size} bytes, not {len(content)}")
        return content


class PrefixFraming(Framing):
    """Messages with their length in front, which does not count itself.

    Args:
        max_size: see :class:`Framing`; the length's own bytes count.
        prefix: bytes of the length.
        byteorder: theirs.
    """

    __slots__ = ("_byteorder", "_declared", "overhead")

    def __init__(self, max_size: int, prefix: int, byteorder: Literal["big", "little"]) -> None:
        super().__init__(min(max_size, prefix + 256**prefix - 1))
        self.overhead = prefix
        self._byteorder: Literal["big", "little"] = byteorder
        self._declared = 0  # of the unfinished frame, once that is known

    @property
    def incoming_size(self) -> int:
        """Bytes of the unfinished message as its length declares them."""
        return self._declared or len(self.partial)

    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Read lengths, and as many bytes behind each."""
        prefix, partial = self.overhead, self.partial
        if partial:
            partial += data
            if len(partial) < (self._declared or prefix):
                return
            data = bytes(partial)
            partial.clear()
        at, end = 0, len(data)
        while end - at >= prefix:
            size = prefix + int.from_bytes(data[at : at + prefix], self._byteorder)
            if size > self.max_size:
                raise FrameTooLarge(size, self.max_size)
            if at + size > end:
                self._declared = size
                partial += data[at:]
                return
            contents.append(data[at + prefix : at + size])
            at += size
        self._declared = 0
        partial += data[at:]

    def end(self, contents: list[bytes | None]) -> None:
        """Forget the length, too."""
        self._declared = 0
        super().end(contents)

    def frame(self, content: bytes) -> bytes:
        """Prepend the length."""
        self._check_size(self.overhead + len(content))
        return len(content).to_bytes(self.overhead, self._byteorder) + content


class DelimitedFraming(Framing):
    """Messages between a start byte and an end byte, with an escape byte before each of the three in a content.

    What is outside is no message, nor is one that another start byte interrupts; CR and LF outside are passed over.

    Args:
        max_size: see :class:`Framing`; delimiters and escapes count.
        start: the start byte.
        end: the end byte.
        escape: the escape byte; None where no content has one of the other two.
    """

    __slots__ = ("_end", "_escape", "_escapes", "_in_garbage", "_searched", "_special", "_start")

    overhead = 2

    def __init__(self, max_size: int, start: bytes, end: bytes, escape: bytes | None) -> None:
        super().__init__(max_size)
        self._start, self._end, self._escape = start, end, escape
        self._special = re.compile(b"[%b]" % b"".join(map(re.escape, (start, end, escape or b""))))
        self._escapes = None if escape is None else re.compile(re.escape(escape) + b"(.)", re.DOTALL)
        self._searched = 1  # behind the start byte
        self._in_garbage = False

    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Find delimiters that no escape precedes."""
        partial, begin, searched = self.partial, 0, self._searched
        if partial:
            partial += data
            at, self._searched = self._scan(partial, searched)
            if at < 0:
                self._check_unfinished()
                return
            data = bytes(partial)
            partial.clear()
        else:
            begin = self._next_start(data, 0, contents)
            searched = begin + 1
        while begin >= 0:
            at, searched = self._scan(data, searched)
            if at < 0:
                partial += data[begin:]
                self._searched = searched - begin
                self._check_unfinished()
                return
            if data.startswith(self._start, at):  # it begins anew
                contents.append(None)
                begin = at
            else:
                if at + 1 - begin > self.max_size:
                    raise EndlessMessage(at - begin, self.max_size)
                contents.append(self._unescaped(data[begin + 1 : at]))
                begin = self._next_start(data, at + 1, contents)
            searched = begin + 1

    def cut(self, datagram: bytes, contents: list[bytes | None]) -> None:
        """Find delimiters, as if nothing had come before."""
        self._in_garbage = False
        super().cut(datagram, contents)

    def _scan(self, data: bytes | bytearray, at: int) -> tuple[int, int]:
        """Return where the next delimiter is that no escape precedes, -1 for none, and where to go on searching."""
        while found := self._special.search(data, at):
            if found[0] != self._escape:
                return found.start(), found.end()
            if found.end() == len(data):
                return -1, found.start()
            at = found.end() + 1
        return -1, len(data)

    def _next_start(self, data: bytes, at: int, contents: list[bytes | None]) -> int:
        """Return where the next message starts, -1 for none yet."""
        start = data.find(self._start, at)
        outside = data[at:] if start < 0 else data[at:start]
        if outside.strip(b"\r\n") and not self._in_garbage:
            self._in_garbage = True
            contents.append(None)
        if start >= 0:
            self._in_garbage = False
        return start

    def _unescaped(self, content: bytes) -> bytes:
        return content if self._escapes is None else self._escapes.sub(rb"\1", content)

    def frame(self, content: bytes) -> bytes:
        """Escape, and put delimiters around."""
        if self._escape is not None:
            content = self._special.sub(lambda found: self._escape + found[0], content)  # type: ignore[operator]
        elif self._special.search(content):
            raise LocalProtocolError(f"a message without an escape byte has no delimiter in it: {excerpt(content)}")
        self._check_size(2 + len(content))
        return self._start + content + self._end


class RawFraming(Framing):
    """No framing: what one read brings is a message, without the half of a character at its end.

    Args:
        max_size: see :class:`Framing`; longer reads are cut.
        encoding: of text; None for bytes.
    """

    __slots__ = ("_decoder",)

    overhead = 0

    def __init__(self, max_size: int, encoding: str | None) -> None:
        super().__init__(max_size)
        self._decoder = None if encoding is None else getincrementaldecoder(encoding)("strict")

    def feed(self, data: bytes, contents: list[bytes | None]) -> None:
        """Cut at the limit and before the half of a character."""
        at = 0
        while at < len(data):
            end = at + self.max_size - len(self.partial)
            self._append(bytes(self.partial) + data[at:end], contents)
            at = end

    def cut(self, datagram: bytes, contents: list[bytes | None]) -> None:
        """Take the datagram as it is."""
        contents.append(datagram if len(datagram) <= self.max_size else None)

    def _append(self, data: bytes, contents: list[bytes | None]) -> None:
        self.partial.clear()
        if self._decoder is not None:
            self._decoder.reset()
            try:
                self._decoder.decode(data)
            except UnicodeError:
                pass  # so is the content
            else:
                half = self._decoder.getstate()[0]
                self.partial += half
                data = data[: len(data) - len(half)]
        if data:
            contents.append(data)

    def frame(self, content: bytes) -> bytes:
        """Return the content."""
        _check_not_empty(content)
        self._check_size(len(content))
        return content


def _check_not_empty(content: bytes) -> None:
    if not content:
        raise LocalProtocolError("a message is not empty on a wire where nothing tells an empty one from none")
