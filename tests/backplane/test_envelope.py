"""What nodes say to each other, as bytes."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.backplane.envelope import Answer, CallTo, Done, Envelopes, Message, Question, Unreadable
from veltix_tx.errors import SettingsError

KEY = b"0123456789abcdef"
SAID = Message(7, 201, b"\x00content", "b", ("1-2",))


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_sealed_is_opened(key: bytes | None) -> None:
    """A message comes out as it was put in, and so does a question with packed arguments."""
    assert Envelopes(Message, key).open(Envelopes(Message, key).seal(SAID, "x"), "x") == SAID
    call = CallTo("1-2", "add", (msgspec.Raw(b"\x01"),), {"b": msgspec.Raw(b"\x02")}, 5.0, {"trace": "1"})
    questions = Envelopes[Question](Question, key)
    opened = questions.open(questions.seal(call, "n"), "n")
    assert isinstance(opened, CallTo)
    assert (opened.method, bytes(opened.args[0]), bytes(opened.kwargs["b"])) == ("add", b"\x01", b"\x02")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "version"),
        (b"\x02\x90", "version"),
        (b"\x81" + bytes(32) + b"\x90", "authenticated"),
        (b"\x01", "malformed"),
        (b"\x01\x93\xa1x\x01\x02", "kind"),
        (b"\x01\x92\xa1m\xa1a", "malformed"),
    ],
)
def test_what_is_foreign_or_newer_is_unreadable(payload: bytes, reason: str) -> None:
    """Another version, an unknown kind, a signature nobody asked for and broken bytes are told apart from a message."""
    with pytest.raises(Unreadable, match=reason):
        Envelopes(Message).open(payload, "x")


def test_fields_of_a_later_version_are_ignored() -> None:
    """A field added at the end by a later version of this package changes nothing."""
    longer = b"\x01" + msgspec.msgpack.encode(["D", "something", {"new": 1}])
    assert Envelopes[Answer](Answer).open(longer, "n") == Done()


def test_with_a_key_nothing_else_is_taken() -> None:
    """What is not authenticated, changed, made with another key or meant for another topic is refused."""
    keyed = Envelopes(Message, KEY)
    payload = keyed.seal(SAID, "x")

    for bad in (Envelopes(Message).seal(SAID, "x"), payload[:-1] + b"\x00", Envelopes(Message, KEY[::-1]).seal(SAID, "x")):
        with pytest.raises(Unreadable):
            keyed.open(bad, "x")
    with pytest.raises(Unreadable):
        keyed.open(payload, "y")


@given(st.binary(max_size=60), st.sampled_from([None, KEY]))
def test_no_bytes_raise_anything_else(payload: bytes, key: bytes | None) -> None:
    """Whatever bytes come, the only error is Unreadable."""
    for prefix in (b"", b"\x01", b"\x81"):
        with suppress(Unreadable):
            Envelopes[Question](Question, key).open(prefix + payload, "x")


def test_a_short_key_is_refused_without_showing_it() -> None:
    """A key below 16 bytes is a SettingsError, whose text does not have the key."""
    with pytest.raises(SettingsError, match="16") as caught:
        Envelopes(Message, b"secret")
    assert "secret" not in str(caught.value)
