from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import pytest

from veltix_tx.errors import InvalidContent, MessageTypeError
from veltix_tx.wire.messages import (
    ERROR,
    HELLO,
    HELLO_ACK,
    INVALID_REQUEST,
    PING,
    PONG,
    PROCESS_TYPES,
    CodeRange,
    MessageRegistry,
    MessageType,
    Request,
    Response,
    as_content,
    encode_content,
)
from veltix_tx.wire.veltix.layouts import W22, W62

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", "what people say", TYPES)


def test_a_message_type_joins_its_registry() -> None:
    """A type is found by its code where it was registered, and only there."""
    types = MessageRegistry()
    news = MessageType(201, "news", registry=types)
    assert types.get(201) is news
    assert list(types) == [news]
    assert len(types) == 1
    assert TYPES.get(201) is None


def test_a_message_type_joins_the_process_wide_registry_by_default() -> None:
    """Without a registry of its own a type is known to the whole process."""
    kind = MessageType(64999, "test_messages: process wide")
    assert PROCESS_TYPES.get(64999) is kind


def test_a_message_type_has_a_name_even_if_not_given() -> None:
    """The default name says the code."""
    assert MessageType(345, registry=MessageRegistry()).name == "type_345"


@pytest.mark.parametrize("code", [-1, 65536, 2**40, True, False, 200.0, "200", None, b"\x00\xc8"])
def test_a_code_is_a_whole_number_of_16_bits(code: Any) -> None:
    """What cannot be a code is refused with what was given."""
    with pytest.raises(MessageTypeError, match="whole number up to 65535") as caught:
        MessageType(code, registry=MessageRegistry())
    assert repr(code) in str(caught.value)


@pytest.mark.parametrize("code", [0, 1, 2, 10, 11, 20, 21, 100, 199])
def test_system_codes_are_reserved(code: int) -> None:
    """Codes below 200 are Veltix's own."""
    with pytest.raises(MessageTypeError, match=f"code {code} is not one of 200 to 65535"):
        MessageType(code, registry=MessageRegistry())


@pytest.mark.parametrize(
    ("code", "owner"),
    [(200, CodeRange.USER), (499, CodeRange.USER), (500, CodeRange.PLUGIN), (65535, CodeRange.PLUGIN)],
)
def test_a_code_says_whose_it_is(code: int, owner: CodeRange) -> None:
    """200 to 499 are for applications, 500 to 65535 for plugins."""
    assert MessageType(code, registry=MessageRegistry()).range is owner


def test_a_code_is_taken_once() -> None:
    """A second type with the same code in one registry is an error that names both and says what to do."""
    with pytest.raises(MessageTypeError, match=r"code 200 is taken by 'chat'.*'talk'.*MessageRegistry") as caught:
        MessageType(200, "talk", registry=TYPES)
    assert isinstance(caught.value, ValueError)
    assert TYPES.get(200) is CHAT


@pytest.mark.parametrize(("name", "description"), [("chat", ""), ("chat", "what people say"), ("", "")])
def test_an_equal_definition_is_the_same_type(name: str, description: str) -> None:
    """A module that is loaded twice, or a notebook's cell that runs again, defines the same type: the first one stays."""
    types = MessageRegistry()
    first = MessageType(200, name, description, types)
    again = MessageType(200, name, description, types)
    types.register(first)
    types.register(again)
    assert again == first
    assert types.get(200) is first
    assert list(types) == [first]
    assert types.unregister(again)
    assert types.get(200) is None


@pytest.mark.parametrize(
    ("name", "description", "said"),
    [
        ("talk", "what people say", r"'chat': choose.*'talk'"),
        ("", "what people say", r"'chat': choose.*'type_200'"),
        ("chat", "", r"'chat', whose description is 'what people say' and not '': choose"),
        ("chat", "else", r"'chat', whose description is 'what people say' and not 'else': choose"),
    ],
)
def test_another_definition_is_an_error_that_says_in_what_it_differs(name: str, description: str, said: str) -> None:
    """Whatever differs, the code is taken, the error names it, and the first type stays as it is."""
    types = MessageRegistry()
    first = MessageType(200, "chat", "what people say", types)
    with pytest.raises(MessageTypeError, match=f"code 200 is taken by {said}"):
        MessageType(200, name, description, types)
    assert list(types) == [first]
    assert first.description == "what people say"


def test_a_second_definition_in_the_process_wide_registry_is_the_same_type() -> None:
    """As in any registry: two programs of one process that know the same type may both be imported."""
    first = MessageType(64998, "test_messages: twice")
    again = MessageType(64998, "test_messages: twice")
    assert again == first
    assert PROCESS_TYPES.get(64998) is first
    with pytest.raises(MessageTypeError, match="64998"):
        MessageType(64998, "test_messages: another")


def test_an_open_registry_lets_a_nameless_type_be_defined_after_it_was_seen() -> None:
    """The type that an open registry has made for a code is the one that a program defines without a name."""
    types = MessageRegistry(open=True)
    seen = types.get(4711)
    assert MessageType(4711, registry=types) == seen
    with pytest.raises(MessageTypeError, match="'type_4711'"):
        MessageType(4711, "named", registry=types)


def test_separate_registries_may_use_the_same_code() -> None:
    """Two libraries in one process can each have their own code 200."""
    theirs = MessageRegistry()
    talk = MessageType(200, "talk", registry=theirs)
    assert theirs.get(200) is talk
    assert TYPES.get(200) is CHAT


def test_a_type_that_is_taken_back_leaves_its_code_free() -> None:
    """An unregistered type is known no more, and another may have its code."""
    types = MessageRegistry()
    first = MessageType(200, "first", registry=types)
    assert types.unregister(first)
    assert not types.unregister(first)
    assert types.get(200) is None
    assert list(types) == []
    assert types.get(MessageType(200, "second", registry=types).code).name == "second"  # type: ignore[union-attr]


def test_message_types_are_equal_by_code() -> None:
    """Name, description and registry make no difference."""
    same = MessageType(200, "talk", "else", MessageRegistry())
    other = MessageType(201, "chat", "what people say", MessageRegistry())
    assert same == CHAT
    assert hash(same) == hash(CHAT)
    assert other != CHAT


def test_message_types_do_not_change() -> None:
    """A type is frozen."""
    with pytest.raises(AttributeError):
        CHAT.code = 201  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (PING, 0, "PING"),
        (PONG, 1, "PONG"),
        (HELLO, 10, "HELLO"),
        (HELLO_ACK, 11, "HELLO_ACK"),
        (ERROR, 20, "ERROR"),
        (INVALID_REQUEST, 21, "INVALID_REQUEST"),
    ],
)
def test_every_registry_knows_the_system_types(kind: MessageType, code: int, name: str) -> None:
    """Veltix's own types are known everywhere without being listed."""
    types = MessageRegistry()
    assert types.get(code) is kind
    assert (kind.code, kind.name, kind.range) == (code, name, CodeRange.SYSTEM)
    assert len(types) == 0


def test_an_open_registry_takes_every_code_that_is_free_to_use() -> None:
    """An unknown user or plugin code gets a type when first seen, the same one each time; system codes do not."""
    types = MessageRegistry(open=True)
    chat = MessageType(200, "chat", registry=types)
    assert types.get(200) is chat
    first = types.get(4711)
    assert first is not None
    assert first.name == "type_4711"
    assert types.get(4711) is first
    assert types.get(100) is None
    assert types.get(199) is None
    assert types.get(0) is PING


def test_a_closed_registry_knows_only_what_it_was_told() -> None:
    """Without ``open`` an unknown code stays unknown."""
    assert MessageRegistry().get(4711) is None


@pytest.mark.parametrize("value", [b"hi", bytearray(b"hi"), memoryview(b"hi"), memoryview(b"-hi-")[1:3]])
def test_content_is_bytes_of_any_kind(value: bytes) -> None:
    """Bytes, bytearrays and memoryviews are content; what is sent is bytes."""
    content = as_content(value)
    assert content == b"hi"
    assert type(content) is bytes


def test_content_is_not_aliased() -> None:
    """A bytearray changed afterwards does not change the message."""
    value = bytearray(b"hi")
    content = as_content(value)
    value[:] = b"no"
    assert content == b"hi"


@pytest.mark.parametrize("value", ["text", None, 5, 5.0, ["x"], {"a": 1}, object])
def test_other_content_is_a_type_error_that_says_what_to_do(value: Any) -> None:
    """Text and other objects are refused with their type."""
    with pytest.raises(TypeError, match=f"message content is bytes, not {type(value).__name__}.*encode text first"):
        as_content(value)


def test_bytes_are_taken_as_they_are() -> None:
    """Content that is bytes already is not copied."""
    value = b"x" * 1000
    assert as_content(value) is value


def test_respond_takes_the_request_id() -> None:
    """An answer carries the id of what it answers, and is still the same request."""
    asked = Response(CHAT, b"?", 77, 0, 0)
    answer = Request(CHAT, b"!")
    assert answer.request_id is None
    assert answer.respond(asked) is answer
    assert answer.request_id == 77


def test_hash_is_the_checksum_as_on_the_wire() -> None:
    """4 bytes of CRC-32, big-endian and with leading zeros, or 32 bytes of SHA-256."""
    assert Response(CHAT, b"", 1, 0, 0).hash == bytes(4)
    assert Response(CHAT, b"hi", 1, crc32(b"hi"), 0).hash == W22.pack(200, b"hi", 1, 0)[6:10]
    digest = W62.checksum(b"hi")
    assert Response(CHAT, b"hi", 1, digest, 0).hash == digest


@pytest.mark.parametrize(
    ("timestamp", "received_at", "latency"),
    [
        (1_700_000_000_000, 1_700_000_000_025, 25),
        (1_700_000_000_000, 1_700_000_000_000, 0),
        (1_700_000_000_100, 1_700_000_000_000, 0),
        (2**64 - 1, 1_700_000_000_000, 0),
        (10**12, 10**12 + 1, 1),
        (10**12 - 1, 1_700_000_000_000, None),
        (1_006_736, 1_700_000_000_000, None),
        (None, 1_700_000_000_000, None),
    ],
)
def test_latency_is_what_two_calendars_can_tell(timestamp: int | None, received_at: int, latency: int | None) -> None:
    """Latency is never below 0, and None without a clock or with an uptime clock (release 1.6.9)."""
    assert Response(CHAT, b"", 1, 0, received_at, timestamp).latency == latency


def test_responses_are_equal_only_to_themselves() -> None:
    """Two messages with the same content are two messages."""
    first, second = Response(CHAT, b"x", 1, 0, 0), Response(CHAT, b"x", 1, 0, 0)
    assert first != second
    assert len({first, second}) == 2


def test_a_type_is_found_by_its_name() -> None:
    """The first type of a name is the one that wires with names find, until it is taken back; then the next one is."""
    registry = MessageRegistry()
    first, second = (MessageType(code, "chat", registry=registry) for code in (200, 201))
    alone = MessageType(name="alone", registry=registry)
    assert registry.named("chat") is first
    assert registry.named("alone") is alone
    assert registry.unregister(second)
    assert registry.named("chat") is first
    registry.register(second)
    assert registry.unregister(first)
    assert registry.named("chat") is second
    assert registry.unregister(second)
    assert registry.named("chat") is None
    assert registry.named("else") is None


# Types with values


@dataclass
class Order:
    article: str
    count: int = 1


@dataclass
class Receipt:
    price: float


def order_type(**more: Any) -> MessageType[Order, Receipt]:
    """A type with values, in a registry of its own."""
    return MessageType(200, "order", registry=MessageRegistry(), content=Order, reply=Receipt, **more)


def received(message_type: MessageType[Any, Any], content: bytes) -> Response[Any]:
    """A message as it comes from a peer."""
    return Response(message_type, content, 7, 0, 0)


def test_a_type_without_content_is_one_of_bytes() -> None:
    """Its values are the contents themselves, either way, and what answers it is bytes as well."""
    message = received(CHAT, b"hi")
    assert (CHAT.content, CHAT.reply, CHAT.codec, CHAT.reply_codec) == (bytes, bytes, None, None)
    assert message.value is message.content
    assert message._decode_as_reply(CHAT) is message.content
    assert encode_content(CHAT, bytearray(b"hi")) == message._encode_reply(b"hi") == b"hi"
    with pytest.raises(TypeError, match="encode text first, or give its type content="):
        encode_content(CHAT, Order("pen"))


def test_values_are_what_the_type_names() -> None:
    """A message's value is one of content=, that of its reply one of reply=; bytes are a content already."""
    kind = order_type()
    content = encode_content(kind, Order("pen", 2))
    message = received(kind, content)
    assert content == b'{"article":"pen","count":2}'
    assert message.value == Order("pen", 2)
    reply = received(kind, message._encode_reply(Receipt(3.0)))
    assert reply._decode_as_reply(kind) == Receipt(3.0)
    assert reply.value == Receipt(3.0)
    assert encode_content(kind, content) is content
    assert message._encode_reply(reply.content) is reply.content
    assert MessageType(201, registry=MessageRegistry(), content=Order).reply is Order


def test_a_value_is_decoded_once() -> None:
    """Whoever asks for the value again gets the same one."""
    message = received(order_type(), b'{"article":"pen"}')
    assert message.value is message.value
    assert message._decode() == Order("pen")


def test_a_changed_message_is_a_copy_with_a_value_of_its_own() -> None:
    """``dataclasses.replace`` takes everything over but what was decoded; what a message shows is what came."""
    message = received(order_type(), b'{"article":"pen"}')
    assert message.value == Order("pen")
    other = replace(message, content=b'{"article":"ink"}')
    assert other.value == Order("ink")
    assert (other.type, other.request_id, type(other)) == (message.type, message.request_id, type(message))
    assert "article" in repr(other)
    assert "_value" not in repr(other)


def test_a_message_is_nothing_to_the_garbage_collector() -> None:
    """There may be many, and none of them closes a cycle."""
    assert not gc.is_tracked(received(order_type(), b'{"article":"pen"}'))


def test_an_invalid_content_is_an_error_each_time() -> None:
    """A content that does not fit has no value, however often it is asked for."""
    message = received(order_type(), b'{"article":5}')
    for _ in range(2):
        with pytest.raises(InvalidContent) as caught:
            _ = message.value
        assert caught.value.path == "$.article"
        assert caught.value.value is message.content


@pytest.mark.parametrize(
    "other", [MessageType(201, registry=MessageRegistry()), MessageType(202, registry=MessageRegistry(), content=str)]
)
def test_a_reply_of_another_type_is_one_of_that_type(other: MessageType[Any, Any]) -> None:
    """A handler may answer with a Request of another type, which says what its content is."""
    reply = received(other, b'"sold out"')
    assert reply._decode_as_reply(order_type()) == ("sold out" if other.content is str else b'"sold out"')


def test_an_answer_of_the_same_type_is_a_reply() -> None:
    """respond() makes a value of reply= the content of an answer of the same type; one of another type keeps its own."""
    kind = order_type()
    message, news = received(kind, b'{"article":"pen"}'), MessageType(203, registry=MessageRegistry(), content=str)
    assert Request(kind, Receipt(1.5)).respond(message).content == b'{"price":1.5}'
    assert Request(news, "later").respond(message).content == "later"
    with pytest.raises(InvalidContent, match="it is of type Order"):
        Request(kind, Order("pen")).respond(message)


@pytest.mark.parametrize(
    ("differs", "more"),
    [
        ("content", {"content": Receipt, "reply": Receipt}),
        ("content", {"content": bytes, "reply": Receipt}),
        ("reply", {"content": Order}),
        ("format", {"content": Order, "reply": Receipt, "format": "msgpack"}),
        ("max_size", {"content": Order, "reply": Receipt, "max_size": 10}),
    ],
)
def test_another_content_is_another_definition(differs: str, more: dict[str, Any]) -> None:
    """One code has one content, reply, format and size in a registry; the same again is the same type."""
    types = MessageRegistry()
    first = MessageType(200, "order", registry=types, content=Order, reply=Receipt)
    assert MessageType(200, "order", registry=types, content=Order, reply=Receipt) == first
    with pytest.raises(MessageTypeError, match=f"code 200 is taken by 'order', whose {differs} is"):
        MessageType(200, "order", registry=types, **more)
    assert types.get(200) is first


@pytest.mark.parametrize(
    "more", [{"content": object}, {"reply": complex}, {"content": Order, "format": "xml"}, {"content": str, "max_size": 0}]
)
def test_a_type_that_cannot_be_is_not_registered(more: dict[str, Any]) -> None:
    """What no bytes can be decoded into is refused at its definition, which leaves the code free."""
    types = MessageRegistry()
    with pytest.raises(MessageTypeError):
        MessageType(200, "order", registry=types, **more)
    assert len(types) == 0


def test_a_type_shows_what_it_is_called() -> None:
    """The log's form of a type is as short with values as without."""
    assert repr(order_type()) == "MessageType(code=200, name='order', description='')"
