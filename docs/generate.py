"""Rewrites the generated blocks of the documentation from the package's own tables.

Run it after a change of a table, a setting or a docstring::

    python docs/generate.py            # rewrite what differs
    python docs/generate.py --check    # only say what differs; exit status 1 if anything does

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; its name is a key of BLOCKS.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from enum import Enum
from itertools import groupby
from pathlib import Path

from zope.interface.interface import InterfaceClass, Method

import veltix_tx
from veltix_tx import aio, errors, limits, server, settings, testing
from veltix_tx.app.hub import Hub
from veltix_tx.app.plugins import Plugins
from veltix_tx.app.router import Router
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.dropin import veltix
from veltix_tx.net import addresses
from veltix_tx.net.connection import last_reads, policing, protocol
from veltix_tx.net.session import interface
from veltix_tx.net.shared import admission, log_limiter
from veltix_tx.net.shared.counters import _MOST_TYPES, COUNTERS
from veltix_tx.net.transport import accept, endpoints, flow_control, sockets
from veltix_tx.wire import pending
from veltix_tx.wire.error_codes import ERROR_CODES
from veltix_tx.wire.events import Event, RejectReason
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import EXTENSION_TYPES, PING, SYSTEM_TYPES, CodeRange, MessageRegistry, MessageType
from veltix_tx.wire.veltix import handshake, request_ids
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, W15, Layout
from veltix_tx.wire.veltix.releases import AUTO_HELLOS, RELEASES, HandshakeKind, Release
from veltix_tx.wire.veltix.states import OTHERWISE, SCRIPTS, SIGNATURES, STATES, State, Step, Trigger
from veltix_tx.wire.veltix.wire import HELLO_GAP

ROOT = Path(__file__).resolve().parent.parent


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(head)]
    lines += [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def first_sentence(thing: object) -> str:
    """Return the first sentence of a docstring as Markdown."""
    paragraph = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return as_markdown(re.split(r"(?<=[.])\s", paragraph)[0].rstrip(".") + ".")


def as_markdown(text: str) -> str:
    """Return docstring text as Markdown: roles and double backquotes become single ones."""
    text = re.sub(r":[a-z]+:`[~]?([^`]*)`", lambda found: f"`{re.sub(r'^veltix_tx[.].*[.]', '', found[1])}`", text)
    return text.replace("``", "`")


# The wire.

_KINDS = {HandshakeKind.NONE: "none", HandshakeKind.HELLO: "HELLO frames", HandshakeKind.JSON: "JSON"}
_DIGESTS = {4: "CRC-32", 32: "SHA-256"}
_NUMBERS = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def digest_name(layout: Layout) -> str:
    """Return the name of a layout's checksum."""
    digest = layout.checksum(b"")
    return _DIGESTS[4 if isinstance(digest, int) else len(digest)]


def of_layout(layout: Layout) -> list[Release]:
    """Return the releases that use a layout."""
    return [release for release in RELEASES.values() if release.layout is layout]


def span(releases: list[Release]) -> str:
    """Return consecutive releases as a range."""
    first, last = releases[0].name, releases[-1].name
    if first == last:
        return f"{first} (on paper only)" if first == "1.0" else first
    return f"{first} - {last}" if len(releases) > 2 else f"{first}, {last}"


def layouts() -> str:
    """The six layouts in one table."""
    return table(
        ["layout", "releases", "header bytes", "`struct` notation", "magic", "checksum of the content", "clock", "request id"],
        (
            [
                layout.name,
                span(of_layout(layout)),
                layout.header_size,
                f"`{layout.format}`",
                f"`{layout.magic.decode()}`" if layout.magic else "none",
                digest_name(layout),
                "u64, ms" if layout.clock else "none",
                f"{layout.id_size} bytes" if layout.id_size else "none",
            ]
            for layout in ALL_LAYOUTS
        ),
    )


def _parts(layout: Layout) -> list[tuple[str, int, str]]:
    """Return name, bytes and meaning of each field of a header, in order."""
    digest = digest_name(layout)
    id_form = _NUMBERS.get(layout.id_size, f"{layout.id_size} bytes")
    known = {
        "magic": "the bytes `56 58`, ASCII `VX`",
        "flags": "u8; sent as 0, any value is accepted and ignored",
        "type": "u16, the type code",
        "size": "u32, bytes of the content; the header does not count",
        "checksum": f"{digest} of the content" + (", u32" if digest == "CRC-32" else ", 32 bytes"),
        "timestamp": "u64, ms of the sender's clock",
        "request id": id_form,
    }
    with_magic, without = (
        ["magic", "type", "size", "checksum", "request id"],
        ["type", "size", "checksum", "timestamp", "request id"],
    )
    names = iter(with_magic if layout.magic else without)
    found = []
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", layout.format):
        name = "flags" if kind == "x" else next(names)
        size = int(count or 1) if kind in "sx" else {"H": 2, "I": 4, "Q": 8}[kind]
        if size:
            found.append((name, size, known[name]))
    assert sum(size for _, size, _ in found) == layout.header_size, layout
    return found


def fields_of_layouts() -> str:
    """Each layout field by field."""
    blocks = []
    for layout in ALL_LAYOUTS:
        offset, rows = 0, []
        for name, size, meaning in _parts(layout):
            rows.append([offset, size, name, meaning])
            offset += size
        rows.append([offset, "size", "content", "the message's bytes, as they are"])
        title = f"### {layout.name}: releases {span(of_layout(layout))}"
        blocks.append(f"{title}\n\n{table(['offset', 'bytes', 'field', 'meaning'], rows)}")
    return "\n\n".join(blocks)


def _hello_meta(release: Release) -> str:
    if release.handshake is not HandshakeKind.JSON:
        return ""
    pv = f'`pv` "{release.protocol}"' if release.protocol else "no `pv`"
    return pv + ("; `meta` " + ", ".join(f"{key} {value}" for key, value in release.meta.items()) if release.meta else "")


def releases() -> str:
    """Every release: what it announces and whom it accepts."""
    return table(
        ["release", "layout", "handshake", "announces", "JSON hello", "accepts a peer that announces", "header clock"],
        (
            [
                name,
                release.layout.name,
                _KINDS[release.handshake],
                release.announces or "nothing",
                _hello_meta(release) or "-",
                ("every peer" if release.handshake is HandshakeKind.NONE else release.rule),
                ("uptime" if release.monotonic else "calendar") if release.layout.clock else "-",
            ]
            for name, release in RELEASES.items()
        ),
    )


def on_auto_port(release: Release) -> int | None:
    """Return the stage of the auto port that a release's clients answer, None where they cannot."""
    accepted: dict[str, int] = {}
    for stage, hello in enumerate(AUTO_HELLOS):
        if hello is not None and hello.layout is release.layout and hello.handshake is release.handshake:
            mutual = release.accepts(hello.announces, hello.protocol) and hello.accepts(release.announces, release.protocol)
            listed = hello.handshake is HandshakeKind.HELLO and release.announces in hello.welcome
            if mutual or listed:
                accepted[hello.announces] = stage
    return accepted.get(release.announces, min(accepted.values(), default=None))


def stage_times() -> list[float]:
    """When each stage of the auto port is sent, in seconds, as the handshake itself times them."""
    server = handshake.Handshake(Role.SERVER, None, lambda bits: 0, limits.Limits(), HELLO_GAP)
    server.start()
    times = [0.0]
    while server.next_timeout is not None:
        times.append(times[-1] + server.next_timeout)
        server.handle_timeout()
    return times


def _waits(group: list[Release]) -> str:
    stages = [on_auto_port(release) for release in group]
    served = [stage for stage in stages if stage is not None]
    if not served:
        return "no: pin it"
    low, high = (stage_times()[stage] for stage in (min(served), max(served)))
    wait = f"{low:.2g} s" if low == high else f"{low:.2g} to {high:.2g} s"
    without = [release.name for release in group if on_auto_port(release) is None]
    return ("yes" if high == 0 else f"yes, after {wait}") + (f"; {', '.join(without)} no" if without else "")


def generations() -> str:
    """The releases by generation."""
    groups = groupby(RELEASES.values(), lambda release: (release.layout, release.handshake))
    rows = []
    for (layout, kind), members in groups:
        group = list(members)
        rows.append([span(group), f"{layout.header_size} bytes", _KINDS[kind], "yes", _waits(group)])
    return table(["releases", "header", "handshake", "pinned (`wire=`)", "on the auto port"], rows)


_SAID = {
    Step.SAY_HELLO: "send the hello",
    Step.READ_ACK: "read HELLO_ACK: its request id is the HELLO's, its version one that this release's servers get",
    Step.READ_CLIENT: "read the client's JSON; check its version",
    Step.SEND_RESULT: 'send `{"result": "ok"}`',
    Step.READ_HELLO: "read HELLO, a pinned client behind whatever comes before it; check its version",
    Step.SEND_ACK: "send HELLO_ACK with the HELLO's request id",
    Step.READ_SERVER: "read the server's JSON; check its version",
    Step.SEND_CLIENT: "send this side's JSON",
    Step.READ_RESULT: 'read `{"result": "ok"}`',
    Step.READ_PONG: "read the PONG with the PING's request id",
}


def handshakes() -> str:
    """The steps of every handshake in both roles."""
    rows = []
    for (kind, role), steps in SCRIPTS.items():
        said = [f"{number}. {_SAID[step]}" for number, step in enumerate(steps, 1)]
        rows.append([_KINDS[kind], role.value, "<br>".join(said) or "nothing: it is complete at once"])
    return table(["handshake", "role", "steps"], rows)


_CALLS: dict[str, Callable[[VeltixConnection], object]] = {
    "start()": lambda side: side.start(),
    "refuse()": lambda side: side.refuse(),
    "receive_data()": lambda side: side.receive_data(b"\0", 0),
    "handle_timeout()": lambda side: side.handle_timeout(),
    "connection_lost()": lambda side: side.connection_lost(),
    "data_to_send()": lambda side: side.data_to_send(),
    "allocate_id()": lambda side: side.allocate_id(()),
    "encode()": lambda side: side.encode(PING, b""),
    "send()": lambda side: side.send(PING, b""),
    "send_encoded()": lambda side: side.send_encoded([b""]),
    "send_ping()": lambda side: side.send_ping(1),
    "reply_error()": lambda side: side.reply_error(1),
}


def _in_state(state: State) -> VeltixConnection:
    """Return a server's connection that has come to a state."""
    side = VeltixConnection(
        *(Role.SERVER, RELEASES["3.3.0"]),
        calendar_ms=lambda: 0,
        uptime_ms=lambda: 0,
        getrandbits=lambda bits: 0,
        types=MessageRegistry(),
    )
    if state is not State.NEW:
        side.start()
    if state not in (State.NEW, State.HANDSHAKE):
        side.receive_data(b'\0\x18{"v":"3.3.0","pv":"1.0"}', 0)
    if state is State.FAILED:
        side.receive_data(b"VX" + b"\xff" * 13, 0)
    if state is State.CLOSED:
        side.connection_lost()
    assert side.state is state
    return side


def calls() -> str:
    """What each call does in each state, tried out."""

    def outcome(call: Callable[[VeltixConnection], object], state: State) -> str:
        side = _in_state(state)
        try:
            call(side)
        except errors.LocalProtocolError as error:
            return f"`{type(error).__name__}`"
        return "yes" if side.state is state else f"yes, to {side.state.name}"

    rows = ([f"`{name}`", *(outcome(call, state) for state in State)] for name, call in _CALLS.items())
    return table(["call", *(state.name for state in State)], rows)


def states() -> str:
    """The states of a connection."""
    rows = ([state.name, *(moves[on].name if on in moves else "-" for on in Trigger)] for state, moves in STATES.items())
    return table(["in state", *(f"on {on.name}" for on in Trigger)], rows)


def openings() -> str:
    """What a side that finds out takes the peer's first two bytes for."""
    rows = []
    for step, known in SIGNATURES.items():
        role = "server" if step is Step.DETECT_CLIENT else "client" if step is Step.DETECT_SERVER else "client that has sent a PING"
        for first, opening in [*known.items(), (b"", OTHERWISE[step])]:
            steps = "<br>".join(f"{number}. {_SAID[each]}" for number, each in enumerate(opening.steps, 1))
            layout = (
                opening.layout.name if opening.layout else "open" if opening.kind is HandshakeKind.HELLO else "of the JSON hello"
            )
            rows.append([role, f"`{first.hex(' ')}`" if first else "anything else", _KINDS[opening.kind], layout, steps])
    return table(["role", "first two bytes", "handshake", "layout", "steps from there"], rows)


def hellos() -> str:
    """The stages of the auto port."""
    rows = []
    for stage, hello in enumerate(AUTO_HELLOS):
        at = f"{stage_times()[stage]:.2f}"
        if hello is None:
            rows.append([at, "128 bytes `FF`", "nobody"])
            continue
        answers = [name for name, release in RELEASES.items() if on_auto_port(release) == stage]
        what = (
            f'JSON, v "{hello.announces}", pv "{hello.protocol}"'
            if hello.handshake is HandshakeKind.JSON
            else f"{hello.layout.name} HELLO {hello.announces}"
        )
        rows.append([at, what, span([RELEASES[name] for name in answers]) if len(answers) > 4 else ", ".join(answers)])
    return table(["seconds", "the server sends", "answered by clients of"], rows)


def _spaced(layout: Layout, frame: bytes) -> str:
    parts, offset = [], 0
    for _, size, _ in _parts(layout):
        parts.append(frame[offset : offset + size].hex())
        offset += size
    return " ".join([*parts, *([frame[offset:].hex()] if frame[offset:] else [])])


def exchanges() -> str:
    """The bytes of a whole conversation in one release of each generation."""
    return "\n\n".join(
        _exchange(RELEASES[name]) for name in ("1.3.0", "1.6.1", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "2.0.3", "3.3.0")
    )


def _exchange(release: Release) -> str:
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)

    def side(role: Role) -> VeltixConnection:
        return VeltixConnection(
            role,
            release,
            calendar_ms=lambda: 0x18BCFE56800,
            uptime_ms=lambda: 1_000_000,
            getrandbits=lambda bits: 0x00112233445566778899AABBCCDDEEFF >> (128 - (bits + 7) // 8 * 8),
            types=types,
        )

    server, client = side(Role.SERVER), side(Role.CLIENT)
    lines: list[str] = []

    def deliver(sender: VeltixConnection, receiver: VeltixConnection, arrow: str, what: str, *, raw: bool) -> bool:
        data = b"".join(sender.data_to_send())
        if data:
            shown = f"{data[:2].hex()} {data[2:].decode()}" if raw else _spaced(release.layout, data)
            lines.append(f"{arrow} {what:<9} {shown}")
            receiver.receive_data(data, 0)
        return bool(data)

    server.start(), client.start()
    names = iter(("hello", "hello", "result") if release.handshake is HandshakeKind.JSON else ("HELLO", "HELLO_ACK"))
    raw = release.handshake is HandshakeKind.JSON
    while server.state.name == "HANDSHAKE" or client.state.name == "HANDSHAKE":
        if not deliver(server, client, "server", next(names, ""), raw=raw):
            break
        deliver(client, server, "client", next(names, ""), raw=raw)
    deliver(server, client, "server", next(names, ""), raw=raw)
    request_id = client.allocate_id(())
    client.send(chat, b"hello veltix", request_id)
    deliver(client, server, "client", "type 200", raw=False)
    server.send(chat, b"hello veltix", request_id)
    deliver(server, client, "server", "reply", raw=False)
    server.send_ping(server.allocate_id(()))
    deliver(server, client, "server", "PING", raw=False)
    deliver(client, server, "client", "PONG", raw=False)
    body = "\n".join(lines)
    return f"Release {release.name} ({release.layout.name}):\n\n```text\n{body}\n```"


def agreed() -> str:
    """The bytes of a handshake between two of this package, and of a request that fails."""
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    clocks = {"calendar_ms": lambda: 0, "uptime_ms": lambda: 0, "getrandbits": lambda bits: 0}
    server, client = (VeltixConnection(role, None, **clocks, types=types) for role in (Role.SERVER, Role.CLIENT))
    lines: list[str] = []

    def deliver(sender: VeltixConnection, receiver: VeltixConnection, what: str) -> list[Event]:
        data = b"".join(sender.data_to_send())
        framed = data.startswith(W15.magic)
        shown = f"{_spaced(W15, data[:15])} {data[15:].decode()}" if framed else f"{data[:2].hex()} {data[2:].decode()}"
        lines.append(f"{what:<16} {shown}")
        return receiver.receive_data(data, 0)

    server.start(), client.start()
    deliver(server, client, "server hello")
    deliver(client, server, "client hello")
    deliver(server, client, "server result")
    client.send(chat, b"hello veltix", client.allocate_id(()))
    deliver(client, server, "client type 200")
    server.reply_error(0)
    deliver(server, client, "server FAILED")
    body = "\n".join(lines)
    return f"A whole conversation, contents as text, in which a handler fails:\n\n```text\n{body}\n```"


def failures() -> str:
    """The codes of a FAILED."""
    return table(["code", "when"], ([f"`{code}`", meaning] for code, meaning in ERROR_CODES.items()))


_RANGES = {
    CodeRange.SYSTEM: "Veltix itself; not for applications",
    CodeRange.USER: "applications",
    CodeRange.PLUGIN: "plugins and libraries; applications may use them",
}


def codes() -> str:
    """The ranges of type codes, and the system's codes."""
    ranges = table(["codes", "for"], ([f"{owner.value[0]} - {owner.value[-1]}", _RANGES[owner]] for owner in CodeRange))
    known = {**SYSTEM_TYPES, **EXTENSION_TYPES}
    system = table(["code", "name", "meaning"], ([code, each.name, each.description] for code, each in known.items()))
    return f"{ranges}\n\n{system}"


def refusals() -> str:
    """Why frames are refused."""
    return ", ".join(f"`{each.name}` ({each.value})" for each in RejectReason)


def id_halves() -> str:
    """Who uses which 16-bit ids."""

    def row(who: str, half: range) -> list[object]:
        return [who, f"{half[0]} - {half[-1]}", f"{half[0]:04x} - {half[-1]:04x}", half.stop]

    return table(
        ["side", "ids of its requests", "in hex", "id of a message that asks nothing"],
        [
            row("server", request_ids.SERVER_IDS),
            row("client", request_ids.CLIENT_IDS),
            row("client, to a server of 2.0.0 - 3.0.0", request_ids.LEGACY_CLIENT_IDS),
        ],
    )


# Settings and limits.

_UNITS = {
    "hello_size": "bytes",
    "json_hello_size": "bytes",
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
    "request": "seconds",
    "close": "seconds",
    "drain": "seconds",
    "write": "seconds",
    "frame": "seconds",
    "ping_interval": "seconds",
    "ping_timeout": "seconds",
    "handler": "seconds",
    "slow_handler": "seconds",
    "max_retries": "tries",
    "initial_delay": "seconds",
    "factor": "times",
    "max_delay": "seconds",
    "stable_after": "seconds",
    "jitter": "yes or no",
    "wire": "a release",
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
    "log_connections": "yes or no",
    "buffer_size": "bytes",
    "max_workers": "threads",
    "performance_mode": "a `PerformanceMode`",
    "socket_core": "a `SocketCore`",
}
"""Every setting must be named here, so that a new one gets its unit written down."""

_DESCRIBED_ELSEWHERE = {"limits": "what one peer may make this side keep", "timeouts": "how long this side waits"}


def _attributes(thing: type) -> dict[str, str]:
    """Return the ``Attributes:`` section of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(thing.__mro__):
        section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found[name] = as_markdown(re.sub(r"\s+", " ", text))
    return found | {name: text for name, text in _DESCRIBED_ELSEWHERE.items() if name not in found}


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
        described = _attributes(thing)
        rows = [[f"`{each.name}`", _UNITS[each.name], _default(each), described[each.name]] for each in fields(thing)]
        blocks.append(f"### {thing.__name__}\n\n{table(['setting', 'unit', 'default', 'meaning'], rows)}")
    return "\n\n".join(blocks)


def counters() -> str:
    """What is counted."""
    rows = [[f"`{name}`", meaning] for name, meaning in COUNTERS.items()]
    rows += [[f"`closed_{each.name.lower()}`", f"connections that ended: {_WHY[each.name]}"] for each in DisconnectReason]
    return table(["counter", "counts"], rows)


def fixed_limits() -> str:
    """Numbers that are no settings."""
    return table(
        ["what", "value"],
        [
            ["replies a peer has not read, above which its next requests are not read", f"{flow_control._OWED // 1024} KiB"],
            [
                "slowest a peer may read when much waits for it before it is given up",
                f"{flow_control.SLOWEST // 1024} KiB/s, looked at every `timeouts.write` seconds",
            ],
            ["frames of unknown types, and pongs never asked for, that are forgiven", f"{policing._FORGIVEN:g} a second"],
            [
                "messages without a handler that are answered with an ERROR, where nothing tells whether they ask",
                f"{policing._REJECTIONS} in a row, and {policing._FORGIVEN:g} more a second",
            ],
            ["message types without a handler that are counted and named one by one", _MOST_TYPES],
            ["bytes given to a transport at a time", f"{flow_control._HANDFUL // 1024} KiB"],
            ["bytes sent while a read is handled that wait for its end to be written", f"{interface.MOST_CORKED // 1024} KiB"],
            ["slowest a message that has begun may arrive, after `timeouts.frame`", f"{policing._SLOWEST_FRAME // 1024} KiB/s"],
            ["age below which a half-open connection never gives way to a new one", f"{admission._YOUNG:g} s"],
            [
                "connections of one source, unless `limits.per_source` says otherwise",
                f"{admission._PER_SOURCE}; any number from this machine's own addresses",
            ],
            ["network whose IPv6 addresses are one source", f"{addresses._NETWORK} bits"],
            ["how long a peer that has been sent everything may take to close, too", f"{protocol._LINGER:g} s"],
            [
                "how long nothing more comes before a drain takes what had arrived for read",
                f"{last_reads.QUIET:g} s, or a quarter of `timeouts.drain`",
            ],
            [
                "how long nothing is accepted after it could not be, twice in a row or more",
                f"{accept._FIRST_WAIT * 1000:g} ms, doubled each time up to {accept._LONGEST_WAIT:g} s",
            ],
            [
                "connections that wait to be accepted at a TCP port whose endpoint says no other `backlog`",
                endpoints._BACKLOG.partition("=")[2],
            ],
            ["connections taken from a port in one turn of the reactor", accept._ACCEPTS],
            [
                "bytes the kernel keeps unsent for a TCP peer before it takes no more of this side (`TCP_NOTSENT_LOWAT`)",
                f"{sockets._UNSENT // 1024} KiB",
            ],
            ["TCP keep-alive probes, unanswered, after which the kernel gives a peer up", sockets._PROBES],
            ["connections over the limit that are told so at once", admission._REFUSED_AT_ONCE],
            ["lines of the log about all peers together", f"{log_limiter._ALL} per second"],
            ["sources whose share of the log is remembered", log_limiter._REMEMBERED],
            ["file descriptors left for everything but connections", server._OTHER_FILES],
            [
                "how much more may wait for its turn while this side waits for a reply itself",
                f"{interface.OWN_REQUESTS_FACTOR} times `inflight`",
            ],
            [
                "requests given up, and pings, whose late replies are recognised and whose ids are not used again before them",
                f"all of them where ids have 2 bytes, else the last {pending.MOST_GIVEN_UP} of each per connection",
            ],
            ["gap between two hellos of the auto port", f"{HELLO_GAP:g} s and two round trips"],
            ["silence after which a client asks whether the server has no handshake", f"{handshake._SILENCE:g} s"],
        ],
    )


# Names.


def _members(thing: type) -> list[str]:
    """Return one line for each public method and property a class defines, by its docstring."""
    lines = []
    for name, member in vars(thing).items():
        if name.startswith("_") or name in _CALLED_FROM_BELOW or not (callable(member) or isinstance(member, property)):
            continue
        if not (inspect.getdoc(member) and (isinstance(member, property) or inspect.isfunction(member))):
            continue
        shown = name if isinstance(member, property) else f"{name}()"
        lines.append(f"  - `{shown}`: {first_sentence(member)}")
    return lines


def _name_lines(owner: str, names: Iterable[str], home: object) -> str:
    lines = []
    for name in names:
        thing = getattr(home, name)
        lines.append(f"- `{owner}.{name}`: {first_sentence(thing)}")
        if inspect.isclass(thing) and name in _WITH_MEMBERS:
            lines += _members(thing)
    return "\n".join(lines)


_GROUPS = {
    "Doors": ["Server", "Client"],
    "Settings": [
        *("ServerConfig", "ClientConfig", "Limits", "Timeouts", "RetryPolicy"),
        *("BufferSize", "PerformanceMode", "SocketCore", "Auto"),
    ],
    "Messages": ["MessageType", "MessageRegistry", "Request", "Response", "Events", "DisconnectState"],
    "Sessions and applications": ["Session", "IVeltixApplication"],
    "Plugins": ["Plugin", "IVeltixPlugin", "find_plugins", "plugin_code"],
    "Logging": ["Logger", "LoggerConfig", "LogLevel", "LineObserver"],
    "JSON, text and sizes": ["encode_json", "decode_json", "encode_utf8", "decode_utf8", "format_bytes"],
    "For your own Twisted code": ["VeltixServerFactory", "VeltixClientFactory", "VeltixProtocol"],
    "Errors": None,
}
_CALLED_FROM_BELOW = {
    *("encoding", "encode", "send_encoded", "begin", "receive", "pong", "end", "gone"),
    *("startedConnecting", "buildProtocol", "clientConnectionFailed", "clientConnectionLost"),
    *("connected", "received", "disconnected", "handshakeCompleted", "dataReceived", "connectionLost"),
    *("readConnectionLost", "writeConnectionLost"),
}
"""Public to the package's other rooms or to Twisted, not to users."""

_WITH_MEMBERS = {
    "Server",
    "Client",
    "Session",
    "MessageRegistry",
    "Request",
    "Response",
    "RetryPolicy",
    "MemoryNetwork",
    "ScriptedPeer",
    "VeltixClientFactory",
    "Hub",
    "Router",
}


def reference() -> str:
    """The public names, one line each."""
    placed = {name for names in _GROUPS.values() for name in names or ()}
    blocks = []
    for title, names in _GROUPS.items():
        left = [name for name in veltix_tx.__all__ if name not in placed and name != "__version__"]
        blocks.append(f"## {title}\n\n{_name_lines('veltix_tx', names or left, veltix_tx)}")
    blocks.append(f"## asyncio\n\n{_name_lines('veltix_tx.aio', aio.__all__, aio)}")
    blocks.append(f"## Testing\n\n{_name_lines('veltix_tx.testing', testing.__all__, testing)}")
    lower = [(thing.__module__, thing.__name__, thing) for thing in (Router, Hub, Plugins)]
    lines = [line for home, name, thing in lower for line in (f"- `{home}.{name}`: {first_sentence(thing)}", *_members(thing))]
    blocks.append("## What a server is made of\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


_SECTIONS = {"Args": "Arguments", "Attributes": "Attributes", "Returns": "Returns", "Raises": "Raises"}


def docstring(thing: object) -> str:
    """Return a whole Google-style docstring as Markdown."""
    lines: list[str] = []
    section = ""
    for line in (inspect.getdoc(thing) or "").replace("::\n", ":\n").splitlines():
        title = line.rstrip(":")
        if line.endswith(":") and title in _SECTIONS:
            section = title
            lines += ["", f"{_SECTIONS[title]}:", ""]
        elif section and line.startswith("    "):
            item = re.match(r"    ([\w.*]+): (.*)", line) if section != "Returns" else None
            lines.append(f"- `{item[1]}`: {item[2]}" if item else f"  {line.strip()}" if section != "Returns" else line.strip())
        elif line.startswith("    "):
            lines.append(f"    {line}")
        else:
            section = section if not line else ""
            lines.append(line)
    return as_markdown(re.sub(r"\n{3,}", "\n\n", "\n".join(lines))).strip()


def _signature(thing: object) -> str:
    """Return a signature with short names, and dots for a default that cannot be written down."""
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    text = re.sub(r"<(\w+\.\w+): [^>]*>", r"\1", text)
    text = re.sub(r"<(?:[^<>]|<[^<>]*>)*>", "...", text)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def _api_members(thing: type) -> list[tuple[str, object]]:
    """Return what users find in a class: attributes first, then methods, its own and those of bases that are not public."""
    found: dict[str, object] = {}
    for each in reversed(thing.__mro__):
        if each.__module__.startswith("veltix_tx"):
            found |= {name: getattr(member, "__func__", member) for name, member in vars(each).items()}
    shown = {name: member for name, member in found.items() if not name.startswith("_") and name not in _CALLED_FROM_BELOW}
    return sorted(shown.items(), key=lambda item: inspect.isfunction(item[1]))


def _documented(owner: str, name: str, thing: object) -> list[str]:
    """Return one name with its signature and docstring, and those of its public members."""
    called = not (inspect.isclass(thing) and issubclass(thing, (Enum, Exception)))
    blocks = [f"### {name}", f"```text\n{owner}.{name}{_signature(thing) if called else ''}\n```", docstring(thing)]
    if isinstance(thing, InterfaceClass):
        for member, described in sorted(thing.namesAndDescriptions()):
            arguments = described.getSignatureString() if isinstance(described, Method) else ""
            blocks += [f"**`{member}{arguments}`**", docstring(described)]
    elif inspect.isclass(thing) and issubclass(thing, Enum):
        blocks.append(", ".join(f"`{each.name}`" + (f" ({each.value})" if isinstance(each.value, int) else "") for each in thing))
    elif inspect.isclass(thing) and not issubclass(thing, Exception):
        for member, described in _api_members(thing):
            if isinstance(described, property) and described.__doc__:
                blocks += [f"**`{member}`** (attribute)", docstring(described)]
            elif inspect.isfunction(described) and described.__doc__:
                blocks += [f"**`{member}{_signature(described)}`**", docstring(described)]
    return blocks


def api() -> str:
    """Every public name with its signature and its whole docstring."""
    placed = {name for names in _GROUPS.values() for name in names or ()}
    blocks = []
    for title, names in _GROUPS.items():
        left = [name for name in veltix_tx.__all__ if name not in placed and name != "__version__"]
        blocks.append(f"## {title}")
        for name in names or left:
            blocks += _documented("veltix_tx", name, getattr(veltix_tx, name))
    for title, home, owner in (
        ("asyncio", aio, "veltix_tx.aio"),
        ("Testing", testing, "veltix_tx.testing"),
        ("The drop-in", veltix, "veltix_tx.dropin.veltix"),
    ):
        blocks.append(f"## {title}")
        own = [name for name in home.__all__ if getattr(getattr(home, name), "__module__", "").startswith(owner)]
        for name in own:
            blocks += _documented(owner, name, getattr(home, name))
    return "\n\n".join(block for block in blocks if block)


def error_tree() -> str:
    """The exceptions, indented by inheritance."""
    lines: list[str] = []

    def add(kind: type, depth: int) -> None:
        also = [base.__name__ for base in kind.__bases__ if not issubclass(base, errors.VeltixError) and base is not Exception]
        facts = ", ".join(f"`{name}`" for name in _attributes_of(kind))
        where = "veltix_tx" if kind.__name__ in veltix_tx.__all__ else "veltix_tx.errors"
        words = first_sentence(kind) + (f" Also a {also[0]}." if also else "") + (f" Facts: {facts}." if facts else "")
        lines.append(f"{'  ' * depth}- `{where}.{kind.__name__}`: {words}")
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                add(child, depth + 1)

    add(errors.VeltixError, 0)
    return "\n".join(lines)


def _attributes_of(kind: type) -> list[str]:
    return re.findall(r"^    (\w+): ", inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2], re.MULTILINE)


_WHY = {
    "AUTHENTICATION_FAILED": "the server refused its client's credentials",
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
    "TLS_FAILED": "one side refuses the other's certificate, or does not speak TLS; `cause` says which",
}


def reasons() -> str:
    """The reasons of a disconnect."""
    return table(["reason", "number", "meaning"], ([f"`{each.name}`", each.value, _WHY[each.name]] for each in DisconnectReason))


BLOCKS: dict[str, Callable[[], str]] = {
    "layouts": layouts,
    "layout fields": fields_of_layouts,
    "releases": releases,
    "generations": generations,
    "handshakes": handshakes,
    "states": states,
    "calls": calls,
    "openings": openings,
    "hellos": hellos,
    "exchanges": exchanges,
    "codes": codes,
    "agreed": agreed,
    "failures": failures,
    "refusals": refusals,
    "id halves": id_halves,
    "settings": settings_tables,
    "counters": counters,
    "fixed limits": fixed_limits,
    "reference": reference,
    "api": api,
    "errors": error_tree,
    "reasons": reasons,
}

_BLOCK = re.compile(r"(<!-- generated: ([a-z ]+) -->\n)(?:(?!<!--).*\n)*(<!-- end -->)")


def pages() -> list[Path]:
    """Return every page of the documentation, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rewritten(text: str) -> str:
    """Return a page's text with its blocks as they must be."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with ``--check`` say which differ."""
    differing = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = rewritten(text)
        if wanted != text:
            differing += 1
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")
            if "--check" not in arguments:
                page.write_text(wanted, encoding="utf-8")
    return min(differing, 1) if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
