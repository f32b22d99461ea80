"""Without the doors: factories on ``reactor.listenTCP`` and ``reactor.connectTCP``, one application for each.

    python 05_connect_tcp.py [PORT]

A server that greets each client and a client that asks one question, in one process; ends by itself.
PORT is 8080 by default; 0 lets the system choose.
"""

import sys

from twisted.internet import task
from twisted.internet.defer import Deferred
from zope.interface import implementer

from veltix_tx import IVeltixApplication, MessageType, VeltixClientFactory, VeltixServerFactory

GREETING = MessageType(200, "greeting")
QUESTION = MessageType(201, "question")


@implementer(IVeltixApplication)
class Greeter:
    """The server's side."""

    def __init__(self):
        self.left = Deferred()

    def connected(self, session):
        """The handshake is complete."""
        session.send(GREETING, b"hello, " + str(session.address.host).encode())

    def received(self, session, message):
        """A message came; what is returned answers it."""
        return message.content.upper() if message.type == QUESTION else None

    def disconnected(self, session, reason):
        """The session is gone."""
        print(f"server: {reason}")
        self.left.callback(None)


@implementer(IVeltixApplication)
class Asker:
    """The client's side."""

    def __init__(self):
        self.answer = Deferred()

    async def connected(self, session):
        """The handshake is complete."""
        # Later messages of this session wait until this is done; the reply to its own request does not.
        self.answer.callback(await session.send_and_wait(QUESTION, b"is anybody there?"))

    def received(self, session, message):
        """A message came; what is returned answers it."""
        print(f"client: {message.content.decode()}")

    def disconnected(self, session, reason):
        """The session is gone."""
        print(f"client: {reason}")


async def main(reactor, port="8080"):
    greeter = Greeter()
    listening = reactor.listenTCP(int(port), VeltixServerFactory(greeter, reactor=reactor), interface="127.0.0.1")
    print(f"listening on 127.0.0.1:{listening.getHost().port}")

    asker = Asker()
    factory = VeltixClientFactory(asker, reactor=reactor)
    reactor.connectTCP("127.0.0.1", listening.getHost().port, factory)
    await factory.when_ready()
    answer = await asker.answer
    print(f"client: the answer is {answer.content.decode()}")

    await factory.stop()  # closes politely and tries no more
    await greeter.left
    await listening.stopListening()


task.react(main, sys.argv[1:])
