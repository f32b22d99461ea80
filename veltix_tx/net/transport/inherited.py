"""Listening sockets that one process makes and others listen on."""

from __future__ import annotations

import socket
import sys
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.fdesc import setNonBlocking
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from veltix_tx.errors import SettingsError
from veltix_tx.net.transport.endpoints import BACKLOG, ListenSpec, description_parts

__all__ = ["InheritedEndpoint", "bind_sockets", "check_inheritable"]

_BALANCED = sys.platform == "linux"
"""True where the kernel shares connections out among the sockets of one port (SO_REUSEPORT): elsewhere there is one for all."""


def check_inheritable(place: ListenSpec) -> None:
    """Raise SettingsError for a place whose sockets cannot be made by one process for another."""
    if not (isinstance(place.endpoint, str) and place.endpoint.partition(":")[0] in ("tcp", "tcp4", "tcp6")):
        rule = "one of tcp:, tcp6: and tls:PORT, which several processes can listen on"
        raise SettingsError("endpoint", place.given or str(place.endpoint), rule)


def bind_sockets(place: ListenSpec, count: int) -> list[socket.socket]:
    """Return listening sockets of one place, one for each of several processes.

    Where the kernel can share connections out among them each process has a queue of its own, of which nothing is lost while
    any process has the socket; elsewhere they are all the same socket.

    Args:
        place: one that :func:`check_inheritable` accepts.
        count: number of processes.

    Raises:
        CannotListenError: the port is taken, or the address is none of this machine's.
    """
    interface, port = _address(place)
    try:
        first = _bind(interface, port)  # alone: beside another server's with SO_REUSEPORT a port would be taken unnoticed
        if not _BALANCED:
            first.listen(BACKLOG)
            return [first] * count
        with first:
            port = first.getsockname()[1]
        made = [_bind(interface, port, shared=True) for _ in range(count)]
        for each in made:
            each.listen(BACKLOG)
    except OSError as error:
        raise CannotListenError(interface, port, error) from error
    return made


def _address(place: ListenSpec) -> tuple[str, int]:
    """Return interface and port of a description that Twisted has accepted."""
    (kind, *places), named = description_parts(str(place.endpoint))
    port = named.get("port", places[0] if places else "0")
    interface = named.get("interface", places[1] if len(places) > 1 else "")
    return interface or ("::" if kind == "tcp6" else "0.0.0.0"), int(port)


def _bind(interface: str, port: int, *, shared: bool = False) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((interface, port))
    except OSError:
        made.close()
        raise
    return made


@implementer(IStreamServerEndpoint)
class InheritedEndpoint:
    """Endpoint of a listening socket that another process made.

    Args:
        reactor: what listens.
        descriptor: the socket's file descriptor, which is closed when the endpoint listens, on a copy.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; errback where the descriptor is no listening socket."""
        try:
            setNonBlocking(self._descriptor)
            with socket.socket(fileno=self._descriptor) as given:
                port = self._reactor.adoptStreamPort(self._descriptor, given.family, protocolFactory)
            port.socket.listen(BACKLOG)  # Twisted has made it 50
        except OSError as error:
            return fail(error)
        return succeed(port)
