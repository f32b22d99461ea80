"""An alarm receiver in flexi-socket's words: who sends what is known by the first line.

    python 18_flexi_socket.py [PORT]
    veltix send 127.0.0.1:PORT --wire lines '!!kitchen' --wait
    veltix send 127.0.0.1:PORT --wire lines '##battery low' --wait

Alarm panels begin with ``!!``, sensors with ``##``. Everybody who is connected hears of an alarm::

    veltix listen 127.0.0.1:PORT --wire lines

PORT is 8080 by default.
"""

import sys

from veltix_tx.dropin.flexi_socket import ClientClassifier, Connection, FlexiSocket, Mode, Protocol, SeparatorStrategy


class ClientTypes(ClientClassifier):
    """Types of peers."""

    client_types = ("panel", "sensor")

    def classify(self, first_message: str) -> str:
        """Tell panels and sensors by how they begin."""
        return {"!!": "panel", "##": "sensor"}.get(first_message[:2], ClientClassifier.DEFAULT)


socket = FlexiSocket(
    mode=Mode.SERVER,
    protocol=Protocol.TCP,
    host="127.0.0.1",
    port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080,
    message_strategy=SeparatorStrategy(),
    classifier=ClientTypes(),
)


@socket.on_connect()
async def on_connect(connection: Connection):
    print(f"connected: {connection}", flush=True)


@socket.on_disconnect()
async def on_disconnect(connection: Connection):
    print(f"disconnected: {connection}", flush=True)


@socket.after_receive("panel", "sensor")
async def after_receive(connection: Connection, message: str) -> str:
    return message.strip().lstrip("!#")


@socket.on_message("panel")
async def on_alarm(connection: Connection, message: str):
    await connection.send("ACK")
    await socket.send(f"ALARM {message}")  # to all


@socket.on_message("sensor")
async def on_reading(connection: Connection, message: str):
    await connection.send(f"NOTED {message}")


@socket.on_message()
async def on_message(connection: Connection, message: str):
    await connection.send("WHO ARE YOU?")
    await connection.close()


socket.start()
