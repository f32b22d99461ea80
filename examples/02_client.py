"""A client: connect, ask, measure, leave.

    python 02_client.py [PORT]

The server, 01_server.py for example, listens on PORT of this machine, 8080 by default.
"""

import sys

from twisted.internet import task

from veltix_tx import Client, MessageType, RequestTimeout

CHAT = MessageType(200, "chat")


async def main(reactor, port="8080"):
    client = Client("127.0.0.1", int(port), reactor=reactor)
    session = await client.connect()  # the handshake is complete now
    print(f"connected to Veltix {session.peer.version}")
    try:
        reply = await client.send_and_wait(CHAT, b"hello", timeout=2)
        print(f"the server says: {reply.content.decode()}")
    except RequestTimeout as error:
        print(f"the server says nothing: {error}")
    print(f"round trip: {await client.ping_server():.3f} ms")
    await client.disconnect()


task.react(main, sys.argv[1:])
