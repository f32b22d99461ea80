"""Kernel's view of a connection, where it tells, and writes without a detour."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from math import ceil
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import alsoProvides

with suppress(ImportError):  # Windows has neither
    from fcntl import ioctl
    from termios import FIONREAD, TIOCOUTQ

__all__ = [
    "PROBES",
    "UNSENT",
    "acknowledge",
    "acknowledged",
    "has_socket",
    "has_unwritten",
    "is_plain",
    "listen_for_half_closes",
    "lowest",
    "read_at_once",
    "reset",
    "round_trip",
    "set_options",
    "set_options_of_accepted",
    "unread",
    "unsent",
    "untaken",
    "write_straight",
]

_ROUND_TRIP = 68
_ACKNOWLEDGED = 120
_NOT_SENT = 144
"""Offsets in Linux's ``struct tcp_info``."""

PROBES = 4
"""Unanswered questions after which the kernel gives a peer up."""

_LONGEST_WAIT = 32767
"""Seconds, Linux's most between two of them."""

_PEEKED = 1024 * 1024
"""Bytes looked at where the kernel does not say how many are unread."""

_NOBODY = bytes(16)
"""An address of no family (``AF_UNSPEC``)."""

UNSENT = 256 * 1024
"""Bytes that the kernel takes of us beyond what the peer's window lets it send."""


def round_trip(transport: object) -> float:
    """Return the round trip of a fresh TCP connection in seconds as the kernel measured it, 0 where it does not say.

    A server that finds out must not send its second hello before the answer to its first can
    have come: a 2.x or 3.x client would take it for the next step of its handshake.
    """
    measured = _tcp_info(transport, "I", _ROUND_TRIP)
    return 0.0 if measured is None else measured / 1e6


def acknowledged(transport: object) -> int | None:
    """Return how many bytes the peer's kernel has taken since the connection began, None where ours does not say."""
    return _tcp_info(transport, "Q", _ACKNOWLEDGED)


def reset(transport: object) -> None:
    """End a connection in the kernel now, also where a child that was forked holds its socket, too.

    Closing a socket tells the peer nothing before the last process has closed it. Linux resets a TCP connection that is
    connected to nobody, whoever holds it; elsewhere, and for other sockets, the peer sees the end of what is sent.
    """
    with suppress(AttributeError, OSError, ValueError):  # a test's transport; a connection that is gone
        handle = lowest(transport).getHandle()
        if handle.fileno() >= 0 and not _connected_to_nobody(handle.fileno()):
            handle.shutdown(socket.SHUT_RDWR)


def acknowledge(transport: object) -> None:
    """Make our kernel acknowledge at once what has arrived, where it can be told.

    It waits up to 40 ms for something to send with it, and a peer's kernel that has less than a segment left waits for that.
    """
    with suppress(AttributeError, OSError):  # no such option; a UNIX socket or a test's transport
        lowest(transport).getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def unsent(transport: object) -> int:
    """Return how many bytes wait in our kernel for the peer's to have room, 0 where ours does not say."""
    return _tcp_info(transport, "I", _NOT_SENT) or 0


def lowest(transport: Any) -> Any:
    """Return the transport that has the socket, below TLS and whatever else is between."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def unread(transport: object) -> int:
    """Return how many bytes have arrived in our kernel and have not been read, 0 where it does not say."""
    try:
        return _counted(transport, FIONREAD)
    except NameError:  # Windows
        return _peeked(transport)


def untaken(transport: Any) -> int:
    """Return how many bytes given to a transport its peer has not acknowledged, as far as that can be known."""
    below = lowest(transport)
    waiting = below._tempDataLen + len(below.dataBuffer) - below.offset if is_plain(below) else 0
    with suppress(NameError):  # Windows
        waiting += _counted(below, TIOCOUTQ)
    return waiting


def set_options(transport: Any, ping_interval: float, ping_timeout: float) -> None:
    """Send small messages at once, and let the kernel, too, end a connection whose peer has gone without a word, where ours can.

    The heartbeat does not see a peer that reading is paused from; the kernel does. It gives up what has
    not been acknowledged for ``ping_interval`` and ``ping_timeout`` seconds, and asks a peer as the heartbeat does. What
    waits in it for a slow peer is bounded, too. A connection that has all this from its port is left as it is.
    """
    with suppress(AttributeError, OSError):  # a test's transport; a UNIX socket; a peer that has gone already
        handle = lowest(transport).getHandle()
        if sys.platform == "linux" and handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT:
            return
        for level, option, value in _options(ping_interval, ping_timeout):
            handle.setsockopt(level, option, value)


def set_options_of_accepted(port: Any, ping_interval: float, ping_timeout: float) -> None:
    """Set on a listening port what :func:`set_options` sets on connections, where the system gives it to each that is accepted.

    Linux does. Connections that were there before, as those that wait at a socket of another process, have none of it.
    """
    if sys.platform == "linux" and _is_of_twisted(port, "Port"):
        with suppress(OSError):  # a UNIX socket
            for level, option, value in _options(ping_interval, ping_timeout):
                port.socket.setsockopt(level, option, value)


@cache
def _options(ping_interval: float, ping_timeout: float) -> list[tuple[int, int, int]]:
    """Return what is set on a socket; last of all what tells that the rest is."""
    wanted = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", max(1, min(ceil(ping_interval), _LONGEST_WAIT))),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", max(1, min(ceil(ping_timeout / PROBES), _LONGEST_WAIT))),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", min(ceil((ping_interval + ping_timeout) * 1000), 2**31 - 1)),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", UNSENT),
    ]
    return [(level, getattr(socket, name), value) for level, name, value in wanted if hasattr(socket, name)]


def read_at_once(transport: Any, size: int) -> None:
    """Set the bytes that a transport, or the one below its TLS, reads at once, where it can be told."""
    reads = lowest(transport)
    if getattr(reads, "bufferSize", size) != size:
        reads.bufferSize = size


def is_plain(transport: object) -> bool:
    """Return True if a transport is one of Twisted's own connections, which :func:`write_straight` can write to."""
    return _is_of_twisted(transport, "Connection")


def _is_of_twisted(value: object, name: str) -> bool:
    """Return True if a value is of a class of Twisted's TCP, which imports TLS: where it is not imported yet nothing is."""
    tcp = sys.modules.get("twisted.internet.tcp")
    return tcp is not None and isinstance(value, getattr(tcp, name))


def share_attribute_names(transport: Any) -> None:
    """Set the attributes of a transport now that :meth:`FlowControl.start` sets, so that transports share their names.

    Python keeps the names once for all, unless many transports are made before the first one gets its last attribute, as
    where clients come in a burst and wait for their handshakes: then each has them for itself, 0.6 KiB for good.
    """
    if is_plain(transport):
        transport.producer, transport.streamingProducer = None, False


def listen_for_half_closes(transport: object) -> None:
    """Have a transport tell its protocol when one of its streams ends alone, where Twisted has a wrapper between the two.

    That of its client endpoints passes such calls on, and provides one alone of the interfaces that the protocol provides.
    """
    wrapper = getattr(transport, "protocol", None)
    if wrapper is not None and hasattr(wrapper, "readConnectionLost") and not IHalfCloseableProtocol.providedBy(wrapper):
        alsoProvides(wrapper, IHalfCloseableProtocol)


def has_socket(transport: object) -> bool:
    """Return True if there is a socket below a transport."""
    return hasattr(lowest(transport), "getHandle")


def has_unwritten(transport: Any) -> bool:
    """Return True if something waits in one of Twisted's own connections to be given to the kernel."""
    return is_plain(transport) and bool(transport.dataBuffer or transport._tempDataBuffer)


def write_straight(transport: Any, buffers: Sequence[bytes | memoryview]) -> int:
    """Write at once, uncopied, what a connection takes, if nothing waits in it; return how many bytes that was.

    ``transport.write`` itself writes in the next turn of the reactor, for which it needs three system calls
    more. An error is left for the reactor to find.
    """
    if transport.dataBuffer or transport._tempDataBuffer or transport.TLS or not transport.connected:
        return 0
    handle = transport.socket
    send_all = getattr(handle, "sendmsg", None) if len(buffers) > 1 else None  # Windows has none
    try:
        written: int = handle.send(buffers[0]) if send_all is None else send_all(buffers)
    except OSError:
        return 0
    return written


def _tcp_info(transport: Any, kind: str, offset: int) -> int | None:
    try:
        raw = lowest(transport).getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, offset + struct.calcsize(kind))
        found: int = struct.unpack_from(kind, raw, offset)[0]
    except (AttributeError, OSError, struct.error):
        return None
    return found


@cache
def _connect() -> Callable[[int, bytes, int], int] | None:
    """Return the C library's connect(2), for what Python's own cannot be given; None where it is of no use."""
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415 (most processes never abort a connection)

    connect: Callable[[int, bytes, int], int] = ctypes.CDLL(None).connect
    return connect


def _connected_to_nobody(descriptor: int) -> bool:
    connect = _connect()
    return connect is not None and connect(descriptor, _NOBODY, len(_NOBODY)) == 0


def _counted(transport: Any, request: int) -> int:
    try:
        found: int = struct.unpack("i", ioctl(lowest(transport).getHandle().fileno(), request, bytes(4)))[0]
    except (AttributeError, OSError, ValueError):  # a test's transport; a connection that is gone
        return 0
    return found


def _peeked(transport: Any) -> int:
    try:
        return len(lowest(transport).getHandle().recv(_PEEKED, socket.MSG_PEEK))
    except (AttributeError, OSError):
        return 0
