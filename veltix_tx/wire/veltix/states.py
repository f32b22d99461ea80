"""The states of a connection, and the steps of its handshake, as tables. What is in none of them cannot be.

======================  ==========================================================
a connection            :data:`STATES`: what moves it from one :class:`State` to
                        the next
a handshake             :data:`SCRIPTS`: the steps of each kind for each role;
                        :data:`DETECTION`: those of a side that finds out, which go on
                        with what :data:`SIGNATURES` has for the peer's first bytes;
                        :data:`ON_TIMEOUT`: what a silent peer changes
======================  ==========================================================
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import HELLO, HELLO_ACK, PONG, MessageType
from veltix_tx.wire.veltix.layouts import W16, W62, Layout
from veltix_tx.wire.veltix.releases import HandshakeKind

__all__ = ["DETECTION", "ON_TIMEOUT", "OTHERWISE", "SCRIPTS", "SIGNATURES", "STATES", "Signature", "State", "Step", "Trigger"]


class _Named(Enum):
    """Looked up by identity: an Enum's own hash is Python's, that of its name, and a handshake has many look-ups."""

    __hash__ = object.__hash__


class State(_Named):
    """State of a connection."""

    NEW = auto()
    HANDSHAKE = auto()
    READY = auto()
    FAILED = auto()
    CLOSED = auto()


class Trigger(_Named):
    """Triggers that move a connection from one state to another."""

    START = auto()
    REFUSE = auto()
    AGREED = auto()
    FAULT = auto()
    END = auto()


STATES: dict[State, dict[Trigger, State]] = {
    State.NEW: {Trigger.START: State.HANDSHAKE, Trigger.REFUSE: State.CLOSED, Trigger.END: State.CLOSED},
    State.HANDSHAKE: {Trigger.AGREED: State.READY, Trigger.FAULT: State.FAILED, Trigger.END: State.CLOSED},
    State.READY: {Trigger.FAULT: State.FAILED, Trigger.END: State.CLOSED},
    State.FAILED: {Trigger.END: State.CLOSED},
    State.CLOSED: {Trigger.END: State.CLOSED},
}
"""Everything that moves a connection. Messages are read in READY alone; those read before a fault may still be answered
in FAILED, until the end."""


class Step(_Named):
    """One step of a handshake, named from this side's view."""

    SAY_HELLO = auto()
    READ_ACK = auto()
    READ_CLIENT = auto()
    READ_CREDENTIALS = auto()
    AUTHENTICATE = auto()
    SEND_RESULT = auto()
    READ_HELLO = auto()
    SEND_ACK = auto()
    READ_SERVER = auto()
    SEND_CLIENT = auto()
    PRESENT = auto()
    READ_RESULT = auto()
    READ_PONG = auto()
    DETECT_CLIENT = auto()
    DETECT_SERVER = auto()
    DETECT_AFTER_PING = auto()
    SEND_PING = auto()


SCRIPTS: dict[tuple[HandshakeKind, Role], tuple[Step, ...]] = {
    (HandshakeKind.NONE, Role.SERVER): (),
    (HandshakeKind.NONE, Role.CLIENT): (),
    (HandshakeKind.HELLO, Role.SERVER): (Step.SAY_HELLO, Step.READ_ACK),
    (HandshakeKind.HELLO, Role.CLIENT): (Step.READ_HELLO, Step.SEND_ACK),
    (HandshakeKind.JSON, Role.SERVER): (
        *(Step.SAY_HELLO, Step.READ_CLIENT, Step.READ_CREDENTIALS, Step.AUTHENTICATE, Step.SEND_RESULT),
    ),
    (HandshakeKind.JSON, Role.CLIENT): (Step.READ_SERVER, Step.SEND_CLIENT, Step.PRESENT, Step.READ_RESULT),
}
"""Every handshake, in both roles."""

DETECTION: dict[Role, tuple[Step, ...]] = {
    Role.SERVER: (Step.SAY_HELLO, Step.DETECT_CLIENT),
    Role.CLIENT: (Step.DETECT_SERVER,),
}
"""First steps of a side that detects its peer's generation."""

ON_TIMEOUT: dict[Step, tuple[Step, ...]] = {
    Step.DETECT_CLIENT: (Step.SAY_HELLO, Step.DETECT_CLIENT),
    Step.DETECT_SERVER: (Step.SEND_PING, Step.DETECT_AFTER_PING),
}
"""Steps of a side that detects its peer's generation while the peer is silent. In every other step it waits."""


class Signature(NamedTuple):
    """Signature of a handshake: its kind, its layout unless that is still open, and this side's next steps."""

    kind: HandshakeKind
    layout: Layout | None
    steps: tuple[Step, ...]


def _begins(message_type: MessageType) -> bytes:
    return message_type.code.to_bytes(2, "big")


_ANSWERED, _GREETED = (Step.READ_ACK,), SCRIPTS[HandshakeKind.HELLO, Role.CLIENT]
_HELLOS = {
    W16.magic: Signature(HandshakeKind.HELLO, W16, _GREETED),
    _begins(HELLO): Signature(HandshakeKind.HELLO, None, _GREETED),
}

SIGNATURES: dict[Step, dict[bytes, Signature]] = {
    Step.DETECT_CLIENT: {
        W16.magic: Signature(HandshakeKind.HELLO, W16, _ANSWERED),
        _begins(HELLO_ACK): Signature(HandshakeKind.HELLO, None, _ANSWERED),
    },
    Step.DETECT_SERVER: _HELLOS,
    Step.DETECT_AFTER_PING: {**_HELLOS, _begins(PONG): Signature(HandshakeKind.NONE, W62, (Step.READ_PONG,))},
}
"""Auto-detection: maps the first two bytes received to a handshake and a header layout."""

OTHERWISE: dict[Step, Signature] = {
    Step.DETECT_CLIENT: Signature(HandshakeKind.JSON, None, SCRIPTS[HandshakeKind.JSON, Role.SERVER][1:]),
    Step.DETECT_SERVER: Signature(HandshakeKind.JSON, None, SCRIPTS[HandshakeKind.JSON, Role.CLIENT]),
    Step.DETECT_AFTER_PING: Signature(HandshakeKind.JSON, None, SCRIPTS[HandshakeKind.JSON, Role.CLIENT]),
}
"""Auto-detection of every other first two bytes."""
