"""A calculator that is called by name, typed by one class on both sides; the server calls the client back.

    python 12_rpc.py serve [PORT]
    python 12_rpc.py divide DIVIDEND DIVISOR [PORT]

PORT is 8080 by default; 0 lets the system choose (for ``serve``). The server asks the client before it divides by 2.
"""

import sys
from typing import Protocol

from twisted.internet import task

from veltix_tx import Client, RpcError, Server, Session


class Calculator(Protocol):
    """What both sides know of the methods."""

    async def divide(self, dividend: float, divisor: float) -> float:
        """Divide a number by another."""


def serve(port="8080"):
    server = Server("127.0.0.1", port=int(port))

    @server.rpc
    async def divide(dividend: float, divisor: float, *, session: Session) -> float:
        """Divide a number by another."""
        if divisor == 0:
            raise RpcError("by_zero", "nothing is divided by 0", {"dividend": dividend})
        if divisor == 2:
            print(f"{session.address.host} wants a half: {await session.call('why')}")
        return dividend / divisor

    server.run()


async def divide(reactor, dividend, divisor, port):
    client = Client("127.0.0.1", int(port), reactor=reactor)

    @client.rpc
    def why() -> str:
        return "to share it"

    await client.connect()
    calculator = client.service(Calculator, timeout=2)
    try:
        print(await calculator.divide(float(dividend), float(divisor)))
    except RpcError as error:
        print(error.code, error.details)
    await client.disconnect()


match sys.argv[1:]:
    case ["serve", *port]:
        serve(*port)
    case ["divide", dividend, divisor, *port]:
        task.react(divide, [dividend, divisor, *(port or ["8080"])])
    case _:
        sys.exit(__doc__)
