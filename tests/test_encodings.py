"""JSON, UTF-8 and sizes for people."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.encodings import decode_json, decode_utf8, encode_json, encode_utf8, format_bytes
from veltix_tx.errors import InvalidContent, VeltixError, excerpt

UNITS = ["B", "KB", "MB", "GB", "TB"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (1025, "1 KB"),
        (1536, "1.5 KB"),
        (10_239, "10 KB"),
        (10_300, "10.1 KB"),
        (148_000, "144.5 KB"),
        (102_400, "100 KB"),
        (1_048_000, "1023.4 KB"),
        (1_048_552, "1 MB"),
        (3_000_000, "2.86 MB"),
        (1024**3, "1 GB"),
        (1024**4 - 1, "1 TB"),
        (3 * 1024**5, "3072 TB"),
        (1024**4 * 10**400, f"1{'0' * 400} TB"),
        (-5, "-5 B"),
        (-148_000, "-144.5 KB"),
        (-0.2, "0 B"),
        (1023.6, "1 KB"),
    ],
)
def test_a_size_is_shown_as_documented(size: float, shown: str) -> None:
    """Whole bytes; two decimals below 10, one above; no zeros at the end; no unit of which there are 1024."""
    assert format_bytes(size) == shown


def value(shown: str) -> float:
    """Read a size back."""
    number, unit = shown.split(" ")
    return float(number) * 1024 ** UNITS.index(unit)


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_a_larger_size_is_never_shown_as_smaller(one: int, other: int) -> None:
    """Sizes keep their order when they are shown, across units, too."""
    small, large = sorted((one, other))
    assert value(format_bytes(small)) <= value(format_bytes(large))


@given(st.integers(1, 2**50 - 2**40))
def test_a_shown_size_is_near_the_size(size: int) -> None:
    """What is shown has three digits at least, is below 1024 of its unit, and a minus changes nothing else."""
    shown = format_bytes(size)
    assert math.isclose(value(shown), size, rel_tol=0.0051)
    assert float(shown.split(" ")[0]) < 1024
    assert format_bytes(-size) == f"-{shown}"


@given(JSON)
def test_json_comes_back_as_it_was(content: Any) -> None:
    """What JSON holds is the same after the way there and back, which is ASCII."""
    encoded = encode_json(content)
    assert encoded.isascii()
    assert decode_json(encoded) == content


def test_json_is_written_as_upstream_writes_it() -> None:
    """Spaces after separators and escapes for what is not ASCII; and what upstream writes is read, NaN included."""
    assert encode_json({"a": [1, "é"]}) == b'{"a": [1, "\\u00e9"]}'
    assert math.isnan(decode_json(b"NaN"))
    assert decode_json(b'{"a": Infinity}') == {"a": math.inf}


def circle() -> list[Any]:
    """Make a list that is in itself."""
    made: list[Any] = []
    made.append(made)
    return made


def deep() -> list[Any]:
    """Make a list nested deeper than Python goes."""
    made: list[Any] = []
    for _ in range(200_000):
        made = [made]
    return made


@pytest.mark.parametrize(
    "make",
    [object, lambda: {1, 2}, lambda: b"x", lambda: {"a": math.nan}, lambda: -math.inf, circle, deep, lambda: {(1, 2): 3}],
    ids=["object", "set", "bytes", "nan", "infinite", "circle", "deep", "key"],
)
def test_what_json_cannot_hold_is_refused(make: Any) -> None:
    """One error for all of it, with the value."""
    made = make()
    with pytest.raises(InvalidContent) as caught:
        encode_json(made)
    assert caught.value.value is made
    assert str(caught.value) == f"{excerpt(made)} is not something JSON can hold"
    while isinstance(made, list) and made and made[0] is not made:  # or Python falls over taking it apart
        made = made[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{'a': 1}", b"\xff", b"[" * 200_000, b"1" * 5000, "1".encode("utf-16"), b"\xef\xbb\xbf1", 5, None],
    ids=["empty", "open", "quotes", "no text", "deep", "digits", "utf-16", "mark", "number", "none"],
)
def test_what_is_not_json_is_refused(content: Any) -> None:
    """Whatever a peer sends, it is a value or this one error, which shows an excerpt."""
    with pytest.raises(InvalidContent) as caught:
        decode_json(content)
    assert caught.value.value is content
    assert str(caught.value).startswith(excerpt(content))
    assert len(str(caught.value)) < 100


@given(st.binary())
def test_any_bytes_are_json_or_an_error_of_ours(content: bytes) -> None:
    """No other error gets out of decoding."""
    try:
        decode_json(content)
    except InvalidContent as error:
        assert error.rule in ("JSON", "UTF-8")  # noqa: PT017 (either outcome is right)


@given(st.text())
def test_text_comes_back_as_it_was(text: str) -> None:
    """A text is the same after the way there and back, and what is there already stays."""
    assert decode_utf8(encode_utf8(text)) == decode_utf8(text) == text
    assert encode_utf8(encode_utf8(text)) == text.encode()


def test_bytes_are_not_looked_into() -> None:
    """encode_utf8 gives bytes back as they are, whatever they are; decode_utf8 takes any kind of bytes."""
    assert encode_utf8(b"\xff") == b"\xff"
    assert decode_utf8(bytearray(b"a")) == decode_utf8(memoryview(b"a")) == "a"  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"\xff", b"a\xc3", 5, None], ids=repr)
def test_what_is_not_utf8_is_refused(content: Any) -> None:
    """A content that is no text is the typed error."""
    with pytest.raises(InvalidContent, match="is not UTF-8"):
        decode_utf8(content)


@pytest.mark.parametrize("content", ["\ud800", 5, None], ids=ascii)
def test_what_utf8_cannot_hold_is_refused(content: Any) -> None:
    """A lone surrogate is the typed error, and so is what is no text."""
    with pytest.raises(InvalidContent, match="UTF-8 can hold"):
        encode_utf8(content)


def test_the_error_is_one_of_the_package_and_a_value_error() -> None:
    """It is caught as either, says what it is about, and can be pickled."""
    error = InvalidContent(b"\xff" * 1000, "UTF-8")
    assert isinstance(error, VeltixError)
    assert isinstance(error, ValueError)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.value, copy.rule, str(copy)) == (error.value, error.rule, str(error))
    assert len(str(error)) < 100
