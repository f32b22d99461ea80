"""Every line of the log that a peer can cause goes through the limiter: read off the sources, and shown for those that did not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from twisted.logger import LogEvent, formatEvent

import veltix_tx
from veltix_tx import Client, MessageRegistry, MessageType, RequestTimeout, RetryPolicy, Server
from veltix_tx.testing import MemoryNetwork

ROOT = Path(veltix_tx.__file__).parent

OF_NO_PEER = {
    "net/shared/log_limiter.py: {lines} more lines about": "the limiter's own, which count",
    "net/connection/reconnect.py: giving up {connector}": "once for each connect() of the program",
    "client.py: could not connect to": "once when the service starts",
    "server.py: could not listen": "once when the service starts",
    "server.py: {count} connections were cut off": "once when the service stops",
    "server.py: veltix_tx {version} speaks": "once for each port",
    "server.py: anyone who reaches": "once for each port",
    "app/signals.py: a second signal": "the operator's",
    "net/connection/connection_log.py: connection {id}": "the operator has asked for a line of each connection",
    "tap.py: SIGHUP": "the operator's",
    "tap.py: {line}": "once when the process starts",
    "tap.py: {path} has no token": "the same",
    "app/plugins.py: plugin {name} sees": "once for each registration",
    "dropin/veltix/routing.py: Route for type": "the program's registration of routes",
    "dropin/veltix/routing.py: Unknown event type": "the program's registration of callbacks",
    "dropin/veltix/client/client.py: Connecting to server": "once for each connect() of the program",
    "dropin/veltix/client/client.py: Connection failed": "once for each connect() of the program",
    "dropin/veltix/client/client.py: No connection": "once for each retry() of the program",
    "dropin/veltix/callbacks.py: Error in callback": "_log_failed is called where may_log() says so",
    "logs/logger.py: {message}": "the program's own",
}
"""Module and beginning of the text -> why no peer can cause the line, or not as often as it likes."""


def text_of(call: ast.Call, function: ast.AST) -> str:
    """The first constant text among a log call's arguments, or what a name there was given last in the same function."""
    for node in ast.walk(ast.Tuple(call.args, ast.Load())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
    names = {each.id for each in call.args if isinstance(each, ast.Name)}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id in names for each in node.targets):
            return ast.unparse(node.value).strip("'\"")
    return ast.unparse(call)


def log_calls(path: Path) -> list[tuple[str, bool]]:
    """Each log call of a module: what it says, and whether the limiter is asked before."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    found = []
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "_log"):
            continue
        limited, node, function = False, call, None
        while node in parents:
            below, node = node, parents[node]
            if isinstance(node, ast.If) and below is not node.test and _asks(node.test):
                limited = True
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and function is None:
                function = node
                limited = limited or any(_leaves_without(each) for each in node.body if each.lineno < call.lineno)
        found.append((text_of(call, function or tree), limited))
    return found


def _asks(test: ast.expr) -> bool:
    """Whether a condition asks the limiter."""
    text = ast.unparse(test).replace("may_log)", "may_log(")
    return "may_log(" in text or "log_limiter.allow(" in text


def _leaves_without(statement: ast.stmt) -> bool:
    """Whether a statement ends its function where the limiter says no."""
    return (
        isinstance(statement, ast.If)
        and ast.unparse(statement.test).startswith("not ")
        and _asks(statement.test)
        and isinstance(statement.body[-1], ast.Return)
    )


def test_every_line_that_a_peer_can_cause_asks_the_limiter() -> None:
    """Of all log calls of the package each asks the limiter, or is one that no peer causes and is named above."""
    unused = set(OF_NO_PEER)
    calls = 0
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        if module.startswith("benchmark/"):
            continue  # serves nobody but itself
        for text, limited in log_calls(path):
            calls += 1
            named = [key for key in OF_NO_PEER if f"{module}: {text}".startswith(key)]
            assert limited or named, f"{module}: {text!r} does not ask may_log()"
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
