"""The wire of Veltix: layouts, releases, handshakes, states, type codes, whole conversations."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby

from veltix_tx import errors
from veltix_tx.limits import Limits
from veltix_tx.wire.credentials import Password, Token
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

from .markdown import table

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
        title = f"## {layout.name}: releases {span(of_layout(layout))}"
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
    server = handshake.Handshake(Role.SERVER, None, lambda bits: 0, Limits(), HELLO_GAP)
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
    Step.READ_CREDENTIALS: "read the client's credentials, where both agreed on them",
    Step.AUTHENTICATE: "wait for the verdict on the client, where the server decides who is let in",
    Step.SEND_RESULT: 'send `{"result": "ok"}`',
    Step.READ_HELLO: "read HELLO, a pinned client behind whatever comes before it; check its version",
    Step.SEND_ACK: "send HELLO_ACK with the HELLO's request id",
    Step.READ_SERVER: "read the server's JSON; check its version",
    Step.PRESENT: "wait for this side's credentials and send them, where both agreed on them",
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
    "accept()": lambda side: side.accept(),
    "reject()": lambda side: side.reject(),
    "present()": lambda side: side.present(None),
    "reauthenticate()": lambda side: side.reauthenticate(Token("a token"), 1),
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


def who() -> str:
    """The bytes of handshakes that ask who the client is, and of new credentials."""
    types = MessageRegistry()
    clocks = {"calendar_ms": lambda: 0, "uptime_ms": lambda: 0, "getrandbits": lambda bits: 0}

    def conversation(credentials: Token | Password | None, *, lets_in: bool) -> str:
        lines: list[str] = []
        server = VeltixConnection(Role.SERVER, None, **clocks, types=types, authenticates=True)
        client = VeltixConnection(Role.CLIENT, None, **clocks, types=types)

        def deliver(sender: VeltixConnection, receiver: VeltixConnection, what: str) -> None:
            data = b"".join(sender.data_to_send())
            framed = data.startswith(W15.magic)
            shown = f"{_spaced(W15, data[:15])} {data[15:].decode()}" if framed else f"{data[:2].hex()} {data[2:].decode()}"
            lines.append(f"{what:<20} {shown}")
            receiver.receive_data(data, 0)

        server.start(), client.start()
        deliver(server, client, "server hello")
        deliver(client, server, "client hello")
        client.present(credentials)
        deliver(client, server, "client credentials")
        if not lets_in:
            server.reject()
            deliver(server, client, "server result")
            return "\n".join(lines)
        server.accept()
        deliver(server, client, "server result")
        for token, verdict in (("another", server.accept), ("a guess", server.reject)):
            client.reauthenticate(Token(token), client.allocate_id(()))
            deliver(client, server, "client AUTHENTICATE")
            verdict()
            deliver(server, client, "server AUTHENTICATE")
        return "\n".join(lines)

    return "\n\n".join(
        (
            "A client that is let in by its token, and presents another one, which is accepted, and a third, which is not:",
            f"```text\n{conversation(Token('a token'), lets_in=True)}\n```",
            "One that is refused with its name and password:",
            f"```text\n{conversation(Password('ann', 'a guess'), lets_in=False)}\n```",
        )
    )


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
    "who": who,
    "failures": failures,
    "refusals": refusals,
    "id halves": id_halves,
}
