"""What users get wrong. ``# E: code`` names the errors that mypy --strict must find in the line; nothing here is run."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred

from veltix_tx import (
    ByConnection,
    Client,
    ClientConfig,
    Credentials,
    DisconnectState,
    Events,
    Identity,
    MessageType,
    Next,
    Password,
    Request,
    Response,
    Server,
    Session,
    Token,
    TokenFile,
    aio,
)
from veltix_tx.testing import MemoryNetwork


@dataclass
class Order:
    article: str


@dataclass
class Receipt:
    price: float


CHAT = MessageType(200, "chat")
ORDER = MessageType(201, "order", content=Order, reply=Receipt)
NOTE = MessageType(202, "note", content=str)

# Settings.

server = Server(prot=8080)  # E: call-arg
server = Server(port="x")  # E: arg-type
server = Server(host=b"127.0.0.1")  # E: arg-type
server = Server(max_connection="many")  # E: arg-type
server = Server(endpoint=8080)  # E: arg-type
server = Server(retry=3)  # E: call-arg
server = Server(ClientConfig())  # E: arg-type
server = Server(application="shop:server")  # E: arg-type
server.configure(prot=8080)  # E: call-arg
server.configure(port="x")  # E: arg-type

client = Client("h", 1, retrry=3)  # E: call-arg
client = Client("h", "1")  # E: arg-type
client = Client("h", 1, retry="often")  # E: arg-type
client = Client(b"h", 1)  # E: arg-type
client = Client("h", 1, max_connections=3)  # E: call-arg
client.configure(retrry=3)  # E: call-arg
client.configure(tls="yes")  # E: arg-type

# Who is it?


def of_a_text(token: str) -> str | None:
    return token


def of_nothing() -> str:
    return "ann"


async def of_a_session(client: Session) -> str | None:
    return None


async def allowed_later(client: Session) -> bool:
    return True


server = Server(authenticate=of_a_text)  # E: arg-type
server = Server(authenticate=of_nothing)  # E: arg-type
server = Server(authenticate=of_a_session)  # E: arg-type
server = Server(authenticate="tokens.txt")  # E: arg-type
server.set_authenticate(of_a_text)  # E: arg-type
server.route(CHAT, allow=allowed_later)  # E: arg-type
server.route(CHAT, allow=lambda client: client.identity)  # E: arg-type return-value
server.route(CHAT, allow=of_nothing)  # E: arg-type
server.route(CHAT, allow="admin")  # E: call-overload
server.clients[0].identity.name  # E: attr-defined
server.select(identiy="ann")  # E: call-arg

client = Client(credentials="s3cret")  # E: arg-type
client = Client(credentials=("ann", "s3cret"))  # E: arg-type
client = Client(credentials=lambda: "s3cret")  # E: arg-type
client = Client(authenticate=of_nothing)  # E: call-arg
client.reauthenticate("s3cret")  # E: arg-type
Token()  # E: call-arg
Token(b"s3cret")  # E: arg-type
Token("s3cret").token = "other"  # E: misc
Password("s3cret")  # E: call-arg
TokenFile()  # E: call-arg
Identity()  # E: call-arg


def reads_too_much(credentials: Credentials) -> None:
    credentials.token.upper()  # E: union-attr
    credentials.secret  # E: attr-defined


# Handlers of a server.


@server.route(CHAT)  # E: arg-type
def without_a_client(message: Response) -> bytes:
    return message.content


@server.route(CHAT)  # E: arg-type
async def with_too_much(client: Session, message: Response, more: int) -> bytes:
    return message.content


@server.route(CHAT)  # E: arg-type
def of_something_else(client: Client, message: Response) -> bytes:
    return message.content


@server.route(CHAT, thread=True)  # E: arg-type
async def coroutine_in_a_thread(client: Session, message: Response) -> bytes:
    return message.content


@server.route(CHAT, thread=True)  # E: arg-type
def deferred_in_a_thread(client: Session, message: Response) -> Deferred[bytes]:
    return Deferred()


@server.route(CHAT, thread=True)  # E: arg-type
def text_in_a_thread(client: Session, message: Response) -> str:
    return "text"


@server.route  # E: call-overload
def without_parentheses(client: Session, message: Response) -> bytes:
    return message.content


server.route(CHAT.code)  # E: call-overload
server.route(CHAT, thred=True)  # E: call-overload


def for_a_client(message: Response) -> bytes:
    return message.content


async def for_no_thread(client: Session, message: Response) -> bytes:
    return message.content


server.register_route(CHAT, for_a_client)  # E: arg-type
server.register_route(CHAT, for_no_thread, thread=True)  # E: arg-type


@server.route(CHAT)  # E: arg-type
def text_for_bytes(client: Session, message: Response) -> str:
    return "text"


@server.route(CHAT)  # E: arg-type
async def text_for_bytes_later(client: Session, message: Response) -> str:
    return "text"


# Values.

MessageType(203, content=Order, format="xml")  # E: call-overload
MessageType(204, content=Order, max_size="much")  # E: call-overload
chat: MessageType[str] = MessageType(205, "chat")  # E: assignment


@server.route(ORDER)  # E: arg-type
def of_another_type(client: Session, message: Response[Receipt]) -> Receipt:
    return message.value


@server.route(ORDER)  # E: arg-type
def with_another_reply(client: Session, message: Response[Order]) -> Order:
    return message.value


@server.route(ORDER)  # E: arg-type
async def with_another_reply_later(client: Session, message: Response[Order]) -> Order:
    return message.value


@server.route(ORDER, thread=True)  # E: arg-type
def with_another_reply_in_a_thread(client: Session, message: Response[Order]) -> Order:
    return message.value


@server.route(ORDER)
def of_no_field(client: Session, message: Response[Order]) -> Receipt:
    return Receipt(message.value.price)  # E: attr-defined


@client.route(ORDER)  # E: arg-type
def clients_with_another_reply(message: Response[Order]) -> Order:
    return message.value


server.route(ORDER)(lambda client, message: message.value)  # E: arg-type return-value
client.register_route(ORDER, lambda message: message.value.price)  # E: attr-defined

# Callbacks of a server.


@server.set_callback("on_conect")  # E: call-overload untyped-decorator
def misspelt(client: Session) -> None: ...


@server.set_callback("on_connect")  # E: type-var
def connected_without_a_client() -> None: ...


@server.set_callback(Events.ON_CONNECT)  # E: type-var
def connected_with_too_much(client: Session, message: Response) -> None: ...


@server.set_callback("on_recv")  # E: type-var
def received_without_a_message(client: Session) -> None: ...


@server.set_callback("on_disconnect")  # E: type-var
def a_clients(state: DisconnectState) -> None: ...


@server.set_callback  # E: call-overload
def callback_without_parentheses(client: Session) -> None: ...


server.set_callback("on_connect", received_without_a_message)
server.set_callback("on_recv", received_without_a_message)  # E: call-overload
server.set_callback("on_conect", received_without_a_message)  # E: call-overload

# Handlers and callbacks of a client.


@client.route(CHAT)  # E: arg-type
def a_servers(client: Session, message: Response) -> bytes:
    return message.content


@client.route(CHAT, thread=True)  # E: arg-type
async def clients_coroutine_in_a_thread(message: Response) -> bytes:
    return message.content


@client.set_callback("on_connect")  # E: type-var
def connected_with_a_session(session: Session) -> None: ...


@client.set_callback("on_disconnect")  # E: type-var
def lost_without_a_state() -> None: ...


@client.set_callback(Events.ON_DISCONNECT)  # E: type-var
def a_servers_end(client: Session) -> None: ...


client.register_route(CHAT, for_no_thread)  # E: arg-type
client.set_callback("on_recv", lost_without_a_state)  # E: call-overload
client.set_callback("on_conect", lost_without_a_state)  # E: call-overload

# asyncio.

aio_server = aio.Server(prot=8080)  # E: call-arg
aio_server = aio.Server(reactor=None)  # E: call-arg
aio_client = aio.Client("h", "1")  # E: arg-type


@aio_server.route(CHAT)  # E: arg-type
async def with_a_session_of_twisteds(client: Session, message: Response) -> bytes:
    return message.content


@aio_server.route(CHAT, thread=True)  # E: arg-type
async def aio_coroutine_in_a_thread(client: aio.Session, message: Response) -> bytes:
    return message.content


@aio_client.set_callback("on_connect")  # E: type-var
async def aio_connected_with_a_session(session: aio.Session) -> None: ...


@aio_server.rpc(allow=allowed_later)  # E: arg-type
def aio_method(a: int) -> int:
    return a


async def aio_results() -> None:
    aio_client.service(Order).articles()  # E: attr-defined
    aio_client.send_and_wait(CHAT, b"").content  # E: attr-defined
    (await aio_client.send_and_wait(CHAT, b"")).contents  # E: attr-defined
    aio_client.ping()  # E: unused-coroutine
    await aio_client.messages(CHAT)  # E: misc
    aio_server.broadcast(CHAT, b"", to=[Session])  # E: list-item
    MemoryNetwork().connect(aio_client).ip  # E: attr-defined


# Kinds.


def kind_of_nothing() -> str:
    return "001"


def kind_of_a_number(session: Session, message: Response) -> int:
    return 1


def kind_by_the_message(session: Session, message: Response) -> str:
    return "001"


Server(classifier=kind_of_nothing)  # E: arg-type
Server(classifier=kind_of_a_number)  # E: arg-type
Server(classifier=ByConnection(kind_by_the_message))  # E: arg-type
aio.Server(classifier=kind_by_the_message)  # E: arg-type


@server.use  # E: type-var
async def without_next(session: Session, message: Response) -> bytes:
    return b""


@client.use  # E: type-var
async def without_a_session(message: Response, next: Next) -> object:
    return await next(message)


@server.use  # E: type-var
def with_a_text(session: Session, message: str, next: Next) -> object:
    return None


@aio_server.use  # E: type-var
async def with_a_session_of_another_door(session: Session, message: Response, next: Next) -> object:
    return None


@server.before_send  # E: type-var
async def sent_later(session: Session, message: Request) -> None: ...


@server.before_send  # E: type-var
def sent_as_bytes(session: Session, message: Request) -> bytes:
    return b""


@client.before_send  # E: type-var
def sent_without_a_session(message: Request) -> None: ...


@aio_client.before_send  # E: type-var
def sent_by_another_door(session: Session, message: Request) -> None: ...


async def passed_on_bytes(session: Session, message: Response, next: Next) -> object:
    return await next(message.content)  # E: arg-type


@server.route(CHAT, kind=1)  # E: call-overload untyped-decorator
async def of_a_number(client: Session, message: Response) -> bytes:
    return message.content


@client.route(CHAT, kind="001")  # E: call-overload untyped-decorator
async def of_a_kind(message: Response) -> bytes:
    return message.content


# Results.


async def results(session: Session) -> None:
    client.send_and_wait(CHAT, b"").content  # E: attr-defined
    (await client.send_and_wait(CHAT, b"")).contents  # E: attr-defined
    client.blocking.ping_server().content  # E: attr-defined
    await client.blocking.connect()  # E: misc
    server.broadcast(CHAT, b"", slow="wait")  # E: call-overload
    server.get_clients_by_tag(7)  # E: arg-type
    MemoryNetwork().result(client.connect()).contents  # E: attr-defined


async def sending(session: Session) -> None:
    session.send(CHAT, "text")  # E: misc
    client.send(CHAT, "text")  # E: misc
    client.blocking.send(CHAT, "text")  # E: misc
    session.blocking.send(CHAT, "text")  # E: misc
    server.broadcast(CHAT, "text")  # E: misc
    server.broadcast(ORDER, Receipt(1.5))  # E: misc
    await client.send_and_wait(CHAT, "text")  # E: misc
    await session.send_and_wait(ORDER, Receipt(1.5))  # E: misc
    client.blocking.send_and_wait(NOTE, 5)  # E: misc
    Request(CHAT, "text")  # E: misc
    Request(ORDER, Receipt(1.5))  # E: misc
    (await client.send_and_wait(ORDER, Order("pen"))).value.article  # E: attr-defined
    (await session.send_and_wait(Request(ORDER, Order("pen")))).value.article  # E: attr-defined
    client.blocking.send_and_wait(ORDER, Order("pen")).value.article  # E: attr-defined
    (await client.send_and_wait(CHAT, b"")).value.price  # E: attr-defined
    (await client.send_and_wait(NOTE, "")).value.decode()  # E: attr-defined


# Calls.


async def calling(session: Session, viewed: aio.Session) -> None:
    (await client.call("add", 1, b=2, returns=int)).price  # E: attr-defined
    (await session.call("add", 1, returns=Order, timeout=3)).price  # E: attr-defined
    (await aio_client.call("add", 1, returns=list[int])).append("x")  # E: arg-type
    (await viewed.call("add", returns=int, metadata={"t": "1"})).price  # E: attr-defined
    client.blocking.call("add", 1, returns=int).price  # E: attr-defined
    session.blocking.call("add", 1, returns=int).price  # E: attr-defined
    await client.call("add", 1, timeout="3")  # E: call-overload
    await aio_client.call(3)  # E: call-overload
