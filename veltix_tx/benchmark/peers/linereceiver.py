"""A server with Twisted's LineReceiver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.protocols.basic import LineReceiver

from veltix_tx.benchmark.peers import twisting
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.program import begin


class ServerEnd(LineReceiver):
    """A connection.

    Args:
        handle: called with each line; None to send it back.
    """

    delimiter = b"\n"
    transport: Any

    def __init__(self, handle: Callable[[bytes], object] | None) -> None:
        self.lineReceived = handle or self.sendLine  # type: ignore[method-assign]

    def connectionMade(self) -> None:
        """Send small messages at once."""
        self.transport.setTcpNoDelay(True)


def main() -> None:
    """Listen."""
    task, tally = begin(), Tally(lines=True)
    handle = tally.take_content if task["mode"] == "sink" else None
    twisting.serve_alone(twisting.listen(lambda _: ServerEnd(handle)), tally)


if __name__ == "__main__":
    main()
