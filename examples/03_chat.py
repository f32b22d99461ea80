"""A chat room in a terminal: one server, any number of people.

    python 03_chat.py serve [PORT]
    python 03_chat.py join NAME [PORT]

PORT is 8080 by default; 0 lets the system choose (for ``serve``). Each line typed goes to everybody
else. The end of the input (Ctrl-D) leaves the room.
"""

import sys

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from veltix_tx import Client, MessageType, Server

SAY = MessageType(200, "say")
NAME = MessageType(201, "name")


async def serve(reactor, port="8080"):
    server = Server(host="127.0.0.1", port=int(port), reactor=reactor)
    names = {}

    def tell_others(client, words):
        server.broadcast(SAY, words.encode(), exclude=[client])

    @server.route(NAME)
    def on_name(client, message):
        names[client] = message.content.decode("utf-8", "replace")
        tell_others(client, f"* {names[client]} joins")
        return b"welcome"

    @server.route(SAY)
    def on_say(client, message):
        if client in names:
            tell_others(client, f"{names[client]}: {message.content.decode('utf-8', 'replace')}")

    @server.set_callback("on_disconnect")
    def on_disconnect(client):
        if client in names:
            tell_others(client, f"* {names.pop(client)} leaves")

    server.startService()
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    await Deferred()  # until interrupted


class Keyboard(LineOnlyReceiver):
    """Sends each line typed."""

    delimiter = b"\n"

    def __init__(self, client, left):
        self.client = client
        self.left = left

    def lineReceived(self, line):  # noqa: N802
        """One line, without its end."""
        self.client.send(SAY, line)

    def connectionLost(self, reason):
        """The end of the input."""
        self.left.callback(None)


async def join(reactor, name, port="8080"):
    client = Client("127.0.0.1", int(port), reactor=reactor)

    @client.route(SAY)
    def on_say(message):
        print(message.content.decode(), flush=True)

    await client.connect()
    await client.send_and_wait(NAME, name.encode())
    print("you are in", flush=True)
    left = Deferred()
    StandardIO(Keyboard(client, left))
    await left
    await client.disconnect()


async def main(reactor, command="", *arguments):
    commands = {"serve": serve, "join": join}
    if command not in commands:
        raise SystemExit(__doc__)
    await commands[command](reactor, *arguments)


task.react(main, sys.argv[1:])
