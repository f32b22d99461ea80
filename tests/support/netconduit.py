"""Frames of netconduit made by hand, those that its own code made, and connections with a fixed clock and dice."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

from msgspec import msgpack

from veltix_tx.limits import Limits
from veltix_tx.wire.interface import Role, WireContext
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.netconduit.connection import NetconduitConnection
from veltix_tx.wire.netconduit.wire import Netconduit

__all__ = [
    "COMPRESSED",
    "HASH",
    "LOGIN",
    "NOW_MS",
    "PASSWORD",
    "RECEIVED_MS",
    "VECTORS",
    "connection",
    "frame",
    "frames_in",
    "ready",
    "sent",
]

NOW_MS = 1_700_000_000_000
RECEIVED_MS = 1_700_000_000_005

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "wire" / "netconduit" / "vectors.json").read_text())

PASSWORD: str = VECTORS["password"]
HASH = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"

COMPRESSED = 1


def frame(kind: int, payload: object = None, *, flags: int = 0, correlation: int = 0, raw: bytes | None = None) -> bytes:
    """Return a frame as the format says; ``raw`` is a payload that is packed already."""
    body = raw if raw is not None else b"" if payload is None else msgpack.encode(payload)
    if flags & COMPRESSED:
        body = zlib.compress(body)
    return struct.pack(">4sHHHHIQQ", b"CNDT", 256, kind, flags, 0, len(body), correlation, NOW_MS) + body


LOGIN = frame(7, {"password_hash": HASH, "client_info": {"name": "real", "version": "9"}})
"""What a real client with the password says first."""


def frames_in(data: bytes) -> list[tuple[int, int, int, Any]]:
    """Return type, flags, correlation id and payload of each frame."""
    found = []
    while data:
        magic, version, kind, flags, reserved, size, correlation, _ = struct.unpack_from(">4sHHHHIQQ", data)
        assert (magic, version, reserved) == (b"CNDT", 256, 0)
        body, data = data[32 : 32 + size], data[32 + size :]
        body = zlib.decompress(body) if flags & COMPRESSED else body
        found.append((kind, flags, correlation, msgpack.decode(body) if body else None))
    return found


def connection(
    role: Role, *, limits: Limits | None = None, max_message_size: int = 10 * 2**20, types: Any = None, **options: Any
) -> Any:
    """Return a connection that has not begun; every type is known unless ``types`` says otherwise."""
    context = WireContext(
        calendar_ms=lambda: NOW_MS,
        uptime_ms=lambda: 0,
        getrandbits=Random(5).getrandbits,
        types=MessageRegistry(open=True) if types is None else types,
        limits=limits or Limits(),
        max_message_size=max_message_size,
    )
    options.setdefault("password", PASSWORD)
    return Netconduit(**options).connect(role, context, round_trip=0.0, encrypted=False)


def ready(role: Role, **settings: Any) -> NetconduitConnection:
    """Return a connection whose peer is a real one, which has authenticated."""
    made: NetconduitConnection = connection(role, **settings)
    made.start()
    if role is Role.SERVER:
        made.receive_data(LOGIN, RECEIVED_MS)
        made.handle_timeout()
    else:
        made.receive_data(frame(8, {"session_token": "ab", "server_info": {"name": "real", "version": "1"}}), RECEIVED_MS)
    made.data_to_send()
    return made


def sent(made: NetconduitConnection) -> list[tuple[int, int, int, Any]]:
    """Return the frames that a connection wants to send."""
    return frames_in(b"".join(made.data_to_send()))
