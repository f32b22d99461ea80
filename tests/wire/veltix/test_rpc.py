"""Calls on a Veltix wire: their bytes, their agreement, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veltix_tx.errors import InvalidContent
from veltix_tx.wire.contents import pack
from veltix_tx.wire.events import CallCancelled, Event, FrameRejected, RejectReason
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import CALL, CANCEL, RESULT, MessageRegistry, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.layouts import W15
from veltix_tx.wire.veltix.rpc import VELTIX_RPC

ADD = {
    "93 a3 616464 92 01 02 cd 0bb8": ((1, 2), {}, {}),
    "94 a3 616464 91 01 cd 0bb8 81 a1 62 02": ((1,), {"b": 2}, {}),
    "95 a3 616464 92 01 02 cd 0bb8 80 81 a1 74 a1 37": ((1, 2), {}, {"t": "7"}),
}
"""Calls of ``add`` with a timeout of 3 s: content -> arguments, keyword arguments and metadata."""


@pytest.mark.parametrize("content", ADD)
def test_a_call_is_the_bytes_of_the_specification(content: str) -> None:
    """Method, arguments, ms, keyword arguments and metadata, in MessagePack, without what is empty at the end."""
    args, kwargs, metadata = ADD[content]
    assert VELTIX_RPC.encode_call("add", args, kwargs, 3.0, metadata) == bytes.fromhex(content)
    call = VELTIX_RPC.decode_call(bytes.fromhex(content))
    assert (call.method, bytes(call.args), call.timeout_ms) == ("add", pack(args), 3000)
    assert (bytes(call.kwargs), call.metadata) == (pack(kwargs), metadata)
    page = Path(__file__).resolve().parents[3] / "docs" / "protocol" / "rpc.md"
    assert content in page.read_text(encoding="utf-8")


def test_a_call_without_an_end_says_none() -> None:
    """A caller that waits for ever sends nil."""
    sent = VELTIX_RPC.encode_call("add", (), {}, math.inf, None)
    assert VELTIX_RPC.decode_call(sent).timeout_ms is None


@pytest.mark.parametrize(
    ("method", "metadata"),
    [
        ("", {}),
        ("x" * 257, {}),
        ("add", {str(number): "" for number in range(65)}),
        ("add", {"x" * 257: ""}),
        ("add", {"x": "y" * 1025}),
        ("add", {"x": 3}),
    ],
)
def test_a_call_over_a_limit_is_neither_sent_nor_taken(method: str, metadata: dict[str, Any]) -> None:
    """Long names and much metadata are refused on both sides, with the value and the limit."""
    with pytest.raises(InvalidContent):
        VELTIX_RPC.encode_call(method, (), {}, 1.0, metadata)
    with pytest.raises(InvalidContent):
        VELTIX_RPC.decode_call(pack([method, [], None, {}, metadata]))


CONTENT = bytes.fromhex(next(iter(ADD)))

Make = Callable[..., VeltixConnection]
Converse = Callable[..., tuple[list[Event], list[Event]]]


def met(make: Make, converse: Converse, release: str | None = None) -> tuple[VeltixConnection, VeltixConnection]:
    """Return a server and a client whose handshake is complete, the server of a release or one that finds out."""
    pair = make(Role.SERVER, release, types=MessageRegistry()), make(Role.CLIENT, types=MessageRegistry())
    converse(*pair)
    return pair


def carried(sender: VeltixConnection, receiver: VeltixConnection) -> list[Event]:
    """Return the events of what one has to send, one byte at a time."""
    return [
        event
        for buffer in sender.data_to_send()
        for position in range(len(buffer))
        for event in receiver.receive_data(buffer[position : position + 1], 0)
    ]


def test_calls_results_and_cancellations_arrive(make: Make, converse: Converse) -> None:
    """Between two that agreed a CALL and a RESULT are messages with the call's id, a CANCEL is an event with it."""
    server, client = met(make, converse)
    assert (server.rpc, client.rpc) == (VELTIX_RPC, VELTIX_RPC)
    request_id = client.allocate_id(())
    client.send(CALL, CONTENT, request_id)
    client.send(CANCEL, b"", request_id)
    call, cancelled = carried(client, server)
    assert isinstance(call, Response)
    assert (call.type, call.content, call.request_id) == (CALL, CONTENT, request_id)
    assert cancelled == CallCancelled(request_id)
    server.send(RESULT, VELTIX_RPC.encode_result(3), request_id)
    (result,) = carried(server, client)
    assert isinstance(result, Response)
    assert (result.type, VELTIX_RPC.decode_result("add", result.content), result.request_id) == (RESULT, b"\x03", request_id)


def test_one_that_has_not_agreed_knows_no_calls(make: Make, converse: Converse) -> None:
    """With a pinned peer there is no codec, and its CALL, RESULT and CANCEL frames are of unknown types."""
    server, client = met(make, converse, "3.3.0")
    assert (server.rpc, client.rpc) == (None, None)
    for code in (CALL.code, RESULT.code, CANCEL.code):
        client._out.append(W15.pack(code, b"", 1, 0))
        assert carried(client, server) == [FrameRejected(RejectReason.UNKNOWN_TYPE, code)]
