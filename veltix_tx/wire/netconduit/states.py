"""The states of a netconduit connection, as a table. What is not in it cannot be."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["STATES", "State", "Trigger"]


class State(Enum):
    """State of a connection.

    A server waits for AUTH_REQUEST in AUTHENTICATING, for the verdict of ``authenticate`` in VERDICT, and in SETTLING
    until its AUTH_SUCCESS has certainly been read. A client waits for the server's answer in AUTHENTICATING.
    """

    NEW = auto()
    AUTHENTICATING = auto()
    VERDICT = auto()
    SETTLING = auto()
    READY = auto()
    FAILED = auto()
    CLOSED = auto()

    __hash__ = object.__hash__


class Trigger(Enum):
    """What moves a connection from one state to another."""

    START = auto()
    REFUSE = auto()
    ASK = auto()
    LET_IN = auto()
    AGREED = auto()
    FAULT = auto()
    END = auto()

    __hash__ = object.__hash__


_ENDS = {Trigger.FAULT: State.FAILED, Trigger.END: State.CLOSED}

STATES: dict[State, dict[Trigger, State]] = {
    State.NEW: {Trigger.START: State.AUTHENTICATING, Trigger.REFUSE: State.CLOSED, **_ENDS},
    State.AUTHENTICATING: {Trigger.ASK: State.VERDICT, Trigger.LET_IN: State.SETTLING, Trigger.AGREED: State.READY, **_ENDS},
    State.VERDICT: {Trigger.LET_IN: State.SETTLING, **_ENDS},
    State.SETTLING: {Trigger.AGREED: State.READY, **_ENDS},
    State.READY: _ENDS,
    State.FAILED: {Trigger.END: State.CLOSED},
    State.CLOSED: {Trigger.END: State.CLOSED},
}
"""Everything that moves a connection. Frames other than those of the handshake are read in SETTLING and READY alone."""
