"""A shop whose messages are values: dataclasses both ways, validated, and errors of its own.

    python 11_typed.py serve [PORT]
    python 11_typed.py order ARTICLE COUNT [PORT]

PORT is 8080 by default; 0 lets the system choose (for ``serve``). COUNT goes out as it is typed, so that
``order pen many`` shows what the server says of a content that does not fit.
"""

import sys
from dataclasses import dataclass

from twisted.internet import task
from twisted.internet.defer import Deferred

from veltix_tx import Client, MessageType, RemoteError, RpcError, Server
from veltix_tx.encodings import encode_json


@dataclass
class Order:
    """What a customer wants."""

    article: str
    count: int = 1


@dataclass
class Receipt:
    """What is owed for it."""

    number: int
    price: float


ORDER = MessageType(201, "order", content=Order, reply=Receipt)


class Shop:
    """Sells from a stock."""

    def __init__(self):
        self.stock = {"pen": 10, "ink": 2}
        self.prices = {"pen": 1.5, "ink": 4.0}
        self.sold = 0

    def on_order(self, client, message):
        """Take an order, which is one: nothing else comes here."""
        order = message.value
        left = self.stock.get(order.article, 0)
        if order.count > left:
            raise RpcError("sold_out", f"too few of {order.article}", {"left": left})
        self.stock[order.article] -= order.count
        self.sold += 1
        return Receipt(self.sold, self.prices[order.article] * order.count)


async def serve(reactor, port="8080"):
    server = Server(host="127.0.0.1", port=int(port), reactor=reactor)
    server.register_route(ORDER, Shop().on_order)
    server.startService()
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    await Deferred()  # until interrupted


async def order(reactor, article, count, port="8080"):
    client = Client("127.0.0.1", int(port), reactor=reactor)
    await client.connect()
    typed = Order(article, int(count)) if count.isdigit() else encode_json({"article": article, "count": count})
    try:
        receipt = (await client.send_and_wait(ORDER, typed)).value
        print(f"receipt {receipt.number}: {receipt.price:.2f}")
    except RemoteError as error:
        print(f"{error.code}: {error.message} {error.details or ''}")
    await client.disconnect()


async def main(reactor, command="", *arguments):
    commands = {"serve": serve, "order": order}
    if command not in commands:
        raise SystemExit(__doc__)
    await commands[command](reactor, *arguments)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
