"""A real ``veltix`` release as a client or a server, driven by lines of JSON. Run, never imported.

``PYTHONPATH=<the release> python peer.py client`` (or ``server``). A line ``[number, method, *arguments]``
on stdin calls a method of the class below in a thread of its own; ``[number, null, result]`` or
``[number, name of the exception, its text]`` comes back on stdout. ``["ready" | "connected" |
"received" | "disconnected", ...]`` tells what happened by itself. Content travels as hex.

Ends with stdin. It imports the release and the standard library, nothing of veltix_tx.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
from typing import Any

ECHO, NOTE = 200, 201

# Some releases log to stdout, from threads of their own: keep stdout for this file's lines alone.
_LINES = os.dup(1)
os.dup2(2, 1)
_LINES_LOCK = threading.Lock()


def tell(*what: object) -> None:
    """Write one line, whole."""
    line = json.dumps(what).encode() + b"\n"
    with _LINES_LOCK:
        while line:
            line = line[os.write(_LINES, line) :]


class Both:
    """What a client and a server do alike. Releases up to 1.9.0 and from 2.0.0 spell it differently."""

    def __init__(self) -> None:
        import veltix

        self.veltix = veltix
        self.types = {code: veltix.MessageType(code=code, name=f"type {code}") for code in (ECHO, NOTE)}
        self.end: Any = None

    def listen_to(self, end: Any, **callbacks: Any) -> None:
        """Set the callbacks of a client or server."""
        self.end = end
        for name, callback in callbacks.items():
            if hasattr(end, "set_callback"):
                end.set_callback(self.veltix.Events(name), callback)
            else:
                getattr(end, name)(callback)

    def request(self, code: int, content: str) -> Any:
        """Make a message of hex."""
        return self.veltix.Request(self.types[code], bytes.fromhex(content))

    def took(self, response: Any) -> Any:
        """Tell about a message; return the answer it wants."""
        tell("received", response.type.code, response.content.hex())
        if response.type.code == ECHO:
            return self.veltix.Request(response.type, response.content, request_id=response.request_id)
        return None


class Client(Both):
    """A real client."""

    def connect(self, port: int) -> Any:
        """Connect; return what ``connect()`` returns."""
        client = self.veltix.Client(self.veltix.ClientConfig(server_addr="127.0.0.1", port=port))
        self.listen_to(client, on_connect=self.on_connect, on_disconnect=self.on_disconnect, on_recv=self.on_recv)
        return client.connect()

    def disconnect(self) -> Any:
        """Close the connection."""
        return self.end.disconnect()

    def on_connect(self) -> None:
        """Take note."""
        tell("connected")

    def on_disconnect(self, state: Any) -> None:
        """Take note."""
        tell("disconnected", state.reason.name)

    def on_recv(self, response: Any) -> None:
        """Answer ECHO, take note of all."""
        answer = self.took(response)
        if answer is not None:
            self._send(answer)

    def send(self, code: int, content: str) -> Any:
        """Send a message."""
        return self._send(self.request(code, content))

    def ask(self, code: int, content: str) -> str | None:
        """Send a request; return its reply's content."""
        reply = self.end.send_and_wait(self.request(code, content), timeout=5)
        return None if reply is None else reply.content.hex()

    def ping(self) -> Any:
        """Return the ping's milliseconds."""
        return self.end.ping_server(timeout=5)

    def _send(self, request: Any) -> Any:
        return self.end.send(request) if hasattr(self.end, "send") else self.end.get_sender().send(request)


class Server(Both):
    """A real server with one client."""

    def __init__(self) -> None:
        super().__init__()
        self.client: Any = None

    def listen(self) -> int:
        """Begin to listen; return the port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        server = self.veltix.Server(self.veltix.ServerConfig(host="127.0.0.1", port=port, max_connection=50))
        self.listen_to(server, on_connect=self.on_connect, on_disconnect=self.on_disconnect, on_recv=self.on_recv)
        server.start()
        return port

    def disconnect(self) -> None:
        """Close everything."""
        self.client = None  # 1.6.2 to 1.6.5 and 1.7 leave closing to the garbage collector
        self.end.close_all()
        gc.collect()

    def on_connect(self, client: Any) -> None:
        """Take note."""
        self.client = client
        tell("connected")

    def on_disconnect(self, client: Any) -> None:
        """Take note."""
        tell("disconnected")

    def on_recv(self, client: Any, response: Any) -> None:
        """Answer ECHO, take note of all."""
        answer = self.took(response)
        if answer is not None:
            self._send(answer, client)

    def send(self, code: int, content: str) -> Any:
        """Send a message to the client."""
        return self._send(self.request(code, content), self.client)

    def ask(self, code: int, content: str) -> str | None:
        """Send the client a request; return its reply's content."""
        reply = self.end.send_and_wait(self.request(code, content), self.client, timeout=5)
        return None if reply is None else reply.content.hex()

    def ping(self) -> Any:
        """Return the milliseconds of a ping to the client."""
        return self.end.ping_client(self.client, timeout=5)

    def _send(self, request: Any, client: Any) -> Any:
        if hasattr(self.end, "send"):
            return self.end.send(request, client)
        return self.end.get_sender().send(request, client=client.conn)


def main() -> None:
    """Do what stdin says until it ends."""
    peer: Any = {"client": Client, "server": Server}[sys.argv[1]]()
    tell("ready", peer.veltix.__version__)

    def call(number: int, method: str, *arguments: Any) -> None:
        try:
            tell(number, None, getattr(peer, method)(*arguments))
        except Exception as error:
            tell(number, type(error).__name__, str(error))

    for line in sys.stdin:
        threading.Thread(target=call, args=json.loads(line), daemon=True).start()
    os._exit(0)  # the release's own threads would go on


if __name__ == "__main__":
    main()
