"""A session: what an application holds of one connection whose handshake is complete."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure

from veltix_tx.errors import DisconnectReason, LocalProtocolError, QueueFull, RemoteError, SessionClosed, TooManyRequests, excerpt
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.addresses import shown
from veltix_tx.net.flow import Flow
from veltix_tx.net.link import Link
from veltix_tx.net.listeners import Listeners
from veltix_tx.net.tags import Tags
from veltix_tx.net.threads import Home, from_any_thread
from veltix_tx.net.turns import Turns
from veltix_tx.net.waiting import Waiting
from veltix_tx.wire.messages import MessageType, Request, Response, parts_of
from veltix_tx.wire.peer import Peer

__all__ = ["Session"]


class Session:
    """One connection to a peer, ready to use. Made when its handshake is complete, never before.

    Messages are handled one after another in the order they arrived: while a handler's Deferred
    or coroutine is not done, the later ones wait. Replies to this side's own requests and pings
    never wait.

    Attributes:
        peer: the other side as the handshake made it known: its version, its layout.
        address: the other side's network address.
        limits: the settings of its side.
        closed: why nothing can be sent any more; None while the session is open.
        tags: what the application notes about it; :meth:`add_tag` and the others change them.
        home: the thread it lives in, its reactor's. In another thread, such as one of a route with
            ``thread=True``, what returns a Deferred blocks instead, and returns what that fires with.
        late_replies: replies dropped because their request had been given up.
        refused: frames refused and dropped (bad checksum, unknown type, garbage).
        dropped: broadcasts left out because too much was queued.
    """

    def __init__(self, link: Link, peer: Peer, application: IVeltixApplication) -> None:
        self.peer = peer
        self.address = link.address
        self.limits = link.limits
        self.closed: SessionClosed | None = None
        self.tags = Tags()
        self.home = Home(link.clocks.reactor)
        self.late_replies = 0
        self.refused = 0
        self.dropped = 0
        self._link = link
        self._connection = link.connection
        self._flow = link.flow
        self._header_size = peer.layout.header_size
        self._probe: int | None = None
        self._requests = Waiting(link.clocks.uptime, link.deadlines, "requests")
        self._pings = Waiting(link.clocks.uptime, link.deadlines, "pings")
        self._taken = ChainMap(self._requests.entries, self._pings.entries)
        self._asked, self._given_up = self._requests.entries, self._requests.given_up
        self._gone = False
        self._turns = Turns(self, link, application)
        self._when_closed: Listeners[SessionClosed] = Listeners()

    def __repr__(self) -> str:
        return f"<Session with {shown(self.address)} ({'closed' if self.closed else self.peer.version or self.peer.layout.name})>"

    @property
    def ip(self) -> str:
        """The peer's address as text, ``""`` for a transport that has none (a UNIX socket)."""
        return str(getattr(self.address, "host", ""))

    @property
    def port(self) -> int:
        """The peer's port, 0 for a transport that has none."""
        return int(getattr(self.address, "port", 0))

    @property
    def waiting(self) -> int:
        """Own requests and pings that wait for their replies."""
        return len(self._asked) + len(self._pings.entries)

    # Sending.

    @from_any_thread
    def send(self, message: MessageType | Request, content: bytes = b"", *, request_id: int | None = None) -> Flow:
        """Send a message.

        Args:
            message: its type, or a whole Request (the other arguments are not used then).
            content: its bytes.
            request_id: the ``request_id`` of the message it answers.

        Returns:
            what can be awaited by who sends much: it waits as :meth:`when_writable` does.

        Raises:
            SessionClosed: the session is closed; nothing was sent.
            MessageTooLarge: it is over ``max_message_size``; nothing was sent.
            QueueFull: the peer reads too slowly; nothing was sent.
            TypeError: the content is not bytes.
        """
        message_type, body, answers = parts_of(message, content, request_id)
        self._check_open()
        size = self._checked(body)
        self._connection.send(message_type, body, answers)
        self._link.sent(size)
        return self._flow

    @from_any_thread
    def send_and_wait(
        self, message: MessageType | Request, content: bytes = b"", *, timeout: float | None = None, request_id: int | None = None
    ) -> Deferred[Response]:
        """Send a request and wait for its reply.

        Args:
            message: its type, or a whole Request (whose own ``request_id`` is not used).
            content: its bytes.
            timeout: seconds to wait; ``timeouts.request`` (5) by default, ``math.inf`` for no end.
            request_id: its id, where that is free and of 4 bytes or more on this wire; chosen here otherwise.

        Returns:
            a Deferred of the reply: the first message of the peer with the request's id. It
            errbacks with RequestTimeout; with SessionClosed as soon as the connection is gone;
            with RemoteError when the peer says that its handler failed; with MessageTooLarge, QueueFull,
            TooManyRequests (``limits.pending``) or LocalProtocolError, nothing having been sent.
            Cancelling it gives the request up: a later reply is dropped and counted.
        """
        return self._ask(self._requests, timeout, lambda fresh: self._send_request(message, content, fresh), request_id)

    @from_any_thread
    def ping(self, timeout: float | None = None) -> Deferred[float]:
        """Measure the round trip to the peer, which answers by itself.

        Returns:
            a Deferred of the milliseconds from sending to the answer, on a clock that never
            jumps. Fails as :meth:`send_and_wait` does.
        """
        sent_at = self._link.clocks.uptime()
        pong = self._ask(self._pings, timeout, self._send_ping)
        return pong.addCallback(lambda _: (self._link.clocks.uptime() - sent_at) * 1000)

    @property
    def queued(self) -> int:
        """Bytes that wait here for the peer to read."""
        return self._flow.queued

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
        self._flow.feed_from(producer)

    @from_any_thread
    def unregister_producer(self) -> None:
        """Let go of the producer."""
        self._flow.feed_from(None)

    @from_any_thread
    def disconnect(self) -> Deferred[SessionClosed]:
        """Close politely: what is queued is written first, within ``timeouts.close`` seconds.

        Returns:
            what :meth:`when_closed` returns. Waiting requests fail at once.
        """
        if self.closed is None:
            self._link.close(SessionClosed(DisconnectReason.MANUAL))
        return self.when_closed()

    @from_any_thread
    def when_closed(self) -> Deferred[SessionClosed]:
        """Return a new Deferred that fires with the reason once the connection is gone. Never errbacks."""
        if self._gone and self.closed is not None:
            return succeed(self.closed)
        return self._when_closed.wait()

    @from_any_thread
    def when_idle(self) -> Deferred[None]:
        """Return a new Deferred that fires once every message received so far has been handled and answered."""
        return self._turns.when_idle()

    @from_any_thread
    def drain(self) -> Deferred[None]:
        """Take no further messages (replies still count), finish those taken, and close.

        Returns:
            a Deferred that fires when the session is gone and the application knows.
        """
        self._turns.close()

        async def finish() -> None:
            await self.when_idle()
            await self.disconnect()
            await self.when_idle()

        return Deferred.fromCoroutine(finish())

    @from_any_thread
    def answer(self, message: Response, result: object) -> Deferred[None]:
        """Answer a message with a handler's result, now or when it comes.

        Args:
            message: what is answered.
            result: what a handler may return: bytes, a Request, None, or a Deferred or coroutine
                of one of these. A failure or anything else is logged, and the peer is told where
                its wire has words for it.

        Returns:
            a Deferred that fires with None when this is done. Never errbacks.
        """
        return self._turns.answer(message, result)

    # Tags, under upstream's names.

    @from_any_thread
    def add_tag(self, name: str, value: object = None) -> bool:
        """Set a tag; return False, and leave its value as it is, where it is set already."""
        return self.tags.add(name, value)

    def has_tag(self, name: str) -> bool:
        """Whether a tag is set."""
        return name in self.tags

    def has_all_tags(self, names: Iterable[str]) -> bool:
        """Whether all of these tags are set; True for none."""
        return self.tags.has_all(names)

    def has_any_tags(self, names: Iterable[str]) -> bool:
        """Whether any of these tags is set; False for none."""
        return self.tags.has_any(names)

    def get_tag(self, name: str) -> object:
        """Return a tag's value, None where it is not set."""
        return self.tags.get(name)

    @from_any_thread
    def remove_tag(self, name: str) -> bool:
        """Take a tag away; return whether it was set."""
        return self.tags.remove(name)

    @from_any_thread
    def clear_tags(self) -> None:
        """Take every tag away."""
        self.tags.clear()

    # From the hub: the same bytes for many sessions.

    @property
    def encoding(self) -> object:
        """Equal for two sessions whose peers take the same bytes for the same message."""
        return self._connection.encoding

    def encode(self, message_type: MessageType, content: bytes, request_id: int | None = None) -> list[bytes]:
        """Return a message as bytes for every session with the same :attr:`encoding`; raises as :meth:`send` does.

        May be called in any thread.
        """
        return self._connection.encode(message_type, content, request_id)

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Send what :meth:`encode` returned.

        Raises:
            SessionClosed: the session is closed; nothing was sent.
            QueueFull: the peer reads too slowly; nothing was sent.
        """
        self._check_open()
        size = sum(map(len, buffers))
        self._check_room(size)
        self._connection.send_encoded(buffers)
        self._link.sent(size)

    def may_log(self) -> bool:
        """Whether the log may have one more line that the peer causes; may be called in any thread."""
        return self._link.may_log()

    def took(self, seconds: float, events: Iterable[object]) -> None:
        """Take note of how long what was read took to handle."""
        self._turns.took(seconds, events)

    def cut(self) -> None:
        """Cancel what still runs, and handle no more: the server has stopped."""
        self._turns.cut()

    def give_up(self) -> None:
        """Close at once a peer that does not read; what is queued is lost."""
        self._link.give_up()

    def probe(self) -> None:
        """Send a ping of which only that it is answered matters: it is none of the requests that wait."""
        try:
            self._probe = self._connection.fresh_id(self._taken)
        except (LocalProtocolError, TooManyRequests):
            self._probe = None  # a wire without ids, or with none left
        self._link.sent(self._send_ping(self._probe))

    # From the protocol.

    def begin(self) -> None:
        """Tell the application, before any message."""
        self._turns.begin()

    def receive(self, message: Response) -> None:
        """Take one message: a reply, or something to handle in its turn."""
        request_id = message.request_id
        if request_id in self._asked:
            self._requests.settle(request_id, message)
        elif request_id in self._given_up:
            self._given_up.pop(request_id)
            self.late_replies += 1
        else:
            self._turns.take(message)

    def declined(self, request_id: int, detail: bytes) -> None:
        """Take word that a request failed."""
        if not self._requests.settle(request_id, Failure(RemoteError(detail))):
            self.late_replies += 1

    def pong(self, request_id: int) -> None:
        """Take the answer to a ping."""
        if not self._pings.settle(request_id, None) and request_id != self._probe:
            self.late_replies += 1

    def end(self, closed: SessionClosed) -> None:
        """Take note that nothing can be sent or received any more: fail what waits."""
        if self.closed is None:
            self.closed = closed
            for waiting in (self._requests, self._pings):
                waiting.fail_all(lambda: SessionClosed(closed.reason, closed.cause))

    def gone(self) -> None:
        """Take note that the connection is gone: tell who listens, and the application in its turn."""
        assert self.closed is not None
        self._gone = True
        self._turns.end(self.closed)
        self._when_closed.fire(self.closed)

    # Inside.

    def _check_open(self) -> None:
        if self.closed is not None:
            raise SessionClosed(self.closed.reason, self.closed.cause)

    def _checked(self, content: bytes) -> int:
        self._check_room(size := len(content) + self._header_size)
        return size

    def _check_room(self, size: int) -> None:
        queued = self._flow.queued
        if queued and queued + size > self.limits.write_hard:
            raise QueueFull(queued, self.limits.write_hard)

    def _ask(
        self, waiting: Waiting, timeout: float | None, send: Callable[[int], int], wanted: int | None = None
    ) -> Deferred[Response]:
        seconds = self._link.timeouts.request if timeout is None else timeout
        if not (isinstance(seconds, (int, float)) and seconds > 0):
            raise ValueError(f"timeout is {excerpt(timeout)}: it must be a number of seconds above 0, or math.inf")
        try:
            self._check_open()
            if self.waiting >= self.limits.pending:
                raise TooManyRequests(self.limits.pending)
            request_id = self._connection.fresh_id(self._taken, wanted)
            size = send(request_id)
        except (SessionClosed, TooManyRequests, LocalProtocolError) as error:
            failed: Deferred[Response] = Deferred()
            failed.errback(error)
            return failed
        deferred = waiting.add(request_id, seconds)
        self._link.sent(size)
        if self._flow.paused:
            self._turns.balance()
        return deferred

    def _send_request(self, message: MessageType | Request, content: bytes, request_id: int) -> int:
        message_type, body, _ = parts_of(message, content, None)
        size = self._checked(body)
        self._connection.send(message_type, body, request_id)
        return size

    def _send_ping(self, request_id: int | None) -> int:
        self._connection.send_ping(request_id)
        return self._header_size
