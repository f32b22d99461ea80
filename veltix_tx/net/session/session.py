"""Session: one connection whose handshake is complete, as applications see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, overload

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    AuthenticationFailed,
    Dropped,
    InvalidContent,
    RemoteError,
    RpcUnsupported,
    SessionClosed,
    StreamEnded,
    excerpt,
)
from veltix_tx.limits import Limits
from veltix_tx.net.addresses import host_of, port_of, shown
from veltix_tx.net.session.calls import CallReply, proxy, result_decoder
from veltix_tx.net.session.dispatcher import Dispatcher
from veltix_tx.net.session.interface import MOST_CORKED, REPLIES_AHEAD, SessionTransport
from veltix_tx.net.session.outgoing import hooked
from veltix_tx.net.session.requests import PendingRequests
from veltix_tx.net.session.serial_requests import SerialRequests
from veltix_tx.net.session.status import SessionStatus
from veltix_tx.net.session.tags import Taggable
from veltix_tx.net.shared.application import Application
from veltix_tx.net.threads import BlockingView, from_any_thread, in_thread_of
from veltix_tx.net.waiters import Waiters
from veltix_tx.sanitize import SanitizedFailure, one_line
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.error_codes import FORBIDDEN, NO_ROUTE
from veltix_tx.wire.events import Event
from veltix_tx.wire.messages import CALL, BytesLike, MessageType, R, Request, Response, T, parts_of
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.rpc import DISCOVER, MethodInfo

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["BlockingSession", "Session", "send_as_usual"]

_log = Logger()


class Session(Taggable):
    """One connection to a peer, ready to use. Made when its handshake is complete, never before.

    Who is handed one may use it at once. Others get it once the application's ``connected`` is done:
    until then it is in no list, and no broadcast goes to it.

    Messages are handled one after another in the order they arrived: while a handler's Deferred
    or coroutine is not done, the later ones wait. Replies to this side's own requests and pings
    never wait.

    It lives in its reactor's thread. In another thread, such as one of a route with ``thread=True``, what returns a
    Deferred blocks instead, and returns what that fires with.

    Attributes:
        peer: the other side as the handshake made it known: its version, its layout.
        identity: what the server's authenticate returned for the peer; None without one, and on a client.
        closed: why nothing can be sent any more; None while the session is open.
        admitted: True if the application's ``connected`` (``on_connect``) is done.
        late_replies: replies dropped because their request had been given up.
        frames_rejected: frames refused and dropped (bad checksum, unknown type, garbage).
        broadcasts_dropped: broadcasts left out because too much was queued.
        kind: what the server's classifier has named, which is a tag, too; None before, for none, and without a classifier.
        _classified: True once the classifier has named a kind, or none.
        _hooked: True if its side has a ``before_send``.
        recovered: True if a client that connected again got all that it missed in rooms with a history, as far as it is in them
            again; False if something is missing; None where it had nothing to get. Of a server's session as of the client's own.
        _view: what another door hands out in its place; None until that has.
    """

    kind: str | None = None
    _classified = False
    _view: object = None
    recovered: bool | None = None  # of the class, until there is something to recover

    def __init__(self, link: SessionTransport, peer: Peer, application: Application[Session]) -> None:
        super().__init__()
        self.peer = peer
        self.closed: SessionClosed | None = None
        self.admitted = False
        self.identity: object = None
        self._owner_thread = link.context.owner_thread
        self.late_replies = 0
        self.frames_rejected = 0
        self.broadcasts_dropped = 0
        self._on_closed: tuple[Callable[[Session], None], ...] = ()  # once it is gone and its last message has been handled
        self._admitters: tuple[Callable[[Session], None], ...] = ()
        self._transport = link
        self._connection = link.connection
        self._hooked = bool(link.context.before_send)
        if self._hooked:
            self._connection = hooked(link.connection, self, link.context.before_send)
        self._rpc = link.connection.rpc
        self._encoding_key = link.connection.encoding_key
        self._flow = link.flow
        self._overhead = link.connection.overhead
        self._probes = 0
        self._lost = False
        # An idle session has none of these.
        self._requests: PendingRequests | SerialRequests | None = None
        self._when_closed: Waiters[SessionClosed] | None = None
        self._dispatcher = Dispatcher(self, link, application)

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.peer.version or self.peer.wire
        identity = "" if self.identity is None else f", identity {excerpt(self.identity)}"
        return f"<Session {self.id} with {shown(self.address)} ({state}{identity})>"

    @property
    def is_gone(self) -> bool:
        """True if the connection is gone. Messages that came before may still be handled."""
        return self._lost

    @property
    def id(self) -> str:
        """Id of the connection, ``<node>-<counter>``, which every line of the log about it has. It is no secret."""
        return self._transport.connection_id

    @property
    def address(self) -> IAddress:
        """The other side's network address."""
        return self._transport.address

    @property
    def certificate(self) -> Certificate | None:
        """The peer's certificate, a ``cryptography.x509.Certificate`` that TLS has verified; None without one, and without TLS."""
        return self._transport.certificate

    @property
    def _reactor(self) -> object:
        """The reactor it lives in."""
        return self._transport.clocks.reactor

    @property
    def _limits(self) -> Limits:
        """The settings of its side."""
        return self._transport.limits

    @property
    def _inbox_bytes(self) -> int:
        """Bytes of its messages that wait for their turn."""
        return self._dispatcher.inbox_bytes

    def status(self) -> SessionStatus:
        """Return where its messages and bytes are held up at this moment; called in its reactor's thread."""
        flow, dispatcher, link = self._flow, self._dispatcher, self._transport
        heard, pinged = link.last_received, link.pinged_at
        return SessionStatus(
            self.closed is not None,
            flow.blocked,
            flow.pause_reasons,
            flow.queued,
            dispatcher.waiting,
            dispatcher.inbox_bytes,
            self.pending_requests,
            max(0.0, link.clocks.uptime() - heard),
            pinged is not None and pinged > heard,
            dispatcher.busy,
            dispatcher.mode.name,
            link.connection.buffered_size,
        )

    @property
    def ip(self) -> str:
        """The peer's address as text, ``""`` for a transport that has none (a UNIX socket).

        An IPv4 peer's is an IPv4 address, also on a port that takes IPv6 as well.
        """
        return host_of(self.address)

    @property
    def port(self) -> int:
        """The peer's port, 0 for a transport that has none."""
        return port_of(self.address)

    @property
    def blocking(self) -> BlockingSession:
        """The session's methods for other threads than the reactor's, where they block and return plain values."""
        return BlockingSession(self)

    @property
    def pending_requests(self) -> int:
        """Own requests and pings that wait for their replies."""
        return 0 if self._requests is None else len(self._requests)

    # Sending.

    def send(
        self, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"", *, request_id: int | None = None
    ) -> Awaitable[None]:
        """Send a message.

        Args:
            message: its type, or a whole Request (the other arguments are not used then).
            content: a value of the type's ``content=``, or its bytes; or a value that the wire carries.
            request_id: the ``request_id`` of the message it answers.

        Returns:
            an awaitable for senders of much, which waits for room as :meth:`when_writable` does. It need not be awaited.

        Raises:
            SessionClosed: the session is closed; nothing was sent.
            MessageTooLarge: it is over ``max_message_size``; nothing was sent.
            QueueFull: the peer reads too slowly; nothing was sent.
            UnvalidatedAddress: over UDP, it is too much for what has come from the peer, see :meth:`validate`; nothing was sent.
            InvalidContent: the content is not of the type's ``content=``; nothing was sent.
            TypeError: the content is none this wire carries: bytes on a Veltix wire, where the type has no ``content=``.
            Exception: what a ``before_send`` refuses it with; nothing was sent. One that raises Dropped is not told.
        """
        if get_ident() != self._owner_thread.thread:
            return in_thread_of(self._owner_thread, self.send, message, content, request_id=request_id)
        if type(message) is not MessageType:
            message, content, request_id = parts_of(message, content, request_id)  # type: ignore[assignment]
        if self.closed is not None:
            self._check_open()
        flow = self._flow
        try:
            if flow.blocked:
                buffers = self._connection.encode(message, content, request_id)
                flow.check_can_send(sum(map(len, buffers)))
                self._connection.send_encoded(buffers)
                self._transport.sent(sum(map(len, buffers)))
                return flow
            size = self._connection.send(message, content, request_id)
            transport = self._transport
            waiting = transport.unwritten
            if waiting and waiting + size <= MOST_CORKED:  # it leaves with what waits already
                transport.unwritten = waiting + size
            else:
                transport.sent(size)
        except Dropped as error:
            self._drop(error, message)
        return flow

    def send_and_wait(
        self,
        message: MessageType[T, R] | Request[T, R],
        content: T | BytesLike = b"",
        *,
        timeout: float | None = None,
        request_id: int | None = None,
    ) -> Deferred[Response[R]]:
        """Send a request and wait for its reply.

        Args:
            message: its type, or a whole Request (whose own ``request_id`` is not used).
            content: a value of the type's ``content=``, or its bytes; or a value that the wire carries.
            timeout: seconds to wait; ``timeouts.request`` (5) by default, ``math.inf`` for no end.
            request_id: its id, where ids have 4 bytes or more on this wire and it is free and one of this side's (a server's
                have the first bit set, a client's have not); chosen here otherwise.

        Returns:
            a Deferred of the reply, the first message of the peer with the request's id, its ``value`` decoded by the type's
            ``reply=``. It errbacks with RequestTimeout; with SessionClosed as soon as the connection is gone;
            with RemoteError when the peer says that its handler failed; with InvalidContent when the reply is not of
            ``reply=``; with MessageTooLarge, QueueFull, TooManyRequests (``limits.pending``) or LocalProtocolError,
            nothing having been sent. Cancelling it gives the request up: a later reply is dropped and counted. On a wire
            without ids whose replies come in order, later requests wait for their turn, and one that is given up closes the
            session (UNANSWERED).

        Raises:
            InvalidContent: the content is not of the type's ``content=``; nothing was sent.
            TypeError: the content is none this wire carries; see :meth:`send`.
            Exception: what a ``before_send`` refuses it with; nothing was sent. Where one raises Dropped the Deferred errbacks.
            ValueError: the timeout is no number above 0.
        """
        if get_ident() != self._owner_thread.thread:
            return in_thread_of(self._owner_thread, self.send_and_wait, message, content, timeout=timeout, request_id=request_id)
        if type(message) is not MessageType:
            message, content, _ = parts_of(message, content)  # type: ignore[assignment]
        questions = self._requests
        if questions is None:
            questions = self._start_requests()
        reply = questions.send(message, content, timeout, request_id)
        return reply if message.reply_codec is None else reply.addCallback(_decode_reply, message)

    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: type[T],
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Deferred[T]: ...
    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: Any = ...,
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Deferred[Any]: ...
    def call(
        self,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Deferred[Any]:
        """Call a method of the peer.

        Args:
            method: its name.
            args: positional arguments, of types that msgspec packs: builtins, dataclasses, Structs, datetimes and others.
            timeout: seconds to wait; ``timeouts.request`` (5) by default, ``math.inf`` for no end. The peer is told, and ends
                the call by itself then.
            metadata: small texts that travel with the call, such as a trace id.
            returns: type of the result, which is checked and converted to it; anything by default, as builtin types.
            kwargs: keyword arguments.

        Returns:
            a Deferred of the result. It errbacks with MethodNotFound; with InvalidArguments, which names the parameter; with the
            RpcError that the method raised; with RemoteError where it failed otherwise; with RpcTimeout; with InvalidContent
            where arguments or result cannot be carried, or the result is none of ``returns``; with RpcUnsupported where the wire
            or the peer has no calls; and as :meth:`send_and_wait` does. Cancelling it cancels the method's Deferred or coroutine.
        """
        return self._invoke(method, args, kwargs, timeout, metadata, returns)

    @from_any_thread
    def service(self, service: Callable[..., T], *, prefix: str = "", timeout: float | None = None) -> T:
        """Return an object whose methods call the peer's methods of the same names, typed as those of a class.

        Args:
            service: a class or Protocol with ``async def`` methods; what they are annotated to return is checked.
            prefix: put before each name.
            timeout: seconds for each call, ``timeouts.request`` by default.

        Returns:
            the object. Its methods return Deferreds, which fail as those of :meth:`call` do.

        Raises:
            SettingsError: an annotation cannot be looked up.
        """
        return proxy(service, self._invoke, prefix, timeout)

    def _invoke(
        self,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
    ) -> Deferred[Any]:
        if get_ident() != self._owner_thread.thread:
            return in_thread_of(self._owner_thread, self._invoke, method, args, kwargs, timeout, metadata, returns)
        requests = self._start_requests() if self._requests is None else self._requests
        codec = self._rpc
        if codec is None or type(requests) is not PendingRequests:
            return fail(RpcUnsupported(self.peer.wire))
        reply = CallReply(requests.abandon)
        reply.method, reply.pending = method, requests
        if returns is not Any or not codec.plain_results:
            reply.decode = result_decoder(codec, method, returns)
        try:
            content = codec.encode_call(method, args, kwargs, requests.default_timeout if timeout is None else timeout, metadata)
        except InvalidContent as error:
            return fail(error)
        return requests.send(CALL, content, timeout, None, reply)

    @from_any_thread
    def methods(self, timeout: float | None = None) -> Deferred[list[MethodInfo]]:
        """Ask the peer which methods it serves.

        Returns:
            a Deferred of what it says of each. Fails as :meth:`call` does.
        """
        return self.call(DISCOVER, timeout=timeout, returns=list[MethodInfo])

    @property
    def _handler_seconds(self) -> float:
        """Seconds that a handler has which was registered without a time of its own."""
        return self._transport.timeouts.handler

    def _reauthenticate(self, credentials: Token | Password, timeout: float | None = None) -> Deferred[None]:
        """Present new credentials to the server; see :meth:`Client.reauthenticate`."""

        def refused(failure: Failure) -> None:
            failure.trap(RemoteError)
            raise AuthenticationFailed("the server refused the credentials")

        questions = self._start_requests() if self._requests is None else self._requests
        return questions.reauthenticate(credentials, timeout).addErrback(refused)

    @from_any_thread
    def ping(self, timeout: float | None = None) -> Deferred[float]:
        """Measure the round trip to the peer, which answers by itself.

        Returns:
            a Deferred of the milliseconds from sending to the answer, on a clock that never
            jumps. Fails as :meth:`send_and_wait` does.
        """
        sent_at = self._transport.clocks.uptime()
        questions = self._start_requests() if self._requests is None else self._requests
        pong = questions.ping(timeout)
        return pong.addCallback(lambda _: (self._transport.clocks.uptime() - sent_at) * 1000)

    @property
    def write_buffer_size(self) -> int:
        """Bytes that wait here for the peer to read."""
        return self._flow.queued + (self._transport.unwritten if self._flow.blocked else 0)

    @from_any_thread
    def can_send(self, size: int) -> bool:
        """Return True if a message of so many bytes, header included, would be taken and not raise QueueFull."""
        return self._flow.can_send(size)

    @from_any_thread
    def when_writable(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is room to send more, at once if there is, or the session has ended."""
        return self._flow.when_low()

    @from_any_thread
    def register_producer(self, producer: IPushProducer) -> None:
        """Pause a producer, which sends on this session, while too much is queued, and stop it when the session ends.

        Raises:
            SessionClosed: the session is closed.
            RuntimeError: another producer is registered.
        """
        self._check_open()
        self._flow.set_producer(producer)

    @from_any_thread
    def unregister_producer(self) -> None:
        """Forget the producer."""
        self._flow.set_producer(None)

    @from_any_thread
    def validate(self) -> None:
        """Vouch that the peer is where its address says, as it has shown by repeating a secret that was sent there.

        Over UDP anybody can write anybody's address. Until this is called an address is sent at most three times the bytes,
        and the datagrams, that have come from it, and its session gives way to a new peer's where there is no room. On a
        connection it has no effect.
        """
        self._transport.validate()

    @from_any_thread
    def disconnect(self) -> Deferred[SessionClosed]:
        """Close politely: what is queued is written first, for as long as the peer reads on.

        A peer that takes nothing of it for ``timeouts.close`` seconds, or too little in ``timeouts.write``, is closed at once.

        Returns:
            what :meth:`when_closed` returns. Waiting requests fail at once.
        """
        if self.closed is None:
            self._transport.close(SessionClosed(DisconnectReason.MANUAL))
        return self.when_closed()

    @from_any_thread
    def when_closed(self) -> Deferred[SessionClosed]:
        """Return a new Deferred that fires with the reason once the connection is gone. Never errbacks."""
        if self._lost and self.closed is not None:
            return succeed(self.closed)
        if self._when_closed is None:
            self._when_closed = Waiters()
        return self._when_closed.wait()

    @from_any_thread
    def when_idle(self) -> Deferred[None]:
        """Return a new Deferred that fires once every message received so far has been handled and answered."""
        return self._dispatcher.when_idle()

    @from_any_thread
    def drain(self) -> Deferred[None]:
        """Take the messages that have arrived by now and no more (replies still count), finish those taken, and close.

        Returns:
            a Deferred that fires when the session is gone and the application knows.
        """

        async def finish() -> None:
            await self._transport.read_arrived()
            self._dispatcher.stop_accepting()
            await self.when_idle()
            await self.disconnect()
            await self.when_idle()

        return Deferred.fromCoroutine(finish())

    @from_any_thread
    def reply(self, message: Response, result: object) -> Deferred[None]:
        """Answer a message with a handler's result, now or when it comes.

        Args:
            message: what is answered.
            result: what a handler may return: bytes, a value of the type's ``reply=``, a Request, None, or a Deferred or
                coroutine of one of these. A failure or anything else is logged, and the peer is told where
                its wire has words for it.

        Returns:
            a Deferred that fires with None when this is done. Never errbacks.
        """
        return self._dispatcher.reply(message, result)

    # From the hub: the same bytes for many sessions.

    def _encode(self, message_type: MessageType, content: object, request_id: int | None = None) -> list[bytes]:
        """Return a message as bytes for every session with the same :attr:`_encoding_key`; raises as :meth:`send` does.

        May be called in any thread. No ``before_send`` is asked.
        """
        return self._transport.connection.encode(message_type, content, request_id)

    def _send_encoded(self, buffers: list[bytes], size: int = 0) -> None:
        """Send what :meth:`_encode` returned.

        Args:
            buffers: what it returned.
            size: how many bytes that is, if the caller knows.

        Raises:
            SessionClosed: the session is closed; nothing was sent.
            QueueFull: the peer reads too slowly; nothing was sent.
        """
        if self.closed is not None:
            self._check_open()
        size = size or sum(map(len, buffers))
        flow = self._flow
        if flow.blocked:
            flow.check_can_send(size)
        flow.shared_bytes += size
        self._connection.send_encoded(buffers)
        self._transport.sent(size)

    def _send_own(self, message_type: MessageType, content: object) -> bool:
        """Send what ``before_send`` makes of a broadcast for this session; return False where it drops or refuses it.

        Raises:
            SessionClosed: the session is closed; nothing was sent.
            QueueFull: the peer reads too slowly; nothing was sent.
        """
        if self.closed is not None:
            self._check_open()
        try:
            buffers = self._connection.encode(message_type, content)
        except Dropped as error:
            self._drop(error, message_type)
            return False
        except Exception:  # for one session alone
            self._transport.shared.counters["handlers_failed"] += 1
            if self._may_log():
                fields = {"session": self, **self._transport.log_fields()}
                _log.failure("before_send failed for {session}, which is left out", SanitizedFailure(Failure()), **fields)
            return False
        self._send_encoded(buffers)
        return True

    def _reject(self, message: Response, text: str, *, reply: bool = True) -> None:
        """Reject a message that nothing handles: count it, name its type once in the log, and tell a peer that asks.

        Args:
            message: the message.
            text: the line of the log, a format of the type's ``name`` and ``code`` and of ``session``.
            reply: whether to tell the peer.
        """
        known, unhandled = message.type, self._transport.shared.unhandled
        unhandled.count(known.key)
        if unhandled.first(known.key, self._transport._may_log):
            _log.warn(text, name=known.name, code=known.key, type=known, session=self, **self._transport.log_fields())
        if reply and self.closed is None:
            self._transport.decline(message.request_id, NO_ROUTE, f"message type {known.key} has no route")

    def _forbid(self, message: Response, what: str) -> None:
        """Reject a message that its session may not send: count it, log it, and tell a peer that asks.

        Args:
            message: the message.
            what: what it is, for people.
        """
        self._transport.shared.counters["messages_forbidden"] += 1
        if self._may_log():
            fields = {"what": what, "code": message.type.code, "session": self, **self._transport.log_fields()}
            _log.warn("{what} was dropped: {session} may not send it", **fields)
        if self.closed is None:
            self._transport.decline(message.request_id, FORBIDDEN, f"{what} is not allowed to this session")

    def _drop(self, error: Dropped, message_type: MessageType) -> None:
        """Count and log a message that middleware or ``before_send`` dropped on purpose."""
        self._transport.shared.counters["messages_dropped"] += 1
        if self._may_log():
            fields = {"name": message_type.name, "why": one_line(str(error)), "session": self, **self._transport.log_fields()}
            _log.info("a message of type {name} was dropped, for {session}: {why}", **fields)

    def _may_log(self) -> bool:
        """Return True if the log may have one more line that the peer causes; may be called in any thread."""
        return self._transport._may_log()

    def _cancel_handlers(self) -> None:
        """Cancel what still runs, and handle no more: the server has stopped."""
        self._dispatcher.cancel_all()

    def _abort_slow_reader(self) -> None:
        """Close at once a peer that does not read; what is queued is lost."""
        self._transport.abort_slow_reader()

    def _count_drop(self) -> None:
        """Count a broadcast that is left out for its peer."""
        self.broadcasts_dropped += 1
        self._transport.shared.counters["broadcasts_dropped"] += 1

    def _send_probe(self) -> None:
        """Send a ping of which only that it is answered matters: it is none of the requests that wait."""
        self._probes += 1
        self._connection.send_ping(None)
        self._transport.sent(self._overhead)

    # From the classifier.

    def _name_kind(self, kind: str | None) -> None:
        """Set the kind, and the tag of its name."""
        self._classified = True
        if kind is not None:
            self.kind = str(kind)
            self.tags.add(self.kind)

    def _reject_unclassified(self, failure: Failure) -> None:
        """Close because the classifier failed; see :meth:`Dispatcher.reject_unclassified`."""
        self._dispatcher.reject_unclassified(failure)

    # From the protocol and the turns.

    def _opened(self) -> None:
        """Call ``connected`` of the application, before any message."""
        self._dispatcher.opened()

    def _admit(self) -> None:
        """Admit others to the session: the application's ``connected`` is done."""
        self.admitted = True
        admitters, self._admitters = self._admitters, ()
        for admitter in admitters:
            admitter(self)
        self._transport.admitted()

    def _events_received(self, events: list[Event], other: Callable[[Event], None]) -> None:
        """Take what one read brought: replies, messages to handle in their turn, and what is passed on to ``other``."""
        dispatch = self._dispatcher.dispatch
        if len(events) > REPLIES_AHEAD and self.pending_requests:
            half = (len(events) + 1) // 2
            dispatch(events[:half], other)
            self._transport.write_out()
            events = events[half:]
        dispatch(events, other)

    def _request_failed(self, request_id: int, error: RemoteError) -> None:
        """Fail a request, as the peer says."""
        if self._requests is None or not self._requests.fail(request_id, error):
            self._count_late_reply()

    def _credentials_accepted(self, request_id: int) -> None:
        """Take word that new credentials were accepted."""
        if self._requests is None or not self._requests.accepted(request_id):
            self._count_late_reply()

    def _call_cancelled(self, request_id: int) -> None:
        """End a call that the peer waits for no more."""
        self._dispatcher.cancel_call(request_id)

    def _pong_received(self, request_id: int | None) -> bool:
        """Take the answer to a ping, None for that to a probe; return False for one that was never asked for."""
        if request_id is None:
            if self._probes:
                self._probes -= 1
                return True
            self._count_late_reply()
            return False
        pings = None if self._requests is None else self._requests.pings
        if pings is not None and pings.settle(request_id, None):
            return True
        self._count_late_reply()
        return pings is not None and pings.came_late(request_id)

    def _resume(self) -> None:
        """Go on handling messages, which had to wait for the peer to read."""
        self._dispatcher.resume()

    def _peer_ended(self) -> None:
        """Finish what the peer has sent before it ended its stream, and close; no reply will come any more."""
        self._dispatcher.stop_accepting()
        requests = self._start_requests() if self._requests is None else self._requests
        requests.fail_all(SessionClosed(DisconnectReason.PEER_CLOSED))
        self.when_idle().addCallback(lambda _: self._transport.close_after_peer())

    def _closing(self, closed: SessionClosed) -> None:
        """Mark the session closed: nothing can be sent or received any more, and what waits fails."""
        if self.closed is None:
            self.closed = closed
            self._dispatcher.stop_accepting()
            if self._requests is not None:
                self._requests.fail_all(closed)

    def _connection_lost(self) -> None:
        """Mark the connection gone: fire what waits for that, and call ``disconnected`` of the application in its turn."""
        assert self.closed is not None
        self._lost = True
        self._dispatcher.connection_lost(self.closed)
        when_closed, self._when_closed = self._when_closed, None
        if when_closed is not None:
            when_closed.fire(self.closed)
        if self._dispatcher.idle:
            self._notify_closed()
        else:
            self.when_idle().addCallback(self._notify_closed)

    def _notify_closed(self, _: object = None) -> None:
        for keeper in self._on_closed:
            keeper(self)

    # Inside.

    def _check_open(self) -> None:
        if self.closed is not None:
            raise SessionClosed(self.closed.reason, self.closed.cause)

    def _start_requests(self) -> PendingRequests | SerialRequests:
        self._dispatcher.expect_replies()
        turns, link, connection = self._dispatcher, self._transport, self._connection
        questions: PendingRequests | SerialRequests
        if connection.in_order_replies:
            questions = SerialRequests(link, connection, turns.update_read_pause, turns.held_up)
        else:
            questions = PendingRequests(link, connection, self._count_late_reply, turns.update_read_pause, turns.held_up)
        self._requests = questions
        if self.closed is not None:
            questions.fail_all(self.closed)
        return questions

    def _count_late_reply(self) -> None:
        """Count an answer that nobody waits for."""
        self.late_replies += 1
        self._transport.shared.counters["late_replies"] += 1


def send_as_usual(sessions: Iterator[Session], buffers: list[bytes], size: int) -> tuple[int, Session | None]:
    """Do what :meth:`Session._send_encoded` does for one session after another, as long as they are open, read, and have no hooks.

    There is no call for each, because there may be thousands.

    Args:
        sessions: the sessions, all with the same :attr:`Session._encoding_key`.
        buffers: what :meth:`Session._encode` of one of them returned.
        size: how many bytes that is.

    Returns:
        how many it was sent to, and the first that is not so, to which nothing was sent; None where all were.
    """
    sent = 0
    for session in sessions:
        flow = session._flow
        if flow.blocked or session._hooked or session.closed is not None:
            return sent, session
        try:
            session._connection.send_encoded(buffers)
        except StreamEnded:
            continue
        flow.shared_bytes += size
        transport = session._transport
        waiting = transport.unwritten
        if waiting and waiting + size <= MOST_CORKED:
            transport.unwritten = waiting + size
        else:
            transport.sent(size)
        sent += 1
    return sent, None


def _decode_reply(reply: Response[R], request_type: MessageType[Any, R]) -> Response[R]:
    reply._decode_as_reply(request_type)
    return reply


class BlockingSession(BlockingView):
    """A session's methods for threads, where they block: each returns what the Deferred of the same method fires with, or raises.

    Args:
        session: the session.
    """

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        super().__init__(lambda: session._owner_thread)
        self._session = session

    def send(
        self, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"", *, request_id: int | None = None
    ) -> None:
        """Send a message, and wait until there is room for more."""

        def send() -> Deferred[None]:
            self._session.send(message, content, request_id=request_id)
            return self._session.when_writable()

        self._wait(send)

    def send_and_wait(
        self,
        message: MessageType[T, R] | Request[T, R],
        content: T | BytesLike = b"",
        *,
        timeout: float | None = None,
        request_id: int | None = None,
    ) -> Response[R]:
        """Send a request and return its reply."""
        return self._wait(self._session.send_and_wait, message, content, timeout=timeout, request_id=request_id)

    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: type[T],
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> T: ...
    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: Any = ...,
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Any: ...
    def call(
        self,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Any:
        """Call a method of the peer and return its result."""
        ask = partial(self._session.call, method, *args, timeout=timeout, metadata=metadata, returns=returns, **kwargs)
        return self._wait(ask)

    def methods(self, timeout: float | None = None) -> list[MethodInfo]:
        """Return which methods the peer serves."""
        return self._wait(self._session.methods, timeout)

    def ping(self, timeout: float | None = None) -> float:
        """Return the round trip to the peer in milliseconds."""
        return self._wait(self._session.ping, timeout)

    def when_writable(self) -> None:
        """Wait until there is room to send more, or the session has ended."""
        self._wait(self._session.when_writable)

    def disconnect(self) -> SessionClosed:
        """Close gracefully; return the reason once the connection is gone."""
        return self._wait(self._session.disconnect)

    def when_closed(self) -> SessionClosed:
        """Return the reason once the connection is gone."""
        return self._wait(self._session.when_closed)

    def when_idle(self) -> None:
        """Wait until every message received so far has been handled and answered."""
        self._wait(self._session.when_idle)

    def drain(self) -> None:
        """Take no further messages, finish those taken, and close."""
        self._wait(self._session.drain)

    def reply(self, message: Response, result: object) -> None:
        """Answer a message with a handler's result, and wait until this is done."""
        self._wait(self._session.reply, message, result)
