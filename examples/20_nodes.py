"""A chat over several processes that meet on Redis: rooms, members and history are the same on each of them.

Serve, twice or more, each in a terminal of its own, then join in further ones; ``who`` lists the members, and every line
that is typed goes to all of them. Kill a server with kill -9: its people are with another one before long, and miss nothing::

    python 20_nodes.py serve PORT [REDIS]
    python 20_nodes.py join NAME PORT [PORT ...]

REDIS is redis://127.0.0.1:6379 by default. The ports to join by are those of the servers, each of which will do.
"""

import sys
from itertools import cycle

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

from veltix_tx import Client, History, MessageType, RetryPolicy, Server

NAME = MessageType(200, "name")
SAY = MessageType(201, "say")
WHO = MessageType(202, "who")


def serve(port, redis="redis://127.0.0.1:6379"):
    server = Server(host="127.0.0.1", port=int(port), backplane=redis)
    lobby = server.room("lobby", history=History(size=100, ttl=600))
    names = {}

    @server.route(NAME)
    def on_name(client, message):
        names[client] = message.content.decode("utf-8", "replace")[:20]
        lobby.join(client, state=names[client])

    @server.route(SAY)
    def on_say(client, message):
        if client in names:
            lobby.broadcast(SAY, names[client].encode() + b": " + message.content)

    @server.route(WHO)
    async def on_who(client, message):
        members = await lobby.members()
        return ", ".join(sorted(str(member.state) for member in members)).encode()

    @server.set_callback("on_disconnect")
    def on_disconnect(client):
        names.pop(client, None)

    @server.on_backplane_state
    def on_state(state):
        print(f"the backplane is {state.value}", flush=True)

    print("serving", flush=True)
    server.run()


@implementer(IStreamClientEndpoint)
class AnyOf:
    """An endpoint that tries another one each time; a load balancer in front of the servers does as well."""

    def __init__(self, endpoints):
        self._endpoints = cycle(endpoints)

    def connect(self, factory):
        """Connect to the next one."""
        return next(self._endpoints).connect(factory)


class Keyboard(LineOnlyReceiver):
    """Sends each line typed, but for ``who``."""

    delimiter = b"\n"

    def __init__(self, client, left):
        self.client = client
        self.left = left

    def lineReceived(self, line):  # noqa: N802
        """One line, without its end."""
        if line == b"who":
            self.client.send_and_wait(WHO).addCallbacks(lambda reply: show(f"here: {reply.content.decode()}"), show_failure)
        elif self.client.session is not None:
            self.client.send(SAY, line)
        else:
            show("* not connected, and so not sent")

    def connectionLost(self, reason):
        """The end of the input."""
        self.left.callback(None)


def show(text):
    print(text, flush=True)


def show_failure(failure):
    show(f"* {failure.value}")


async def join(reactor, name, *ports):
    client = Client(
        endpoint=AnyOf([TCP4ClientEndpoint(reactor, "127.0.0.1", int(port)) for port in ports]),
        reactor=reactor,
        retry=RetryPolicy(),
    )
    left = Deferred()

    @client.set_callback("on_connect")
    def on_connect():
        client.send(NAME, name.encode())
        show("* connected")

    @client.set_callback("on_disconnect")
    def on_disconnect(state):
        show("* not connected")

    @client.route(SAY)
    def on_say(message):
        show(message.content.decode())

    @client.on_gap
    def on_gap(gap):
        show(f"* something is missing: {gap.reason}")

    await client.connect()
    StandardIO(Keyboard(client, left))
    await left
    await client.disconnect()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:] or [""]
    if command == "serve":
        serve(*arguments)
    elif command == "join":
        task.react(join, arguments)
    else:
        raise SystemExit(__doc__)
