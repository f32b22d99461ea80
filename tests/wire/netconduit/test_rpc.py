"""Calls on netconduit's wire: what a codec makes of arguments and results, the numbers of failures, and lists of methods."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import pytest
from msgspec import UNSET, msgpack

from tests.support.netconduit import frames_in, ready
from veltix_tx.errors import InvalidContent
from veltix_tx.wire.error_codes import ERROR_CODES, NO_ROUTE, UNKNOWN_TYPE
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import RESULT, MessageType
from veltix_tx.wire.netconduit.payloads import Answer
from veltix_tx.wire.netconduit.rpc import (
    CODES,
    LIST_METHOD,
    NUMBERS,
    Envelope,
    NetconduitRpc,
    describe_failure,
    describe_method,
    failure_number,
    list_method,
    read_failure,
)
from veltix_tx.wire.rpc import DISCOVER, MethodInfo

REAL, OURS = NetconduitRpc(ours=False), NetconduitRpc(ours=True)

INTEGER = {"type": "integer"}
METHODS = [
    MethodInfo(
        "add", "Add.", {"type": "object", "properties": {"a": INTEGER, "b": {"anyOf": [INTEGER, {"type": "null"}]}}}, INTEGER
    ),
    MethodInfo("order", "", {"type": "object", "properties": {"what": {"$ref": "#/$defs/Order"}, "any": {}}}),
]


def payload(packed: bytes) -> Any:
    """Return what is packed."""
    return msgpack.decode(packed)


def test_a_calls_arguments_are_a_map() -> None:
    """A call is the map that real peers send; the method that lists the others has netconduit's name there."""
    assert payload(REAL.encode_call("add", (), {"a": 1}, 1.0, None)) == {"method": "add", "params": {"a": 1}}
    assert payload(REAL.encode_call(DISCOVER, (), {}, math.inf, None)) == {"method": LIST_METHOD, "params": {}}
    assert REAL.decode_call(msgpack.encode({"method": LIST_METHOD})).method == DISCOVER


def test_positions_are_names_between_two_of_this_package() -> None:
    """Positional arguments go under the names that netconduit's own helper gives them, which are read from every peer."""
    packed = OURS.encode_call("add", (1, 2), {"c": 3}, 1.0, None)
    assert payload(packed)["params"] == {"c": 3, "_0": 1, "_1": 2}
    for codec in (REAL, OURS):
        call = codec.decode_call(packed)
        assert (payload(call.args), payload(call.kwargs)) == ([1, 2], {"c": 3})
    call = REAL.decode_call(msgpack.encode({"method": "m", "params": {b"\xa2_0": 1, "_1": 2}}))  # a gap, and a key of bytes
    assert (payload(call.args), payload(call.kwargs)) == ([], {b"\xa2_0": 1, "_1": 2})


@pytest.mark.parametrize(
    ("codec", "args", "kwargs", "metadata"),
    [
        (REAL, (1,), {}, None),
        (OURS, (), {}, {"trace": "1"}),
        (OURS, (), {"a": object()}, None),
        (OURS, (), {"a": {1: 2}}, None),
        (OURS, (), {"a": 2**64}, None),
    ],
)
def test_what_the_wire_cannot_carry_is_refused(codec: NetconduitRpc, args: Any, kwargs: Any, metadata: Any) -> None:
    """Positional arguments for a real peer, metadata, and values that netconduit does not take raise InvalidContent."""
    with pytest.raises(InvalidContent):
        codec.encode_call("m", args, kwargs, 1.0, metadata)


def test_a_methods_name_is_bounded() -> None:
    """A name that is empty or too long is refused where the call is made, and where it is read."""
    for name in ("", "m" * 257):
        with pytest.raises(InvalidContent):
            OURS.encode_call(name, (), {}, 1.0, None)
        with pytest.raises(InvalidContent, match="a call: a map of method"):
            OURS.decode_call(msgpack.encode({"method": name}))


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\xc0", b"\x90", b"\x80", msgpack.encode({"method": "m", "params": [1]})])
def test_what_is_no_call_is_invalid(content: bytes) -> None:
    """A content of another shape, or none of msgpack at all, raises InvalidContent."""
    with pytest.raises(InvalidContent):
        REAL.decode_call(content)


@pytest.mark.parametrize("code", sorted(set(ERROR_CODES) - {NO_ROUTE, UNKNOWN_TYPE}))
def test_codes_of_calls_have_numbers(code: str) -> None:
    """Each code that a call may fail with has one of netconduit's numbers, and each number that is read has a code."""
    assert describe_failure(code, "", None, ours=False)["code"] == NUMBERS[code]
    assert NUMBERS[code] in CODES
    assert set(CODES.values()) <= set(NUMBERS)


@pytest.mark.parametrize(("code", "number"), [("sold_out", 4002), ("netconduit_6000", 6000), ("netconduit_x", 4002)])
def test_other_codes_are_a_programs_own(code: str, number: int) -> None:
    """A code that stands for a number is sent as it, any other as one number; a peer of this package gets the code itself."""
    assert describe_failure(code, "said", None, ours=False) == {"success": False, "error": "said", "code": number}
    assert describe_failure(code, "said", None, ours=True)["code"] == code


def test_a_failure_can_always_be_told() -> None:
    """Words and details are bounded, and what msgpack or netconduit cannot hold is left out or replaced."""
    assert len(str(describe_failure("x", "x" * 10_000, None, ours=False)["error"])) == 4096
    assert describe_failure("x", "\ud800", None, ours=False)["error"] == "?"
    for details in ("x" * 3000, 2**70, ["\ud800"]):
        assert "details" not in describe_failure("x", "", details, ours=False)
    told = describe_failure("x", "", {1: 2}, ours=False)["details"]
    assert payload(msgpack.encode(told)) == {"1": 2}


@pytest.mark.parametrize("code", [None, True, -1, 10**9, 1.5, "No code", [1]])
def test_a_failure_without_a_code_has_none(code: object) -> None:
    """What is neither a number nor a code is no code."""
    assert read_failure(Answer(False, UNSET, UNSET, "said", code)) == ("", "said", None)


def test_a_real_peer_is_told_of_methods_in_its_own_form() -> None:
    """Types have their Python names; parameters that may be anything are left out, as a real server does."""
    listed = payload(REAL.encode_result(REAL.describe(METHODS)))
    assert listed["count"] == 2
    assert [each["parameters"] for each in listed["methods"]] == [{"a": "int", "b": "int | None"}, {"what": "Order"}]
    assert [each["return_type"] for each in listed["methods"]] == ["int", "Any"]
    assert payload(OURS.encode_result(OURS.describe(METHODS))) == payload(msgpack.encode(METHODS))


def test_a_real_peers_list_is_one_of_methods() -> None:
    """What a real server says of its methods becomes MethodInfos, of which defaults are not known."""
    said = [
        {"name": "add", "description": "Add.", "parameters": {"a": "int", "what": "Order"}, "return_type": "str", "more": 1},
        {"name": "bare", "description": None},
    ]
    packed = REAL.decode_result(DISCOVER, msgpack.encode({"methods": said, "count": 2}))
    assert msgpack.decode(packed, type=list[MethodInfo]) == [
        MethodInfo("add", "Add.", {"type": "object", "properties": {"a": INTEGER, "what": {"title": "Order"}}}, {"type": "string"}),
        MethodInfo("bare", "", {"type": "object", "properties": {}}),
    ]
    content = msgpack.encode({"methods": 5})
    assert REAL.decode_result("add", content) == OURS.decode_result(DISCOVER, content) == content
    for odd in (content, b"\xc0", msgpack.encode({"methods": [{"name": 1}]})):
        with pytest.raises(InvalidContent, match="a list of methods"):
            REAL.decode_result(DISCOVER, odd)


def test_an_envelope_of_a_methods_own_is_the_real_peers_alone() -> None:
    """A real peer gets the envelope as it is, without another one; one of this package the data in it, or all without any."""
    page = Envelope({"success": True, "data": [1], "pagination": {"total": 1}})
    made = ready(Role.SERVER)
    made.send(RESULT, made.rpc.encode_result(page), 7)
    ((kind, _, correlation, answer),) = frames_in(b"".join(made.data_to_send()))
    assert (kind, correlation) == (3, 7)
    assert answer == {"success": True, "result": {"success": True, "data": [1], "pagination": {"total": 1}}}
    assert payload(OURS.encode_result(page)) == [1]
    assert payload(OURS.encode_result(Envelope({"success": True, "message": "done"}))) == {
        "success": True,
        "message": "done",
    }


@pytest.mark.parametrize(
    ("failed", "number"),
    [
        ({"success": True, "result": {"success": False, "error": "no", "code": 4001}}, 4001),
        ({"success": False, "error": "no", "code": 2003}, 2003),
        ({"success": False, "error": "no", "code": "netconduit_6000"}, 6000),
        ({"success": False, "error": "no", "code": "invalid_arguments"}, 2000),
        ({"success": False, "error": "no", "code": "sold_out"}, 4002),
        ({"success": False, "error": "no"}, None),
        ({"success": False, "code": 1.5}, None),
        ([1], None),
        ({"success": True, "result": 5}, None),
    ],
)
def test_the_number_of_a_failure_is_found_whoever_sent_it(failed: object, number: int | None) -> None:
    """In a real peer's envelope, in an RPC_ERROR, or from a code's name; None where there is none."""
    assert failure_number(msgpack.encode(failed)) == number


def test_a_number_in_what_is_no_payload_is_none() -> None:
    """Whatever a peer sent."""
    assert failure_number(b"\xc1") is None


def test_methods_are_described_by_the_names_of_their_types() -> None:
    """What is described so is listed so: builtin types, others, and what is anything."""
    method = describe_method("buy", "Buy.", {"item": "str", "count": "int", "shop": "Shop"}, "Any")
    assert method.params["properties"] == {"item": {"type": "string"}, "count": {"type": "integer"}, "shop": {"title": "Shop"}}
    assert list_method(method) == {
        "name": "buy",
        "description": "Buy.",
        "parameters": {"item": "str", "count": "int", "shop": "Shop"},
        "return_type": "Any",
        "requires_auth": True,
    }


def test_models_are_sent_as_maps() -> None:
    """A model of pydantic, and one within other values, is its fields, in messages as in results."""
    order = pydantic.create_model("Order", item=(str, ...))(item="tea")
    made = ready(Role.SERVER)
    made.send(MessageType(name="orders"), [order])
    ((_, _, _, message),) = frames_in(b"".join(made.data_to_send()))
    assert message == {"type": "orders", "data": [{"item": "tea"}]}
