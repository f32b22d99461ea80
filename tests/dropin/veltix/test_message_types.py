"""Message types and their registry."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.dropin.loopback import new_type
from veltix_tx.dropin.veltix import HELLO, HELLO_ACK, PING, PONG, MessageType, MessageTypeError, MessageTypeRegistry
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.messages import MessageType as Unregistered


def test_a_type() -> None:
    """A type has code, name and description, is shown by the first two, and is registered."""
    code = new_type().code + 20_000
    kind = MessageType(code, "chat", "what people say")
    assert (kind.code, kind.name, kind.description) == (code, "chat", "what people say")
    assert repr(kind) == str(kind) == f"MessageType(code={code}, name='chat')"
    assert MessageTypeRegistry.get(code) is kind
    assert kind in MessageTypeRegistry.list_all()


@pytest.mark.parametrize("name", [None, ""])
def test_name_by_default(name: str | None) -> None:
    """A type without a name is called after its code."""
    kind = new_type(name)
    assert kind.name == f"type_{kind.code}"


def test_equality() -> None:
    """Types are equal by their codes, with types only; they can be keys."""
    kind = new_type()
    same = Unregistered(kind.code, "other", registry=MessageRegistry(codes=range(65536)))
    assert kind == same
    assert same == kind
    assert kind != new_type()
    assert kind != kind.code
    assert {kind: 1}[kind] == 1
    assert len({kind, same}) == 1


def test_a_code_has_one_type() -> None:
    """A second type of a code is refused, with the first one's name, even if they say the same."""
    kind = new_type("chat")
    for name in ("chat", "other", None):
        with pytest.raises(MessageTypeError, match=f"{kind.code}.*'chat'"):
            MessageType(kind.code, name)
    assert MessageTypeRegistry.get(kind.code) is kind


@pytest.mark.parametrize("code", [-1, 65536, 400.5, True, "400"])
def test_a_code_that_cannot_be(code: Any) -> None:
    """A code is a whole number from 0 to 65535."""
    with pytest.raises(MessageTypeError, match="65535"):
        MessageType(code)


@pytest.mark.parametrize("code", [5, 65535])
def test_the_ends_of_the_range(code: int) -> None:
    """Every code that Veltix does not use itself can be one's own."""
    assert (MessageTypeRegistry.get(code) or MessageType(code)).code == code


def test_veltix_own_types() -> None:
    """Veltix's own types are known, and may be named again, as the documents do."""
    assert [each.code for each in (PING, PONG, HELLO, HELLO_ACK)] == [0, 1, 10, 11]
    assert [each.name for each in (PING, PONG, HELLO, HELLO_ACK)] == ["ping", "pong", "hello", "hello_ack"]
    assert MessageType(0, "ping") == PING
    assert {each.code for each in MessageTypeRegistry.list_all()} >= {0, 1, 10, 11, 20, 21}
    assert MessageTypeRegistry.get(0) == PING


def test_registry() -> None:
    """The registry is one for the process, with or without an object; what is there already may be registered again."""
    kind = new_type()
    for registry in (MessageTypeRegistry, MessageTypeRegistry()):
        assert registry.get(kind.code) is kind
        assert registry.has(kind.code) is True
        assert registry.register(kind) is None  # type: ignore[func-returns-value]
        assert (registry.get(29_997), registry.has(29_997)) == (None, False)
        with pytest.raises(MessageTypeError):
            registry.register(Unregistered(kind.code, "other", registry=MessageRegistry(codes=range(65536))))


def test_order_of_registration() -> None:
    """``list_all`` has one's own types in the order they were made."""
    kinds = [new_type() for _ in range(3)]
    assert MessageTypeRegistry.list_all()[-3:] == kinds
