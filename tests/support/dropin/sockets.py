"""Sockets of the drop-in that run for the length of a block, and what a test does beside them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET
from threading import Thread
from typing import Any

from veltix_tx.dropin.flexi_socket import FlexiSocket, Mode, State

__all__ = ["RawPeer", "Seen", "begins_in_thread", "client_of", "dial", "make_server", "running", "until"]


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; a test's own time is the end of that."""
    while not condition():  # noqa: ASYNC110 (nothing tells of it)
        await asyncio.sleep(0.001)


def begins_in_thread(socket: FlexiSocket, start: Callable[..., object], *arguments: object) -> Thread:
    """Start a socket in a thread; return that once the socket runs, or five seconds are over."""
    thread = Thread(target=start, args=arguments, daemon=True)
    thread.start()
    for _ in range(5000):
        if socket.state is State.RUNNING:
            break
        thread.join(0.001)
    return thread


def make_server(**settings: Any) -> FlexiSocket:
    """Make a server for a port of the system's."""
    return FlexiSocket(**{"mode": Mode.SERVER, "host": "127.0.0.1", "port": 0} | settings)


def client_of(server: FlexiSocket, **settings: Any) -> FlexiSocket:
    """Make a client of a server that runs, with its strategy."""
    given = {"mode": Mode.CLIENT, "host": "127.0.0.1", "port": server.port, "message_strategy": server.message_strategy}
    return FlexiSocket(**given | settings)


@asynccontextmanager
async def running(*sockets: FlexiSocket) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run sockets, one after another; stop them, the last first, behind the block."""
    tasks = []
    for socket in sockets:
        tasks.append(asyncio.create_task(socket.start_async()))
        await until(lambda socket=socket, task=tasks[-1]: socket.state is State.RUNNING or task.done())  # type: ignore[misc]
    try:
        yield tasks
    finally:
        for socket, task in reversed(list(zip(sockets, tasks, strict=True))):
            await socket.stop_async()
            await task


class Seen:
    """Handlers of a socket that take down what they are called with.

    Attributes:
        connected: connections, in their order.
        disconnected: those that have ended.
        messages: messages.
    """

    def __init__(self, socket: FlexiSocket) -> None:
        self.connected: list[Any] = []
        self.disconnected: list[Any] = []
        self.messages: list[Any] = []
        socket.on_connect()(self.connected.append)
        socket.on_disconnect()(self.disconnected.append)
        socket.on_message()(self._message)

    async def _message(self, connection: object, message: object) -> None:
        self.messages.append(message)


class RawPeer:
    """A peer that is nothing but a socket.

    Args:
        reader: its stream from the other side.
        writer: its stream to it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def trickle(self, data: bytes) -> None:
        """Send bytes one by one, each in a packet of its own."""
        for at in range(len(data)):
            self.writer.write(data[at : at + 1])
            await asyncio.sleep(0.001)

    async def hears(self, size: int) -> bytes:
        """Return the next bytes, so many."""
        return await self.reader.readexactly(size)

    async def hears_rest(self) -> bytes:
        """Return all bytes until the other side's stream ends."""
        return await self.reader.read()

    def reset(self) -> None:
        """Go without a farewell, as a crash does."""
        self.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def leave(self) -> None:
        """Close."""
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def dial(server: FlexiSocket) -> AsyncIterator[RawPeer]:
    """Connect to a server that runs; close behind the block."""
    peer = RawPeer(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield peer
    finally:
        await peer.leave()
