"""netconduit's own API, name for name as in its release 5.0.0, on this package and asyncio.

``from conduit import ...`` becomes ``from veltix_tx.dropin.conduit import ...``, and the program runs. Peers may be of any release
from 2.0.0 on. What is different on purpose is in the documentation, "Coming from netconduit".

Raises:
    ImportError: pydantic is not installed.
"""

try:
    import pydantic  # noqa: F401
except ImportError:
    raise ImportError("veltix_tx.dropin.conduit needs pydantic: pip install 'veltix-tx[conduit]'") from None

from veltix_tx._version import __version__
from veltix_tx.dropin.conduit.client import Client
from veltix_tx.dropin.conduit.connection import Connection, ConnectionPool
from veltix_tx.dropin.conduit.data import (
    AuthFailure,
    AuthRequest,
    AuthSuccess,
    ClientDescriptor,
    ConnectionHealth,
    ConnectionInfo,
    MessageData,
    RPCError,
    RPCListResponse,
    RPCMethodInfo,
    RPCRequest,
    RPCResponse,
    ServerDescriptor,
)
from veltix_tx.dropin.conduit.exceptions import (
    AlreadyConnectedError,
    AuthenticationError,
    BackpressureError,
    ClientError,
    ConduitError,
    ConnectionError,  # noqa: A004 (netconduit's name)
    NotConnectedError,
    ProtocolError,
    QueueFullError,
    ServerError,
    TimeoutError,  # noqa: A004 (netconduit's name)
    ValidationError,
)
from veltix_tx.dropin.conduit.exceptions import RPCError as RPCException
from veltix_tx.dropin.conduit.left_out import refuse as __getattr__  # noqa: F401
from veltix_tx.dropin.conduit.logs import begin_logging
from veltix_tx.dropin.conduit.messages import Message
from veltix_tx.dropin.conduit.protocol import (
    HEADER_SIZE,
    MAGIC,
    PROTOCOL_VERSION,
    MessageFlags,
    MessageHeader,
    MessageType,
    ProtocolDecoder,
    ProtocolEncoder,
)
from veltix_tx.dropin.conduit.response import Error, Response
from veltix_tx.dropin.conduit.rpc import RPC, data
from veltix_tx.dropin.conduit.server import Server
from veltix_tx.dropin.conduit.transport import ConnectionState

begin_logging()

__protocol_version__ = "1.0"

__all__ = [
    "HEADER_SIZE",
    "MAGIC",
    "PROTOCOL_VERSION",
    "RPC",
    "AlreadyConnectedError",
    "AuthFailure",
    "AuthRequest",
    "AuthSuccess",
    "AuthenticationError",
    "BackpressureError",
    "Client",
    "ClientDescriptor",
    "ClientError",
    "ConduitError",
    "Connection",
    "ConnectionError",
    "ConnectionHealth",
    "ConnectionInfo",
    "ConnectionPool",
    "ConnectionState",
    "Error",
    "Message",
    "MessageData",
    "MessageFlags",
    "MessageHeader",
    "MessageType",
    "NotConnectedError",
    "ProtocolDecoder",
    "ProtocolEncoder",
    "ProtocolError",
    "QueueFullError",
    "RPCError",
    "RPCException",
    "RPCListResponse",
    "RPCMethodInfo",
    "RPCRequest",
    "RPCResponse",
    "Response",
    "Server",
    "ServerDescriptor",
    "ServerError",
    "TimeoutError",
    "ValidationError",
    "__protocol_version__",
    "__version__",
    "data",
]
