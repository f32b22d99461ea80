"""The client, as upstream's 1.6.3 has it: methods that block, callbacks in threads."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from veltix_tx import disconnect as native
from veltix_tx.client import Client as NativeClient
from veltix_tx.dropin.veltix.client.disconnect import DisconnectReason, DisconnectState, as_upstream
from veltix_tx.dropin.veltix.exceptions import ConnectionError, MessageError  # noqa: A004 (upstream's name)
from veltix_tx.dropin.veltix.network.connection import Connection, as_requests
from veltix_tx.dropin.veltix.network.request import Request, Response
from veltix_tx.dropin.veltix.network.sender import Mode, Sender
from veltix_tx.dropin.veltix.network.types import REGISTRY
from veltix_tx.dropin.veltix.routing import Callback, Routed, ask, ping
from veltix_tx.dropin.veltix.settings import ClientConfig
from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import Events
from veltix_tx.net.session.session import Session
from veltix_tx.wire import messages

__all__ = ["Client", "ClientConfig", "DisconnectReason", "DisconnectState"]

_log = Logger()


class Client(Routed):
    """A client.

    Args:
        config: its settings.

    Attributes:
        socket: its connection, a different session each time it connects again.
        sender: sends on it, see :meth:`get_sender`.
        running: False once :meth:`disconnect` was called.

    Raises:
        SettingsError: a setting cannot be.
    """

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config.max_workers, server=False)
        self.config = config
        self.running = True
        self._native = NativeClient(config.native(), types=REGISTRY, reactor=self._thread.reactor)
        self._session: Session | None = None
        self._last: Session | None = None
        self.socket = Connection(lambda: self._session, self._may_log, server=False)
        self.sender = Sender(Mode.CLIENT, conn=self.socket)
        self._callbacks = self._strand(self._may_log)
        self._native.set_callback(Events.ON_CONNECT, self._connected)
        self._native.set_callback(Events.ON_RECV, self._received)
        self._native.set_callback(Events.ON_DISCONNECT, self._disconnected)

    # What programs call.

    @property
    def is_connected(self) -> bool:
        """True if messages can be sent now."""
        return self.socket.session is not None

    def connect(self, _from_retry: bool = False) -> bool:
        """Connect, and try again as ``retry`` says.

        Returns:
            True when the handshake is complete; False when no further try will be made, with a
            line in the log that says why. ``on_connect`` or ``on_disconnect`` has been called
            then, unless it takes longer than ``handshake_timeout``.
        """
        self.running = True
        addr, port = self.config.server_addr, self.config.port
        _log.info("Connecting to server {addr}:{port}", addr=addr, port=port)
        connected = True
        try:
            self._thread.call(self._connect)
        except Exception as error:  # what a host name can be wrong in has many names
            _log.error("Connection failed to {addr}:{port}: {error}", addr=addr, port=port, error=str(error))
            connected = False
        self._wait_for([self._callbacks], self.config.handshake_timeout)
        return connected

    def disconnect(self) -> bool:
        """Close politely: what was sent is sent. ``on_disconnect`` has been called when this returns. It can connect again."""
        self.running = False
        with suppress(SessionClosed):  # the program's exit has closed everything
            self._thread.call(self._native.disconnect)
        self._wait_for([self._callbacks], self.config.handshake_timeout)
        return True

    def get_sender(self) -> Sender:
        """Return what sends to the server; it stays good when the client connects again."""
        return self.sender

    def send_and_wait(self, request: Request, timeout: float = 5.0) -> Response | None:
        """Send a request and wait for its reply; None when none comes within ``timeout`` seconds or the connection goes."""
        return ask(self._thread, self.socket, request, timeout)

    def ping_server(self, timeout: float = 5.0) -> float | None:
        """Measure the round trip to the server in ms; None when no answer comes within ``timeout`` seconds."""
        return ping(self._thread, self.socket, timeout)

    def stop_retry(self) -> None:
        """Try no more; ``on_disconnect`` is told when the client waited for its next try."""
        self._thread.call(self._native.stop_retry)

    def retry(self, max: int | None = None, *, max_: int | None = None) -> None:
        """Try again now, and count the tries from 0; does not wait for it.

        Args:
            max: how many further tries may follow, in place of the configured number.
            max_: the same, as the documents have it.
        """
        self.running = True
        self._thread.call(self._try_now, max if max_ is None else max_)

    # The names of the first documents.

    def bind(self, event: Events | str, func: Callback) -> None:
        """Set the callback of an event, ``on_disconnect`` being called without a state."""
        stateless = event in (Events.ON_DISCONNECT, Events.ON_DISCONNECT.value)
        self.set_callback(event, (lambda _: func()) if stateless else func)

    def send(self, data: bytes | Request) -> bool:
        """Send a compiled message, or a Request.

        Returns:
            False, and a line in the log, where it cannot be sent (it is too large).

        Raises:
            MessageError: it is neither.
            ConnectionError: the client is not connected.
        """
        if not isinstance(data, (bytes, bytearray, memoryview, Request)):
            raise MessageError(f"what is sent is a compiled message or a Request, not {type(data).__name__}")
        requests = [data] if isinstance(data, Request) else as_requests(bytes(data))
        if not self.is_connected:
            raise ConnectionError("the client is not connected")
        return all(self.socket.transmit(request) for request in requests)

    # From the reactor's thread.

    def close_at_exit(self) -> Deferred[Any]:
        """Close politely and call nobody back."""
        self._silent = True
        self._callbacks.clear()
        return self._native.disconnect()

    def _connect(self) -> Deferred[Any]:
        self._thread.open.add(self)
        return self._native.connect()

    def _try_now(self, most: int | None) -> None:
        trying = self._native.retry(most)
        if not trying.called:
            self._thread.open.add(self)
        trying.addErrback(lambda failure: _log.error("No connection: {error}", error=str(failure.value)))

    def _may_log(self) -> bool:
        """Return whether the log may have one more line that the server causes; it causes none before the first connection."""
        return self._last is None or self._last._may_log()

    def _connected(self) -> None:
        self._session = self._native.session  # others get it now, too: upstream's may send while on_connect runs
        self._last = self._session or self._last
        if self._may_log():
            _log.info("Successfully connected to server {addr}:{port}", addr=self.config.server_addr, port=self.config.port)
        self._put_connected(self._callbacks)

    def _received(self, message: messages.Response) -> Any:
        response = Response.of(message)
        return self._handle(self._callbacks, self._session, message, (response,), (response,))

    def _disconnected(self, state: native.DisconnectState) -> None:
        self._session = None
        if state.permanent:
            self._thread.open.discard(self)
        told = as_upstream(state)
        if told is not None:
            if self._may_log():
                _log.info("Disconnected from server: {state!r}", state=told)
            self._put(self._callbacks, self.on_disconnect, told)
