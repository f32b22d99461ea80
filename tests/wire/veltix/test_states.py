"""The state machine, pair by pair from its tables and at random: no call and no bytes find a state without an answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from veltix_tx.errors import LocalProtocolError, MessageTooLarge, NotReady, RemoteProtocolError
from veltix_tx.wire.credentials import Token
from veltix_tx.wire.events import ConnectionFailed, Event, FrameRejected, HandshakeCompleted, PingsAnswered, Pong
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.layouts import W15, W16, W62, Layout
from veltix_tx.wire.veltix.releases import RELEASES, HandshakeKind
from veltix_tx.wire.veltix.states import DETECTION, ON_TIMEOUT, SCRIPTS, SIGNATURES, State, Step

EXAMPLES = int(os.environ.get("VELTIX_EXAMPLES", "150"))
"""How many runs of a state machine; more for a long run by hand."""

SERVER, CLIENT = Role.SERVER, Role.CLIENT
LIMIT = 10_000
TYPES = MessageRegistry(open=True)
CHAT = MessageType(200, "chat", registry=TYPES)


def side_of(role: Role, release: str | None, bits: Callable[[int], int] = lambda bits: 5, **options: Any) -> VeltixConnection:
    """A connection that has not begun."""
    return VeltixConnection(
        *(role, RELEASES[release] if release else None),
        calendar_ms=lambda: 1_795_000_000_000,
        uptime_ms=lambda: 1_000_000,
        getrandbits=bits,
        types=TYPES,
        max_message_size=LIMIT,
        **options,
    )


# Every call in every state


def framed(layout: Layout, code: int, content: bytes = b"", request_id: int = 5) -> bytes:
    """A frame."""
    return layout.pack(code, content, request_id, 0) + content


def said(message: object) -> bytes:
    """A message of the JSON handshake."""
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(text).to_bytes(2, "big") + text


GOOD = {"v": "3.3.0", "pv": "1.0", "meta": {}}
AGREEING = {SERVER: said(GOOD), CLIENT: said(GOOD) + said({"result": "ok"})}
CALLS: dict[str, Callable[[VeltixConnection], object]] = {
    "start": lambda side: side.start(),
    "refuse": lambda side: side.refuse(),
    "receive": lambda side: side.receive_data(b"\0", 0),
    "wake": lambda side: side.handle_timeout(),
    "end": lambda side: side.connection_lost(),
    "data_to_send": lambda side: side.data_to_send(),
    "allocate_id": lambda side: side.allocate_id(()),
    "encode": lambda side: side.encode(CHAT, b""),
    "send": lambda side: side.send(CHAT, b""),
    "send_encoded": lambda side: side.send_encoded([b""]),
    "send_ping": lambda side: side.send_ping(1),
    "reply_error": lambda side: side.reply_error(1),
    "accept": lambda side: side.accept(),
    "reject": lambda side: side.reject(),
    "present": lambda side: side.present(None),
    "reauthenticate": lambda side: side.reauthenticate(Token("a token"), 1),
}
STARTS = {"NEW": "HANDSHAKE", "HANDSHAKE": "error", "READY": "error", "FAILED": "error", "FAILED early": "error", "CLOSED": "error"}
READS = {"NEW": "error", "HANDSHAKE": "", "READY": "", "FAILED": "", "FAILED early": "", "CLOSED": ""}
ANY = dict.fromkeys(READS, "")
ENDS = {**dict.fromkeys(READS, "CLOSED"), "CLOSED": ""}
ENCODES = {"NEW": "NotReady", "HANDSHAKE": "NotReady", "READY": "", "FAILED": "", "FAILED early": "NotReady", "CLOSED": ""}
SENDS = {**ENCODES, "CLOSED": "error"}
ANSWERS = {
    "start": STARTS,
    "refuse": {**STARTS, "NEW": "CLOSED"},
    "receive": READS,
    "wake": ANY,
    "end": ENDS,
    "data_to_send": ANY,
    "allocate_id": ENCODES,
    "encode": ENCODES,
    **dict.fromkeys(("send", "send_encoded", "send_ping", "reply_error"), SENDS),
    **dict.fromkeys(("accept", "reject", "present", "reauthenticate"), dict.fromkeys(READS, "error")),
}
"""Each call in each state: ``""`` for done, the state it moves to, or the error. FAILED is after READY, or early."""


def in_state(role: Role, name: str) -> VeltixConnection:
    """A connection that has come to a state."""
    side = side_of(role, "3.3.0")
    if name != "NEW":
        side.start()
    if name in ("READY", "FAILED", "CLOSED"):
        side.receive_data(AGREEING[role], 0)
    if name.startswith("FAILED"):
        side.receive_data(b"VX" + b"\xff" * 13, 0)
    if name == "CLOSED":
        side.connection_lost()
    side.data_to_send()
    assert side.state is State[name.partition(" ")[0]]
    return side


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", READS)
def test_each_call_has_one_answer_in_each_state(name: str, role: Role) -> None:
    """A call does its work, moves the state as the table says, or is a LocalProtocolError that changes nothing."""
    assert set(ANSWERS) == set(CALLS)
    for call, answers in ANSWERS.items():
        side, answer = in_state(role, name), answers[name]
        if call == "refuse" and role is CLIENT:
            answer = "error"
        before = side.state
        if answer in ("error", "NotReady"):
            with pytest.raises(LocalProtocolError) as caught:
                CALLS[call](side)
            assert isinstance(caught.value, NotReady) == (answer == "NotReady"), call
            assert side.data_to_send() == []
        else:
            CALLS[call](side)
        assert side.state is (State[answer] if answer in State.__members__ else before), call


# Every arrival in every step of every handshake


def steps() -> dict[Step, tuple[VeltixConnection, Layout]]:
    """A connection in each step that reads, and the layout its peer would use."""
    made: dict[Step, tuple[VeltixConnection, Layout]] = {
        Step.READ_ACK: (side_of(SERVER, "1.7.0"), W16),
        Step.READ_CLIENT: (side_of(SERVER, "3.3.0"), W15),
        Step.READ_CREDENTIALS: (side_of(SERVER, None, authenticates=True), W15),
        Step.READ_HELLO: (side_of(CLIENT, "1.7.5"), W16),
        Step.READ_SERVER: (side_of(CLIENT, "3.3.0"), W15),
        Step.READ_RESULT: (side_of(CLIENT, "3.3.0"), W15),
        Step.READ_PONG: (side_of(CLIENT, None), W62),
        Step.DETECT_CLIENT: (side_of(SERVER, None), W16),
        Step.DETECT_SERVER: (side_of(CLIENT, None), W16),
        Step.DETECT_AFTER_PING: (side_of(CLIENT, None), W62),
    }
    for side, _ in made.values():
        side.start()
    made[Step.READ_RESULT][0].receive_data(said(GOOD), 0)
    made[Step.READ_CREDENTIALS][0].receive_data(said(GOOD | {"meta": {"features": ["identity"]}}), 0)
    for step in (Step.READ_PONG, Step.DETECT_AFTER_PING):
        made[step][0].handle_timeout()
    made[Step.READ_PONG][0].receive_data(framed(W62, 1, b"", 6), 0)
    while made[Step.DETECT_CLIENT][0].next_timeout is not None:
        made[Step.DETECT_CLIENT][0].handle_timeout()
    for step, (side, _) in made.items():
        assert side._phase.handshake._steps[0] is step
    return made


VERSION, OTHER = b"\0\x051.7.0", b"\0\x059.9.9"
ARRIVALS: dict[str, Callable[[Layout], bytes]] = {
    "nothing": lambda layout: b"",
    "a byte": lambda layout: b"\0",
    "HELLO": lambda layout: framed(layout, 10, VERSION),
    "HELLO, other version": lambda layout: framed(layout, 10, OTHER),
    "HELLO, no version": lambda layout: framed(layout, 10, b"\0\x09"),
    "HELLO, too large": lambda layout: framed(layout, 10, bytes(300)),
    "HELLO, bad checksum": lambda layout: framed(layout, 10, VERSION)[:-1] + b"!",
    "HELLO_ACK": lambda layout: framed(layout, 11, VERSION),
    "HELLO_ACK, other version": lambda layout: framed(layout, 11, OTHER),
    "HELLO_ACK, other id": lambda layout: framed(layout, 11, VERSION, 6),
    "HELLO_ACK, too large": lambda layout: framed(layout, 11, bytes(300)),
    "HELLO_ACK, bad checksum": lambda layout: framed(layout, 11, VERSION)[:-1] + b"!",
    "PING": lambda layout: framed(layout, 0),
    "PONG": lambda layout: framed(layout, 1),
    "PONG, other id": lambda layout: framed(layout, 1, b"", 6),
    "message": lambda layout: framed(layout, 200, b"hello"),
    "JSON hello": lambda layout: said(GOOD),
    "JSON hello, other version": lambda layout: said({"v": "9.9.9", "pv": "2.0"}),
    "JSON hello, no version": lambda layout: said({"v": 1}),
    "JSON error": lambda layout: said({"error": "server_full"}),
    "JSON result": lambda layout: said({"result": "ok"}),
    "JSON, other result": lambda layout: said({"result": "no"}),
    "JSON, no object": lambda layout: said([1]),
    "JSON, none": lambda layout: said(b'{"v":'),
    "JSON, too large": lambda layout: b"\x10\x01",
    "FF": lambda layout: b"\xff" * 128,
}
OUTCOMES = """
what arrives             | ACK     CLIENT  CREDENTIALS HELLO   SERVER  RESULT  PONG    DETECT_CLIENT DETECT_SERVER DETECT_AFTER_PING
nothing                  | -       -       -           -       -       -       -       -             -             -
a byte                   | -       -       -           -       -       -       -       -             -             -
HELLO                    | early   large   large       ready   large   large   bad     early         ready         ready
HELLO, other version     | early   large   large       version large   large   bad     early         ready         ready
HELLO, no version        | early   large   large       bad     large   large   bad     early         bad           bad
HELLO, too large         | early   large   large       -       large   large   bad     early         large         large
HELLO, bad checksum      | early   large   large       -       large   large   bad     early         bad           bad
HELLO_ACK                | ready   large   large       -       large   large   bad     ready         bad           bad
HELLO_ACK, other version | version large   large       -       large   large   bad     version       bad           bad
HELLO_ACK, other id      | bad     large   large       -       large   large   bad     bad           bad           bad
HELLO_ACK, too large     | large   large   large       -       large   large   bad     large         bad           bad
HELLO_ACK, bad checksum  | bad     large   large       -       large   large   bad     bad           bad           bad
PING                     | early   large   large       -       large   large   bad     early         bad           bad
PONG                     | early   large   large       -       large   large   ready   early         bad           ready
PONG, other id           | early   large   large       -       large   large   -       early         bad           PONG
message                  | early   large   large       -       large   large   bad     early         bad           SERVER
JSON hello               | bad     ready   asks        -       RESULT  bad     -       ready         RESULT        RESULT
JSON hello, other version| bad     version asks        -       version bad     -       version       version       version
JSON hello, no version   | -       bad     asks        -       bad     bad     -       bad           bad           bad
JSON error               | bad     bad     asks        -       full    full    -       bad           full          full
JSON result              | bad     bad     asks        -       bad     ready   -       bad           bad           bad
JSON, other result       | bad     bad     asks        -       bad     bad     -       bad           bad           bad
JSON, no object          | -       bad     bad         -       bad     bad     -       bad           bad           bad
JSON, none               | -       bad     bad         -       bad     bad     -       bad           bad           bad
JSON, too large          | -       large   large       -       large   large   -       large         large         large
FF                       | bad     large   large       -       large   large   bad     large         large         large
"""
"""A row for each arrival, a column for each step that reads (those without DETECT are READ_): ``-`` for more is awaited, the
step that is next, ready, or the error that the connection fails with. READ_HELLO is that of a pinned client, which waits."""
ERRORS = {
    "early": "EarlyMessage",
    "large": "FrameTooLarge",
    "bad": "MalformedHello",
    "version": "VersionRefused",
    "full": "ServerFull",
    "ready": "HandshakeCompleted",
    "asks": "AuthenticationRequested",
}


def outcome(side: VeltixConnection, data: bytes) -> str:
    """What bytes do to a connection: the step it waits in then, ``HandshakeCompleted``, or the error it failed with."""
    events = side.receive_data(data, 0)
    if not events:
        assert side.state is State.HANDSHAKE
        return side._phase.handshake._steps[0].name
    (event,) = events
    assert side.receive_data(b"anything", 0) == [] or side.state is State.READY
    return type(event.error).__name__ if isinstance(event, ConnectionFailed) else type(event).__name__


def test_each_arrival_has_one_outcome_in_each_step() -> None:
    """Whatever arrives in whatever step of a handshake: it goes on, waits, is ready, or fails with the error of the table."""
    head, *rows = (line.split("|") for line in OUTCOMES.strip().splitlines())
    scripts = (
        *SCRIPTS.values(),
        *DETECTION.values(),
        *ON_TIMEOUT.values(),
        *(each.steps for known in SIGNATURES.values() for each in known.values()),
    )
    reading = {step for script in scripts for step in script if step.name.startswith(("READ", "DETECT"))}
    columns = [step_named(name) for name in head[1].split()]
    assert set(columns) == reading
    assert columns == list(steps())
    assert [row[0].strip() for row in rows] == list(ARRIVALS)
    for name, cells in rows:
        for (step, (side, layout)), cell in zip(steps().items(), cells.split(), strict=True):
            expected = step.name if cell == "-" else ERRORS[cell] if cell in ERRORS else step_named(cell).name
            assert outcome(side, ARRIVALS[name.strip()](layout)) == expected, (name, step)


def step_named(name: str) -> Step:
    """A step by its name in the table."""
    return Step[name if name in Step.__members__ else f"READ_{name}"]


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_each_local_event_has_one_outcome_in_each_step(step: Step) -> None:
    """In every step silence, the end and the peer's leaving are in order: a step waits or asks, and the end is the end."""
    side, _ = steps()[step]
    side.data_to_send()
    side.handle_timeout()
    assert side.state is State.HANDSHAKE
    assert side._phase.handshake._steps[0] is (Step.DETECT_AFTER_PING if step is Step.DETECT_SERVER else step)
    assert bool(side.data_to_send()) == (step is Step.DETECT_SERVER)
    side.connection_lost()
    side.handle_timeout()
    assert side.state is State.CLOSED
    assert side.receive_data(b"late", 0) == side.data_to_send() == []


# At random


NAMES = st.sampled_from([None, None, *RELEASES])
SIDES = st.sampled_from(Role)
SIZES = st.sampled_from([0, 1, 10, 300, 4096, 4097, 9000])
JUNK = st.one_of(
    st.binary(min_size=1, max_size=40), st.sampled_from([make(W15) for name, make in ARRIVALS.items() if name != "nothing"])
)


class PairMachine(RuleBasedStateMachine):
    """Two connections, and what is on the way between them.

    ``honest`` says of a side that all it has been handed is what the other one said, in order, and meant for it.
    """

    @initialize(
        server=NAMES,
        client=NAMES,
        seed=st.integers(0, 99),
        **dict.fromkeys(("same", "long_headers", "agreed", "harsh"), st.booleans()),
    )
    def begin(
        self, server: str | None, client: str | None, seed: int, *, same: bool, long_headers: bool, agreed: bool, harsh: bool
    ) -> None:
        """Make the two, of one release or of any, the handshake to come or done, to be harmed or only used."""
        client = server if same else client
        self.sides = {
            SERVER: side_of(SERVER, server, Random(seed).getrandbits),
            CLIENT: side_of(CLIENT, client, Random(-seed).getrandbits, long_headers=long_headers),
        }
        kind = RELEASES[server].handshake if server else HandshakeKind.JSON
        agree = server == client or (client is None and kind is not HandshakeKind.NONE)
        self.honest = dict.fromkeys(Role, agree)
        self.way: dict[Role, bytearray] = {role: bytearray() for role in Role}
        self.sent: dict[Role, list[bytes]] = {role: [] for role in Role}
        self.heard: dict[Role, list[bytes]] = {role: [] for role in Role}
        self.asked: dict[Role, list[int]] = {role: [] for role in Role}
        self.answered: dict[Role, list[int]] = {role: [] for role in Role}
        self.pings = dict.fromkeys(Role, 0)
        self.ready = dict.fromkeys(Role, 0)
        self.failed = dict.fromkeys(Role, False)
        self.ended = dict.fromkeys(Role, False)
        self.last = dict.fromkeys(Role, 0)
        self.ids = "1.0" not in (server, client)
        self.harsh = harsh
        if agreed:
            for role in Role:
                self.start(role)
            self.deliver_all()

    def other(self, role: Role) -> Role:
        """The other side's role."""
        return CLIENT if role is SERVER else SERVER

    def take(self, role: Role, events: list[Event]) -> None:
        """Check what a side tells, and put on the way what it says."""
        for event in events:
            assert not self.failed[role], "an event after ConnectionFailed"
            if isinstance(event, HandshakeCompleted):
                self.ready[role] += 1
            elif isinstance(event, ConnectionFailed):
                self.failed[role] = True
                str(event.error)
                assert isinstance(event.error, RemoteProtocolError)
                assert not self.honest[role], event.error
            else:
                assert self.ready[role] == 1, "an event before HandshakeCompleted"
                if isinstance(event, Response):
                    self.heard[role].append(event.content)
                    self.last[role] = event.request_id
                elif isinstance(event, PingsAnswered):
                    self.pings[role] += event.count
                elif isinstance(event, Pong):
                    self.answered[role].append(event.request_id)
                else:
                    assert not (isinstance(event, FrameRejected) and self.honest[role]), event
        assert self.ready[role] <= 1
        self.way[self.other(role)] += b"".join(self.sides[role].data_to_send())

    def attempt(self, role: Role, call: Callable[[VeltixConnection], object]) -> bool:
        """Call what needs a connection that is ready; return whether it was in order, as it must have been."""
        side = self.sides[role]
        if side.state in (State.READY, State.FAILED) and side.peer is not None:
            call(side)
            self.take(role, [])
            return True
        with pytest.raises(LocalProtocolError) as caught:
            call(side)
        assert isinstance(caught.value, NotReady) or side.state is State.CLOSED
        assert side.data_to_send() == []
        return False

    @rule(role=SIDES)
    def start(self, role: Role) -> None:
        """Begin; a second time is a local error."""
        side = self.sides[role]
        if side.state is State.NEW:
            self.take(role, side.start())
        else:
            with pytest.raises(LocalProtocolError):
                side.start()

    @precondition(lambda self: self.harsh and self.sides[SERVER].state is State.NEW)
    @rule()
    def refuse(self) -> None:
        """Refuse the client, as a full server does."""
        self.sides[SERVER].refuse()
        self.ended[SERVER] = True
        self.honest[CLIENT] = False  # what it is told is meant for it, but ends in ConnectionFailed
        self.take(SERVER, [])

    @rule(role=SIDES, share=st.sampled_from([0.01, 0.3, 1.0]), most=st.integers(1, 20_000))
    def deliver(self, role: Role, share: float, most: int) -> None:
        """Hand a side a part of what is on its way."""
        side, way = self.sides[role], self.way[role]
        size = min(most, int(len(way) * share) + 1)
        data = bytes(way[:size])
        if side.state is State.NEW:
            with pytest.raises(LocalProtocolError):
                side.receive_data(data, 0)
            return
        del way[:size]
        deaf = side.state in (State.FAILED, State.CLOSED)
        events = side.receive_data(data, 0)
        assert not (deaf and events)
        self.take(role, events)
        assert side.peer is not None or side.buffered_size <= 4098 + len(data)

    @rule()
    def deliver_all(self) -> None:
        """Hand both sides all that is on its way, and what they say to it."""
        while any(self.way[role] for role, side in self.sides.items() if side.state is not State.NEW):
            for role, side in self.sides.items():
                if side.state is not State.NEW:
                    self.deliver(role, 1.0, 20_000)

    @precondition(lambda self: self.harsh and any(self.way.values()))
    @rule(at=st.integers(0, 2**16), bit=st.integers(0, 7))
    def corrupt(self, at: int, bit: int) -> None:
        """Flip a bit on the way."""
        role = SERVER if self.way[SERVER] else CLIENT
        way = self.way[role]
        way[at % len(way)] ^= 1 << bit
        self.spoil(role)

    @precondition(lambda self: self.harsh)
    @rule(role=SIDES, at=st.integers(0, 2**16), junk=JUNK)
    def inject(self, role: Role, at: int, junk: bytes) -> None:
        """Put bytes among those on the way."""
        at %= len(self.way[role]) + 1
        self.way[role][at:at] = junk
        self.spoil(role)

    @precondition(lambda self: self.harsh and any(self.way.values()))
    @rule(start=st.integers(0, 2**16), size=st.integers(1, 50))
    def lose(self, start: int, size: int) -> None:
        """Lose bytes on the way."""
        role = SERVER if self.way[SERVER] else CLIENT
        start %= len(self.way[role])
        del self.way[role][start : start + size]
        self.spoil(role)

    def spoil(self, role: Role) -> None:
        """From now on a side may hear nonsense, and what it says in answer may be some."""
        self.honest = dict.fromkeys(Role, False)

    @rule(role=SIDES, size=SIZES, reply=st.booleans(), whole=st.booleans())
    def send(self, role: Role, size: int, reply: bool, whole: bool) -> None:
        """Send a message, an answer to the last one heard or not, in one call or two."""
        content = bytes([len(self.sent[role]) % 256]) * size
        request_id = self.last[role] if reply else None

        def call(side: VeltixConnection) -> None:
            if whole:
                side.send(CHAT, content, request_id)
            else:
                side.send_encoded(side.encode(CHAT, content, request_id))

        if self.attempt(role, call):
            self.sent[role].append(content)

    @precondition(lambda self: self.sides[SERVER].state is State.READY)
    @rule()
    def send_too_much(self) -> None:
        """A message over the limit is refused, and nothing leaves."""
        with pytest.raises(MessageTooLarge):
            self.sides[SERVER].send(CHAT, bytes(LIMIT))
        assert self.sides[SERVER].data_to_send() == []

    @precondition(lambda self: self.ids)
    @rule(role=SIDES)
    def ping(self, role: Role) -> None:
        """Send a ping."""
        drawn: list[int] = []

        def call(side: VeltixConnection) -> None:
            drawn.append(side.allocate_id(()))
            side.send_ping(drawn[-1])

        side = self.sides[role]
        if side.state is State.CLOSED:
            with pytest.raises(LocalProtocolError):
                side.send_ping(1)
        elif self.attempt(role, call):
            self.asked[role] += drawn

    @rule(role=SIDES)
    def wake(self, role: Role) -> None:
        """Let a side be told of silence, though there may be none."""
        side = self.sides[role]
        due = side.next_timeout is not None
        assert not due or side.state is State.HANDSHAKE
        side.handle_timeout()
        self.take(role, [])
        if due:  # a question or a hello too many, on the way to one who has spoken already
            self.honest = dict.fromkeys(Role, False)

    @precondition(lambda self: self.harsh)
    @rule(role=SIDES)
    def end(self, role: Role) -> None:
        """Close one side."""
        self.sides[role].connection_lost()
        self.ended[role] = True
        assert self.sides[role].state is State.CLOSED

    @invariant()
    def within_its_limits(self) -> None:
        """A side is in a state that its history explains, and keeps no more than it may."""
        for role, side in getattr(self, "sides", {}).items():
            if self.ended[role]:
                assert side.state is State.CLOSED
            elif self.failed[role]:
                assert side.state is State.FAILED
            elif self.ready[role]:
                assert side.state is State.READY
            else:
                assert side.state in (State.NEW, State.HANDSHAKE)
            assert (side.peer is not None) == (self.ready[role] == 1)
            assert side.next_timeout is None or side.state is State.HANDSHAKE
            assert 0 <= side.incoming_size <= LIMIT
            assert side.peer is None or side.buffered_size <= side.incoming_size
            if self.honest[role]:
                sent = self.sent[self.other(role)]
                assert self.heard[role] == sent[: len(self.heard[role])], "a message lost, twice or out of turn"
                assert self.answered[role] == self.asked[role][: len(self.answered[role])]
                assert self.pings[role] <= len(self.asked[self.other(role)])

    def teardown(self) -> None:
        """Deliver the rest: two honest sides that nobody closed have heard all that was said."""
        if not hasattr(self, "sides"):
            return
        for role, side in self.sides.items():
            if side.state is State.NEW:
                self.start(role)
        self.deliver_all()
        self.within_its_limits()
        if all(self.honest.values()) and not any(self.ended.values()):
            assert self.ready == dict.fromkeys(Role, 1)
            for role in Role:
                assert self.heard[role] == self.sent[self.other(role)]
                assert self.answered[role] == self.asked[role]
                assert self.sides[role].incoming_size == 0


def test_two_connections_survive_everything(unhurried: None) -> None:
    """Whatever is called, lost, changed or put between: typed errors, within limits; messages that nothing harmed arrive once."""
    run_state_machine_as_test(
        PairMachine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
