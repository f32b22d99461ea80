"""The client, with netconduit's methods, on the running asyncio loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from veltix_tx.aio.client import Client as NativeClient
from veltix_tx.aio.session import Session
from veltix_tx.disconnect import DisconnectState
from veltix_tx.dropin.conduit.connection.connection import named_type, send
from veltix_tx.dropin.conduit.data.connection import ConnectionState
from veltix_tx.dropin.conduit.data.descriptors import ClientDescriptor
from veltix_tx.dropin.conduit.exceptions import NotConnectedError
from veltix_tx.dropin.conduit.handlers import call_in_turn
from veltix_tx.dropin.conduit.rpc.rpc_class import RPC
from veltix_tx.dropin.conduit.settings import client_settings
from veltix_tx.net.awaitables import LATER
from veltix_tx.wire.messages import MessageRegistry, Response
from veltix_tx.wire.netconduit.peer import NetconduitPeer

__all__ = ["Client"]

_log = logging.getLogger("conduit.client")

H = TypeVar("H", bound=Callable[[Any], object])
K = TypeVar("K", bound="Callable[[Client], object]")


class Client:
    """A client. Handlers and hooks may be coroutine functions or plain ones.

    Args:
        config: its settings.

    Raises:
        SettingsError: a setting cannot be.
    """

    def __init__(self, config: ClientDescriptor) -> None:
        self._config = config
        self._types = MessageRegistry(open=True)
        self._native = NativeClient(config.server_host, config.server_port, types=self._types, **client_settings(config))
        self._rpc = RPC(self, config.rpc_timeout)
        self._handlers: dict[str, list[Callable[..., object]]] = {}
        self._connected: list[Callable[..., object]] = []
        self._disconnected: list[Callable[..., object]] = []
        self._reconnected: list[Callable[..., object]] = []
        self._state = ConnectionState.DISCONNECTED
        self._peer: NetconduitPeer | None = None
        self._has_connected = False  # since connect()
        self._is_open = False  # from a session's begin until its end is told
        self._attempts = 0
        self._calling: set[asyncio.Task[None]] = set()
        self._native.set_callback("on_connect", self._begin)
        self._native.set_callback("on_disconnect", self._end)
        self._native.set_callback("on_recv", self._unhandled)

    # Decorators.

    def on(self, message_type: str) -> Callable[[H], H]:
        """Return a decorator: its function handles one type of message, and is called ``handler(data)``; its result is dropped.

        A type may have several: all are called in their order. Messages are handled one after another; a handler may call the
        server's methods meanwhile.
        """

        def register(handler: H) -> H:
            handlers = self._handlers.setdefault(message_type, [])
            handlers.append(handler)
            if len(handlers) == 1:
                self._native.register_route(named_type(self._types, message_type), _taking(handlers))
            return handler

        return register

    def on_connect(self, handler: K) -> K:
        """Call a function with the client each time it has connected."""
        self._connected.append(handler)
        return handler

    def on_disconnect(self, handler: K) -> K:
        """Call a function with the client, once for each connection, when that has ended, whoever ended it."""
        self._disconnected.append(handler)
        return handler

    def on_reconnect(self, handler: K) -> K:
        """Call a function with the client each time it has connected again, after those of :meth:`on_connect`."""
        self._reconnected.append(handler)
        return handler

    # Life.

    async def connect(self) -> bool:
        """Connect, in one try; return True when the hooks of :meth:`on_connect` are done, at once where it is connected.

        Cancelling it gives the try up.

        Returns:
            False where that fails, with a line in the log that says why.
        """
        if self.is_connected:
            return True
        self._has_connected, self._attempts, self._state = False, 0, ConnectionState.CONNECTING
        try:
            await self._native.connect()
        except Exception as error:  # what can be wrong with a host has many names
            _log.error("Connection to %s:%d failed: %s", self._config.server_host, self._config.server_port, error)
            self._state = ConnectionState.FAILED
            return False
        except asyncio.CancelledError:
            self._state = ConnectionState.DISCONNECTED
            raise
        await self._all_called()
        return True

    async def disconnect(self) -> None:
        """Close, and try no more; what was sent is written first. The hooks of :meth:`on_disconnect` are done when it returns."""
        if self._state is not ConnectionState.DISCONNECTED:
            self._state = ConnectionState.CLOSING
        await self._native.disconnect()
        await self._all_called()
        self._state = ConnectionState.DISCONNECTED

    async def send(self, message_type: str, data: Any) -> None:
        """Send a message; wait while too much is queued.

        Args:
            message_type: its type.
            data: what it says: what msgpack holds, with keys of text.

        Raises:
            NotConnectedError: there is no connection.
            ProtocolError: the message is over ``max_message_size``.
            ValueError: it has a part that netconduit cannot take, such as a number for a key.
            TypeError: msgpack does not hold it.
        """
        await send(self._present(), named_type(self._types, message_type), data)

    # What there is to see.

    @property
    def is_connected(self) -> bool:
        """True if messages can be sent."""
        return self._native.is_connected

    @property
    def is_authenticated(self) -> bool:
        """True once a server has let it in."""
        return self._peer is not None

    @property
    def state(self) -> ConnectionState:
        """ACTIVE, CONNECTING (also again), CLOSING, DISCONNECTED, or FAILED when it tries no more."""
        return ConnectionState.ACTIVE if self.is_connected else self._state

    @property
    def rpc(self) -> RPC:
        """Calls of the server's methods."""
        return self._rpc

    @property
    def config(self) -> ClientDescriptor:
        """The settings."""
        return self._config

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server calls itself, and its version; empty before the first connection."""
        return {} if self._peer is None else {"name": self._peer.name, "version": self._peer.version}

    @property
    def session_token(self) -> str | None:
        """What the server gave it, which is of no use; None before the first connection."""
        return None if self._peer is None else self._peer.session_token

    def health(self) -> dict[str, Any]:
        """Return how the connection does."""
        return {
            "connected": self.is_connected,
            "state": self.state.name,
            "authenticated": self.is_authenticated,
            "reconnect_attempts": self._attempts,
            "server_info": self.server_info,
        }

    # Inside.

    def _present(self) -> Session:
        """Return the session; raise NotConnectedError where there is none."""
        session = self._native.session
        if session is None:
            raise NotConnectedError("Not connected")
        return session

    def _begin(self) -> None:
        """A session is there: before its first message, and before others may use it."""
        peer = self._present().peer
        assert isinstance(peer, NetconduitPeer)
        again, self._has_connected = self._has_connected, True
        self._peer, self._is_open, self._attempts = peer, True, 0
        self._state = ConnectionState.ACTIVE
        self._call([*self._connected, *(self._reconnected if again else ())])

    def _end(self, state: DisconnectState) -> None:
        """One step of a connection that was lost, or could not be made."""
        self._attempts = state.attempt
        if self._is_open:
            self._is_open = False
            self._call(self._disconnected)
        if not self._has_connected and not state.permanent:
            self._native.stop_retry()  # the first try is the only one
        elif self._state is not ConnectionState.CLOSING:
            self._state = ConnectionState.FAILED if state.permanent else ConnectionState.CONNECTING

    def _call(self, hooks: list[Callable[..., object]]) -> None:
        if hooks:
            task = asyncio.get_running_loop().create_task(call_in_turn(hooks, self))
            self._calling.add(task)
            task.add_done_callback(self._calling.discard)

    async def _all_called(self) -> None:
        """Wait until hooks are done, but for one that waits for this itself."""
        waiting = self._calling - {asyncio.current_task()}
        if waiting:
            await asyncio.wait(waiting)

    def _unhandled(self, message: Response[Any]) -> None:
        session = self._native.session
        if session is None or session._native._may_log():
            _log.warning("No handler for message type: %s", message.type.name)


def _taking(handlers: list[Callable[..., object]]) -> Callable[[Response[Any]], object]:
    def take(message: Response[Any]) -> object:
        if len(handlers) > 1:
            return _dropped(call_in_turn(handlers, message.value))
        result = handlers[0](message.value)
        return _dropped(result) if isinstance(result, LATER) else None

    return take


async def _dropped(result: Any) -> None:
    await result
