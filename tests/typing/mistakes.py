"""What users get wrong. ``# E: code`` names the errors that mypy --strict must find in the line; nothing here is run."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from veltix_tx import Client, ClientConfig, DisconnectState, Events, MessageType, Response, Server, Session, aio
from veltix_tx.testing import MemoryNetwork

CHAT = MessageType(200, "chat")

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

# Handlers of a server.


@server.route(CHAT)  # E: type-var
def without_a_client(message: Response) -> bytes:
    return message.content


@server.route(CHAT)  # E: type-var
async def with_too_much(client: Session, message: Response, more: int) -> bytes:
    return message.content


@server.route(CHAT)  # E: type-var
def of_something_else(client: Client, message: Response) -> bytes:
    return message.content


@server.route(CHAT, thread=True)  # E: type-var
async def coroutine_in_a_thread(client: Session, message: Response) -> bytes:
    return message.content


@server.route(CHAT, thread=True)  # E: type-var
def deferred_in_a_thread(client: Session, message: Response) -> Deferred[bytes]:
    return Deferred()


@server.route(CHAT, thread=True)  # E: type-var
def text_in_a_thread(client: Session, message: Response) -> str:
    return "text"


@server.route  # E: call-overload
def without_parentheses(client: Session, message: Response) -> bytes:
    return message.content


server.route(CHAT.code)  # E: call-overload
server.route(CHAT, thred=True)  # E: call-overload
server.register_route(CHAT, without_a_client)  # E: arg-type
server.register_route(CHAT, coroutine_in_a_thread, thread=True)  # E: arg-type

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


@client.route(CHAT)  # E: type-var
def a_servers(client: Session, message: Response) -> bytes:
    return message.content


@client.route(CHAT, thread=True)  # E: type-var
async def clients_coroutine_in_a_thread(message: Response) -> bytes:
    return message.content


@client.set_callback("on_connect")  # E: type-var
def connected_with_a_session(session: Session) -> None: ...


@client.set_callback("on_disconnect")  # E: type-var
def lost_without_a_state() -> None: ...


@client.set_callback(Events.ON_DISCONNECT)  # E: type-var
def a_servers_end(client: Session) -> None: ...


client.register_route(CHAT, a_servers)  # E: arg-type
client.set_callback("on_recv", lost_without_a_state)  # E: call-overload
client.set_callback("on_conect", lost_without_a_state)  # E: call-overload

# asyncio.

aio_server = aio.Server(prot=8080)  # E: call-arg
aio_server = aio.Server(reactor=None)  # E: call-arg
aio_client = aio.Client("h", "1")  # E: arg-type


@aio_server.route(CHAT)  # E: type-var
async def with_a_session_of_twisteds(client: Session, message: Response) -> bytes:
    return message.content


@aio_server.route(CHAT, thread=True)  # E: type-var
async def aio_coroutine_in_a_thread(client: aio.Session, message: Response) -> bytes:
    return message.content


@aio_client.set_callback("on_connect")  # E: type-var
async def aio_connected_with_a_session(session: aio.Session) -> None: ...


async def aio_results() -> None:
    aio_client.send_and_wait(CHAT, b"").content  # E: attr-defined
    (await aio_client.send_and_wait(CHAT, b"")).contents  # E: attr-defined
    aio_client.ping()  # E: unused-coroutine
    await aio_client.messages(CHAT)  # E: misc
    aio_server.broadcast(CHAT, b"", to=[Session])  # E: list-item
    MemoryNetwork().connect(aio_client).ip  # E: attr-defined


# Results.


async def results(session: Session) -> None:
    client.send_and_wait(CHAT, b"").content  # E: attr-defined
    (await client.send_and_wait(CHAT, b"")).contents  # E: attr-defined
    client.blocking.ping_server().content  # E: attr-defined
    await client.blocking.connect()  # E: misc
    server.broadcast(CHAT, b"", slow="wait")  # E: arg-type
    server.get_clients_by_tag(7)  # E: arg-type
    MemoryNetwork().result(client.connect()).contents  # E: attr-defined
