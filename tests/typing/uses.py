"""What the documentation shows, as users write it who use mypy --strict: no line of this is an error. Nothing here is run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.task import deferLater

from veltix_tx import (
    Auto,
    BufferSize,
    ByConnection,
    Client,
    ClientConfig,
    Consumed,
    Credentials,
    Delivery,
    DisconnectReason,
    DisconnectState,
    Dropped,
    Events,
    Gap,
    History,
    Identity,
    InvalidContent,
    Limits,
    MessageRegistry,
    MessageType,
    Netconduit,
    Next,
    Password,
    Plugin,
    PresenceChange,
    RemoteError,
    Request,
    RequestTimeout,
    Response,
    RetryPolicy,
    RpcError,
    Server,
    ServerConfig,
    Session,
    SessionClosed,
    Timeouts,
    Token,
    TokenFile,
    VeltixServerFactory,
    aio,
)
from veltix_tx.testing import MemoryNetwork

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
ERROR = MessageType(201, "error")


@dataclass
class Order:
    """A dataclass."""

    article: str
    count: int = 1


class Receipt(NamedTuple):
    """A named tuple."""

    price: float


class Place(TypedDict):
    """A dict with these keys."""

    city: str


ORDER = MessageType(202, "order", content=Order, reply=Receipt)
NOTE = MessageType(203, "note", content=str, format="msgpack")
PLACES = MessageType(204, "places", content=list[Place], max_size=10_000_000)
NOW = MessageType(205, "now", reply=float)
EITHER: MessageType[Order | str, Order | str] = MessageType(206, "either", content=Order | str)
plain_type: MessageType[bytes, bytes] = CHAT

# Settings.

server = Server()
server = Server(port=8080)
server = Server("0.0.0.0", 8080)
server = Server("0.0.0.0:8080")
server = Server(ServerConfig(port=8080), max_connections=-1)
server = Server(ServerConfig(), 8080, types=TYPES, limits=Limits(inflight=8), timeouts=Timeouts(handler=math.inf))
server = Server(endpoint="tcp:8080", wire="1.6.3", buffer_size=BufferSize.LARGE, max_workers=8)
server = Server(endpoints=("tcp:8080", "1.9.0@tcp:8090", (Netconduit("secret"), "tcp:8091")))
server = Server(port=8443, tls_cert="cert.pem", tls_key=Path("key.pem"))
server.configure(port=0, host="::", max_connection=3)
server.configure(ServerConfig())

# Who is it?


def known(credentials: Credentials) -> str | None:
    if credentials.certificate is not None:
        return credentials.certificate.subject.rfc4514_string()
    return credentials.name if credentials.password == "s3cret" and credentials.encrypted else credentials.ip or None


async def looked_up(credentials: Credentials) -> Identity | None:
    return Identity(await succeed("ann"), expires_at=math.inf) if credentials.token else None


def in_a_deferred(credentials: Credentials) -> Deferred[Identity | None]:
    return succeed(None)


def is_ann(client: Session) -> bool:
    return isinstance(client.identity, Identity) and client.identity.name == "ann"


async def new_token() -> Token:
    return await succeed(Token("s3cret"))


for hook in (known, looked_up, in_a_deferred, TokenFile("tokens.txt"), lambda credentials: credentials.token):
    server = Server(authenticate=hook)
server.set_authenticate(known)


def by_line(session: Session, message: Response) -> str | None:
    return message.content[:3].decode()


async def by_account(session: Session, message: Response) -> str:
    return Consumed("001")


def by_account_later(session: Session, message: Response) -> Deferred[str | None]:
    return succeed(None)


def by_certificate(session: Session) -> str:
    return session.certificate.subject.rfc4514_string() if session.certificate else session.ip


async def aio_by_account(session: aio.Session, message: Response) -> str | None:
    return session.kind


for classifier in (by_line, by_account, by_account_later, ByConnection(by_certificate)):
    Server(classifier=classifier)
aio.Server(classifier=aio_by_account)
aio.Server(classifier=ByConnection(lambda session: session.ip))


@server.route(CHAT, kind="001")
async def of_a_kind(client: Session, message: Response) -> bytes:
    return message.content


server.unregister_route(CHAT, kind="001")
server.route(CHAT, allow=is_ann, concurrent=True)(lambda client, message: message.content)
server.route(CHAT, allow=lambda client: client.identity == "ann", thread=True)(lambda client, message: message.content)
server.broadcast(CHAT, b"x", to=server.select(["mobile"], identity="ann"))
client = Client(credentials=Token("s3cret"), allow_plaintext_credentials=True)
client = Client(credentials=Password("ann", "s3cret"), retry=RetryPolicy(after_refusal=True))
client = Client(credentials=lambda: Token("s3cret"))
client = Client(credentials=new_token)
client.blocking.reauthenticate(timeout=3)


@server.use
async def log(session: Session, message: Response, next: Next) -> Any:
    return await next(message)


@client.use
def passed_on(session: Session, message: Response, next: Next) -> object:
    return next(message)


@server.use
def timed(session: Session, message: Response) -> Iterator[None]:
    result: object = yield
    print(result)


@server.use
async def timed_later(session: Session, message: Response) -> AsyncIterator[Response | None]:
    yield message


@server.before_send
def looked_at(session: Session, message: Request) -> None:
    if message.type is CHAT:
        raise Dropped("not now")


@client.before_send
def changed(session: Session, message: Request) -> Request:
    return Request(message.type, b"")


@aio.Server().use
async def aio_log(session: aio.Session, message: Response, next: Next) -> Any:
    return await next(message)


@aio.Client().before_send
def aio_looked_at(session: aio.Session, message: Request) -> Request | None:
    return None


async def renewed() -> None:
    await client.reauthenticate()
    await client.reauthenticate(Token("s3cret"), timeout=3)


client = Client()
client = Client("127.0.0.1", 8080)
client = Client("[::1]:8080")
client = Client("example.org", 8443, tls=True, tls_ca=Path("ca.pem"), tls_name="chat.example.org")
client = Client(ClientConfig(server_addr="h", port=1), retry=RetryPolicy(max_retries=3))
client = Client("h", port=1, retry=3, retry_delay=0.5, wire=Auto(long_headers=True), types=TYPES)
client = Client("h", wire=Netconduit(password="secret", compress=True))
client = Client(endpoint="unix:veltix.sock")
client.configure(server_addr="h", port=2, endpoint=None)


def endpoints(reactor: Any, server_end: UNIXServerEndpoint, client_end: UNIXClientEndpoint) -> None:
    Server(endpoint=server_end, reactor=reactor)
    Client(endpoint=client_end, reactor=reactor)


def interfaces(server_end: IStreamServerEndpoint, client_end: IStreamClientEndpoint) -> None:
    Server(endpoint=server_end)
    Client(endpoint=client_end)


# Handlers of a server.


@server.route(CHAT)
def plain(client: Session, message: Response) -> bytes:
    server.broadcast(CHAT, message.content, exclude=[client], slow="drop")
    return b"delivered"


@server.route(CHAT, concurrent=True, timeout=300)
async def coroutine(client: Session, message: Response) -> bytes | None:
    await deferLater(server.reactor, 0.5, client.send, CHAT, b"soon")
    reply = await client.send_and_wait(CHAT, b"", timeout=5)
    return reply.content


@server.route(CHAT)
def deferred(client: Session, message: Response) -> Deferred[bytes]:
    return succeed(message.content)


@server.route(CHAT)
def request(client: Session, message: Response) -> Request:
    return Request(ERROR, b"")


@server.route(CHAT, thread=True)
def in_a_thread(client: Session, message: Response) -> bytes:
    try:
        reply = client.blocking.send_and_wait(CHAT, b"where does it hurt?", timeout=60)
    except RequestTimeout:
        return b""
    return reply.content + b" %d ms" % server.blocking.ping_client(client)


@server.route(CHAT, thread=True, concurrent=True, timeout=math.inf)
def in_a_thread_without_an_answer(client: Session, message: Response) -> None:
    client.blocking.send(CHAT, b"")


class Shop:
    """Its methods are handlers."""

    def __init__(self, server: Server) -> None:
        server.register_route(CHAT, self.on_chat)
        server.register_route(ERROR, self.on_error, thread=True)
        server.set_callback("on_connect", self.on_connect)

    def on_chat(self, client: Session, message: Response) -> bytes:
        return message.content

    def on_error(self, client: Session, message: Response) -> None: ...

    async def on_connect(self, client: Session) -> None:
        await client.ping()


def with_an_extra(extra: int, client: Session, message: Response) -> bytes:
    return message.content


server.register_route(CHAT, lambda client, message: message.content)
server.register_route(CHAT, partial(with_an_extra, 1))
server.route(CHAT)(lambda client, message: message.content)
server.unregister_route(CHAT)
threaded: bool = server.port == 0
server.register_route(CHAT, in_a_thread, thread=threaded)


@server.set_callback("on_recv")
def on_recv(client: Session, message: Response) -> bytes:
    return b"no desk for " + message.type.name.encode()


@server.set_callback("on_connect")
async def on_connect(client: Session) -> None:
    await client.ping()


@server.set_callback(Events.ON_DISCONNECT)
def on_disconnect(client: Session) -> None:
    assert client.closed is not None
    print(f"{client.ip} is gone: {client.closed.reason is DisconnectReason.MANUAL}")


server.set_callback("on_disconnect", lambda client: print(client.ip))
server.set_callback(Events.ON_RECV, plain)
plain(server.clients[0], Response(CHAT, b"", 0, 0, 0)).decode()

# Values.


@server.route(ORDER)
def on_order(client: Session, message: Response[Order]) -> Receipt:
    return Receipt(message.value.count * 1.5)


@server.route(ORDER, concurrent=True)
async def on_order_later(client: Session, message: Response[Order]) -> Receipt | None:
    reply = await client.send_and_wait(NOTE, message.value.article)
    client.send(CHAT, bytearray(b"bytes of any kind"))
    return Receipt(float(reply.value)) if reply.value.isdigit() else None


@server.route(ORDER)
def on_order_deferred(client: Session, message: Response[Order]) -> Deferred[Receipt]:
    return succeed(Receipt(0.5))


@server.route(ORDER, thread=True)
def on_order_in_a_thread(client: Session, message: Response[Order]) -> Receipt:
    server.broadcast(NOTE, "an order", exclude=[client])
    return Receipt(client.blocking.send_and_wait(NOW).value)


@server.route(ORDER)
def on_order_elsewhere(client: Session, message: Response[Order]) -> Request | bytes:
    return Request(NOTE, "later") if message.value.count else b"{}"


@server.route(ORDER)
def on_any_order(client: Session, message: Response) -> Receipt:
    raise RpcError("sold_out", "no pens left", {"left": 0})


@server.route(PLACES)
def on_places(client: Session, message: Response[list[Place]]) -> list[Place]:
    return [{"city": place["city"].upper()} for place in message.value]


@server.route(EITHER)
def on_either(client: Session, message: Response[Order | str]) -> None:
    print(message.value)


server.register_route(ORDER, on_order)
server.route(ORDER)(lambda client, message: Receipt(message.value.count))


async def ordering(session: Session) -> float:
    reply: Response[Receipt] = await session.send_and_wait(ORDER, Order("pen"), timeout=3)
    reply = await client.send_and_wait(Request(ORDER, Order("pen")))
    try:
        reply = await client.send_and_wait(ORDER, b'{"article": "pen"}')
    except RemoteError as error:
        print(error.code, error.message, error.details)
    except InvalidContent as error:
        print(error.path)
    session.send(Request(NOTE, "hello").respond(reply))
    return (
        reply.value.price + (await client.send_and_wait(NOW)).value + client.blocking.send_and_wait(ORDER, Order("ink")).value.price
    )


# A client.


@client.route(ORDER)
def on_clients_order(message: Response[Order]) -> Receipt:
    return Receipt(message.value.count)


@client.route(CHAT)
def on_chat(message: Response) -> bytes:
    return message.content


@client.route(CHAT, thread=True)
def on_chat_in_a_thread(message: Response) -> bytes:
    return client.blocking.send_and_wait(CHAT, message.content).content


@client.set_callback("on_connect")
def begun() -> None: ...


@client.set_callback("on_connect")
async def log_in() -> None:
    await client.send_and_wait(CHAT, b"secret")


@client.set_callback(Events.ON_DISCONNECT)
def lost(state: DisconnectState) -> None:
    print(state.permanent, state.attempt)


client.set_callback("on_recv", print)
client.set_callback("on_disconnect", lambda state: print(state.reason))


async def main(reactor: Any) -> None:
    session = await client.connect()
    await client.send(CHAT, b"hello")
    reply = await session.send_and_wait(CHAT, b"hello")
    print(reply.content.decode(), await client.ping_server() + 1, await session.when_closed())
    await client.disconnect()
    await server.stopService()


def blocking() -> float:
    session = client.blocking.connect()
    session.blocking.send(CHAT, b"")
    print(session.blocking.ping() + client.blocking.ping_server(timeout=3), session.blocking.disconnect().reason)
    server.blocking.listen()
    return client.blocking.ping_server()


# asyncio.

aio_server = aio.Server("127.0.0.1", 0, types=TYPES, limits=Limits(inflight=8))
aio_client = aio.Client("h", 1, tls=True, retry=RetryPolicy())
aio_server.configure(ServerConfig(), port=8080)
aio_client.configure(server_addr="h", endpoint=None)


@aio_server.route(CHAT)
async def aio_route(client: aio.Session, message: Response) -> bytes:
    reply = await client.send_and_wait(CHAT, message.content, timeout=5)
    await client.send(CHAT, b"", request_id=message.request_id)
    aio_server.broadcast(CHAT, b"", exclude=[client], slow="drop")
    return reply.content


@aio_server.route(CHAT, concurrent=True)
def aio_future(client: aio.Session, message: Response) -> asyncio.Future[bytes]:
    return asyncio.get_running_loop().create_future()


@aio_server.route(CHAT, thread=True, timeout=math.inf)
def aio_thread(client: aio.Session, message: Response) -> bytes:
    client.send(CHAT, b"")
    return client.blocking.send_and_wait(CHAT, message.content).content


aio_server.register_route(CHAT, aio_route)
aio_server.register_route(CHAT, aio_thread, thread=True)
aio_client.register_route(CHAT, on_chat)


@aio_server.rpc(allow=lambda session: session.identity == "ann")
async def aio_add(a: int, *, context: aio.CallContext) -> int:
    return a + int(await context.session.call("more"))


class AioSums:
    async def add(self, a: int) -> int:
        return a


aio_server.register_service(AioSums(), prefix="sums.")
aio_client.register_rpc(aio_add, "add", timeout=math.inf)
aio_server = aio.Server(authenticate=TokenFile("tokens.txt"))
aio_client = aio.Client(credentials=Token("s3cret"))


async def aio_calls(session: aio.Session) -> int:
    names = [method.name for method in await aio_client.methods()]
    await aio_client.reauthenticate(Token(names[0]), timeout=3)
    aio_server.select(identity="ann")
    return await session.service(AioSums, prefix="sums.").add(1) + await aio_client.service(AioSums).add(2)


@aio_server.set_callback("on_connect")
async def aio_connected(client: aio.Session) -> None:
    client.add_tag("ms", await client.ping())


@aio_client.route(CHAT)
async def aio_question(message: Response) -> bytes | None:
    return message.content


@aio_client.set_callback(Events.ON_DISCONNECT)
async def aio_lost(state: DisconnectState) -> None:
    await asyncio.sleep(state.attempt)


async def aio_main() -> None:
    async with aio_server as server, aio_client as client:
        reply: Response = await client.send_and_wait(CHAT, b"hello")
        session: aio.Session = await client.connect()
        closed: SessionClosed = await session.disconnect()
        milliseconds: float = await client.ping() + await client.ping_server() + await server.ping_client(server.clients[0])
        print(reply.content.decode(), closed.reason, milliseconds, server.port)
        async for message in client.messages(CHAT, maxsize=8):
            print(message.content.decode())
        await asyncio.gather(*[client.send_and_wait(CHAT, b"%d" % number) for number in range(3)])


async def test_aio() -> None:
    async with MemoryNetwork() as network:
        network.serve(aio_server)
        session = await network.connect(aio_client)
        print((await session.send_and_wait(CHAT, b"")).content)


# Applications and plugins.


class Counting:
    """An application; with zope's ``@implementer(IVeltixApplication)`` it is one for zope, too."""

    def connected(self, session: Session) -> None: ...

    async def received(self, session: Session, message: Response) -> bytes:
        return b"1"

    def disconnected(self, session: Session, reason: SessionClosed) -> None: ...


class Guestbook(Plugin):
    """A plugin."""

    name = "guestbook"
    types = {"sign": None, "read": 700}  # noqa: RUF012
    events = ("on_connect",)

    def received(self, session: Session, message: Response) -> bytes:
        return b"thank you"


server = Server(application=Counting())
server.register_plugin(Guestbook(), grant=["on_connect"])
server.attach(CHAT, "guestbook")
client.register_plugin(Guestbook())
factory = VeltixServerFactory(Counting(), ServerConfig(), types=MessageRegistry(open=True))

# Tests.


def test_chat() -> None:
    network = MemoryNetwork()
    network.serve(server)
    network.connect(client).send(CHAT, b"")
    assert network.result(client.send_and_wait(CHAT, b"hello")).content == b"delivered"


class Calculator(Protocol):
    """What both sides know of methods."""

    async def add(self, a: int, b: int = 0) -> int: ...


async def calls(client: Client, session: Session) -> int:
    """Proxies are typed by a Protocol."""
    total: int = await client.service(Calculator).add(1, b=2)
    return total + await session.service(Calculator, prefix="calc.").add(1)


async def called(client: Client, session: aio.Session) -> list[int]:
    """A call returns what ``returns=`` says, and anything without it, or with a union."""
    total: int = await client.call("add", a=1, b=2, timeout=3, returns=int)
    found: list[int] = await session.call("find", "x", returns=list[int])
    maybe: int | None = await session.call("maybe", returns=int | None)
    untyped = await client.call("add", 1, 2)
    return [total, *found, maybe or 0, untyped, client.blocking.call("add", 1, 2, returns=int) + 1]


# Rooms.

CHANGE = MessageType(220, "change", content=PresenceChange)
lobby = server.room("lobby", history=History(size=10), presence=CHANGE)


@lobby.on_presence
def on_presence(change: PresenceChange) -> None:
    print([member.state for member in change.joined])


@client.on_gap
async def on_gap(gap: Gap) -> None:
    print(gap.room, gap.since.offset, gap.until, gap.reason)


async def in_rooms(session: Session) -> None:
    """What is sent to rooms, over all servers."""
    await lobby.join(session, {"mood": "good"})
    delivery: Delivery = await lobby.broadcast(CHAT, b"hello", exclude=[session])
    print(delivery.sessions, delivery.position, [member.id for member in await lobby.members()], await lobby.count())
    heard: int = server.broadcast(CHAT, b"here")
    everywhere: Delivery = await server.broadcast(CHAT, b"everywhere", everywhere=True)
    await server.send_to(session.id, CHAT, b"you")
    print(heard, everywhere, await server.call_to(session.id, "add", 1, returns=int), await server.nodes(), await server.rooms())
    aio_room = aio_server.room("lobby")
    aio_room.broadcast(CHAT, b"begun")
    print(await aio_room.broadcast(CHAT, b"awaited"), await aio_room.members())
