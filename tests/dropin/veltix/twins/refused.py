"""A client that nobody answers."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import time

from veltix import Client, ClientConfig, Events, Logger

Logger.get_instance().disable()


DELAY = 0.5


def try_it(**config):
    """Connect; print each state and the outcome, with the whole delays passed until then."""
    client = Client(ClientConfig(port=8080, retry_delay=DELAY, **config))
    client.set_callback(Events.ON_CONNECT, lambda: print("on_connect"))
    client.set_callback(Events.ON_DISCONNECT, lambda state: print(f"  {delays()} {state}"))
    begun = time.monotonic()

    def delays():
        return int((time.monotonic() - begun) / DELAY + 0.02)

    print(f"{config} {client.connect()} at {delays()}, is_connected {client.is_connected}")


Client(ClientConfig(port=8080)).connect()  # the drop-in's reactor is started now
try_it()
try_it(retry=2)
client = Client(ClientConfig(port=8080, retry=5, retry_delay=0.2))


def stop_at_two(state):
    """Stop the attempts."""
    print(state)
    if state.attempt == 2 and not state.permanent:
        client.stop_retry()


client.set_callback(Events.ON_DISCONNECT, stop_at_two)
print(client.connect())
