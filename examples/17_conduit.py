"""A shop on netconduit's own API, on asyncio: typed methods, broadcasts, and its failures as RPCException.

It runs with ``from conduit import ...`` in place of the second import as far as netconduit itself goes. Serve, in one terminal,
then buy in others::

    CONDUIT_PASSWORD=secret python 17_conduit.py serve [PORT]
    CONDUIT_PASSWORD=secret python 17_conduit.py buy ARTICLE COUNT [PORT]
"""

import asyncio
import os
import sys

from pydantic import BaseModel, Field

from veltix_tx.dropin.conduit import Client, ClientDescriptor, Error, RPCException, Server, ServerDescriptor, data


class Order(BaseModel):
    """Arguments of ``buy``."""

    article: str
    count: int = Field(ge=1)


def make_server(password, port):
    stock = {"pen": 5, "ink": 1}
    server = Server(ServerDescriptor(host="127.0.0.1", port=port, password=password, name="shop"))

    @server.rpc
    async def buy(order: Order) -> dict:
        """Buy some of an article."""
        if stock.get(order.article, 0) < order.count:
            return Error()("sold out", code=4002, details={"left": stock.get(order.article, 0)})
        stock[order.article] -= order.count
        await server.broadcast("sold", {"article": order.article, "left": stock[order.article]})
        return {"article": order.article, "count": order.count}

    @server.on_startup
    async def starting(each):
        print("the shop is at {}:{}".format(*each.address), flush=True)

    return server


async def buy(password, article, count, port):
    client = Client(ClientDescriptor(server_host="127.0.0.1", server_port=port, password=password))

    @client.on("sold")
    async def sold(message):
        print(f"{message['left']} {message['article']} left")

    if not await client.connect():
        sys.exit("the shop is closed, or the password is another")
    try:
        bought = await client.rpc.call("buy", args=data(article=article, count=count))
        print(f"bought {bought['count']} {bought['article']}")
    except RPCException as error:
        print(error, error.details)
    await client.disconnect()


if __name__ == "__main__":
    password, (command, *rest) = os.environ["CONDUIT_PASSWORD"], sys.argv[1:]
    if command == "serve":
        asyncio.run(make_server(password, int(rest[0]) if rest else 8080).run())
    else:
        asyncio.run(buy(password, rest[0], rest[1], int(rest[2]) if len(rest) > 2 else 8080))
