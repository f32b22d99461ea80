"""A server that knows its clients by tokens: who may read, who may write, and for how long.

    python 13_tokens.py serve [PORT]

PORT is 8080 by default; 0 lets the system choose. It prints a token for a reader and one for a writer, which are good for a
minute. Present one of them; a writer's client presents it anew before its minute is over::

    python 13_tokens.py read TOKEN [PORT]
    python 13_tokens.py write TOKEN TEXT [PORT]
"""

import secrets
import sys
import time

from twisted.internet import task

from veltix_tx import AuthenticationFailed, Client, Identity, MessageType, RemoteError, Server, Token

READ = MessageType(200, "read")
WRITE = MessageType(201, "write")

MINUTE = 60


def serve(port=8080):
    """Serve a note that readers read and writers write."""
    names = {secrets.token_urlsafe(32): name for name in ("reader", "writer")}
    note = [b"nothing yet"]

    def authenticate(credentials):
        # A look-up in a dict tells nothing of how much of a token was right: it compares hashes that are keyed.
        name = names.get(credentials.token)
        return Identity(name, expires_at=time.time() + MINUTE) if name else None

    server = Server(host="127.0.0.1", port=int(port), authenticate=authenticate)

    @server.route(READ)
    def on_read(client, message):
        return note[0]

    @server.route(WRITE, allow=lambda client: client.identity.name == "writer")
    def on_write(client, message):
        note[0] = message.content
        return b"written by " + client.identity.name.encode()

    for token, name in names.items():
        print(f"{name}: {token}", flush=True)
    server.run()


async def ask(reactor, token, port, message_type, content=b""):
    """Present a token, ask once, and tell the answer."""
    client = Client("127.0.0.1", int(port), credentials=Token(token))
    try:
        await client.connect()
        await client.reauthenticate()
        reply = await client.send_and_wait(message_type, content)
        print(reply.content.decode())
    except AuthenticationFailed as error:
        print(error)
    except RemoteError as error:
        print(f"{error.code}: {error.message}")
    finally:
        await client.disconnect()


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
elif sys.argv[1] == "read":
    token, port = [*sys.argv[2:], "8080"][:2]
    task.react(ask, [token, port, READ])
else:
    token, text, port = [*sys.argv[2:], "8080"][:3]
    task.react(ask, [token, port, WRITE, text.encode()])
