"""A plugin: presence, for servers that know nothing of it. Both halves of it are here, the server's and the client's.

    python 10_plugin.py serve [PORT]
    python 10_plugin.py join NAME [PORT]

PORT is 8080 by default; 0 lets the system choose (for ``serve``). ``join`` tells its name, shows who
is there, and then everyone who comes and goes, until the end of the input (Ctrl-D).

Neither half says a code: the codes follow from the names, so they are the same at both ends. How
``twistd veltix --plugin`` finds and serves such a plugin is in docs/howto/plugins.md.
"""

import sys

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from veltix_tx import Client, Events, Server
from veltix_tx.app.plugins import Plugin

TYPES = {"name": None, "who": None, "change": None}  # None: an automatic code


class Presence(Plugin):
    """The server's half. It asks to see who goes; who comes says so, with a name."""

    name = "presence"
    description = "Tells everyone who comes and goes, and answers who is there."
    types = TYPES
    events = ("on_disconnect",)

    def __init__(self):
        self.names = {}

    def registered(self, types, granted):
        """Keep the message types; do not work without what keeps the names few."""
        super().registered(types, granted)
        if Events.ON_DISCONNECT not in granted:
            raise ValueError("presence must see on_disconnect, to forget who is gone")

    def received(self, session, message):
        """Take a name, or answer who is there."""
        if message.type == self.message_types["who"]:
            return ", ".join(sorted(self.names.values())).encode()
        if message.type == self.message_types["name"] and session not in self.names:
            name = self.names[session] = message.content[:100].decode("utf-8", "replace")
            self.tell_others(session, f"{name} comes")
            return b"welcome"
        return None

    def disconnected(self, session, reason):
        """Forget the name."""
        if session in self.names:
            self.tell_others(session, f"{self.names.pop(session)} goes")

    def tell_others(self, session, words):
        """Send a change to everyone but the one it is about."""
        for other in self.names:
            if other is not session and other.closed is None:
                other.send(self.message_types["change"], words.encode())


class Visitor(Plugin):
    """The client's half: shows the changes."""

    name = "presence"
    description = "Shows who comes and goes."
    types = TYPES

    def received(self, session, message):
        """Show one."""
        print(f"* {message.content.decode()}", flush=True)


async def serve(reactor, port="8080"):
    server = Server(host="127.0.0.1", port=int(port), reactor=reactor)
    server.register_plugin(Presence())
    server.startService()
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    await Deferred()  # until interrupted


class Keyboard(LineOnlyReceiver):
    """Waits for the end of the input."""

    delimiter = b"\n"

    def __init__(self, left):
        self.left = left

    def lineReceived(self, line):  # noqa: N802
        """Nothing to say here."""

    def connectionLost(self, reason):
        """The end of the input."""
        self.left.callback(None)


async def join(reactor, name, port="8080"):
    client = Client("127.0.0.1", int(port), reactor=reactor)
    types = client.register_plugin(Visitor())
    await client.connect()
    await client.send_and_wait(types["name"], name.encode())
    reply = await client.send_and_wait(types["who"])
    print(f"there: {reply.content.decode()}", flush=True)
    left = Deferred()
    StandardIO(Keyboard(left))
    await left
    await client.disconnect()


async def main(reactor, command="", *arguments):
    commands = {"serve": serve, "join": join}
    if command not in commands:
        raise SystemExit(__doc__)
    await commands[command](reactor, *arguments)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
