"""netconduit's wire: its header, the types of its frames, the states of a connection, what a peer may send."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from veltix_tx.limits import Limits
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.netconduit import frames, payloads, rpc, states

from .markdown import table

_HEADER = {
    "magic": "the bytes `43 4e 44 54`, ASCII `CNDT`",
    "version": f"u16, {frames.VERSION:#06x}; another one ends the connection",
    "type": "u16; one that is not in the table below ends the connection",
    "flags": "u16; 1 for a compressed payload, the others are accepted and ignored",
    "reserved": "u16; sent as 0, any value is accepted and ignored",
    "length": "u32, bytes of the payload as it is sent",
    "correlation id": "u64; what an answer to a call has in common with it, 0 in every other frame",
    "timestamp": "u64, ms since 1970 of the sender's clock; nobody relies on it",
}

_FRAMES = {
    "MESSAGE": ("`type`, a text, and `data`", "a message, both ways"),
    "RPC_REQUEST": ("`method`, a text, and `params`, a map", "a call"),
    "RPC_RESPONSE": ("`success` and `result`", "the answer to a call"),
    "RPC_ERROR": ("`success`, `error`, `code`, `details`", "a call's failure; between two of veltix_tx alone"),
    "HEARTBEAT_PING": ("none", "is answered at once, also while handlers run"),
    "HEARTBEAT_PONG": ("none", "answers the oldest ping that has no answer yet"),
    "AUTH_REQUEST": ("`password_hash`, `client_info`", "the client's first frame"),
    "AUTH_SUCCESS": ("`session_token`, `server_info`", "lets the client in"),
    "AUTH_FAILURE": ("`reason`", "turns the client away; the connection is closed"),
    **dict.fromkeys(("PAUSE", "RESUME", "ACK", "NACK", "CLOSE", "CLOSE_ACK", "RPC_LIST"), ("any", "never sent; ignored")),
}


def header() -> str:
    """The header of a netconduit frame."""
    rows, offset = [], 0
    for kind, (name, meaning) in zip(
        re.findall(r"\d*[a-zA-Z]", frames.HEADER.format), _HEADER.items(), strict=True
    ):
        size = struct.calcsize(f">{kind}")
        rows.append([offset, size, name, meaning])
        offset += size
    return table(["offset", "bytes", "field", "meaning"], [*rows, [offset, "length", "payload", "one msgpack object, or nothing"]])


def types() -> str:
    """The types of netconduit frames."""
    rows = ([f"{each:#06x}", each.name, *_FRAMES[each.name]] for each in frames.FrameType)
    return table(["code", "type", "keys of its payload", "what it is"], rows)


def state_table() -> str:
    """The states of a netconduit connection."""
    moved = states.STATES.items()
    rows = ([state.name, *(moves[on].name if on in moves else "-" for on in states.Trigger)] for state, moves in moved)
    return table(["in state", *(f"on {on.name}" for on in states.Trigger)], rows)


def bounds() -> str:
    """What a netconduit peer may send."""
    free, ratio = payloads.FREE_INFLATE // 1024**2, payloads.INFLATE_RATIO
    rows = [
        [
            "at first",
            "a frame's payload, also inflated",
            f"{Limits().json_hello_size} bytes",
            "`limits.json_hello_size`",
        ],
        ["at first", "passwords", "1", "fixed; the connection ends with a wrong one"],
        ["once let in", "a frame", f"{ServerConfig().max_message_size} bytes", "`max_message_size`; at most 100 MiB and a header"],
        ["once let in", "a payload when inflated", "the same", "`max_message_size`"],
        ["once let in", f"a payload of more than {free} MiB when inflated", f"{ratio} times its bytes on the wire", "fixed"],
        ["once let in", "values in a payload, keys among them", Limits().values, "`limits.values`"],
        ["once let in", "maps and arrays in each other", payloads.MAX_NESTING, "fixed; real peers pack no deeper ones"],
    ]
    return table(["when", "what", "at most", "setting"], rows)


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


def failures() -> str:
    """The codes of failed calls, and netconduit's numbers for them."""
    codes = sorted({*rpc.NUMBERS, *rpc.CODES.values()})
    rows = ([f"`{code}`", rpc.NUMBERS[code], ", ".join(str(number) for number in rpc.CODES if rpc.CODES[number] == code) or "-"] for code in codes)
    return table(["code", "sent to a real peer as", "read from"], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "conduit header": header,
    "conduit types": types,
    "conduit states": state_table,
    "conduit bounds": bounds,
    "conduit failures": failures,
}
