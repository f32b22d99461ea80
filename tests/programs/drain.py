"""SIGTERM under load: every accepted request is answered, every other one fails with its type, and no reply is destroyed.

    python tests/programs/drain.py [--clients 8] [--window 256] [--sleepers 500] [--size 4096]
                                        [--silent 2]

A server process gets requests from clients that keep a window of them in flight, and handlers that sleep up to two
seconds. It is told to end in the middle of this. Accepted is what a handler began. The clients go on sending until they
are told of the end, so that there is always something unread when the server closes.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from processes import ASK, SLEEP, TYPES, Ledger, ServerProcess, finish, served, sleep
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.task import react

from veltix_tx import Client, DisconnectReason

DRAIN = 10.0
"""The server's ``timeouts.drain``."""


async def refuses(reactor: Any, port: int) -> bool:
    """Whether nothing listens there."""
    try:
        connection: Any = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Protocol())
    except ConnectError:
        return True
    connection.transport.abortConnection()
    return False


async def drain(
    reactor: Any, clients: int, window: int, sleepers: int, size: int, silent: int, folder: Path
) -> tuple[dict[str, object], list[str]]:
    """Run it; return what was seen and what was wrong."""
    book = folder / "ledger"
    process = ServerProcess(reactor, "--port", "0", "--app", "served:server", ledger=book)
    port = await process.listening
    ledger = Ledger()
    peers = [Client("127.0.0.1", port, types=TYPES) for _ in range(clients)]
    deaf = [Client("127.0.0.1", port, types=TYPES) for _ in range(silent)]
    reasons: Counter[DisconnectReason] = Counter()
    for peer in peers:
        peer.set_callback("on_disconnect", lambda state: reasons.update([state.reason]))
    for peer in [*peers, *deaf]:
        await peer.connect()
    for peer in deaf:
        peer.session._transport.transport.pauseProducing()
    waiting: list[Deferred[None]] = []

    def send(peer: Client) -> None:
        """Send the next request of a peer, and one more whenever one is answered, until its connection ends."""
        if peer.is_connected:
            asked = ledger.ask(lambda content: peer.send_and_wait(ASK, content, timeout=60), size)
            waiting.append(asked.addCallback(lambda _: send(peer)))

    def push(peer: Client) -> None:
        """Send requests without waiting for anything, until the connection ends."""
        if peer.is_connected:
            if not peer.session.write_buffer_size:
                waiting.extend(ledger.ask(lambda content: peer.send_and_wait(ASK, content, timeout=60), size) for _ in range(8))
            reactor.callLater(0.002, push, peer)

    for peer in islice(cycle(peers), sleepers):
        waiting.append(ledger.ask(partial(peer.send_and_wait, SLEEP, timeout=60), 65536))  # noqa: PERF401
    while len(served(book)["began"]) < sleepers:
        await sleep(reactor, 0.01)
    for peer in peers:
        for _ in range(window):
            send(peer)
    for peer in peers:
        push(peer)
    replied = len(ledger.replied)
    while len(ledger.replied) < replied + clients * window:
        await sleep(reactor, 0.01)
    process.signal(signal.SIGTERM)
    told = time.monotonic()
    open_handlers = sleepers - sum(served(book)["answered"].values())
    refused = False
    while not refused and time.monotonic() < told + 1:
        refused = await refuses(reactor, port)
    refused_after = time.monotonic() - told
    alive = not process.exited.called
    status = await process.exited
    took = time.monotonic() - told
    done = -1
    while done != len(waiting):
        done = len(waiting)
        await gatherResults(waiting)
    for peer in deaf:
        peer.session._transport.transport.abortConnection()
    for peer in [*peers, *deaf]:
        await peer.disconnect()
    ledger.check()
    began = served(book)["began"]
    lost = set(began) - ledger.replied
    faults = ledger.faults
    faults += [f"accepted request {number} was not answered" for number in sorted(lost)]
    faults += [f"request {number} was handled {count} times" for number, count in began.items() if count != 1]
    if status not in (0, -signal.SIGTERM) or b"Server Shut Down." not in process.log or b"Traceback" in process.log:
        faults.append(f"exit status {status}: {process.log.decode(errors='replace')}")
    if took > DRAIN + 3:
        faults.append(f"it took {took:.1f} s to end")
    if not refused:
        faults.append("a new connection was taken")
    if set(reasons) != {DisconnectReason.PEER_CLOSED}:
        faults.append(f"not all connections ended with FIN: {dict(reasons)}")
    if not ledger.failures or not alive or not open_handlers:
        faults.append("nothing was left to do at SIGTERM: the load was too small to show anything")
    table: dict[str, object] = {
        "requests": ledger.begun,
        "handlers asleep at SIGTERM": open_handlers,
        "accepted (a handler began)": len(began),
        "answered": len(ledger.replied),
        "accepted and not answered": len(lost),
        "not accepted, failed": ", ".join(f"{name} {count}" for name, count in ledger.failures.items()),
        "connections ended": ", ".join(f"{reason.name} {count}" for reason, count in reasons.items()),
        "new connections": f"refused after {refused_after * 1000:.0f} ms" if refused else "TAKEN",
        "exit status": f"{status}: twistd ends by the signal it was sent" if status < 0 else status,
        "seconds from SIGTERM to the end": round(took, 2),
    }
    return table, faults


async def main(reactor: Any, *arguments: str) -> None:
    """Read the arguments, run, print."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--window", type=int, default=256, help="requests in flight of each")
    parser.add_argument("--sleepers", type=int, default=500, help="requests whose handlers take up to 2 s")
    parser.add_argument("--size", type=int, default=4096, help="bytes of a request's content")
    parser.add_argument("--silent", type=int, default=2, help="clients that neither read nor close")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        seen = await drain(reactor, folder=Path(folder), **vars(options))
    finish("SIGTERM under load", *seen)


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
