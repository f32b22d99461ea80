"""The three handshakes in both roles: the machine that walks the tables of :mod:`~veltix_tx.wire.veltix.states`.

=======  ==========================================  ==========================================
kind     server                                      client
=======  ==========================================  ==========================================
NONE     (nothing)                                   (nothing)
HELLO    say HELLO · read HELLO_ACK                  read HELLO · send HELLO_ACK
JSON     say hello · read hello · send result        read hello · send hello · read result
=======  ==========================================  ==========================================

Before the result, a server that decides who is let in reads its client's credentials, where both agreed on that in their
hellos, and waits for the verdict; the client waits for its credentials, and sends them. They are not a part of the hello because
that must not wait: a server that finds out goes on with its other hellos until it is answered.

Which kind and layout it is may be open at first (``wire="auto"``). A server then says its
hellos in stages until the client answers one of them: clients never speak before a hello they
understand, and each survives the others'. A client reads it off the server's first bytes and
mirrors the server's version; a server that says nothing is asked with a PING of the releases
that have no handshake, and its PONG is the handshake.

A client that is pinned to a release with HELLO frames looks for its HELLO in what the server says, as real ones
do: hellos for clients of other releases come before it. It gives up at the handshake's deadline, or after
``json_hello_size`` bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache

from veltix_tx.errors import (
    AuthenticationFailed,
    EarlyMessage,
    FrameTooLarge,
    HandshakeError,
    LocalProtocolError,
    MalformedHello,
    NotVeltix,
    ServerFull,
    VersionRefused,
    excerpt,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.events import AuthenticationRequested, CredentialsRequested
from veltix_tx.wire.foreign import QUOTED, looks_like, may_look_like, signature_of
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import HELLO, HELLO_ACK, PING, PONG, MessageType
from veltix_tx.wire.rooms import RESUMES, ROOMS
from veltix_tx.wire.veltix.authentication import (
    ACCEPTED,
    CREDENTIALS,
    REFUSED,
    REFUSED_CODE,
    decode_credentials,
    encode_credentials,
)
from veltix_tx.wire.veltix.extensions import ERRORS, IDENTITY, PARAMETER, RPC, agreed_features
from veltix_tx.wire.veltix.layouts import W14, W16, W22, W62, Header, Layout
from veltix_tx.wire.veltix.peer import VeltixPeer
from veltix_tx.wire.veltix.releases import AUTO_HELLOS, SUPERSET, HandshakeKind, Release, is_version, json_layout
from veltix_tx.wire.veltix.states import DETECTION, ON_TIMEOUT, OTHERWISE, SCRIPTS, SIGNATURES, Step

__all__ = [
    "SILENCE",
    "Handshake",
]

_PAD_BYTES = b"\xff" * 128
SILENCE = 1.5
"""Seconds without a hello after which a client asks whether the server has no handshake."""

_QUESTION = W62.pack(PING.code, b"", 0, 0)
_QUESTION_SAME = _QUESTION[: len(_QUESTION) - W62.id_size]
"""A client's question, and the part of it that is the same each time: no other PING has the time 0."""

_LAYOUTS, _LAYOUT = "layouts", "layout"
"""In the JSON hellos' ``meta``, between two of this package: what a server offers, what its client chose."""

_BARE_LAYOUTS = (W14, W22, W62)
"""HELLO frames without a magic, shortest header first: the one whose checksum fits is it."""


_SHOWN = 14
"""Bytes shown of what a peer says that is not understood."""

_OF_ROOMS: tuple[tuple[str, ...], ...] = ((), (ROOMS,), (ROOMS, RESUMES))

_USUAL_FEATURES = tuple((ERRORS, RPC, *identity, *rooms) for identity in ((), (IDENTITY,)) for rooms in _OF_ROOMS)

_USUAL_METAS: tuple[Mapping[str, object], ...] = (
    {},
    *({PARAMETER: list(features), **layout} for features in _USUAL_FEATURES for layout in ({}, {_LAYOUT: W22.name})),
    {_LAYOUT: W22.name},
    SUPERSET.meta,
    *({**SUPERSET.meta, PARAMETER: list(features)} for features in _USUAL_FEATURES),
)
"""``meta`` of real clients, and of clients and servers of this package."""


def _peer(
    version: str,
    layout: Layout,
    kind: HandshakeKind,
    protocol: str | None,
    features: tuple[str, ...],
    meta: Mapping[str, object],
) -> VeltixPeer:
    return VeltixPeer(
        wire=layout.name, version=version, meta=meta, features=features, layout=layout, handshake=kind, protocol=protocol
    )


@lru_cache(maxsize=64)
def _same_peer(
    version: str, layout: Layout, kind: HandshakeKind, protocol: str | None, features: tuple[str, ...], usual: int
) -> VeltixPeer:
    """Return the peer of these; most peers of a server are alike, and share one."""
    return _peer(version, layout, kind, protocol, features, _USUAL_METAS[usual])


_MOST_ANSWERED = 64

_answered: dict[tuple[str, tuple[str, ...], int, bytes], VeltixPeer] = {}
"""Clients whose JSON hellos have been answered before, by what decides over them: most clients of a server say the same bytes.
At most :data:`_MOST_ANSWERED` hellos of ``json_hello_size`` bytes, each of a usual ``meta``; then it begins anew."""


class Handshake:
    """One connection's handshake. Feed it bytes, send what it leaves in ``outgoing``.

    Args:
        role: this side's.
        release: the release to speak, None to find out.
        getrandbits: draws the ids of HELLO frames.
        limits: ``hello_size`` and ``json_hello_size`` are used.
        gap: seconds between the hellos of a server that finds out.
        long_headers: ask a server that offers it for headers of 22 bytes.
        features: what this side may agree on beyond upstream's protocol.
        authenticates: ask for a verdict on the client before the last step.

    Attributes:
        peer: the other side, once the handshake is complete.
        outgoing: bytes to send; the caller takes them out.
        requests: what the handshake waits for the caller to say; the caller takes it out.
        next_timeout: seconds after which :meth:`handle_timeout` wants to be called, None for never.
    """

    def __init__(
        self,
        role: Role,
        release: Release | None,
        getrandbits: Callable[[int], int],
        limits: Limits,
        gap: float,
        long_headers: bool = False,
        features: tuple[str, ...] = (),
        authenticates: bool = False,
    ) -> None:
        self.peer: VeltixPeer | None = None
        self.outgoing: list[bytes] = []
        self.requests: list[AuthenticationRequested | CredentialsRequested] = []
        self.next_timeout: float | None = None
        self._role = role
        self._release = release
        self._getrandbits = getrandbits
        self._limits = limits
        self._gap = gap
        self._long_headers = long_headers
        self._features = features
        self._authenticates = authenticates
        self._credentials: Token | Password | None = None
        self._waits = False  # for the caller
        self._settled = False  # what it waited for
        self._agreed: tuple[str, ...] = ()
        self._buffer = bytearray()
        self._stages = list(AUTO_HELLOS) if release is None else [release]
        self._offered: dict[tuple[Layout, int], Release] = {}
        self._offered_json: Release | None = None
        self._kind = release.handshake if release else None
        self._layout = release.layout if release else None
        self._steps = list(SCRIPTS[release.handshake, role] if release else DETECTION[role])
        self._version = ""
        self._protocol: str | None = None
        self._meta: Mapping[str, object] = {}
        self._reply_to = 0
        self._skipped = b""
        self._refused: list[str] = []
        self._reply_json: dict[str, object] = {}
        self._met = False  # whether a first message of the peer's has been understood

    def start(self) -> None:
        """Begin: a server says its first hello, a side without a handshake is done."""
        if self._steps[:1] == [Step.DETECT_SERVER]:
            self.next_timeout = SILENCE
        self._advance()

    def handle_timeout(self) -> None:
        """Go on after ``next_timeout`` seconds of silence: the next hello, or a client's question."""
        if self.next_timeout is None:
            return
        self.next_timeout = None
        self._steps = list(ON_TIMEOUT[self._steps[0]])
        self._advance()

    def accept(self) -> bytes:
        """Let the client in, and return as :meth:`receive_data`; raises LocalProtocolError where no verdict is asked for."""
        self._settle(Step.AUTHENTICATE, "the connection waits for no verdict")
        return self._take_rest()

    def reject(self) -> None:
        """Refuse the client, in words where it knows them; raises as :meth:`accept`."""
        self._settle(Step.AUTHENTICATE, "the connection waits for no verdict")
        if IDENTITY in self._agreed:
            self._send_json(REFUSED)

    def present(self, credentials: Token | Password | None) -> bytes:
        """Send credentials, None for none, and return as :meth:`receive_data`, whose errors it raises, too.

        Raises:
            LocalProtocolError: the server has not asked.
        """
        self._settle(Step.PRESENT, "the server's handshake asks for no credentials now")
        self._send_json({CREDENTIALS: None if credentials is None else encode_credentials(credentials)})
        self._credentials = credentials
        return self._take_rest()

    def _settle(self, step: Step, otherwise: str) -> None:
        if not self._waits or self._steps[0] is not step:
            raise LocalProtocolError(otherwise)
        self._waits, self._settled = False, True

    @property
    def kept(self) -> int:
        """Bytes of the peer that have come while the handshake waits for the caller."""
        return len(self._buffer) if self._waits else 0

    def receive_data(self, data: bytes) -> bytes:
        """Take the peer's bytes; return those behind the handshake once it is complete.

        Raises:
            HandshakeError: the peer's part is wrong; nothing more is read.
            FrameTooLarge: it declares more than the limits allow.
        """
        self.next_timeout = None
        offer = self._offered_json
        if offer is None or self._met or self._buffer or self._authenticates:
            return self._read(data)
        key = (offer.name, self._features, self._limits.json_hello_size, data)
        known = _answered.get(key)
        if known is not None:
            self._send_result()
            self._steps.clear()
            self.peer = known
            return b""
        rest = self._read(data)
        peer = self.peer
        if peer is not None and not rest and peer.handshake is HandshakeKind.JSON and peer.meta in _USUAL_METAS:
            if len(_answered) >= _MOST_ANSWERED:
                _answered.clear()
            _answered[key] = peer
        return rest

    def _read(self, data: bytes) -> bytes:
        """Take the peer's bytes, and return as :meth:`receive_data` does, whose errors it raises, too."""
        self._buffer += data
        if not self._met:
            if self._role is Role.SERVER and self._is_question():
                return b""
            self._check_first()
            if may_look_like(bytes(self._buffer)):
                return b""
        return self._take_rest()

    def _take_rest(self) -> bytes:
        """Go on as far as the bytes go, and return those behind the handshake once it is complete."""
        self._advance()
        if self.peer is None:
            return b""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    @property
    def fault(self) -> HandshakeError | None:
        """Fault in what the server has said while a pinned client still waits for its HELLO; None for none."""
        if self._release is None or self.peer is not None:
            return None
        if self._refused:
            return VersionRefused(self._refused[-1], self._release.rule)
        return self._foreign if self._skipped else None

    @property
    def beginning(self) -> bytes:
        """The first bytes of the message of which only a part has come; none of credentials."""
        return b"" if self._steps[:1] == [Step.READ_CREDENTIALS] else bytes(self._buffer[:QUOTED])

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the message of which only a part has come."""
        return len(self._buffer)

    def refuse(self) -> None:
        """Instead of :meth:`start`: tell the client that the server is full, where its release has words for it."""
        if self._release is None or self._release.refuses_with_words:
            self._send_json({"error": "server_full"})

    def _is_question(self) -> bool:
        """Return True if all that has come is a client's question, which is dropped, or its beginning.

        A client that finds out asks a silent server: this one, where it accepted late. Its first hello is the answer.
        """
        buffer = self._buffer
        if buffer[: len(_QUESTION_SAME)] == _QUESTION_SAME[: len(buffer)]:
            if len(buffer) < len(_QUESTION):
                return True
            del buffer[: len(_QUESTION)]
        return not buffer

    def _check_first(self) -> None:
        """Refuse a peer whose first bytes are another protocol's. It is told by as few of them as it takes."""
        signature = signature_of(bytes(self._buffer[:QUOTED]))
        if signature:
            raise NotVeltix("client" if self._role is Role.SERVER else "server", looks_like(signature), signature)

    def _advance(self) -> None:
        """Walk the steps as far as the bytes go."""
        while self._steps:
            if not _ACTIONS[self._steps[0]](self):
                return
            del self._steps[0]
        self.peer = self._known_peer()

    def _known_peer(self) -> VeltixPeer:
        assert self._kind is not None
        assert self._layout is not None
        known, meta = (self._version, self._layout, self._kind, self._protocol), self._meta
        usual = next((number for number, each in enumerate(_USUAL_METAS) if each == meta), None)
        return _peer(*known, self._agreed, meta) if usual is None else _same_peer(*known, self._agreed, usual)

    # Asking the caller: each returns True once it has said what it must.

    def _ask_verdict(self) -> bool:
        if self._authenticates and not (self._waits or self._settled):
            self._waits = True
            self.requests.append(AuthenticationRequested(self._credentials, self._known_peer()))
        return not self._waits

    def _ask_credentials(self) -> bool:
        if IDENTITY in self._agreed and not (self._waits or self._settled):
            self._waits = True
            self.requests.append(CredentialsRequested())
        return not self._waits

    # Saying: each of these is done at once.

    def _say_hello(self) -> bool:
        stage = self._stages.pop(0)
        # Twice after the first: a 2.x or 3.x client takes the next hello for its result if it is
        # on the way when the client answers, and it may answer from behind a slow link's proxy.
        self.next_timeout = self._gap * (2 if stage is SUPERSET else 1) if self._stages else None
        if stage is None:
            self.outgoing.append(_PAD_BYTES)
        elif stage.handshake is HandshakeKind.JSON:
            self._offered_json = stage
            self.outgoing.append(_json_hello(stage, self._features))
        else:
            request_id = self._getrandbits(8 * stage.layout.id_size)
            self._offered[stage.layout, request_id] = stage
            self._send_frame(stage.layout, HELLO, request_id, stage.announces)
        return True

    def _send_ack(self) -> bool:
        assert self._layout is not None
        version = self._release.announces if self._release else self._version
        self._send_frame(self._layout, HELLO_ACK, self._reply_to, version)
        return True

    def _send_client(self) -> bool:
        self._send_json(self._reply_json)
        return True

    def _send_result(self) -> bool:
        self.outgoing.append(_RESULT)
        return True

    def _send_ping(self) -> bool:
        self._reply_to = self._getrandbits(32)
        self.outgoing.append(W62.pack(PING.code, b"", self._reply_to, 0))
        return True

    def _send_frame(self, layout: Layout, message_type: MessageType, request_id: int, version: str) -> None:
        text = version.encode("ascii")
        content = len(text).to_bytes(2, "big") + text
        self.outgoing.append(layout.pack(message_type.code, content, request_id, 0) + content)

    def _send_json(self, message: Mapping[str, object]) -> None:
        self.outgoing.append(_framed(message))

    # Reading: each returns whether the peer's part was there whole.

    def _find(self) -> bool:
        """Detect by the peer's first bytes which steps follow."""
        if len(self._buffer) < 2:
            return False
        step = self._steps[0]
        self._kind, self._layout, following = SIGNATURES[step].get(bytes(self._buffer[:2]), OTHERWISE[step])
        self._steps += following
        return True

    def _read_ack(self) -> bool:
        frame = self._take_frame(HELLO_ACK)
        if frame is None:
            return False
        header, content = frame
        assert self._layout is not None
        offered = self._offered.get((self._layout, header.request_id))
        if offered is None:
            raise MalformedHello("the peer's HELLO_ACK carries another id than any HELLO it was sent")
        version = _version_in(content)
        if not offered.welcomes(version):
            raise VersionRefused(version, " ".join(sorted(offered.welcome)))
        self._version = offered.read(version)
        return True

    def _read_hello(self) -> bool:
        release = self._release
        while (frame := self._take_frame(HELLO) if release is None else self._find_hello(release)) is not None:
            header, content = frame
            version = _version_in(content)
            if release is None or release.accepts(version):
                self._reply_to = header.request_id
                self._version = version.removeprefix("v")
                return True
            if not release.waits:
                raise VersionRefused(version, release.rule)
            self._refused.append(version)
        return False

    def _find_hello(self, release: Release) -> tuple[Header, bytes] | None:
        """Take the first whole HELLO of this wire, wherever it begins, and drop what is before it."""
        layout, buffer = release.layout, self._buffer
        begins = layout.magic + HELLO.code.to_bytes(2, "big")
        position, unfinished = buffer.find(begins), -1
        while position >= 0:
            start = position + layout.header_size
            header = layout.unpack(buffer[position:start]) if len(buffer) >= start else None
            stop = start if header is None else start + header.size
            if header is None or (header.size <= self._limits.hello_size and len(buffer) < stop):
                unfinished = position if unfinished < 0 else unfinished
            elif header.size <= self._limits.hello_size:
                content = bytes(buffer[start:stop])
                if layout.checksum(content) == header.digest:
                    self._skip(position)
                    del buffer[: stop - position]
                    return header, content
            position = buffer.find(begins, position + 1)
        self._skip(unfinished if unfinished >= 0 else max(0, len(buffer) - len(begins) + 1))
        return None

    @property
    def _foreign(self) -> MalformedHello:
        assert self._release is not None
        return MalformedHello(
            f"the server says something that begins with {excerpt(self._skipped[:_SHOWN])} and is no HELLO of {self._release.name} "
            "(wire='auto' finds out what a server speaks)"
        )

    def _skip(self, size: int) -> None:
        """Drop what is no HELLO of this wire."""
        self._skipped += self._buffer[:size]
        del self._buffer[:size]
        if len(self._skipped) > self._limits.json_hello_size:
            raise self._foreign

    def _read_pong(self) -> bool:
        while (frame := self._take_frame(PONG)) is not None:
            if frame[0].request_id == self._reply_to:
                return True
        return False

    def _read_client(self) -> bool:
        message = self._take_json()
        if message is None:
            return False
        assert self._offered_json is not None
        self._layout = self._offered_json.layout
        self._check_json(message, self._offered_json)
        if self._meta.get(_LAYOUT) == W22.name and W22.name in _names(self._offered_json.meta.get(_LAYOUTS)):
            self._layout = W22
        self._agreed = agreed_features(self._offered_json.meta.get(PARAMETER), self._meta.get(PARAMETER), self._features)
        return True

    def _read_credentials(self) -> bool:
        if IDENTITY not in self._agreed:
            return True
        message = self._take_json(secret=True)
        if message is None:
            return False
        self._credentials = decode_credentials(message.get(CREDENTIALS))
        return True

    def _read_server(self) -> bool:
        message = self._take_json()
        if message is None:
            return False
        if "error" in message:
            raise ServerFull(message["error"])
        self._check_json(message, self._release or (SUPERSET if "pv" in message else None))
        if self._layout is None:
            self._layout = json_layout(message, self._meta)
        mirrored: dict[str, object] = {key: message[key] for key in ("v", "pv") if key in message}
        meta: dict[str, object] = {}
        if self._release is None and self._long_headers and W22.name in _names(self._meta.get(_LAYOUTS)):
            self._layout = W22
            meta[_LAYOUT] = W22.name
        if self._release is None:
            self._agreed = agreed_features(self._meta.get(PARAMETER), self._features)
            if self._agreed:
                meta[PARAMETER] = list(self._agreed)
        self._reply_json = {**(self._release.hello if self._release else mirrored), "meta": meta}
        return True

    def _read_result(self) -> bool:
        if self._release is None and _LAYOUTS in self._meta and not self._skip_late_hellos():
            return False
        message = self._take_json()
        if message is None:
            return False
        if IDENTITY in self._agreed and message.get("error") == REFUSED_CODE:
            raise AuthenticationFailed(_REFUSED if self._credentials is not None else _NONE_PRESENTED)
        if "error" in message:
            raise ServerFull(message["error"])
        if message.get("result") != "ok":
            raise MalformedHello(f"the server's result is {excerpt(message.get('result'))}, not 'ok'")
        return True

    def _skip_late_hellos(self) -> bool:
        """Drop hellos that an auto server has for other clients; return False while one of them has come in part.

        They are on the way where this client was held up for longer than the server waits between two.
        """
        buffer = self._buffer
        while True:
            if not any(each[: len(buffer)] == buffer[: len(each)] for each in _LATE_BEGINNINGS):
                return True
            size = len(_PAD_BYTES) if buffer[:1] == _PAD_BYTES[:1] else self._late_hello_size()
            if size is None:
                return True
            if len(buffer) < size:
                return False
            del buffer[:size]

    def _late_hello_size(self) -> int | None:
        """Return the bytes of the HELLO frame that has begun, or those needed to tell; None for none."""
        for layout in (W16,) if self._buffer[:1] == W16.magic[:1] else _BARE_LAYOUTS:
            if len(self._buffer) < layout.header_size:
                return layout.header_size
            header = layout.unpack(self._buffer)
            stop = layout.header_size + header.size
            if header.size > self._limits.hello_size:
                return None
            if len(self._buffer) < stop or layout.checksum(bytes(self._buffer[layout.header_size : stop])) == header.digest:
                return stop
        return None

    def _check_json(self, message: Mapping[str, object], release: Release | None) -> None:
        version, protocol, meta = message.get("v"), message.get("pv"), message.get("meta")
        if not (isinstance(version, str) and 0 < len(version) <= 64 and version.isascii() and version.isprintable()):
            raise MalformedHello(f"the peer's JSON hello gives {excerpt(version)} as its version, which is none")
        if release is None and not is_version(version):
            raise MalformedHello(f"the peer's JSON hello gives {excerpt(version)} as its version, which is none")
        if release is not None and not release.accepts(version, protocol):
            raise VersionRefused(version if protocol is None else f"{version} (pv {excerpt(protocol)})", release.rule)
        self._version = version
        self._protocol = protocol if isinstance(protocol, str) else None
        self._meta = meta if isinstance(meta, dict) else {}

    def _take_json(self, *, secret: bool = False) -> dict[str, object] | None:
        if len(self._buffer) < 2:
            return None
        size = int.from_bytes(self._buffer[:2], "big")
        if size > self._limits.json_hello_size:
            raise FrameTooLarge(size, self._limits.json_hello_size)
        if len(self._buffer) < 2 + size:
            return None
        text = bytes(self._buffer[2 : 2 + size])
        del self._buffer[: 2 + size]
        self._met = True
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise MalformedHello(f"the peer's part of the handshake is not JSON: {_quoted(text, secret)}") from None
        if not isinstance(message, dict):
            raise MalformedHello(f"the peer's part of the handshake is not a JSON object: {_quoted(text, secret)}")
        return message

    def _take_frame(self, expected: MessageType) -> tuple[Header, bytes] | None:
        """Take one frame of the expected type; where the layout is open, settle it."""
        for layout in _BARE_LAYOUTS if self._layout is None else (self._layout,):
            if len(self._buffer) < layout.header_size:
                return None
            header = layout.unpack(self._buffer)
            if not header.sound or (header.code != expected.code and self._role is Role.CLIENT):
                shown = excerpt(bytes(self._buffer[:_SHOWN]))
                raise MalformedHello(f"the peer does not begin as this wire does: {shown}")
            if header.code != expected.code:
                raise EarlyMessage(header.code, bytes(self._buffer[: W14.header_size]))
            if header.size > self._limits.hello_size:
                raise FrameTooLarge(layout.header_size + header.size, layout.header_size + self._limits.hello_size)
            stop = layout.header_size + header.size
            if len(self._buffer) < stop:
                return None
            content = bytes(self._buffer[layout.header_size : stop])
            if layout.checksum(content) == header.digest:
                self._layout = layout
                self._met = True
                del self._buffer[:stop]
                return header, content
        raise MalformedHello(f"the peer's {expected.name} frame has a bad checksum")


_ACTIONS: Mapping[Step, Callable[[Handshake], bool]] = {
    Step.SAY_HELLO: Handshake._say_hello,
    Step.READ_ACK: Handshake._read_ack,
    Step.READ_CLIENT: Handshake._read_client,
    Step.READ_CREDENTIALS: Handshake._read_credentials,
    Step.AUTHENTICATE: Handshake._ask_verdict,
    Step.SEND_RESULT: Handshake._send_result,
    Step.READ_HELLO: Handshake._read_hello,
    Step.SEND_ACK: Handshake._send_ack,
    Step.READ_SERVER: Handshake._read_server,
    Step.PRESENT: Handshake._ask_credentials,
    Step.SEND_CLIENT: Handshake._send_client,
    Step.READ_RESULT: Handshake._read_result,
    Step.READ_PONG: Handshake._read_pong,
    Step.DETECT_CLIENT: Handshake._find,
    Step.DETECT_SERVER: Handshake._find,
    Step.DETECT_AFTER_PING: Handshake._find,
    Step.SEND_PING: Handshake._send_ping,
}


def _framed(message: Mapping[str, object]) -> bytes:
    text = json.dumps(message).encode()
    return len(text).to_bytes(2, "big") + text


@cache
def _json_hello(release: Release, features: tuple[str, ...]) -> bytes:
    meta = dict(release.meta)
    offered = agreed_features(meta.pop(PARAMETER, None), features)
    return _framed({**release.hello, "meta": {**meta, PARAMETER: list(offered)} if offered else meta})


_RESULT = _framed(ACCEPTED)
_LATE_BEGINNINGS = (_PAD_BYTES[:1], HELLO.code.to_bytes(2, "big"), W16.magic + HELLO.code.to_bytes(2, "big"))
"""Beginnings of an auto server's hellos behind its JSON hello."""

_REFUSED = "the server refused the credentials"
_NONE_PRESENTED = "the server lets nobody in without credentials, and this client has none: give it credentials="


def _quoted(text: bytes, secret: bool) -> str:
    return f"{len(text)} bytes that are not shown" if secret else excerpt(text)


def _names(given: object) -> list[object]:
    return given if isinstance(given, list) else []


def _version_in(content: bytes) -> str:
    """Return the version in a HELLO's or HELLO_ACK's content; bytes behind it are ignored, as real peers do."""
    size = int.from_bytes(content[:2], "big")
    text = content[2 : 2 + size]
    version = text.decode("latin-1")
    if len(text) != size or not is_version(version.removeprefix("v")):
        raise MalformedHello(f"the peer's HELLO gives {excerpt(text)} as its version, which is none")
    return version
