"""Frames that netconduit's own code made: ours reads them all, and sends the same bytes for the same things."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import msgpack

from tests.support.netconduit import PASSWORD, RECEIVED_MS, VECTORS, connection, ready
from veltix_tx.wire.events import (
    AuthenticationRequested,
    ConnectionFailed,
    Event,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RequestFailed,
)
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import CALL, RESULT, MessageType
from veltix_tx.wire.netconduit.frames import FrameDecoder, FrameType
from veltix_tx.wire.netconduit.peer import describe_self
from veltix_tx.wire.netconduit.rpc import CODES, LIST_METHOD, NetconduitRpc
from veltix_tx.wire.rpc import DISCOVER

from .conftest import Feed

SYNTHETIC: dict[str, Any] = VECTORS["synthetic"]
CAPTURED: dict[str, Any] = VECTORS["captured"]

RPC = NetconduitRpc(ours=False)


@pytest.mark.parametrize("step", [1, 7, 10**6])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_every_frame_of_the_encoder_is_read(name: str, step: int) -> None:
    """The decoder finds type, flags, correlation id, clock and payload of every kind of frame, in pieces of any size."""
    vector = SYNTHETIC[name]
    data = bytes.fromhex(vector["frame_hex"])
    decoder = FrameDecoder(2**20)
    found = [each for at in range(0, len(data), step) for each in decoder.receive_data(data[at : at + step])]
    header = vector["header"]
    (kind, flags, correlation, sent_at, payload) = found[0]
    assert (kind, flags, correlation, sent_at) == tuple(header[key] for key in ("type", "flags", "correlation_id", "timestamp_ms"))
    assert FrameType(kind).name == vector["type"]
    assert len(payload) == header["length"]
    assert (len(found), decoder.error, decoder.buffered_size) == (1, None, 0)


def _encoded(name: str) -> bytes:
    made = ready(Role.SERVER)

    def call(method: str, params: dict[str, object]) -> bytes:
        return made.rpc.encode_call(method, (), params, 1.0, None)

    real: dict[str, Any] = {
        "message": lambda: made.send(MessageType(name="greeting"), {"name": "World"}),
        "message_data_none": lambda: made.send(MessageType(name="x"), None),
        "rpc_request_first": lambda: made.send(CALL, call("add", {"a": 10, "b": 20}), made.allocate_id(())),
        "rpc_request_second_no_params": lambda: made.send(CALL, call(DISCOVER, {}), 2),
        "rpc_response_int": lambda: made.send(RESULT, made.rpc.encode_result(30), 1),
        "heartbeat_ping": lambda: made.send_ping(None),
        "heartbeat_pong": lambda: made.receive_data(bytes.fromhex(SYNTHETIC["heartbeat_ping"]["frame_hex"]), RECEIVED_MS),
    }
    real[name]()
    return b"".join(made.data_to_send())


@pytest.mark.parametrize(
    "name",
    [
        *("message", "message_data_none", "rpc_request_first", "rpc_request_second_no_params", "rpc_response_int"),
        *("heartbeat_ping", "heartbeat_pong"),
    ],
)
def test_ours_sends_the_same_bytes(name: str) -> None:
    """For the same thing ours sends a real peer byte for byte what netconduit's encoder makes."""
    assert _encoded(name).hex() == SYNTHETIC[name]["frame_hex"]


def test_a_refusal_is_the_same_bytes() -> None:
    """A wrong password is answered byte for byte as a real server does."""
    server = connection(Role.SERVER, password="another")
    server.start()
    (failed,) = server.receive_data(bytes.fromhex(SYNTHETIC["auth_request"]["frame_hex"]), RECEIVED_MS)
    assert isinstance(failed, ConnectionFailed)
    assert b"".join(server.data_to_send()).hex() == SYNTHETIC["auth_failure"]["frame_hex"]


def test_an_info_without_features_has_the_keys_of_a_real_one() -> None:
    """What a side without features says of itself has name and version, in a real one's order."""
    real = CAPTURED["session_plain"]["server"][0]["payload"]["server_info"]
    assert list(describe_self("MatrixSrv", "9.9.9", ()).items()) == list(real.items())


@pytest.mark.parametrize("session", [name for name in CAPTURED if name != "session_bad_password"])
def test_a_server_holds_the_captured_conversation(session: str, feed: Feed) -> None:
    """All that a real client sent is taken by our server: its messages and calls, with their values."""
    server = connection(Role.SERVER)
    server.start()
    events: list[Event] = []
    for each in CAPTURED[session]["client"]:
        events += feed(server, bytes.fromhex(each["frame_hex"]))
    assert isinstance(events[0], HandshakeCompleted)
    assert (events[0].peer.version, server.peer.name, server.peer.features) == ("1.2.3", "VecCli", ())
    said = _comparable(CAPTURED[session]["client"][1:])
    assert [_shown(event) for event in events[1:]] == said
    assert server.state.name == "READY"


@pytest.mark.parametrize("session", [name for name in CAPTURED if name != "session_bad_password"])
def test_a_client_holds_the_captured_conversation(session: str, feed: Feed) -> None:
    """All that a real server sent is taken by our client: results bare, failures as such."""
    client = connection(Role.CLIENT)
    client.start()
    events: list[Event] = []
    for each in CAPTURED[session]["server"]:
        events += feed(client, bytes.fromhex(each["frame_hex"]))
    assert isinstance(events[0], HandshakeCompleted)
    assert (events[0].peer.version, client.peer.name) == ("9.9.9", "MatrixSrv")
    assert [_shown(event) for event in events[1:]] == _comparable(CAPTURED[session]["server"][1:])


def test_the_captured_wrong_password_is_refused(feed: Feed) -> None:
    """A real client's wrong password fails at our server, a real server's refusal at our client."""
    captured = CAPTURED["session_bad_password"]
    assert captured["password"] != PASSWORD
    for role, sender in ((Role.SERVER, "client"), (Role.CLIENT, "server")):
        made = connection(role)
        made.start()
        (failed,) = feed(made, bytes.fromhex(captured[sender][0]["frame_hex"]))
        assert not isinstance(failed, AuthenticationRequested)
        assert type(failed.error).__name__ == "AuthenticationFailed"


def _comparable(frames: list[dict[str, Any]]) -> list[object]:
    """Return what each captured frame means."""
    found: list[object] = []
    for each in frames:
        kind, payload, correlation = each["type"], each["payload"], each["header"]["correlation_id"]
        if kind == "MESSAGE":
            found.append(("message", payload["type"], payload["data"], each["header"]["timestamp_ms"]))
        elif kind == "RPC_REQUEST":
            found.append(("call", payload["method"], payload["params"], correlation))
        elif kind == "RPC_RESPONSE":
            inner = payload["result"]
            if inner["success"]:
                found.append(("result", correlation, inner["data"]))
            else:
                code = CODES.get(inner["code"], f"netconduit_{inner['code']}") if "code" in inner else ""
                found.append(("failure", correlation, code, inner["error"], inner.get("details")))
        else:
            found.append(kind)
    return found


def _shown(event: Any) -> object:
    """Return what an event means, in the same form."""
    if isinstance(event, RequestFailed):
        return ("failure", event.request_id, event.code, event.message, event.details)
    if isinstance(event, PingsAnswered):
        return "HEARTBEAT_PING"
    if isinstance(event, Pong):
        return "HEARTBEAT_PONG"
    if event.type is CALL:
        call = RPC.decode_call(event.content)
        method = LIST_METHOD if call.method == DISCOVER else call.method
        return ("call", method, _plain(msgpack.decode(call.kwargs)), event.request_id)
    if event.type is RESULT:
        return ("result", event.request_id, _plain(msgpack.decode(RPC.decode_result("any", event.content))))
    return ("message", event.type.name, _plain(event.value), event.timestamp)


def _plain(value: Any) -> Any:
    """Return a value as the vectors, which are JSON, have it."""
    if isinstance(value, bytes):
        return {"__bytes_hex__": value.hex()}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
