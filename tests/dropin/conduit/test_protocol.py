"""The protocol's classes: frames of netconduit's own encoder are read and made alike; what is none is refused."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from tests.support.netconduit import VECTORS
from veltix_tx.dropin.conduit import HEADER_SIZE, MessageFlags, MessageHeader, MessageType, ProtocolDecoder, ProtocolEncoder
from veltix_tx.dropin.conduit.protocol import DecodeError, IncompleteMessageError

SYNTHETIC: dict[str, Any] = VECTORS["synthetic"]


@pytest.mark.parametrize("step", [1, 7, 10**6])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_frames_of_netconduit_are_read(name: str, step: int) -> None:
    """Each frame of the real encoder is decoded from pieces of any size, with its header."""
    vector = SYNTHETIC[name]
    data = bytes.fromhex(vector["frame_hex"])
    decoder = ProtocolDecoder()
    found = []
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        found += decoder.decode_all()

    (message,) = found
    header = vector["header"]
    assert message.message_type.name == vector["type"]
    assert (message.correlation_id, message.timestamp) == (header["correlation_id"], header["timestamp_ms"])
    assert message.is_compressed() == bool(header["flags"] & 1)
    assert decoder.buffer_size() == 0
    assert ProtocolDecoder.decode_single(data).raw_payload == message.raw_payload


def _made(encoder: ProtocolEncoder, name: str) -> bytes:
    made: dict[str, Any] = {
        "message": lambda: encoder.encode_message("greeting", {"name": "World"}),
        "rpc_request_first": lambda: encoder.encode_rpc_request("add", {"a": 10, "b": 20})[0],
        "heartbeat_ping": encoder.encode_heartbeat_ping,
        "heartbeat_pong": encoder.encode_heartbeat_pong,
    }
    frame: bytes = made[name]()
    return frame


@pytest.mark.parametrize("name", ["message", "rpc_request_first", "heartbeat_ping", "heartbeat_pong"])
def test_frames_are_made_as_netconduit_makes_them(name: str) -> None:
    """The same bytes come out for the same things, but for the clock."""
    real = bytes.fromhex(SYNTHETIC[name]["frame_hex"])
    made = _made(ProtocolEncoder(), name)
    assert made[:24] + made[32:] == real[:24] + real[32:]


def test_a_message_tells_what_it_is() -> None:
    """Each kind of frame has its parts, and no others."""
    encoder = ProtocolEncoder()
    decode = ProtocolDecoder.decode_single
    message = decode(encoder.encode_message("greeting", [1]))
    assert (message.get_message_type_str(), message.get_data(), message.get_rpc_method()) == ("greeting", [1], None)
    request = decode(encoder.encode_rpc_request("add", {"a": 1})[0])
    assert (request.get_rpc_method(), request.get_rpc_params(), request.get_data()) == (
        "add",
        {"a": 1},
        {"method": "add", "params": {"a": 1}},
    )
    assert request.get_message_type_str() is None
    answer = decode(encoder.encode_rpc_response([2], 7))
    assert (answer.get_rpc_result(), answer.is_success(), answer.correlation_id) == ([2], True, 7)
    failed = decode(encoder.encode_rpc_error("no", 7, 1001))
    assert (failed.get_rpc_error(), failed.is_success(), failed.get_rpc_result()) == ("no", False, None)
    ping = decode(encoder.encode_heartbeat_ping())
    assert (ping.payload, ping.get_rpc_params(), ping.is_success(), ping.header.is_control_message()) == (None, {}, True, True)
    for frame in (
        encoder.encode_auth_request("0" * 64, {}),
        encoder.encode_auth_success("0" * 128, {}),
        encoder.encode_auth_failure("no"),
    ):
        assert decode(frame).header.is_auth()
    for frame in (
        *(encoder.encode_pause(), encoder.encode_resume(), encoder.encode_ack(1), encoder.encode_nack(1, "no")),
        *(encoder.encode_close("bye"), encoder.encode_close_ack()),
    ):
        assert decode(frame).header.is_control_message()
    assert decode(encoder.encode_rpc_list([])).header.is_rpc()
    assert repr(ping) == "DecodedMessage(type=HEARTBEAT_PING, correlation_id=0)"


def test_compression_is_for_long_payloads_that_become_shorter() -> None:
    """From 1,025 bytes on, where it helps; what is compressed is read."""
    encoder = ProtocolEncoder(enable_compression=True)
    long = encoder.encode_message("m", "x" * 10_000)
    assert len(long) < 200
    assert ProtocolDecoder.decode_single(long).get_data() == "x" * 10_000
    assert not ProtocolDecoder.decode_single(encoder.encode_message("m", "x" * 900)).is_compressed()


def test_what_cannot_be_sent_is_refused() -> None:
    """Keys that are numbers, and what msgpack does not hold."""
    with pytest.raises(ValueError, match="netconduit takes no other"):
        ProtocolEncoder().encode_message("m", {1: 2})
    with pytest.raises(TypeError):
        ProtocolEncoder().encode_message("m", object())


def test_bytes_that_are_no_frame_are_decode_errors() -> None:
    """Another magic, version or type, too long a payload, and a payload that is no msgpack, or a bomb."""
    good = ProtocolEncoder().encode_message("m", 1)
    inner = zlib.compress(bytes(200 * 2**20))
    header = MessageHeader.create(MessageType.MESSAGE, len(inner), flags=MessageFlags.COMPRESSED)
    wrong = [
        b"NOPE" + good[4:],
        good[:4] + b"\x02\x00" + good[6:],
        good[:6] + b"\x00\x99" + good[8:],
        good[:12] + b"\xff\xff\xff\xff" + good[16:],
        good[:-1] + b"\xc1",
        MessageHeader.create(MessageType.MESSAGE, 4).to_bytes() + b"\x01\x01\x01\x01",
        header.to_bytes() + inner,
    ]
    for data in wrong:
        decoder = ProtocolDecoder()
        decoder.feed(data)
        with pytest.raises(DecodeError):
            decoder.decode_one()
        with pytest.raises(DecodeError):
            ProtocolDecoder.decode_single(data)
        decoder.clear()
        assert decoder.buffer_size() == 0


def test_bytes_that_are_less_than_a_frame_are_told_apart() -> None:
    """``decode_one`` waits for more, ``decode_single`` says how much is missing; a header can be looked at before."""
    frame = ProtocolEncoder().encode_message("m", "x")
    decoder = ProtocolDecoder()
    assert decoder.peek_header() is None
    for size in (HEADER_SIZE - 1, len(frame) - 1):
        decoder.clear()
        decoder.feed(frame[:size])
        assert decoder.decode_one() is None
        with pytest.raises(IncompleteMessageError) as less:
            ProtocolDecoder.decode_single(frame[:size])
        assert less.value.bytes_needed == 1
    found = decoder.peek_header()
    assert found is not None
    assert found.content_length == len(frame) - HEADER_SIZE


def test_a_header_is_checked() -> None:
    """``from_bytes`` and ``validate`` say what is wrong."""
    header = MessageHeader.create(MessageType.MESSAGE, 5, timestamp=7)
    assert MessageHeader.from_bytes(header.to_bytes()) == header
    with pytest.raises(ValueError, match="too short"):
        MessageHeader.from_bytes(b"CNDT")
    for name, value in (("magic", b"NOPE"), ("version", 1), ("content_length", 2**31)):
        odd = MessageHeader.create(MessageType.MESSAGE, 5)
        setattr(odd, name, value)
        with pytest.raises(ValueError, match=r"Invalid|Unsupported|too long"):
            odd.validate()
