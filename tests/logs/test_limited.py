"""Every line of the log that a peer can cause goes through the limiter: read off the sources, and shown for those that did not."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, formatEvent

from veltix_tx import Client, MessageRegistry, MessageType, RequestTimeout, RetryPolicy, Server
from veltix_tx.testing import MemoryNetwork

from .log_calls import log_calls

OF_NO_PEER = {
    "net/shared/log_limiter.py: {lines} more lines about": "the limiter's own, which count",
    "net/connection/reconnect.py: giving up {connector}": "once for each connect() of the program",
    "client.py: could not connect to": "once when the service starts",
    "server.py: could not listen": "once when the service starts",
    "server.py: {count} connections were cut off": "once when the service stops",
    "server.py: veltix_tx {version} speaks": "once for each port",
    "server.py: anyone who reaches": "once for each port",
    "app/signals.py: a second signal": "the operator's",
    "net/connection/connection_log.py: connection {connection}": "the operator has asked for a line of each connection",
    "tap.py: SIGHUP": "the operator's",
    "tap.py: {line}": "once when the process starts",
    "tap.py: {path} has no token": "the same",
    "tap.py: {where} has no effect": "the same",
    "app/plugins.py: plugin {name} sees": "once for each registration",
    "dropin/veltix/routing.py: Route for type": "the program's registration of routes",
    "dropin/veltix/routing.py: Unknown event type": "the program's registration of callbacks",
    "dropin/veltix/client/client.py: Connecting to server": "once for each connect() of the program",
    "dropin/veltix/client/client.py: Connection failed": "once for each connect() of the program",
    "dropin/veltix/client/client.py: No connection": "once for each retry() of the program",
    "dropin/veltix/callbacks.py: Error in callback": "_log_failed is called where may_log() says so",
    "logs/logger.py: {message}": "the program's own",
    "app/callbacks.py: a function given to {name}": "the program's own function, told of rooms and nodes",
    "app/node.py: the backplane of node": "a change of its state",
    "app/node.py: a message of another node": "once for each reason",
    "app/rooms.py: a change in room": "the program's own type for changes",
    "backplane/": "of other nodes and the engine, which are no peers",
    "hosted/": "the same",
    "dropin/conduit/client.py: Connection to": "once for each connect() of the program",
    "dropin/conduit/handlers.py: %s failed": "the program's own handler, a line for each failure as upstream",
    "dropin/conduit/raw_log.py": "the operator has asked for all bytes",
    "dropin/conduit/rpc/method.py": "once for each registration",
    "ops/admin.py: {name} at {peer} logged in": "an operator's",
    "ops/admin.py: a request to the administration failed": "a fault of ours, see the log",
    "ops/admin.py: an answer could not be written": "the same",
    "ops/admin_api.py: {who}": "an operator's",
    "ops/admin_listener.py": "once when it listens",
    "ops/channel.py": "of workers, or a fault of ours",
    "ops/fleet.py": "an operator's",
    "ops/event_stream.py": "an operator's page",
    "ops/reload.py": "the operator's",
    "ops/source_watch.py": "the developer's",
    "ops/supervisor.py": "of workers",
    "ops/worker.py": "once",
    "tap.py: SIGUSR2": "the operator's",
}
"""Module and beginning of the text -> why no peer can cause the line, or not as often as it likes."""


def test_every_line_that_a_peer_can_cause_asks_the_limiter() -> None:
    """Of all log calls of the package each asks the limiter, or is one that no peer causes and is named above."""
    unused = set(OF_NO_PEER)
    calls = 0
    for line, limited in log_calls():
        calls += 1
        named = [key for key in OF_NO_PEER if line.startswith(key)]
        assert limited or named, f"{line!r} does not ask may_log()"
        unused.difference_update(named)
    assert unused == set()
    assert calls > 40


# Those that did not ask.

TYPES = MessageRegistry()
WORK = MessageType(200, "work", registry=TYPES)

AT_MOST = 30
"""Lines of one peer in some seconds: 20 in a row, and five a second."""


def lines(log_events: list[LogEvent], word: str) -> list[str]:
    """The lines with this in them."""
    return [text for event in log_events if word in (text := formatEvent(event) or "")]


def test_what_fails_in_its_thread_after_it_was_given_up(log_events: list[LogEvent], logged_failures: Any) -> None:
    """A peer that has many handlers given up, which fail in their threads later, causes as many lines as anybody may."""
    network = MemoryNetwork()
    server, client = Server(types=TYPES, max_workers=60), Client(types=TYPES)

    @server.route(WORK, thread=True, concurrent=True, timeout=1)
    def on_work(session: Any, message: Any) -> None:
        session.send_and_wait(WORK, timeout=5)

    client.route(WORK)(lambda message: None)
    network.serve(server)
    network.connect(client)
    for _ in range(60):
        client.send(WORK)
    network.advance(1)
    logged_failures.flush()
    network.advance(5)
    assert 5 <= len(lines(log_events, "a handler that had been given up failed")) <= AT_MOST
    assert len(logged_failures.flush(RequestTimeout)) <= AT_MOST
    network.result(client.disconnect())


def test_an_on_disconnect_that_fails_each_time(log_events: list[LogEvent], logged_failures: Any) -> None:
    """A server that is gone has a client's on_disconnect called at every try: what that raises is limited."""
    network = MemoryNetwork()
    client = Client(types=TYPES, retry=RetryPolicy(initial_delay=0.01, max_delay=0.01, jitter=False))
    server = Server(types=TYPES)
    network.serve(server)
    network.connect(client)
    client.set_callback("on_disconnect", lambda state: 1 / 0)
    network.result(server.stopService())
    network.advance(2)
    client.disconnect()
    assert 5 <= len(logged_failures.flush(ZeroDivisionError)) <= AT_MOST
    assert client.counters["lines_left_out"] > 100


def test_a_producer_that_fails_each_time(log_events: list[LogEvent], logged_failures: Any) -> None:
    """A peer that reads in fits and starts has a producer paused and resumed: what that raises is limited."""
    network = MemoryNetwork()
    server, client = Server(types=TYPES), Client(types=TYPES)
    network.serve(server)
    network.connect(client)
    session = server.clients[0]

    class Broken:
        """A producer that cannot."""

        def pauseProducing(self) -> None:
            """Fail."""
            raise ZeroDivisionError

        resumeProducing = stopProducing = pauseProducing

    session.register_producer(Broken())  # type: ignore[arg-type]
    for _ in range(100):
        session._flow.pauseProducing()
        session.send(WORK, bytes(3 * 1024 * 1024))
        session._flow.resumeProducing()
        network.pump()
    assert 20 <= len(logged_failures.flush(ZeroDivisionError)) <= AT_MOST
    assert server.counters["lines_left_out"] > 100
    network.result(client.disconnect())
