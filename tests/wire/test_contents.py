"""Codecs of contents: values come back as they were, and whatever else bytes hold is one typed, short error with its place."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple, Optional, TypedDict
from unittest.mock import patch

import msgspec
import pydantic
import pytest

from veltix_tx.errors import InvalidContent, MessageTypeError
from veltix_tx.wire.contents import FORMATS, MAX_DEPTH, Format, content_codec


class Line(msgspec.Struct):
    article: str
    count: int = 1


@dataclass
class Order:
    buyer: str
    lines: list[Line] = field(default_factory=list)
    rebate: Optional[float] = None  # noqa: UP045 (one of each spelling)


class Tree(msgspec.Struct):
    children: list[Tree] = []
    label: str = ""


class Point(NamedTuple):
    x: int
    y: int


class Place(TypedDict, total=False):
    city: str
    at: Point


class Payment(pydantic.BaseModel):
    amount: int = pydantic.Field(alias="sum", gt=0)
    note: str | None = None

    @pydantic.field_validator("note")
    @classmethod
    def without_a_bang(cls, note: str | None) -> str | None:
        """Part of what is validated."""
        if note and "!" in note:
            raise ValueError("no shouting")
        return note


@pydantic.dataclasses.dataclass
class Validated:
    amount: int


class Ledger(msgspec.Struct):
    payments: list[Payment]


class Book(pydantic.BaseModel):
    payments: list[Payment]


PAYMENT = Payment(sum=3, note="thanks")

VALUES: list[tuple[Any, Any]] = [
    (Line, Line("pen", 2)),
    (Order, Order("Ann", [Line("pen"), Line("ink", 3)], 0.5)),
    (Tree, Tree([Tree(label="é"), Tree([Tree()])])),
    (Point, Point(1, -2)),
    (Place, {"city": "Bern", "at": Point(1, 2)}),
    (Payment, PAYMENT),
    (Ledger, Ledger([PAYMENT])),
    (Book, Book(payments=[PAYMENT])),
    (list[Order], [Order("Bob")]),
    (dict[str, int], {"a": 1}),
    (Line | None, None),
    (int | str, "three"),
    (Literal["on", "off"], "on"),
    (datetime, datetime(2024, 5, 6, tzinfo=timezone.utc)),
    (str, ""),
    (float, 2.5),
    (Any, {"anything": [1, None, "x"]}),
]


def codec(content_type: Any, *arguments: Any) -> Any:
    """The codec, of a type that type checkers may not take for one."""
    return content_codec(content_type, *arguments)


def refused(call: Callable[[Any], object], argument: object) -> InvalidContent:
    """The error of a call, which is short and printable whatever it was given."""
    with pytest.raises(InvalidContent) as caught:
        call(argument)
    for text in (str(caught.value), caught.value.summary):
        assert text.isprintable()
        assert len(text) < 700
    return caught.value


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("content_type", "value"), VALUES, ids=str)
def test_values_come_back_as_they_were(content_type: Any, value: object, format: Format) -> None:
    """What a codec encodes is bytes, and decoding them gives an equal value of the same type."""
    made = codec(content_type, format)
    content = made.encode(value)
    assert type(content) is bytes
    back = made.decode(content)
    assert back == value
    assert type(back) is type(value)


def test_a_codec_is_made_once() -> None:
    """Equal types and formats share one codec; the format is part of it."""
    assert codec(list[Line], "json") is codec(list[Line], "json")
    assert codec(list[Line], "json") is not codec(list[Line], "msgpack")


@pytest.mark.parametrize(
    ("content_type", "content", "path", "said"),
    [
        (Line, b'{"article": 3}', "$.article", "Expected `str`, got `int`"),
        (Line, b'{"count": 3}', "", "missing required field `article`"),
        (Order, b'{"buyer": "Ann", "lines": [{"article": "pen"}, {"article": "ink", "count": "x"}]}', "$.lines[1].count", "`int`"),
        (dict[str, Line], b'{"k": {"article": null}}', "$[...].article", "Expected `str`"),
        (dict[int, Line], b'{"k": {}}', "$ (key)", "got `str`"),
        (Payment, b'{"sum": 0}', "$.sum", "greater than 0"),
        (Payment, b'{"sum": 1, "note": "now!"}', "$.note", "no shouting"),
        (Payment, b"[]", "", "Input should be"),
        (Book, b'{"payments": [{"sum": 1}, {"sum": -1}]}', "$.payments[1].sum", "greater than 0"),
        (Ledger, b'{"payments": [{"sum": 1}, {"sum": -1}]}', "$.payments[1].sum", "greater than 0"),
        (Point, b"[1]", "", "length"),
        (Literal["on", "off"], b'"neither"', "", "Invalid enum value"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_wrong_has_its_place(content_type: Any, content: bytes, path: str, said: str, format: Format) -> None:
    """The error names the type, what is wrong, and the path of the wrong field, in the same words for both formats."""
    if format == "msgpack":
        content = msgspec.msgpack.encode(msgspec.json.decode(content))
    error = refused(codec(content_type, format).decode, content)
    assert error.path == path
    assert said in error.detail
    assert codec(content_type, format).type_name in error.summary
    assert error.summary in str(error)


HOSTILE_JSON = [
    b"",
    b"{",
    b'{"article": "pen"} {"article": "pen"}',
    b"NaN",
    b"[Infinity]",
    b'{"article": NaN}',
    b"1e999",
    b"1" * 5000,
    b"-" + b"9" * 1_000_000,
    b'"\xff"',
    b'{"article": "\xc3\x28"}',
    b'"\\ud800"',
    b'{"article": "\\udfff\\ud800"}',
    b"\xef\xbb\xbf{}",
    b"[" * 1_000_000,
    b"[" * 2000 + b"]" * 2000,
    b'{"x":' * 100_000,
    b'{"article": "pen", "x": ' + b"[" * 100_000,
    b'{"children":[' * 65 + b"]}" * 65,
    b'{"payments":' + b"[" * 100_000,
    b"\x00",
    b'"' + b"\\" * 99_999,
    b"VX" * 1000,
]

HOSTILE_MSGPACK = [
    b"",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa7article\xdd\xff\xff\xff\xff",
    b"\x91" * 1_000_000,
    b"\x81\xa1x" * 100_000,
    b"\x91" * 66 + b"\xc0",
    b"\x81" * 500 + b"\xc0" * 500,
    b"\xd4\x05\x00",
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xa1\xff",
    b"\x81\xa7article\xa2\xc3\x28",
    b"\x01\x01",
    b"\x81\x80\x01",
]


@pytest.mark.parametrize("content_type", [Line, Order, Payment, Ledger, Point, list[Line], Any])
@pytest.mark.parametrize(
    ("format", "content"),
    [*(("json", each) for each in HOSTILE_JSON), *(("msgpack", each) for each in HOSTILE_MSGPACK)],
    ids=lambda part: repr(part)[:40],
)
def test_hostile_bytes_end_in_the_one_error(content_type: Any, format: Format, content: bytes) -> None:
    """Whatever bytes a peer sends for whatever type, the one error comes of them, nothing else."""
    refused(codec(content_type, format).decode, content)


def nested(depth: int, format: Format) -> bytes:
    """Arrays in each other."""
    return b"[" * depth + b"1" + b"]" * depth if format == "json" else b"\x91" * depth + b"\x01"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("content_type", [Any, list[Any]])
def test_depth_ends_at_its_limit(content_type: Any, format: Format) -> None:
    """A content nested 64 deep is a value, one level more is not."""
    assert codec(content_type, format).decode(nested(MAX_DEPTH, format))
    error = refused(codec(content_type, format).decode, nested(MAX_DEPTH + 1, format))
    assert "nested more than 64 deep" in error.summary


@pytest.mark.parametrize("format", FORMATS)
def test_a_type_within_itself_is_bounded_too(format: Format) -> None:
    """Values of a type that is within itself are nested no deeper than others: each Tree here is an object and an array."""
    tree = Tree()
    for _ in range(MAX_DEPTH // 2 - 1):
        tree = Tree([tree, Tree()])
    made = codec(Tree, format)
    assert made.decode(made.encode(tree)) == tree
    assert "nested more than 64 deep" in refused(made.decode, made.encode(Tree([tree]))).summary


@pytest.mark.parametrize(
    "text",
    [
        '["' + "[" * 99 + '"]',
        '["\\"' + "[" * 99 + '"]',
        '["\\\\", "' + "[" * 99 + '"]',
        "[" + "[[[]], {}]," * 500 + "{}]",
        '{"' + "{" * 99 + '": [[]]}',
    ],
)
def test_brackets_in_texts_and_beside_each_other_are_no_depth(text: str) -> None:
    """Depth counts what is open at once: brackets inside texts do not, escapes and all, nor do many of them in a row."""
    content = text.encode()
    assert codec(Any).decode(content) == msgspec.json.decode(content)
    assert codec(Any).decode(b"[" * 60 + content + b"]" * 60)
    deep = b"[" * 64 + content + b"]" * 64
    assert "64 deep" in refused(codec(Any).decode, deep).summary


def test_many_containers_in_msgpack_are_no_depth() -> None:
    """Wide values, and bytes that look like containers, are values in msgpack."""
    for value in ([[{}] for _ in range(1000)], "é" * 1000, {f"k{n}": [n] for n in range(200)}):
        assert codec(Any, "msgpack").decode(msgspec.msgpack.encode(value)) == value


@pytest.mark.parametrize("format", FORMATS)
def test_a_long_array_is_decoded_in_good_time(format: Format) -> None:
    """10**6 elements are a list where the size allows it, and of another type one short error."""
    content = getattr(msgspec, format).encode(list(range(1_000_000)))
    assert len(codec(list[int], format, 2**24).decode(content)) == 1_000_000
    assert refused(codec(list[Line], format, 2**24).decode, content).path == "$[0]"
    assert "over max_size 1048576" in refused(codec(list[int], format).decode, content).detail


@pytest.mark.parametrize("format", FORMATS)
def test_a_size_has_its_limit_in_both_directions(format: Format) -> None:
    """A content of max_size bytes is a value; one byte more is neither decoded nor encoded."""
    made = codec(str, format, 100)
    text = "x" * (100 - len(made.encode("")))
    if format == "msgpack":
        text = text[:-1]  # the length of a longer text takes a byte more
    content = made.encode(text)
    assert len(content) == 100
    assert made.decode(content) == text
    assert "101 bytes, over max_size 100" in refused(made.encode, text + "x").detail
    assert "over max_size 100" in refused(codec(Line, format, 100).encode, Line("x" * 100)).detail
    assert "101 bytes, over max_size 100" in refused(made.decode, content + b" ").detail


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None, "1"])
def test_a_size_is_a_whole_number_from_1(size: Any) -> None:
    """What cannot be a limit is refused where the type is defined."""
    with pytest.raises(MessageTypeError, match="max_size is a whole number of bytes from 1"):
        codec(Line, "json", size)


def test_the_last_of_equal_names_counts() -> None:
    """A name that comes twice in an object has its last value, as in Python's own json."""
    assert codec(Line).decode(b'{"article": "pen", "article": "ink"}') == Line("ink")
    assert "Expected" in refused(codec(Line).decode, b'{"article": "pen", "article": 1}').summary


RING: list[Any] = []
RING.append(RING)


@pytest.mark.parametrize(
    ("content_type", "value", "format"),
    [
        (Line, b'{"article": "pen"}', "json"),
        (Line, {"article": "pen"}, "json"),
        (Line, Order("Ann"), "msgpack"),
        (Payment, {"sum": 1}, "json"),
        (Point, (1, 2), "json"),
        (list[Line], b"[]", "json"),
        (list[Line], [Line(3)], "json"),  # type: ignore[arg-type]
        (Place, {"city": 4}, "msgpack"),
        (int, "4", "json"),
        (Line, Line("\ud800"), "json"),
        (Line, Line("pen", 2**70), "msgpack"),
        (Order, Order("Ann", rebate=math.nan), "json"),
        (Order, Order("Ann", rebate=-math.inf), "json"),
        (list[float], [math.nan], "json"),
        (Any, [math.nan], "json"),
        (Any, RING, "json"),
        (Any, RING, "msgpack"),
        (Any, object(), "json"),
        (Any, {(1, 2): 3}, "json"),
        (Tree, Tree([Tree([object()])]), "json"),  # type: ignore[list-item]
    ],
    ids=lambda part: repr(part)[:40],
)
def test_what_is_no_such_value_is_not_encoded(content_type: Any, value: object, format: Format) -> None:
    """A value of another type, or that the format cannot hold, is refused where it is sent, and the error has it."""
    assert refused(codec(content_type, format).encode, value).value is value


def test_null_is_no_sign_of_nan() -> None:
    """A value with None in it is encoded, beside finite numbers and models."""
    assert codec(Order).encode(Order("null", rebate=None)) == b'{"buyer":"null","lines":[],"rebate":null}'
    assert codec(tuple[Payment, float]).encode((Payment(sum=1), 2.0)) == b'[{"sum":1,"note":null},2.0]'


@pytest.mark.parametrize("content_type", [object, complex, list[complex], Line | Order, 3, "Line", [Line], Validated])
def test_a_type_without_values_on_a_wire_is_refused_when_it_is_named(content_type: Any) -> None:
    """A type that bytes cannot be decoded into is an error of the definition, not of the first message."""
    with pytest.raises(MessageTypeError, match=r"^no content can be .*"):
        codec(content_type)


def test_a_name_that_is_not_there_is_said_where_the_type_is_defined() -> None:
    """A field whose type cannot be found is refused like a type that cannot be."""

    class Lost(msgspec.Struct):
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(MessageTypeError, match=r"no content can be Lost: .*Nowhere"):
        codec(Lost)


def test_a_format_is_one_of_two() -> None:
    """Another format is refused by its name."""
    with pytest.raises(MessageTypeError, match="json or msgpack, not 'yaml'"):
        codec(Line, "yaml")  # type: ignore[arg-type]


def test_a_model_without_pydantic_names_the_extra() -> None:
    """Where pydantic cannot be imported, one line says what to install."""

    class Late(pydantic.BaseModel):
        pass

    with patch.dict(sys.modules, {"pydantic": None}), pytest.raises(MessageTypeError, match=r"pip install 'veltix-tx\[pydantic\]'"):
        codec(Late)


def test_a_type_that_raises_is_an_invalid_content() -> None:
    """Whatever a type's own code raises while a content is decoded is a content that does not fit, said without internals."""

    @dataclass
    class Picky:
        name: str

        def __post_init__(self) -> None:
            raise KeyError("inside")

    assert refused(codec(Picky).decode, b'{"name": "x"}').detail == "KeyError"
