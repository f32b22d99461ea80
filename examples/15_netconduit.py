"""Temperatures over netconduit's wire: a server that its releases 2.0.0 to 5.0.0 can talk to, and a client of ours.

Serve, in one terminal, then measure in another; the password is in the environment, where others do not see it::

    VELTIX_PASSWORD=secret python 15_netconduit.py serve [PORT]
    VELTIX_PASSWORD=secret python 15_netconduit.py measure PLACE DEGREES [PORT]

A real netconduit client sends the same: ``await client.send("measured", {"place": "attic", "degrees": 21.5})``.
"""

import os
import sys
from dataclasses import dataclass

from twisted.internet import task
from twisted.internet.defer import Deferred

from veltix_tx import Client, MessageType, Netconduit, Server

MEASURED = MessageType(name="measured")
SUMMARY = MessageType(name="measured_response")  # the name of what a route for "measured" returns


@dataclass
class Summary:
    """The answer to a measurement, which is sent as a map."""

    count: int
    mean: float


def serve(wire, port):
    measured = {}
    server = Server(host="127.0.0.1", port=port, wire=wire)

    @server.route(MEASURED)
    def on_measured(client, message):
        place, degrees = message.value["place"], float(message.value["degrees"])  # what does not fit is the log's
        measured.setdefault(place, []).append(degrees)
        print(f"{client.peer.name}: {place} {degrees:.1f}", flush=True)
        return Summary(len(measured[place]), sum(measured[place]) / len(measured[place]))

    server.run()


async def measure(reactor, wire, port, place, degrees):
    client, answered = Client("127.0.0.1", port, wire=wire), Deferred()
    client.route(SUMMARY)(lambda message: answered.callback(message.value))
    await client.connect()
    client.send(MEASURED, {"place": place, "degrees": float(degrees)})
    summary = await answered
    print(f"{summary['count']} at {place}, {summary['mean']:.1f} on average")
    await client.disconnect()


if __name__ == "__main__":
    wire = Netconduit(password=os.environ["VELTIX_PASSWORD"], program="thermometer")
    command, *rest = sys.argv[1:]
    if command == "serve":
        serve(wire, int(rest[0]) if rest else 8090)
    else:
        port = int(rest[2]) if len(rest) > 2 else 8090
        task.react(lambda reactor: Deferred.fromCoroutine(measure(reactor, wire, port, *rest[:2])))
