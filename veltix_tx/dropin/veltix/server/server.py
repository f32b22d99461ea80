"""The server, as upstream's 1.6.3 has it: methods that block, callbacks in threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from veltix_tx.dropin.veltix.callbacks import Strand
from veltix_tx.dropin.veltix.network.connection import Connection, as_requests, broadcast
from veltix_tx.dropin.veltix.network.request import Request, Response
from veltix_tx.dropin.veltix.network.sender import Mode, Sender
from veltix_tx.dropin.veltix.network.types import REGISTRY
from veltix_tx.dropin.veltix.routing import Callback, Routed, ask, ping
from veltix_tx.dropin.veltix.server.client_info import ClientInfo
from veltix_tx.dropin.veltix.settings import ServerConfig
from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import Events
from veltix_tx.net.session.session import Session
from veltix_tx.server import Server as NativeServer
from veltix_tx.wire import messages

__all__ = ["Server"]

_log = Logger()

_CALLBACKS = 5.0
"""Seconds that closing waits for callbacks."""


class Server(Routed):
    """A server.

    Args:
        config: its settings.

    Attributes:
        sender: sends to clients, see :meth:`get_sender`.

    Raises:
        SettingsError: a setting cannot be.
    """

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config.max_workers, server=True)
        self.config = config
        self.sender = Sender(Mode.SERVER)
        self._clients: dict[Session, tuple[ClientInfo, Strand]] = {}
        self._numbered = 0
        self._native = NativeServer(config.native(), types=REGISTRY, reactor=self._thread.reactor)
        self._native.set_callback(Events.ON_CONNECT, self._connected)
        self._native.set_callback(Events.ON_RECV, self._received)
        self._native.set_callback(Events.ON_DISCONNECT, self._disconnected)

    # What programs call.

    def start(self, _on_th: bool = False) -> None:
        """Begin to listen; when this returns, clients can connect. Does nothing when it listens already.

        Raises:
            OSError: the port is taken, or the address is not one of this machine.
        """
        try:
            self._thread.call(self._listen)
        except CannotListenError as error:
            raise error.socketError from error

    def close_all(self) -> None:
        """Stop listening and close every connection; ``on_disconnect`` has been called for each when this returns."""
        with suppress(SessionClosed):  # the program's exit has closed everything
            self._wait_for(self._thread.call(self._stop), _CALLBACKS)

    @property
    def clients(self) -> list[ClientInfo]:
        """The clients whose handshake is complete."""
        return [info for info, _ in list(self._clients.values())]

    @property
    def port(self) -> int:
        """The port it listens on, as the system chose it."""
        return self._native.port

    def get_all_clients_sockets(self) -> list[Connection]:
        """Return every client's ``conn``."""
        return [info.conn for info in self.clients]

    def get_sender(self) -> Sender:
        """Return what sends to clients."""
        return self.sender

    def send_and_wait(self, request: Request, client: ClientInfo, timeout: float = 5.0) -> Response | None:
        """Send a client a request and wait for its reply; None when none comes within ``timeout`` seconds or the client goes."""
        return ask(self._thread, client.conn, request, timeout)

    def ping_client(self, client: ClientInfo, timeout: float = 5.0) -> float | None:
        """Measure the round trip to a client in ms; None when no answer comes within ``timeout`` seconds."""
        return ping(self._thread, client.conn, timeout)

    def ping_client_async(self, client: ClientInfo, callback: Callable[[float | None], object], timeout: float = 5.0) -> None:
        """Do the same without waiting; the callback is called in a thread of its own."""
        Thread(target=lambda: callback(self.ping_client(client, timeout)), daemon=True).start()

    def close_client(self, client: ClientInfo) -> bool:
        """Close a client's connection; return whether it was open."""
        return client.conn.close()

    # The names of the first documents.

    def bind(self, event: Events | str, func: Callback) -> None:
        """Set the callback of an event; see :meth:`set_callback`."""
        self.set_callback(event, func)

    def send_to(self, client: ClientInfo, data: bytes) -> bool:
        """Send a client a compiled message; return whether it could be.

        Raises:
            MessageError: the bytes are no compiled message.
        """
        return client.conn.send(data)

    def send_all(self, data: bytes) -> bool:
        """Send every client a compiled message; return whether it could be.

        Raises:
            MessageError: the bytes are no compiled message.
        """
        connections = self.get_all_clients_sockets()
        return all(broadcast(connections, request) for request in as_requests(data))

    # From the reactor's thread.

    def close_at_exit(self) -> Deferred[Any]:
        """Close politely and call nobody back."""
        self._silent = True
        for _, strand in self._clients.values():
            strand.clear()
        return self._native.stopService()

    def _listen(self) -> Deferred[Any] | None:
        if self in self._thread.open:
            return None
        return self._native.listen().addCallback(lambda _: self._thread.open.add(self))

    def _stop(self) -> Deferred[list[Strand]]:
        if self not in self._thread.open:
            return succeed([])
        self._thread.open.discard(self)
        strands = [strand for _, strand in self._clients.values()]
        return self._native.stopService().addCallback(lambda _: strands)

    def _connected(self, session: Session) -> None:
        self._numbered += 1
        info = ClientInfo(
            Connection(lambda: session, session._may_log, server=True), (session.ip, session.port), self._numbered, True
        )
        strand = self._strand(session._may_log)
        self._clients[session] = info, strand
        if strand.may_log():
            _log.info("New client connected: {addr} (total: {total})", addr=info.addr, total=len(self._clients))
        self._put_connected(strand, info)

    def _received(self, session: Session, message: messages.Response) -> Any:
        info, strand = self._clients[session]
        response = Response.of(message)
        return self._handle(strand, session, message, (response, info), (info, response))

    def _disconnected(self, session: Session) -> None:
        info, strand = self._clients.pop(session)
        if strand.may_log():
            _log.info("Client {addr} disconnected", addr=info.addr)
        self._put(strand, self.on_disconnect, info)
