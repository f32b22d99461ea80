"""flexi-socket's own API, name for name as in its release 0.0.10, on this package.

``from flexi_socket import ...`` becomes ``from veltix_tx.dropin.flexi_socket import ...``, and the program runs, in its own loop of
asyncio's. Peers may be anything that sends text or bytes. What is different on purpose is in the documentation, "Coming from
flexi-socket".
"""

from veltix_tx.dropin.flexi_socket.client_classifier import ClientClassifier
from veltix_tx.dropin.flexi_socket.connection import Connection
from veltix_tx.dropin.flexi_socket.constraints import Mode, Protocol
from veltix_tx.dropin.flexi_socket.flexi_socket import FlexiSocket, Listener, State
from veltix_tx.dropin.flexi_socket.message import Message
from veltix_tx.dropin.flexi_socket.message_packaging import (
    EOFStrategy,
    FixedLengthStrategy,
    MessageStrategy,
    RawStrategy,
    SeparatorStrategy,
)

__all__ = [
    "ClientClassifier",
    "Connection",
    "EOFStrategy",
    "FixedLengthStrategy",
    "FlexiSocket",
    "Listener",
    "Message",
    "MessageStrategy",
    "Mode",
    "Protocol",
    "RawStrategy",
    "SeparatorStrategy",
    "State",
]
