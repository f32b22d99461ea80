"""A chat with rooms: who is in them, who comes and goes, and what was said while you were away.

    python 19_rooms.py serve [PORT]
    python 19_rooms.py join NAME ROOM [PORT]

PORT is 8080 by default; 0 lets the system choose (for ``serve``). Each line typed goes to everybody else in the room.
``/who`` lists who is there, ``/away`` ends the connection for a moment: what was said meanwhile comes afterwards. The
end of the input (Ctrl-D) leaves.
"""

import sys

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from veltix_tx import Client, History, MessageType, PresenceChange, Server

ENTER = MessageType(200, "enter", content=dict, reply=str)
SAY = MessageType(201, "say", content=str)
CHANGE = MessageType(202, "change", content=PresenceChange)
WHO = MessageType(203, "who", content=list)


async def serve(reactor, port="8080"):
    server = Server(host="127.0.0.1", port=int(port), reactor=reactor)

    @server.route(ENTER)
    async def on_enter(client, message):
        room = server.room(message.value["room"], history=History(size=50), presence=CHANGE)
        client.add_tag("name", message.value["name"])
        await room.join(client, message.value["name"])
        return f"welcome to {room.name}"

    @server.route(SAY)
    def on_say(client, message):
        for room in server.rooms_of(client):
            room.broadcast(SAY, f"{client.get_tag('name')}: {message.value}", exclude=[client])

    @server.route(WHO)
    async def on_who(client, message):
        return [member.state for room in server.rooms_of(client) for member in await room.members()]

    server.startService()
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    await Deferred()  # until interrupted


class Keyboard(LineOnlyReceiver):
    """Hands on each line typed."""

    delimiter = b"\n"

    def __init__(self, typed, left):
        self.typed = typed
        self.left = left

    def lineReceived(self, line):  # noqa: N802
        """One line, without its end."""
        Deferred.fromCoroutine(self.typed(line.decode()))

    def connectionLost(self, reason):
        """The end of the input."""
        self.left.callback(None)


async def join(reactor, name, room, port="8080"):
    client = Client("127.0.0.1", int(port), reactor=reactor)

    @client.route(SAY)
    def on_say(message):
        print(message.value, flush=True)

    @client.route(CHANGE)
    def on_change(message):
        for member in message.value.joined:
            print(f"* {member.state} comes", flush=True)
        for member in message.value.left:
            print(f"* {member.state} goes", flush=True)

    @client.on_gap
    def on_gap(gap):
        print(f"* something is missing: {gap.reason}", flush=True)

    async def enter():
        await client.connect()
        reply = await client.send_and_wait(ENTER, {"name": name, "room": room})
        print(reply.value, flush=True)

    async def typed(line):
        if line == "/who":
            print("here:", *sorted((await client.send_and_wait(WHO, [])).value), flush=True)
        elif line == "/away":
            await client.disconnect()
            print("* you are away", flush=True)
            await task.deferLater(reactor, 1)
            await enter()
        else:
            client.send(SAY, line)

    await enter()
    left = Deferred()
    StandardIO(Keyboard(typed, left))
    await left
    await client.disconnect()


async def main(reactor, command="", *arguments):
    commands = {"serve": serve, "join": join}
    if command not in commands:
        raise SystemExit(__doc__)
    await commands[command](reactor, *arguments)


task.react(main, sys.argv[1:])
