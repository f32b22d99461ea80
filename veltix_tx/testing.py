"""For your tests: real servers and clients connected in memory, on a clock that you move.

Works the same in pytest and in trial, without a reactor::

    with MemoryNetwork() as network:
        network.serve(server)                   # your Server
        network.connect(client)                 # your Client; its handshake is done now
        reply = network.result(client.send_and_wait(CHAT, b"hello"))
        network.advance(5)                      # time passes only here

Servers and clients of :mod:`veltix_tx.aio` are served in a test that is a coroutine. What is sent is delivered while the test
awaits something, and time passes as above::

    async with MemoryNetwork() as network:
        network.serve(server)                   # your aio.Server
        await network.connect(client)           # your aio.Client
        reply = await client.send_and_wait(CHAT, b"hello")

The end of the ``with`` block, or :meth:`MemoryNetwork.stop`, stops servers and clients and gives them back as they
were, for the next test or a real port. Bytes of your own, good or bad, go in through a :class:`ScriptedPeer`.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop, sleep
from collections.abc import Awaitable, Iterator
from math import inf
from random import Random
from typing import Any, TypeVar, overload

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport
from zope.interface import alsoProvides, implementer

from veltix_tx import aio
from veltix_tx.aio.session import view_of
from veltix_tx.client import Client
from veltix_tx.errors import SettingsError
from veltix_tx.net.awaitables import ITaskReactor
from veltix_tx.net.clock import Clocks
from veltix_tx.net.session.session import Session
from veltix_tx.net.tasks import wait
from veltix_tx.net.transport.endpoints import is_udp, listen_specs
from veltix_tx.net.transport.udp import Address, ConnectedReceiver, PeerTransport
from veltix_tx.server import Server
from veltix_tx.threaded_clock import ThreadedClock

__all__ = ["MemoryNetwork", "ScriptedDatagrams", "ScriptedPeer"]

T = TypeVar("T")

_NOW = 1_700_000_000.0
"""The calendar's seconds when a test's clock starts."""

_TURNS = 16
"""Turns of asyncio's loop that tasks have for each step of the end: what waits for nothing else is done then."""

_SERVER_ADDRESS = IPv4Address("TCP", "127.0.0.1", 8080)


class MemoryNetwork:
    """Servers and any number of clients, connected in memory on one clock.

    It is a context manager, which ends with :meth:`stop`. In a coroutine it is an asynchronous one as well, which lets tasks come
    to their end before it goes on.

    A server that listens on UDP does so here, and a client of UDP connects to that.

    Args:
        loss: the part of all datagrams that is lost, from 0 to 1.
        reordering: the part of them that overtakes the one before, where that has not arrived yet.
        seed: of the dice for both; the same seed loses the same datagrams.

    Attributes:
        clock: the clock, a ``twisted.internet.task.Clock`` on which routes with ``thread=True`` run in
            real threads; :meth:`advance` moves it. Its ``patience`` is how long they may block for real.
        clocks: the same for ``reactor=`` of what you make yourself.
    """

    def __init__(self, *, loss: float = 0.0, reordering: float = 0.0, seed: int = 0) -> None:
        for name, part in (("loss", loss), ("reordering", reordering)):
            if not 0 <= part <= 1:
                raise SettingsError(name, part, "a number from 0 to 1")
        self.clock = ThreadedClock()
        self.clocks = Clocks(self.clock, lambda: _NOW + self.clock.seconds(), self.clock.seconds)
        self._place = _Place()
        self._places: dict[Server, _Place] = {}
        self._links: list[_Link] = []
        self._datagrams = _Datagrams(self, loss, reordering, Random(seed))
        self._borrowed: list[_Borrowed] = []
        self._loop: AbstractEventLoop | None = None
        self._woken = False

    def __enter__(self) -> MemoryNetwork:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    async def __aenter__(self) -> MemoryNetwork:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for _ in self._stopping():
            for _ in range(_TURNS):
                await sleep(0)

    def serve(self, server: Server | aio.Server) -> None:
        """Make a server listen here, in place of its own endpoints, with the service started.

        Of several, such as the nodes of one backplane, clients are connected to the latest unless they are told otherwise.

        Raises:
            SettingsError: it listens already, here or elsewhere.
            RuntimeError: it is an aio.Server, and no loop of asyncio's runs.
        """
        service = self._of_any_door(server)
        if service.running:
            raise SettingsError(
                "server", server, "stopped first: by stop() of the MemoryNetwork that serves it, or the end of its with block"
            )
        self._borrow(service)
        self._place = self._places[service] = _Place()
        places = listen_specs(service.config)
        endpoints: list[Any] = [(place.wire, _DatagramEndpoint(self._datagrams)) for place in places if place.in_datagrams]
        if len(endpoints) < len(places):
            endpoints.append(_ServerEndpoint(self._place))
        service.configure(endpoints=tuple(endpoints))
        service.startService()

    def stop(self) -> None:
        """Stop the servers and disconnect the clients, and give them the reactor and the settings back that they had.

        Handlers that are not done have as long as ``timeouts.drain`` says, on the network's clock. The network can be
        used again.

        Raises:
            AssertionError: a handler in a thread has neither ended nor called anything for ``clock.patience`` seconds.
        """
        for _ in self._stopping():
            pass

    @overload
    def connect(self, client: Client, to: Server | aio.Server | None = ...) -> Session: ...
    @overload
    def connect(self, client: aio.Client, to: Server | aio.Server | None = ...) -> Awaitable[aio.Session]: ...
    def connect(self, client: Client | aio.Client, to: Server | aio.Server | None = None) -> Session | Awaitable[aio.Session]:
        """Connect a client to what listens here, in place of its own endpoint.

        Args:
            client: the client. It connects to the same server again where it connects again by itself.
            to: the server; that which was served last by default.

        Returns:
            its session, which is to be awaited for an aio.Client. Raises what ``client.connect()`` errbacks with.
        """
        service = self._of_any_door(client)
        self._borrow(service)
        place = None if to is None else self._places[self._of_any_door(to)]
        udp = is_udp(service.config.endpoint) or isinstance(service.config.endpoint, _DatagramClientEndpoint)
        service.configure(endpoint=_DatagramClientEndpoint(self._datagrams) if udp else _ClientEndpoint(self, place))
        connecting = service.connect()
        return _viewed(connecting) if isinstance(client, aio.Client) else self.result(connecting)

    def dial(self, *, stays: bool = False) -> ScriptedPeer:
        """Connect a scripted client to what listens here.

        Args:
            stays: see :class:`ScriptedPeer`.
        """
        peer = ScriptedPeer(self, stays=stays)
        _connect(self, self._place, peer)
        return peer

    def dial_udp(self, host: str = "127.0.0.1", port: int | None = None) -> ScriptedDatagrams:
        """Return a scripted peer of the UDP port that listens here.

        Args:
            host: the address it sends from, as anybody can write any.
            port: its port; a new one by default.
        """
        return ScriptedDatagrams(self, host, port)

    @overload
    def answer(self, client: Client) -> tuple[ScriptedPeer, Deferred[Session]]: ...
    @overload
    def answer(self, client: aio.Client) -> tuple[ScriptedPeer, Awaitable[aio.Session]]: ...
    def answer(self, client: Client | aio.Client) -> tuple[ScriptedPeer, Deferred[Session] | Awaitable[aio.Session]]:
        """Make a client connect to a scripted server, which has said nothing yet.

        Returns:
            the scripted server, and what ``client.connect()`` returned.
        """
        peer = ScriptedPeer(self)
        self._place = _Place(Factory.forProtocol(lambda: peer))
        service = self._of_any_door(client)
        self._borrow(service)
        service.configure(endpoint=_ClientEndpoint(self))
        connecting = service.connect()
        self.pump()
        return peer, _viewed(connecting) if isinstance(client, aio.Client) else connecting

    def pump(self) -> None:
        """Deliver everything that has been sent, until nothing more happens by itself, in threads neither.

        Raises:
            AssertionError: a handler in a thread has neither ended nor called anything for ``clock.patience`` seconds.
        """
        while self._carry() or self.clock.work():
            pass

    def _carry(self) -> bool:
        """Run what is due, and carry what has been sent; return True if there was anything."""
        self.clock.advance(0)
        carried = [link.carry() for link in list(self._links)]  # each of them
        return self._datagrams.carry() or any(carried)

    def advance(self, seconds: float) -> None:
        """Move the clock on, everything due happening at its time."""
        for _ in self._advancing(seconds):
            pass

    def result(self, deferred: Deferred[T]) -> T:
        """Return what a Deferred has fired with once everything sent is delivered; raise its failure.

        Raises:
            AssertionError: it has not fired: something else must happen, or time must pass, first.
        """
        self.pump()
        outcome: list[Any] = []

        def look(value: Any) -> Any:
            outcome.append(value)
            return value

        deferred.addBoth(look)
        if not outcome:
            raise AssertionError(f"{deferred} has not fired yet: use advance() if it waits for time to pass")
        deferred.addErrback(lambda _: None)
        result = outcome[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[no-any-return]

    def _advancing(self, seconds: float) -> Iterator[None]:
        """Move the clock on, in steps from one call that is due to the next."""
        self.pump()
        end = self.clock.seconds() + seconds
        step = -inf
        while step < end:
            yield
            due = [call.getTime() for call in self.clock.getDelayedCalls()]
            step = min([end, *due])
            self.clock.advance(max(0.0, step - self.clock.seconds()))
            self.pump()

    def _stopping(self) -> Iterator[None]:
        """Stop everything, in steps, after each of which tasks may go on."""
        borrowed, self._borrowed = self._borrowed, []
        try:
            for each in borrowed:
                each.end()
            self.pump()
            yield
            limits = [each.service.config.timeouts for each in borrowed if not each.ended]
            for _ in self._advancing(max((each.drain + each.close for each in limits), default=0)):
                yield
                if all(each.ended for each in borrowed):
                    break
        finally:
            self._links.clear()
            self._datagrams.clear()
            self._places.clear()
            self._loop = None
            for each in borrowed:
                each.give_back()

    @overload
    def _of_any_door(self, service: Server | aio.Server) -> Server: ...
    @overload
    def _of_any_door(self, service: Client | aio.Client) -> Client: ...
    def _of_any_door(self, service: Server | Client | aio.Server | aio.Client) -> Server | Client:
        """Return a server or client, behind the door of asyncio; what is sent is delivered in the running loop, then."""
        if isinstance(service, (Server, Client)):
            return service
        if self._loop is None:
            self._loop = get_running_loop()
            alsoProvides(self.clock, ITaskReactor)
            self.clock.wake = self._wake
        return service._native

    def _wake(self) -> None:
        if self._loop is not None and not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        self.pump()

    def _borrow(self, service: Server | Client) -> None:
        if not any(each.service is service for each in self._borrowed):
            self._borrowed.append(_Borrowed(service))
        service.reactor = self.clocks

    def _link(self, client: Protocol, server: Protocol) -> None:
        address = IPv4Address("TCP", "127.0.0.1", 40000 + len(self._links))
        client_side = _Transport(self, client, False, address, _SERVER_ADDRESS)
        server_side = _Transport(self, server, True, _SERVER_ADDRESS, address)
        self._links.append(_Link(client_side, server_side))
        server.makeConnection(server_side)
        client.makeConnection(client_side)
        self.pump()


@implementer(IHalfCloseableDescriptor)
class _Transport(FakeTransport):
    """One end of a connection in memory, which ends its two streams one by one as a TCP connection does.

    It tells the network of what is to be delivered.

    Attributes:
        ending: True from the time this side has ended its stream until that has arrived.
        heard_end: True once the peer's stream has ended.
    """

    ending = heard_end = False

    def __init__(self, network: MemoryNetwork, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._network = network

    def write(self, data: bytes) -> None:
        """Queue bytes for the other side."""
        super().write(data)
        self._network._wake()

    def loseConnection(self) -> None:
        """Close, behind what has been written."""
        super().loseConnection()
        self._network._wake()

    def abortConnection(self) -> None:  # noqa: N802
        """Cut the connection off."""
        super().abortConnection()
        self._network._wake()

    def loseWriteConnection(self) -> None:  # noqa: N802
        """End this side's stream, behind what has been written."""
        self.ending = True
        self._network._wake()

    def writeConnectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol that its stream has ended."""
        self.ending = False
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def readConnectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol that the peer's stream has ended; one that does not know of that closes."""
        if self.heard_end or self.disconnected:
            return
        self.heard_end = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.disconnecting = True

    def connectionLost(self, reason: Failure) -> None:
        """Close, because the protocol says that both streams have ended."""
        self.disconnecting = True


class _Link:
    """A connection in memory: what one side writes, and the end of that, arrives at the other.

    Args:
        client: the client's end.
        server: the server's.
    """

    def __init__(self, client: _Transport, server: _Transport) -> None:
        self._ways = ((client, server), (server, client))

    def carry(self) -> bool:
        """Carry what has been written; where nothing has, end what is ending. Return True if anything happened."""
        written = [(source.getOutBuffer(), target) for source, target in self._ways]
        for data, target in written:
            if data and not target.disconnected:
                target.bufferReceived(data)
        return any(data for data, _ in written) or any(self._carry_end(*way) for way in self._ways)

    def _carry_end(self, source: _Transport, target: _Transport) -> bool:
        if source.disconnecting and not source.disconnected:
            source.disconnected = True
            source.reportDisconnect()
        elif source.ending and source.producer is None and not source.disconnected:
            source.writeConnectionLost()
        else:
            return False
        target.readConnectionLost()
        return True


class _Borrowed:
    """A server or a client in a network, and what it had before.

    Args:
        service: what is borrowed, as it was.
    """

    def __init__(self, service: Server | Client) -> None:
        self.service = service
        self.ended = True
        self._reactor = service.reactor
        self._config: Any = service.config

    def end(self) -> None:
        """Begin to stop it."""
        self.ended = False
        service = self.service
        ending = service.disconnect() if isinstance(service, Client) else service.stopService()
        ending.addBoth(self._has_ended)

    def give_back(self) -> None:
        """Restore what it had."""
        self.service.configure(self._config)
        self.service.reactor = self._reactor

    def _has_ended(self, _: object) -> None:
        self.ended = True


@implementer(IHalfCloseableProtocol)
class ScriptedPeer(Protocol):
    """A peer that says what a test makes it say.

    Args:
        network: where it is.
        stays: keep the connection when the other side has ended its stream, for a test to send more; otherwise close it, too.

    Attributes:
        received: the bytes the other side has sent so far; a test may clear it.
        closed: True if the connection is gone.
        stream_ended: True if the other side has ended its stream.
    """

    def __init__(self, network: MemoryNetwork, *, stays: bool = False) -> None:
        self.received = bytearray()
        self.closed = self.stream_ended = False
        self._stays = stays
        self._network = network

    def dataReceived(self, data: bytes) -> None:
        """Keep what the other side sends."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Mark the connection gone."""
        self.closed = True

    def readConnectionLost(self) -> None:
        """Mark the other side's stream ended, and close, too, unless the peer is to stay."""
        self.stream_ended = True
        assert self.transport is not None
        if not self._stays:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing to do."""

    def send(self, data: bytes) -> None:
        """Send bytes as they are, in one piece, and let everything happen that follows from it."""
        assert self.transport is not None
        self.transport.write(data)
        self._network.pump()

    def send_bytewise(self, data: bytes) -> None:
        """Send the same one byte at a time."""
        for position in range(len(data)):
            self.send(data[position : position + 1])

    def end_stream(self) -> None:
        """End this side's stream alone, as ``shutdown(SHUT_WR)`` does: the other side can still send."""
        transport: Any = self.transport
        transport.loseWriteConnection()
        self._network.pump()

    def hang_up(self) -> None:
        """Close the connection from this side."""
        assert self.transport is not None
        self.transport.loseConnection()
        self._network.pump()


class ScriptedDatagrams(DatagramProtocol):
    """A peer of a UDP port that says what a test makes it say.

    Args:
        network: where it is.
        host: its address.
        port: its port; a new one by default.

    Attributes:
        received: the datagrams that have come to its address so far; a test may clear it.
    """

    def __init__(self, network: MemoryNetwork, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.received: list[bytes] = []
        self._network = network
        self._port = network._datagrams.bind((host, port))
        self._port.protocol = self

    def send(self, datagram: bytes) -> None:
        """Send a datagram, and let everything happen that follows from it."""
        self._port.write(datagram, _SERVER)
        self._network.pump()

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Keep what comes."""
        self.received.append(datagram)

    def connectionRefused(self) -> None:
        """Nothing to do."""


_SERVER = ("127.0.0.1", _SERVER_ADDRESS.port)


class _Datagrams:
    """UDP in memory: ports by their addresses, and what is under way between them.

    Args:
        network: is told of what is to be delivered.
        loss: the part that is lost.
        reordering: the part that overtakes another.
        random: the dice.
    """

    def __init__(self, network: MemoryNetwork, loss: float, reordering: float, random: Random) -> None:
        self._network = network
        self._loss = loss
        self._reordering = reordering
        self._random = random.random
        self._ports: dict[Address, _DatagramPort] = {}
        self._under_way: list[tuple[bytes, Address, Address]] = []
        self._next = 50_000

    def bind(self, address: tuple[str, int | None]) -> _DatagramPort:
        """Return a port with an address, with a number of its own where none is given."""
        host, number = address
        if number is None:
            self._next += 1
            number = self._next
        port = self._ports[(host, number)] = _DatagramPort(self, (host, number))
        return port

    def unbind(self, address: Address) -> None:
        """Forget a port."""
        self._ports.pop(address, None)

    def send(self, datagram: bytes, source: Address, target: Address) -> None:
        """Send a datagram, as far as the dice let it."""
        if self._random() < self._loss:
            return
        overtakes = bool(self._under_way) and self._random() < self._reordering
        self._under_way.insert(len(self._under_way) - overtakes, (datagram, source, target))
        self._network._wake()

    def carry(self) -> bool:
        """Deliver what is under way; return True if there was anything. Who sends to nobody is told, as by ICMP."""
        arriving, self._under_way = self._under_way, []
        for datagram, source, target in arriving:
            port, sender = self._ports.get(target), self._ports.get(source)
            if port is not None:
                port.protocol.datagramReceived(datagram, source)
            elif sender is not None:
                sender.protocol.connectionRefused()
        return bool(arriving)

    def clear(self) -> None:
        """Forget everything."""
        self._ports.clear()
        self._under_way.clear()


@implementer(IListeningPort)
class _DatagramPort:
    """One UDP port in memory.

    Args:
        datagrams: the network.
        address: its own.

    Attributes:
        protocol: takes what comes.
    """

    protocol: Any

    def __init__(self, datagrams: _Datagrams, address: Address) -> None:
        self._datagrams = datagrams
        self._address = address
        self._connectedAddr: Address | None = None

    def connect(self, host: str, port: int) -> None:
        """Send to one address alone."""
        self._connectedAddr = (host, port)

    def write(self, datagram: bytes, addr: Address | None = None) -> None:
        """Send a datagram."""
        target = addr or self._connectedAddr
        assert target is not None
        self._datagrams.send(datagram, self._address, target)

    def startListening(self) -> None:
        """It listens since it was made."""

    def stopListening(self) -> Deferred[None]:
        """Close it."""
        self._datagrams.unbind(self._address)
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return its address."""
        kind = IPv6Address if ":" in self._address[0] else IPv4Address
        return kind("UDP", *self._address)


class _DatagramEndpoint:
    def __init__(self, datagrams: _Datagrams) -> None:
        self._datagrams = datagrams

    def listen_datagrams(self, protocol: DatagramProtocol) -> Deferred[IListeningPort]:
        port: Any = self._datagrams.bind(_SERVER)
        port.protocol = protocol
        protocol.makeConnection(port)
        return succeed(port)


@implementer(IStreamClientEndpoint)
class _DatagramClientEndpoint:
    def __init__(self, datagrams: _Datagrams) -> None:
        self._datagrams = datagrams

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        connection: Any = protocolFactory.buildProtocol(IPv4Address("UDP", *_SERVER))
        port = self._datagrams.bind(("127.0.0.1", None))
        port.protocol = ConnectedReceiver(connection)
        port.protocol.makeConnection(port)
        port.connect(*_SERVER)
        connection.makeConnection(PeerTransport(port))
        return succeed(connection)


class _Place:
    """Where one server listens.

    Args:
        factory: makes the server's protocols; None while nothing listens.
    """

    def __init__(self, factory: IProtocolFactory | None = None) -> None:
        self.factory = factory


@implementer(IStreamServerEndpoint)
class _ServerEndpoint:
    def __init__(self, place: _Place) -> None:
        self._place = place

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        self._place.factory = protocolFactory
        return succeed(_Port(self._place))


@implementer(IListeningPort)
class _Port:
    def __init__(self, place: _Place) -> None:
        self._place = place

    def startListening(self) -> None:
        """It listens since it was made."""

    def stopListening(self) -> Deferred[None]:
        self._place.factory = None
        return succeed(None)

    def getHost(self) -> IPv4Address:
        return _SERVER_ADDRESS


@implementer(IStreamClientEndpoint)
class _ClientEndpoint:
    """Where a client connects: to one server, or to whichever was served last.

    Args:
        network: the network.
        place: the server's; None for the latest.
    """

    def __init__(self, network: MemoryNetwork, place: _Place | None = None) -> None:
        self._network = network
        self._given = place

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        place = self._given or self._network._place
        if place.factory is None:
            return fail(Refused("nothing listens in this MemoryNetwork"))
        protocol: Any = protocolFactory.buildProtocol(_SERVER_ADDRESS)
        _connect(self._network, place, protocol)
        return succeed(protocol)


async def _viewed(connecting: Deferred[Session]) -> aio.Session:
    return view_of(await wait(connecting))


def _connect(network: MemoryNetwork, place: _Place, client: Protocol) -> None:
    assert place.factory is not None, "serve() something first"
    server: Any = place.factory.buildProtocol(None)  # type: ignore[arg-type]
    network._link(client, server)
