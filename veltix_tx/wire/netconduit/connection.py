"""One netconduit connection, sans-io: the peer's bytes in, events and bytes to send out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from itertools import chain
from typing import TypeVar

from msgspec import UNSET

from veltix_tx.errors import (
    AuthenticationFailed,
    EarlyMessage,
    HandshakeError,
    LocalProtocolError,
    MalformedFrame,
    MalformedHello,
    MessageTooLarge,
    NotReady,
    RemoteProtocolError,
    ServerFull,
    TooManyRequests,
    excerpt,
)
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.error_codes import HANDLER_FAILED
from veltix_tx.wire.events import (
    AuthenticationRequested,
    ConnectionFailed,
    Event,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.foreign import looks_like
from veltix_tx.wire.freed_memory import keep_freed_memory
from veltix_tx.wire.interface import Role, WireContext
from veltix_tx.wire.messages import CALL, RESULT, MessageType, Response
from veltix_tx.wire.netconduit.frames import (
    HEADER,
    HEADER_SIZE,
    MAGIC,
    MAX_PAYLOAD,
    VERSION,
    Frame,
    FrameDecoder,
    FrameFlags,
    FrameType,
)
from veltix_tx.wire.netconduit.messages import PackedMessage, pack_data
from veltix_tx.wire.netconduit.payloads import (
    COMPRESSION_THRESHOLD,
    FLAT_SIZE,
    INFLATED_AT_ONCE,
    Answer,
    AuthFailure,
    AuthRequest,
    AuthSuccess,
    Call,
    Message,
    check_object,
    check_packed,
    deflate,
    inflate,
    is_flat_call,
    pack,
    read,
)
from veltix_tx.wire.netconduit.peer import (
    BARE_RESULTS,
    FEATURES,
    NetconduitCredentials,
    NetconduitPeer,
    describe_self,
    read_info,
)
from veltix_tx.wire.netconduit.rpc import NetconduitRpc, PackedEnvelope, describe_failure, read_failure
from veltix_tx.wire.netconduit.states import STATES, State, Trigger
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds
from veltix_tx.wire.rpc import RpcCodec
from veltix_tx.wire.turn_clock import TurnClock

__all__ = ["SERVER_FULL", "NetconduitConnection"]

SERVER_FULL = "server_full"
"""Reason in an AUTH_FAILURE that turns a client away whatever its password is."""

_WRONG_PASSWORD = "Invalid password"

_UNCOPIED = 65536
"""A packed value longer than this (bytes) is sent as it is, behind its header, in place of being joined to it."""

_COMPRESSED = int(FrameFlags.COMPRESSED)

_MESSAGE, _RPC_REQUEST = int(FrameType.MESSAGE), int(FrameType.RPC_REQUEST)
_RPC_RESPONSE, _RPC_ERROR = int(FrameType.RPC_RESPONSE), int(FrameType.RPC_ERROR)
_PING, _PONG = int(FrameType.HEARTBEAT_PING), int(FrameType.HEARTBEAT_PONG)
_READ = frozenset([_MESSAGE, _RPC_REQUEST, _RPC_RESPONSE, _RPC_ERROR])
_AUTH = frozenset(map(int, (FrameType.AUTH_REQUEST, FrameType.AUTH_SUCCESS, FrameType.AUTH_FAILURE)))

_SUCCESS = b"\x82\xa7success\xc3\xa6result"
_ENVELOPED = _SUCCESS + b"\x82\xa7success\xc3\xa4data"
"""What is in front of a result: between two of this package, and of a real server, with the envelope of its dispatcher."""

_ENCODING_KEYS = (("netconduit", False), ("netconduit", True))
"""For connections that do not compress, and for those that do."""

_CODECS = (NetconduitRpc(ours=False), NetconduitRpc(ours=True))
"""For a real peer, and for one of this package."""

H = TypeVar("H", AuthRequest, AuthSuccess, AuthFailure)


@dataclass(slots=True)
class _Opening:
    """State that is only needed until the handshake is complete, and kept no longer: a connection is small.

    Attributes:
        role: role of the local side.
        password_hash: what the password's hash is; None where there is no password.
        name: what this side calls itself.
        version: the version of its program.
        settle: seconds in which a client has certainly read its AUTH_SUCCESS.
        peer: the other side, as it has said it is.
    """

    role: Role
    password_hash: bytes | None
    name: str
    version: str
    settle: float
    peer: NetconduitPeer | None = None


class NetconduitConnection:
    """One netconduit connection, in either role.

    Args:
        role: role of the local side.
        context: facts shared by the connections of the side.
        password: the password that clients must know; None to ask ``authenticate``, as a client to fail.
        name: what this side calls itself.
        version: the version of its program, as it says.
        compress: compress payloads over 1,024 bytes.
        settle: seconds in which a real client has certainly read its AUTH_SUCCESS: it loses what follows that in one segment.

    Attributes:
        state: a :class:`State`.
        peer: the other side, from READY on.
        max_message_size: maximum bytes of a message, header included, before compression.
        encoding_key: equal for two connections whose peers take the same bytes for the same message.
    """

    compiled = False
    overhead = HEADER_SIZE
    supports_requests = in_order_replies = half_closes = False
    supports_ping = marks_requests = True

    __slots__ = (
        "_bare_results",
        "_compress",
        "_context",
        "_decoder",
        "_held",
        "_last_id",
        "_max_payload",
        "_opening",
        "_out",
        "_pings",
        "_plain_size",
        "_stamp",
        "encoding_key",
        "max_message_size",
        "peer",
        "state",
    )

    def __init__(
        self, role: Role, context: WireContext, *, password: str | None, name: str, version: str, compress: bool, settle: float
    ) -> None:
        self.state = State.NEW
        self.peer: NetconduitPeer | None = None
        self.max_message_size = min(context.max_message_size, MAX_PAYLOAD + HEADER_SIZE)
        self.encoding_key: object = _ENCODING_KEYS[compress]
        self._context = context
        self._compress = compress
        self._stamp: Callable[[], int] | None = None
        self._max_payload = self.max_message_size - HEADER_SIZE
        self._plain_size = min(self._max_payload, COMPRESSION_THRESHOLD if compress else _UNCOPIED)
        self._decoder = FrameDecoder(context.limits.json_hello_size)
        self._held: Iterator[Frame] | None = None
        self._opening: _Opening | None = _Opening(role, None if password is None else _hash_of(password), name, version, settle)
        self._bare_results = False
        self._last_id = 0
        self._pings: deque[int | None] | None = None
        self._out: list[bytes] = []

    @property
    def beginning(self) -> bytes:
        """First bytes of the frame that has arrived in part: of its header, where a password's hash is not."""
        return self._decoder.beginning

    @property
    def incoming_size(self) -> int:
        """Bytes of the frame that has arrived in part, as far as they are declared; 0 without one."""
        return self._decoder.incoming_size

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the frame that has arrived in part."""
        return self._decoder.buffered_size

    @property
    def has_more(self) -> bool:
        """True if frames wait that came behind many compressed bytes."""
        return self._held is not None

    @property
    def handshake_fault(self) -> HandshakeError | None:
        """What to ask of a server that has not answered yet, None in every other state."""
        waits = self.state is State.AUTHENTICATING and self._opening is not None and self._opening.role is Role.CLIENT
        return HandshakeError("the server has not answered: is it one of netconduit, and without TLS?") if waits else None

    @property
    def rpc(self) -> RpcCodec:
        """Codec of calls, which every peer has."""
        return _CODECS[self._bare_results]

    @property
    def next_timeout(self) -> float | None:
        """Seconds until a client that says nothing has certainly read its AUTH_SUCCESS; None in every other state."""
        return self._opening.settle if self._opening is not None and self.state is State.SETTLING else None

    def start(self) -> list[Event]:
        """Begin the handshake: a client says its password's hash.

        Raises:
            LocalProtocolError: it has begun, or ended, already.
        """
        self._move(Trigger.START)
        opening = self._opening
        assert opening is not None
        if opening.role is Role.CLIENT:
            if opening.password_hash is None:
                return [self._fail(AuthenticationFailed("a client needs a password: Netconduit(password=...)"))]
            info = describe_self(opening.name, opening.version, FEATURES)
            self._queue(FrameType.AUTH_REQUEST, pack({"password_hash": opening.password_hash.decode(), "client_info": info}))
        return []

    def refuse(self) -> None:
        """Instead of :meth:`start`: refuse the client because the server is full.

        Raises:
            LocalProtocolError: it has begun, or ended, already; or this side is a client.
        """
        if self._opening is not None and self._opening.role is Role.CLIENT:
            raise LocalProtocolError("only a server refuses a peer because it is full")
        self._move(Trigger.REFUSE)
        self._queue(FrameType.AUTH_FAILURE, pack({"reason": SERVER_FULL}))

    def handle_timeout(self) -> list[Event]:
        """Complete the handshake with a client that has said nothing since its AUTH_SUCCESS."""
        return [self._complete()] if self.state is State.SETTLING else []

    def accept(self) -> list[Event]:
        """Let the client in after an AuthenticationRequested.

        Raises:
            LocalProtocolError: no authentication is pending.
        """
        self._check_pending()
        return self._let_in()

    def reject(self) -> None:
        """Refuse the client after an AuthenticationRequested; raises as :meth:`accept`."""
        self._check_pending()
        self._move(Trigger.FAULT)
        self._queue(FrameType.AUTH_FAILURE, pack({"reason": _WRONG_PASSWORD}))

    def present(self, credentials: Token | Password | None) -> list[Event]:
        """Raise LocalProtocolError: the handshake does not ask for credentials."""
        raise LocalProtocolError("the wire netconduit carries its own password and no other credentials")

    def reauthenticate(self, credentials: Token | Password, request_id: int) -> int:
        """Raise LocalProtocolError, as :meth:`present`."""
        raise LocalProtocolError("the wire netconduit carries its own password and no other credentials")

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Process bytes of the peer.

        Args:
            data: the bytes.
            received_at: the local calendar clock in ms.

        Returns:
            what happened, in order, but for pings, which come first. After a :class:`ConnectionFailed` nothing more is read.

        Raises:
            LocalProtocolError: the connection has not begun.
        """
        if self.state is State.NEW:
            raise LocalProtocolError("the connection has not begun: call start() before receive_data()")
        if self.state is State.FAILED or self.state is State.CLOSED:
            return []
        events: list[Event] = []
        frames = self._decoder.receive_data(data)
        if self._held is not None:
            frames, self._held = chain(self._held, frames), None
        try:
            if self.state is not State.READY:
                frames = self._open(frames, events)
            self._receive(frames, received_at, events)
            if self._decoder.error is not None:
                raise self._decoder.error
        except RemoteProtocolError as error:
            if self.state is State.VERDICT:
                events.clear()  # there is nothing to be judged any more
            events.append(self._fail(error if self._opening is None else self._as_handshake_error(error)))
        return events

    def receive_eof(self, received_at: int) -> list[Event]:
        """Return nothing: the end of the stream completes no frame."""
        return []

    def connection_lost(self) -> None:
        """Mark the connection closed. Later input is ignored; later sends raise LocalProtocolError."""
        self._move(Trigger.END)
        self._stamp = self._pings = self._held = None
        self._decoder = FrameDecoder(0)  # and with the other one the part of a frame

    def data_to_send(self) -> list[bytes]:
        """Return and clear the buffers to write, in order."""
        out, self._out = self._out, []
        return out

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Return an id for a ping or a call, one higher than the last: with 8 bytes none comes again. Messages carry none.

        Raises:
            NotReady: the handshake is not complete.
        """
        if self._stamp is None:
            raise self._not_sendable()
        self._last_id += 1
        return self._last_id

    # Messages.

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        """Return a MESSAGE, a call or a result as the buffers to write.

        Args:
            message_type: its type: CALL, RESULT, or one of which the name is sent.
            value: its ``data``, anything that msgpack carries, or a value of the type's ``content=``; of a call or a result
                what :attr:`rpc` made.
            request_id: any, for an answer to a MESSAGE, which is named ``<name>_response``: those are not told apart by ids.

        Raises:
            NotReady: the handshake is not complete.
            MessageTooLarge: the peer would have to reject it.
            LocalProtocolError: the connection is closed.
            InvalidContent: the value is not of the type's ``content=``, or has a part that netconduit cannot take.
            TypeError: the value is none of msgpack's.
        """
        if self._stamp is None:
            raise self._not_sendable()
        return self._encode(*self._framed(message_type, value, request_id), self._context.calendar_ms())

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Queue a message and return its bytes on the wire; raises as :meth:`encode`."""
        stamp = self._stamp
        if stamp is None:
            raise self._not_sendable()
        kind, prefix, packed, correlation = self._framed(message_type, value, request_id)
        size = len(prefix) + len(packed)
        if size <= self._plain_size:  # as most are, and as _encode() does
            self._out.append(HEADER.pack(MAGIC, VERSION, kind, 0, 0, size, correlation, stamp()) + prefix + packed)
            return HEADER_SIZE + size
        buffers = self._encode(kind, prefix, packed, correlation, stamp())
        self._out += buffers
        return sum(map(len, buffers))

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal :attr:`encoding_key` returned.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the connection is closed.
        """
        if self._stamp is None:
            raise self._not_sendable()
        self._out += buffers

    def key_of(self, buffer: bytes) -> Hashable:
        """Return the name of a MESSAGE's type, of an answer that of what it answers; or the key of a call or a result.

        None for other frames, for what is compressed, and for what is behind the first buffer.
        """
        if len(buffer) < HEADER_SIZE or not buffer.startswith(MAGIC):
            return None
        _, _, kind, flags, *_ = HEADER.unpack_from(buffer)
        return _name_in(buffer[HEADER_SIZE:]) if kind == _MESSAGE and not flags & _COMPRESSED else _KEYS.get(kind)

    def send_ping(self, request_id: int | None) -> None:
        """Queue a HEARTBEAT_PING. Pings carry no ids: the peer answers them in their order.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the connection is closed.
            TooManyRequests: the peer has not answered ``limits.pending`` others.
        """
        if self._stamp is None:
            raise self._not_sendable()
        if self._pings is None:
            self._pings = deque()
        if len(self._pings) >= self._context.limits.pending:
            raise TooManyRequests(self._context.limits.pending)
        self._pings.append(request_id)
        self._queue(FrameType.HEARTBEAT_PING)

    def reply_error(
        self, request_id: int, code: str = HANDLER_FAILED, message: str = "the handler failed", details: object = None
    ) -> bool:
        """Queue the failure of a call.

        Between two of this package that is an RPC_ERROR with the code, to others what a real server sends: an RPC_RESPONSE that
        succeeded in carrying the failure, with netconduit's number for it.

        Args:
            request_id: the call's.
            code: what happened, for programs.
            message: the same for people, without internals.
            details: more of it, of JSON's kinds.

        Returns:
            False, nothing being queued, for a MESSAGE: netconduit has no error replies to them.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the connection is closed.
        """
        if self._stamp is None:
            raise self._not_sendable()
        if not request_id:
            return False
        packed = pack(describe_failure(code, message, details, ours=self._bare_results))
        kind, prefix = (_RPC_ERROR, b"") if self._bare_results else (_RPC_RESPONSE, _SUCCESS)
        self._out += self._encode(kind, prefix, packed, request_id, self._stamp())
        return True

    # Inside: frames to send.

    def _framed(self, message_type: MessageType, value: object, request_id: int | None) -> tuple[int, bytes, bytes, int]:
        """Return a message's frame type, what is in front of its value, the packed value, and its correlation id."""
        if message_type is CALL or message_type is RESULT:
            assert isinstance(value, bytes)
            assert request_id is not None
            if message_type is CALL:
                return _RPC_REQUEST, b"", value, request_id
            is_whole = self._bare_results or type(value) is PackedEnvelope
            return _RPC_RESPONSE, _SUCCESS if is_whole else _ENVELOPED, value, request_id
        return _MESSAGE, _message_prefix(message_type.name, request_id is not None), pack_data(message_type, value), 0

    def _encode(self, kind: int, prefix: bytes, packed: bytes, correlation: int, sent_at: int) -> list[bytes]:
        size, flags = len(prefix) + len(packed), 0
        if size > self._max_payload:
            raise MessageTooLarge(HEADER_SIZE + size, self.max_message_size)
        if self._compress and size > COMPRESSION_THRESHOLD:
            packed = deflate(prefix + packed)
            flags, prefix, size = _COMPRESSED * (len(packed) < size), b"", len(packed)
        header = HEADER.pack(MAGIC, VERSION, kind, flags, 0, size, correlation, sent_at)
        if size > _UNCOPIED:
            keep_freed_memory()
            return [header + prefix, packed]
        return [b"".join((header, prefix, packed))]

    def _queue(self, kind: int, payload: bytes = b"") -> None:
        """Queue a frame of the handshake or the heartbeat, never compressed."""
        self._out.append(HEADER.pack(MAGIC, VERSION, kind, 0, 0, len(payload), 0, self._context.calendar_ms()) + payload)

    def _not_sendable(self) -> LocalProtocolError:
        over = self.state is State.CLOSED or self.state is State.FAILED
        return LocalProtocolError("the connection is closed: nothing can be sent any more") if over else NotReady()

    # Inside: the handshake.

    def _open(self, frames: Iterator[Frame], events: list[Event]) -> Iterator[Frame]:
        """Take the frames of the handshake; return those behind it."""
        for frame in frames:
            if self.state is State.SETTLING:
                events.append(self._complete())
                return chain([frame], frames)
            kind, flags, _, _, payload = frame
            if flags & _COMPRESSED:
                payload = inflate(payload, self._context.limits.json_hello_size)
            events += self._take_handshake(kind, payload)
            if self.state is State.READY:
                return frames
            if self.state is State.FAILED:
                break
        return iter(())

    def _take_handshake(self, kind: int, payload: bytes) -> list[Event]:
        opening = self._opening
        assert opening is not None
        if self.state is State.AUTHENTICATING:
            if kind == FrameType.AUTH_REQUEST and opening.role is Role.SERVER:
                return self._judge(opening, _read_handshake(AuthRequest, payload))
            if kind == FrameType.AUTH_SUCCESS and opening.role is Role.CLIENT:
                success = _read_handshake(AuthSuccess, payload)
                opening.peer = read_info(success.server_info, success.session_token)
                return [self._complete()]
            if kind == FrameType.AUTH_FAILURE and opening.role is Role.CLIENT:
                raise _refusal(_read_handshake(AuthFailure, payload).reason)
        raise EarlyMessage(kind)

    def _judge(self, opening: _Opening, request: AuthRequest) -> list[Event]:
        peer = opening.peer = read_info(request.client_info)
        known = opening.password_hash is not None and compare_digest(request.password_hash.encode(), opening.password_hash)
        if opening.password_hash is None or (known and self._context.authenticates):
            self._move(Trigger.ASK)
            return [AuthenticationRequested(NetconduitCredentials(request.password_hash, peer.name, peer.version))]
        if not known:
            self._queue(FrameType.AUTH_FAILURE, pack({"reason": _WRONG_PASSWORD}))
            raise AuthenticationFailed("the client's password is wrong")
        return self._let_in()

    def _let_in(self) -> list[Event]:
        opening = self._opening
        assert opening is not None
        assert opening.peer is not None
        self._move(Trigger.LET_IN)
        info = describe_self(opening.name, opening.version, opening.peer.features)
        token = f"{self._context.getrandbits(512):0128x}"
        self._queue(FrameType.AUTH_SUCCESS, pack({"session_token": token, "server_info": info}))
        self._decoder.max_payload = self._max_payload
        return [self._complete()] if BARE_RESULTS in opening.peer.features else []

    def _complete(self) -> HandshakeCompleted:
        opening, self._opening = self._opening, None
        assert opening is not None
        assert opening.peer is not None
        self._move(Trigger.AGREED)
        self.peer = opening.peer
        self._bare_results = BARE_RESULTS in opening.peer.features
        self._decoder.max_payload = self._max_payload
        self._stamp = _turn_stamp(self._context.calendar_ms)
        return HandshakeCompleted(opening.peer)

    def _check_pending(self) -> None:
        if self.state is not State.VERDICT:
            raise LocalProtocolError("the peer does not wait for a verdict")

    def _move(self, trigger: Trigger) -> None:
        moved = STATES[self.state].get(trigger)
        if moved is None:
            raise LocalProtocolError(f"a connection in the state {self.state.name} cannot take the step {trigger.name}")
        self.state = moved

    def _fail(self, error: RemoteProtocolError) -> ConnectionFailed:
        self._move(Trigger.FAULT)
        return ConnectionFailed(error)

    def _as_handshake_error(self, error: RemoteProtocolError) -> RemoteProtocolError:
        """Return a frame's error before the handshake as the handshake's."""
        assert self._opening is not None
        if not isinstance(error, MalformedFrame):
            return error
        peer = "client" if self._opening.role is Role.SERVER else "server"
        if error.part == "payload":  # with a password's hash in it: it is not quoted
            return MalformedHello(f"the {peer} does not speak netconduit: the payload of its frame must be {error.rule}")
        other = looks_like(error.value) if isinstance(error.value, bytes) else ""
        return MalformedHello(f"the {peer} does not speak netconduit: {error}" + (f", and looks like {other}" if other else ""))

    # Inside: frames of a peer that is let in.

    def _receive(self, frames: Iterator[Frame], received_at: int, events: list[Event]) -> None:
        """Add what frames come to, pings first."""
        named, most, before, pings, inflated = self._context.types.named, self._context.limits.values, len(events), 0, 0
        head, flat = _SUCCESS if self._bare_results else _ENVELOPED, min(FLAT_SIZE, most)
        try:
            for frame in frames:
                kind, flags, correlation, sent_at, payload = frame
                if flags & _COMPRESSED and kind in _READ:
                    if inflated > INFLATED_AT_ONCE:
                        self._held = chain([frame], frames)
                        break
                    payload = inflate(payload, self._max_payload)
                    inflated += len(payload)
                if kind == _RPC_RESPONSE and len(payload) <= flat and payload.startswith(head):
                    packed = payload[len(head) :]
                    check_object(packed)
                    events.append(Response(RESULT, packed, correlation, 0, received_at, sent_at or None))
                elif kind == _RPC_REQUEST and correlation and len(payload) <= flat and is_flat_call(payload):
                    events.append(Response(CALL, payload, correlation, 0, received_at, sent_at or None))
                elif kind == _RPC_REQUEST:
                    events.append(_take_call(payload, most, correlation, received_at, sent_at or None))
                elif kind == _MESSAGE:
                    found = read(Message, payload, most)
                    if found is None:
                        events.append(FrameRejected(RejectReason.MALFORMED, kind))
                        continue
                    message_type = named(found.type)
                    if message_type is None:
                        events.append(FrameRejected(RejectReason.UNKNOWN_TYPE, name=found.type))
                        continue
                    content = bytes(found.data)
                    check_packed(content)
                    events.append(PackedMessage(message_type, content, 0, 0, received_at, sent_at or None))
                elif kind == _PING:
                    self._queue(_PONG)
                    pings += 1
                elif kind == _PONG:
                    events.append(Pong(self._pings.popleft() if self._pings else None, sent_at or None))
                elif kind in _READ:
                    events.append(self._take_answer(payload, most, correlation, received_at, sent_at or None))
                elif kind in _AUTH:
                    events.append(FrameRejected(RejectReason.MALFORMED, kind))
        finally:
            if pings:
                events.insert(before, PingsAnswered(pings))

    def _take_answer(self, payload: bytes, most: int, correlation: int, received_at: int, sent_at: int | None) -> Event:
        """Return what an answer means: a RESULT, or a RequestFailed.

        A real server's is always that of its dispatcher, a success or a failure of its own, inside an answer that succeeded.
        It is taken out by who the peer is, whatever the result looks like.
        """
        answer = read(Answer, payload, most)
        packed = b"\xc0" if answer is None else answer.packed
        if answer is not None and answer.success and not self._bare_results:
            inner = read(Answer, packed, most)
            if inner is not None:  # it always is one
                answer, packed = inner, inner.packed if inner.data is not UNSET else packed
        if answer is None:
            return RequestFailed(correlation, payload, message="the answer is not a map as netconduit's are")
        if not answer.success:
            return RequestFailed(correlation, payload, *read_failure(answer))
        check_packed(packed)
        return Response(RESULT, packed, correlation, 0, received_at, sent_at)


def _take_call(payload: bytes, most: int, correlation: int, received_at: int, sent_at: int | None) -> Event:
    """Return a CALL, whatever its shape, which its codec judges; one without an id is rejected, because it cannot be answered."""
    call = read(Call, payload, most)
    if call is not None:
        check_packed(call.packed)
    if not correlation:
        return FrameRejected(RejectReason.MALFORMED, FrameType.RPC_REQUEST)
    return Response(CALL, payload, correlation, 0, received_at, sent_at)


def _read_handshake(kind: type[H], payload: bytes) -> H:
    """Return a payload of the handshake; its error quotes nothing of it, because a password's hash may be in it."""
    try:
        found = read(kind, payload, len(payload))
    except MalformedFrame:
        found = None
    if found is None:
        raise MalformedHello(f"the peer's {kind.__name__} is not a map with the keys of one")
    return found


def _refusal(reason: object) -> RemoteProtocolError:
    return (
        ServerFull(reason) if reason == SERVER_FULL else AuthenticationFailed(f"the server refused the password: {excerpt(reason)}")
    )


@lru_cache(maxsize=16)
def _hash_of(password: str) -> bytes:
    """Return a password's hash as clients send it; the connections of one side share it."""
    return sha256(password.encode()).hexdigest().encode()


@lru_cache(maxsize=1024)
def _message_prefix(name: str, answers: bool) -> bytes:
    """Return what is in front of the ``data`` of a MESSAGE."""
    return _TYPE + pack(f"{name}{_ANSWER}" if answers else name) + _DATA


def _name_in(payload: bytes) -> str | None:
    """Return the name in a payload that begins with :func:`_message_prefix`, without the end of an answer's."""
    if not payload.startswith(_TYPE):
        return None
    start = len(_TYPE)
    width = _LENGTHS.get(payload[start], 0)
    size = int.from_bytes(payload[start + 1 : start + 1 + width], "big") if width else payload[start] & 0x1F
    start += 1 + width
    return payload[start : start + size].decode().removesuffix(_ANSWER)


_TYPE, _DATA, _ANSWER = b"\x82\xa4type", b"\xa4data", "_response"

_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes of the length of a text, by its first byte; a shorter one has it in that."""

_KEYS = {FrameType.RPC_REQUEST: CALL.key, FrameType.RPC_RESPONSE: RESULT.key}
"""Keys of types that have frames of their own."""


@lru_cache(maxsize=64)
def _turn_stamp(clock: Callable[[], int]) -> Callable[[], int]:
    """Return a clock for what leaves in one turn. The connections of one side share it."""
    return (lambda: clock.ms or clock.keep()) if isinstance(clock, TurnClock) else clock
