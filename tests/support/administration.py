"""A server in memory with an administration that is asked over HTTP."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from veltix_tx import MessageRegistry, MessageType, Server, ServerConfig, TokenFile
from veltix_tx.ops.admin_listener import AdminListener, admin_place
from veltix_tx.ops.administration import Administration
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.testing import MemoryNetwork

__all__ = ["BAD", "JSON", "NEWS", "TYPES", "Answer", "World"]

TYPES = MessageRegistry()
NEWS = MessageType(200, "news", registry=TYPES)
BAD = MessageType(201, "bad", registry=TYPES)
JSON = {"Content-Type": "application/json"}


class Answer:
    """An answer of HTTP's: its status, its headers and its body."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Transport(StringTransport):
    """A transport that may be closed twice, as those of sockets may."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """Forget the producer."""
        self.producer = None


class World:
    """A server with clients and an administration, in memory."""

    def __init__(self, network: MemoryNetwork, tokens: TokenFile | None = None) -> None:
        self.network = network
        self.server = Server(types=TYPES)
        self.server.route(NEWS)(lambda client, message: None)
        self.server.rpc("add")(lambda: 3)
        self.administration = Administration(self.server, tokens=tokens, levels=LogLevels("info", {}))
        network.serve(self.server)
        place = admin_place("tcp:0", ServerConfig(), self.server._clocks, has_tokens=False, plaintext=False)
        self.listener = AdminListener(place, self.administration.resource, self.server._clocks)
        self.listener._factory.doStart()
        self.administration.startService()

    def stop(self) -> None:
        """Stop the administration."""
        self.administration.stopService()
        self.listener._factory.doStop()

    def dial(self, ip: str = "127.0.0.1") -> tuple[Any, StringTransport]:
        """Connect to the administration."""
        address = IPv4Address("TCP", ip, 40_000)
        protocol: Any = self.listener._factory.buildProtocol(address)
        transport = Transport(peerAddress=address)
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, method: str, path: str, body: object = None, ip: str = "127.0.0.1", **headers: str) -> Answer:
        """Ask something, and return the answer once it is there."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Host": "127.0.0.1:9100", "Content-Length": str(len(content))} | (JSON if body is not None else {})
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        protocol, transport = self.dial(ip)
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        protocol.dataReceived(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content)
        self.network.pump()
        for _ in range(20):
            if transport.value():
                break
            self.network.advance(0)
        return Answer(transport.value())

    def get(self, path: str) -> Any:
        """Return what a path of the API shows."""
        return self.ask("GET", f"/api/v1/{path}").json
