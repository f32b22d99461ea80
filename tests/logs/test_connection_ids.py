"""Every line of the log about a connection carries its id: read off the sources."""

from __future__ import annotations

from .log_calls import log_calls

OF_NO_CONNECTION = {
    "net/shared/log_limiter.py: {lines} more lines about": "of a source, which may have many",
    "net/transport/accept.py: nothing can be accepted": "of a port",
    "net/connection/reconnect.py: trying {connector}": "of a connector; it shows which connection has ended, if any",
    "net/connection/reconnect.py: giving up {connector}": "the same",
    "net/connection/reconnect.py: telling {state} failed": "of a client, whose every failed try is told",
    "app/router.py: on_disconnect failed": "the same",
    "client.py: could not connect to": "of a service's start",
    "server.py: could not listen": "of a service's start",
    "server.py: {count} connections were cut off": "of all that are left",
    "server.py: veltix_tx {version} speaks": "of a port",
    "server.py: anyone who reaches": "of a port",
    "app/signals.py: a second signal": "of the process",
    "app/plugins.py: plugin {name} sees": "of a registration",
    "app/callbacks.py: a function given to {name}": "of rooms and nodes",
    "app/node.py: ": "of nodes",
    "app/rooms.py: a change in room": "of all members of a room",
    "net/connection/datagram.py: reading a datagram": "of a port",
    "net/connection/datagram.py: the session of {evicted}": "of a port",
    "net/connection/datagram.py: taking datagrams of": "of a port, before there is a session",
}
"""Module and beginning of the text -> what a line is about that is about no connection."""


def test_every_line_about_a_connection_names_it() -> None:
    """Of all log calls below the drop-ins each shows the id or the session, whose repr has it, or is about no connection."""
    unused = set(OF_NO_CONNECTION)
    for line, _ in log_calls():
        if not line.startswith(("net/", "app/", "server.py", "client.py")):
            continue
        of_none = [key for key in OF_NO_CONNECTION if line.startswith(key)]
        unused.difference_update(of_none)
        shows = any(part in line for part in ("{connection}", "{session}", "session=self"))
        assert shows or of_none, f"{line!r} names no connection"
    assert unused == set()
