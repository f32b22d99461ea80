"""Settings, limits that are no settings, counters, reasons of a disconnect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import Enum

from veltix_tx import limits, server, settings
from veltix_tx.backplane.interface import COUNTERS as BACKPLANE
from veltix_tx.backplane.redis.link import COUNTERS as REDIS
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.net import addresses
from veltix_tx.net.connection import authentication, datagram, last_reads, policing, protocol, turns
from veltix_tx.net.session import dispatcher, interface
from veltix_tx.net.shared import admission, log_limiter
from veltix_tx.net.shared import authentication as shared_authentication
from veltix_tx.net.shared.counters import COUNTERS, MOST_TYPES
from veltix_tx.net.transport import accept, endpoints, flow_control, sockets, udp
from veltix_tx.wire import pending
from veltix_tx.wire.credentials import MAX_SECRET_SIZE
from veltix_tx.wire.interface import MAX_DATAGRAM
from veltix_tx.wire.veltix import handshake
from veltix_tx.wire.veltix.wire import HELLO_GAP

from .markdown import attributes, table

_UNITS = {
    "hello_size": "bytes",
    "json_hello_size": "bytes",
    "values": "values",
    "protocol_errors": "frames",
    "inflight": "messages",
    "pending": "requests",
    "half_open": "connections",
    "half_open_per_source": "connections",
    "per_source": "connections",
    "pings": "pings per second",
    "ping_burst": "pings",
    "write_high": "bytes",
    "write_low": "bytes",
    "write_hard": "bytes",
    "receive_buffers": "bytes",
    "send_buffers": "bytes",
    "log_lines": "lines per second",
    "log_burst": "lines",
    "messages": "messages per second",
    "authentication_failures": "refusals per minute",
    "datagram_peers": "sessions",
    "rooms": "rooms",
    "room_members": "sessions",
    "rooms_per_session": "rooms",
    "member_state": "bytes",
    "request": "seconds",
    "close": "seconds",
    "drain": "seconds",
    "write": "seconds",
    "frame": "seconds",
    "ping_interval": "seconds",
    "ping_timeout": "seconds",
    "idle": "seconds",
    "datagram_idle": "seconds",
    "handler": "seconds",
    "classifier": "seconds",
    "slow_handler": "seconds",
    "max_retries": "tries",
    "initial_delay": "seconds",
    "factor": "times",
    "max_delay": "seconds",
    "stable_after": "seconds",
    "jitter": "yes or no",
    "after_refusal": "yes or no",
    "wire": "a wire",
    "max_message_size": "bytes",
    "handshake_timeout": "seconds",
    "limits": "`Limits`",
    "timeouts": "`Timeouts`",
    "host": "an address",
    "port": "a port",
    "endpoints": "endpoints",
    "max_connections": "connections",
    "server_addr": "an address",
    "endpoint": "an endpoint",
    "connect_timeout": "seconds",
    "retry": "tries, or a `RetryPolicy`",
    "retry_delay": "seconds",
    "tls": "yes or no",
    "tls_ca": "a file",
    "tls_name": "a name or an address",
    "tls_cert": "a file",
    "tls_key": "a file",
    "tls_client_ca": "a file",
    "allow_plaintext_credentials": "yes or no",
    "log_connections": "yes or no",
    "buffer_size": "bytes",
    "max_workers": "threads",
    "performance_mode": "a `PerformanceMode`",
    "socket_core": "a `SocketCore`",
}
"""Every setting must be named here, so that a new one gets its unit written down."""


def _default(field: object) -> str:
    if field.default is not MISSING:  # type: ignore[attr-defined]
        value = field.default  # type: ignore[attr-defined]
        if isinstance(value, Enum):
            return f"`{value}`" if not isinstance(value, int) else f"{value.value} (`{type(value).__name__}.{value.name}`)"
        return f"{value} ({value // 2**20} MiB)" if isinstance(value, int) and value >= 2**20 else f"`{value!r}`"
    made = field.default_factory()  # type: ignore[attr-defined]
    return f"`{type(made).__name__}()`" if made == type(made)() else f"`{type(made).__name__}(max_retries={made.max_retries})`"


def settings_tables() -> str:
    """Every setting with its unit and default."""
    blocks = []
    for thing in (settings.ServerConfig, settings.ClientConfig, limits.Limits, limits.Timeouts, settings.RetryPolicy):
        described = attributes(thing)
        rows = [[f"`{each.name}`", _UNITS[each.name], _default(each), described[each.name]] for each in fields(thing)]
        blocks.append(f"## {thing.__name__}\n\n{table(['setting', 'unit', 'default', 'meaning'], rows)}")
    return "\n\n".join(blocks)


def counters() -> str:
    """What is counted."""
    rows = [[f"`{name}`", meaning] for name, meaning in COUNTERS.items()]
    rows += [[f"`closed_{each.name.lower()}`", f"connections that ended: {_WHY[each.name]}"] for each in DisconnectReason]
    return table(["counter", "counts"], rows)


def backplane_counters() -> str:
    """What a backplane counts."""
    return table(["counter", "counts"], [[f"`backplane_{name}`", meaning] for name, meaning in (BACKPLANE | REDIS).items()])


def fixed_limits() -> str:
    """Numbers that are no settings."""
    return table(
        ["what", "value"],
        [
            [
                "replies a peer has not read, above which its next requests are not read",
                f"{flow_control.MOST_UNREAD_REPLIES // 1024} KiB",
            ],
            [
                "slowest a peer may read when much waits for it before it is given up",
                f"{flow_control.SLOWEST // 1024} KiB/s, looked at every `timeouts.write` seconds",
            ],
            ["frames of unknown types, and pongs never asked for, that are forgiven", f"{policing.FORGIVEN_PER_SECOND:g} a second"],
            [
                "messages without a handler that are answered with an ERROR, where nothing tells whether they ask",
                f"{policing.MOST_REJECTIONS} in a row, and {policing.FORGIVEN_PER_SECOND:g} more a second",
            ],
            ["message types without a handler that are counted and named one by one", MOST_TYPES],
            ["bytes given to a transport at a time", f"{flow_control.CHUNK // 1024} KiB"],
            ["bytes sent while a read is handled that wait for its end to be written", f"{interface.MOST_CORKED // 1024} KiB"],
            [
                "events of one read over which it is handled in halves, each written, while replies are due",
                f"{interface.REPLIES_AHEAD}",
            ],
            ["messages and other events of one connection that are handled in one turn of the reactor", turns.MOST_EVENTS],
            ["slowest a message that has begun may arrive, after `timeouts.frame`", f"{policing.SLOWEST_FRAME // 1024} KiB/s"],
            ["age below which a half-open connection never gives way to a new one", f"{admission.EVICTABLE_AFTER:g} s"],
            [
                "connections of one source, unless `limits.per_source` says otherwise",
                f"{admission.PER_SOURCE}; any number from this machine's own addresses",
            ],
            ["network whose IPv6 addresses are one source", f"{addresses.SOURCE_BITS} bits"],
            [
                "how long a source is refused unasked after too many `authentication_failures`",
                f"{shared_authentication.FIRST_WAIT:g} s, doubled each time up to {shared_authentication.LONGEST_WAIT:g} s; "
                "never this machine's own addresses",
            ],
            ["sources whose refusals are remembered", shared_authentication.REMEMBERED],
            [
                "how long an identity may last behind its end where the calendar was set forward, or the machine slept",
                f"{authentication.LOOK:g} s",
            ],
            ["bytes of a token, a name or a password, in JSON", MAX_SECRET_SIZE],
            [
                "how long messages above `limits.messages` wait at least, to be handled several at a time",
                f"{dispatcher.THROTTLE * 1000:g} ms",
            ],
            ["how long a peer that has been sent everything may take to close, too", f"{protocol.LINGER:g} s"],
            [
                "how long nothing more comes before a drain takes what had arrived for read",
                f"{last_reads.QUIET:g} s, or a quarter of `timeouts.drain`",
            ],
            [
                "how long nothing is accepted after it could not be, twice in a row or more",
                f"{accept.FIRST_WAIT * 1000:g} ms, doubled each time up to {accept.LONGEST_WAIT:g} s",
            ],
            [
                "connections that wait to be accepted at a TCP port whose endpoint says no other `backlog`",
                endpoints.BACKLOG,
            ],
            ["connections taken from a port in one turn of the reactor", accept.ACCEPTS_PER_TURN],
            ["datagrams taken from a UDP port in one turn of the reactor", f"{udp.PER_TURN}, for {udp.TURN * 1000:g} ms"],
            ["bytes of a datagram", MAX_DATAGRAM],
            [
                "bytes, and datagrams, that are sent to an address that is not validated",
                f"{datagram.AMPLIFICATION} times what has come from it",
            ],
            [
                "bytes the kernel keeps unsent for a TCP peer before it takes no more of this side (`TCP_NOTSENT_LOWAT`)",
                f"{sockets.UNSENT // 1024} KiB",
            ],
            ["TCP keep-alive probes, unanswered, after which the kernel gives a peer up", sockets.PROBES],
            ["connections over the limit that are told so at once", admission.REFUSED_AT_ONCE],
            ["lines of the log about all peers together", f"{log_limiter.ALL_SOURCES} per second"],
            ["sources whose share of the log is remembered", log_limiter.REMEMBERED],
            ["file descriptors left for everything but connections", server.OTHER_FILES],
            [
                "how much more may wait for its turn while this side waits for a reply itself",
                f"{interface.OWN_REQUESTS_FACTOR} times `inflight`",
            ],
            [
                "requests given up, and pings, whose late replies are recognised and whose ids are not used again before them",
                f"all of them where ids have 2 bytes, else the last {pending.MOST_GIVEN_UP} of each per connection",
            ],
            ["gap between two hellos of the auto port", f"{HELLO_GAP:g} s and two round trips"],
            ["silence after which a client asks whether the server has no handshake", f"{handshake.SILENCE:g} s"],
        ],
    )


_WHY = {
    "AUTHENTICATION_FAILED": "the server refused its client, or the client's credentials could not be had or sent; see `cause`",
    "PEER_CLOSED": "the peer closed the connection politely; `SERVER_CLOSED` is another name for it",
    "ERROR": "the transport failed in a way of its own",
    "MANUAL": "this side closed it",
    "RESET": "the connection broke off",
    "PROTOCOL_ERROR": "the peer broke a rule of the wire; `cause` says which",
    "HANDSHAKE_TIMEOUT": "the handshake was not complete in time",
    "VERSION_REFUSED": "the versions do not go together",
    "SERVER_FULL": "the server has as many connections as it may",
    "WRITE_TIMEOUT": "the peer did not read what it was sent",
    "OVERLOAD": "all connections together kept more than they may, and this one the most",
    "REJECTED": "`on_connect` failed, or refused the session with `Rejected`; `cause` says why",
    "PING_TIMEOUT": "the peer was silent, and did not answer a ping either",
    "IDENTITY_EXPIRED": "its peer's identity has come to its end, and was not renewed",
    "UNCLASSIFIED": "the server's `classifier` failed, was too late, or refused the session with `Rejected`; `cause` says why",
    "COMPLETED": "each side has sent the one message of its wire; a client does not try again",
    "UNANSWERED": "this side gave a request up on a wire where a late reply could not be told from the next one",
    "IDLE": "the peer of a wire without pings was silent for `timeouts.idle`, over UDP for `timeouts.datagram_idle`",
    "EVICTED": "over UDP, another peer needed the room, and this one was silent for longest",
    "UNREACHABLE": "over UDP, the peer's machine or the network says that nobody is there; `cause` is its error",
    "TLS_FAILED": "one side refuses the other's certificate, or does not speak TLS; `cause` says which",
}


def reasons() -> str:
    """The reasons of a disconnect."""
    return table(["reason", "number", "meaning"], ([f"`{each.name}`", each.value, _WHY[each.name]] for each in DisconnectReason))


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings_tables,
    "counters": counters,
    "backplane counters": backplane_counters,
    "fixed limits": fixed_limits,
    "reasons": reasons,
}
