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
    for kind, (name, meaning) in zip(re.findall(r"\d*[a-zA-Z]", frames.HEADER.format), _HEADER.items(), strict=True):
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
        [
            "once let in",
            "payloads inflated in one turn of the reactor; the next ones wait for others",
            f"{payloads.INFLATED_AT_ONCE // 1024} KiB, and the one that goes beyond",
            "fixed",
        ],
        ["once let in", "values in a payload, keys among them", Limits().values, "`limits.values`"],
        ["once let in", "maps and arrays in each other", payloads.MAX_NESTING, "fixed; real peers pack no deeper ones"],
    ]
    return table(["when", "what", "at most", "setting"], rows)


def failures() -> str:
    """The codes of failed calls, and netconduit's numbers for them."""
    codes = sorted({*rpc.NUMBERS, *rpc.CODES.values()})
    rows = (
        [f"`{code}`", rpc.NUMBERS[code], ", ".join(str(number) for number in rpc.CODES if rpc.CODES[number] == code) or "-"]
        for code in codes
    )
    return table(["code", "sent to a real peer as", "read from"], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "conduit header": header,
    "conduit types": types,
    "conduit states": state_table,
    "conduit bounds": bounds,
    "conduit failures": failures,
}
