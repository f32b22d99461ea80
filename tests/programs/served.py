"""What the servers of these tests serve: answers that are written down, at once or after a while."""

from __future__ import annotations

import os

from twisted.internet.task import deferLater
from twisted.logger import Logger

from veltix_tx import MessageRegistry, MessageType, Server, Timeouts

TYPES = MessageRegistry()
ASK = MessageType(200, "ask", registry=TYPES)
SLEEP = MessageType(201, "sleep", registry=TYPES)

_log = Logger()
_usual = Timeouts()
server = Server(
    types=TYPES,
    timeouts=Timeouts(
        ping_interval=float(os.environ.get("SILENCE", _usual.ping_interval)),
        ping_timeout=float(os.environ.get("PONG", _usual.ping_timeout)),
    ),
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _write(step: str, content: bytes) -> None:
    os.write(_ledger, b"%s %s\n" % (step.encode(), content.split(b" ", 1)[0]))


@server.set_callback("on_disconnect")
def on_disconnect(client):
    """Tell of the end."""
    _log.info("gone: {reason}", reason=client.closed.reason.name)


@server.route(ASK)
def ask(client, message):
    """Answer with the same content."""
    _write("began", message.content)
    return message.content


@server.route(SLEEP, concurrent=True)
async def sleep(client, message):
    """Answer with the same content after from 0 to 2 seconds, as the number in it says."""
    from twisted.internet import reactor

    _write("began", message.content)
    await deferLater(reactor, int(message.content.split(b" ", 1)[0]) % 100 / 50, lambda: None)
    _write("answered", message.content)
    return message.content
