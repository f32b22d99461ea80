"""A client that tells all that happens to it."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

from veltix import Client, ClientConfig, DisconnectState, Events, MessageType, Request, Response

TYPES = {code: MessageType(code, f"type {code}") for code in (200, 201, 202)}
client = Client(ClientConfig(port=8080))


def send(code: int, content: bytes) -> bool:
    """Send a message."""
    return client.get_sender().send(Request(TYPES[code], content))


def received(response: Response) -> None:
    """Print a message."""
    print(f"received {response.type.code} {response.content.decode()}")


def disconnected(state: DisconnectState) -> None:
    """Print the end."""
    print(f"disconnected {state.reason.name}")


client.set_callback(Events.ON_RECV, received)
client.set_callback(Events.ON_DISCONNECT, disconnected)
print(f"connected {client.connect()}")
