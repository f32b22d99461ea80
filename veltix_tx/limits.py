"""Limits and timeouts with their defaults: sizes and counts that peers may cause, times that this side waits.

Sizes are bytes, times are seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from veltix_tx.errors import SettingsError

__all__ = ["Limits", "Timeouts", "check_seconds", "check_whole"]

_LONGEST = 10**9
"""Seconds, some 30 years."""


def check_whole(name: str, value: object, low: int, high: float = math.inf) -> None:
    """Raise SettingsError unless a value is a whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(name, value, f"a whole number from {low}" + (f" to {high}" if high < math.inf else ""))


def check_seconds(name: str, value: object, *, zero: bool = False, endless: bool = False) -> None:
    """Raise SettingsError unless a value is a number of seconds.

    Args:
        name: the setting.
        value: what it was given.
        zero: whether it may be 0.
        endless: whether it may be ``math.inf``.
    """
    if endless and value == math.inf:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= _LONGEST or (value == 0 and not zero):  # type: ignore[operator]
        rule = f"a number of seconds, {'0 or more' if zero else 'more than 0'}, at most {_LONGEST}"
        rule += ", or math.inf for no end" if endless else ""
        raise SettingsError(name, value, rule)


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum sizes and counts that peers may cause.

    Attributes:
        hello_size: bytes of a HELLO or HELLO_ACK frame's content.
        json_hello_size: bytes of one message of the JSON handshake, and of netconduit's authentication.
        values: values in one message of a wire whose contents are objects (numbers, texts, maps, their keys and so on);
            one with more is not decoded, and its peer closed.
        protocol_errors: refused frames after which the peer is closed: bad checksums and runs of garbage in all, and,
            counted apart and one forgiven each second, frames of unknown types and pongs never asked for.
        inflight: messages of one peer that wait for their turn or whose handlers run; beyond
            it reading from that peer pauses.
        pending: own requests that may wait for replies on one connection.
        half_open: connections in their handshake at once; beyond it the oldest that is older than three
            seconds is dropped for a new one.
        half_open_per_source: the same for one source, an IPv4 address or an IPv6 network of 64 bits.
        per_source: connections of one source at once; None for 1000, and any number from this machine's own
            addresses, which may be a proxy's.
        pings: pings of one peer per second that are answered, on average; more than a real client can send
            that waits for each, as upstream's benchmark does.
        ping_burst: pings in a row that are answered; a peer that sends more is closed.
        write_high: bytes queued for a peer above which whoever sends is asked to wait.
        write_low: bytes queued at which sending goes on.
        write_hard: bytes queued above which nothing more is taken; one message always is.
        receive_buffers: bytes of all peers together that have come of unfinished messages, or wait for their
            turn; beyond it the peer with the most is closed. While less than half of it is free, messages that have come in part
            have less time than ``timeouts.frame``.
        send_buffers: bytes queued for all peers together, those of broadcasts apart; the same.
        log_lines: lines of the log per second that one source may cause, on average.
        log_burst: the same in a row; what is left out is counted.
        messages: messages of one peer per second that are handled, on average, and as many in a row; the others wait for their
            turn, and beyond ``inflight`` of them reading pauses. None for no limit.
        datagram_peers: peers of one UDP port that have a session at once; beyond it the one that has been silent for longest gives
            way to a new one, unless its address is validated.
        authentication_failures: refused credentials of one source in a minute that are forgiven; beyond it the source's next
            connections are refused unasked for a while. This machine's own addresses are not.
        rooms: rooms of a server that have members, or settings of their own.
        room_members: members of one room on one server.
        rooms_per_session: rooms of one session; also the rooms whose messages a client recovers when it connects again.
        member_state: bytes of what a session says of itself in a room, packed.
    """

    hello_size: int = 256
    json_hello_size: int = 4096
    values: int = 65_536
    protocol_errors: int = 32
    inflight: int = 1024
    pending: int = 65536
    half_open: int = 256
    half_open_per_source: int = 64
    per_source: int | None = None
    pings: int = 50_000
    ping_burst: int = 100_000
    write_high: int = 1024 * 1024
    write_low: int = 256 * 1024
    write_hard: int = 11 * 1024 * 1024
    receive_buffers: int = 256 * 1024 * 1024
    send_buffers: int = 256 * 1024 * 1024
    log_lines: int = 5
    log_burst: int = 20
    messages: int | None = None
    datagram_peers: int = 4096
    authentication_failures: int = 5
    rooms: int = 100_000
    room_members: int = 100_000
    rooms_per_session: int = 100
    member_state: int = 1024

    def __post_init__(self) -> None:
        check_whole("hello_size", self.hello_size, 32, 65535)
        check_whole("json_hello_size", self.json_hello_size, 64, 65535)
        for name in (
            *("values", "protocol_errors", "inflight", "pending", "half_open", "half_open_per_source"),
            *("pings", "ping_burst", "receive_buffers", "send_buffers", "log_lines", "log_burst", "datagram_peers"),
            *("authentication_failures", "rooms", "room_members", "rooms_per_session", "member_state"),
        ):
            check_whole(name, getattr(self, name), 1)
        for name in ("per_source", "messages"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        check_whole("write_low", self.write_low, 0)
        check_whole("write_high", self.write_high, self.write_low)
        check_whole("write_hard", self.write_hard, self.write_high)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in seconds that this side waits.

    Attributes:
        request: for a reply, unless the call says otherwise.
        close: for a peer that is closed politely to take something of what is left for it before the connection is aborted:
            a peer that reads on is given it all. Also for what handlers that are cancelled when their connection ends may
            still do before ``on_disconnect`` is called without waiting for them.
        drain: for accepted messages to be answered when the service stops.
        write: for a peer that does not read before its connection is aborted.
        frame: for the rest of a message that has begun, and a second more for each 64 KiB of it.
        ping_interval: without a byte from the peer before it is asked with a ping.
        ping_timeout: for anything from the peer after that ping before it counts as dead.
        idle: without a byte from the peer, or one of its messages in a handler, on a wire without pings, before its
            connection is closed; ``math.inf`` for no end.
        datagram_idle: without a datagram from a peer of a server's UDP port, or one of its messages in a handler, before its
            session ends.
        handler: for a handler's Deferred or coroutine before it is cancelled; ``math.inf`` for no end.
        classifier: for a server's classifier to name a session's kind before the session is closed.
        slow_handler: that a handler may block before a warning names it; ``math.inf`` for no warning.
    """

    request: float = 5.0
    close: float = 5.0
    drain: float = 10.0
    write: float = 30.0
    frame: float = 30.0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    idle: float = math.inf
    datagram_idle: float = 60.0
    handler: float = 30.0
    classifier: float = 5.0
    slow_handler: float = 0.1

    def __post_init__(self) -> None:
        for each in fields(self):
            check_seconds(each.name, getattr(self, each.name), endless=each.name in ("idle", "handler", "slow_handler"))
