"""Dispatcher of one connection: its messages are handled one after another, and answered."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from weakref import proxy

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import Dropped, InvalidContent, Rejected, RpcError, SessionClosed
from veltix_tx.net.awaitables import as_deferred
from veltix_tx.net.clock import ROUNDING
from veltix_tx.net.rate import TokenBucket
from veltix_tx.net.session.handler_log import HandlerLog, StepFailed
from veltix_tx.net.session.handler_timeouts import Classifying, HandlerTimeout, HandlerTimeouts, TimeLimited
from veltix_tx.net.session.interface import MOST_CORKED, OWN_REQUESTS_FACTOR, SessionTransport
from veltix_tx.net.session.reply_waiters import Reply
from veltix_tx.net.session.setting_up import begin_set_up
from veltix_tx.net.shared.application import Application
from veltix_tx.net.waiters import Waiters
from veltix_tx.wire.error_codes import CANCELLED, INVALID_CONTENT
from veltix_tx.wire.events import Event
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import CALL, RESULT, MessageType, Request, Response
from veltix_tx.wire.rpc import CallResult

try:
    from veltix_tx.net.session._dispatch import call_handlers as _compiled_calls
except ImportError:  # it was not built
    _compiled_calls = None  # type: ignore[assignment]

CallHandlers = Callable[
    [list[Event], object, dict[Hashable, Callable[..., object]], Callable[..., object], object, type, object],
    "int | tuple[int, object, BaseException | None]",
]
"""Events, session, handlers by type key, handler of other types, dispatcher, class of messages, the mode that goes on -> how many
events are done with, or, where a handler did not return None, that, what it returned, and what it raised."""

__all__ = ["THROTTLE", "Dispatcher", "Mode"]


class Mode(IntEnum):
    """Mode of a dispatcher: how it takes messages. Transitions only go down this list.

    =======  =========================================================================
    FAST     a message is given to its handler: it cannot be a reply, no clock is read
    CHECKED  each message may be the reply to a request of this side's
    TIMED    the time of each handler is taken, because a read took too long before, or its rate is limited
    CLOSING  no message is taken any more; those taken are handled
    GONE     the connection is lost: handlers that still run are cancelled
    =======  =========================================================================
    """

    FAST = 0
    CHECKED = 1
    TIMED = 2
    CLOSING = 3
    GONE = 4


_FAST, _CHECKED = Mode.FAST, Mode.CHECKED
"""As globals of their own, because a class attribute of an Enum costs five times as much for each message."""

THROTTLE = 0.01
"""Seconds at least for which a peer's messages wait that have come too fast: several are handled then, not one for each timer."""
_MESSAGE_COST = 128
"""Bytes that a message in the inbox counts beside its content: on a wire of lines an empty one is a byte to send."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Decision before a session's first message is handled, which refuses the session where it fails or comes too late.

    Attributes:
        name: for the log.
        title: for people.
        setting: the timeout.
        counter: counts the sessions that are refused.
        reason: of their end.
    """

    name: str
    title: str
    setting: str
    counter: str
    reason: DisconnectReason


_CONNECTED = _Entry("connected", "on_connect", "timeouts.handler", "sessions_rejected", DisconnectReason.REJECTED)
_CLASSIFIER = _Entry(
    "the classifier", "the classifier", "timeouts.classifier", "sessions_unclassified", DisconnectReason.UNCLASSIFIED
)

_WELCOME = object()
"""Outcome of a ``connected`` that ends well: neither None, which stands for what was cut off, too, nor a Failure."""


class Replies(Protocol):
    """The session's own requests, as its dispatcher sees them.

    Attributes:
        entries: those that wait, by the ids of their replies; empty where replies have none. Stays the same dict.
    """

    entries: dict[int, tuple[Reply, float]]

    def settle(self, message: Response) -> bool:
        """Give a reply to whoever waits for it; return False for a message that is none."""


class DispatchedSession(Protocol):
    """A session as its dispatcher sees it."""

    closed: SessionClosed | None
    kind: str | None
    _connection: WireConnection

    @property
    def _requests(self) -> Replies | None:
        """Own requests; None before the first."""

    @property
    def pending_requests(self) -> int:
        """Own requests and pings that wait for their replies."""

    def _admit(self) -> None:
        """Admit the session to others: ``connected`` came to a good end."""

    def _drop(self, error: Dropped, message_type: MessageType) -> None:
        """Count and log a message that was dropped on purpose."""


S = TypeVar("S", bound=DispatchedSession)


class Dispatcher(Generic[S]):
    """Calls an application for one session, one call after another.

    While a handler's Deferred or coroutine is not done, or the peer has too much to read, later
    messages wait in the inbox; when too many do, reading pauses. One that is not done within
    ``timeouts.handler`` seconds is cancelled and counts as failed, whatever it does then. The end of the
    connection cancels it, too, which is no failure.

    A handler that blocks is told by how long a whole read took to handle: no clock is read for a
    single message, until the first time that a read took too long.

    With ``limits.messages`` a peer's messages are handled so often a second on average, as many in a row, and wait otherwise
    as they do for a handler that is not done: pings and replies go on. Nothing is lost, and a peer that goes on
    sending is slowed down.

    Args:
        session: whose messages these are.
        link: the protocol below.
        application: what to call.

    Attributes:
        mode: how messages are taken.
        inbox_bytes: bytes of the messages that wait for their turn.
    """

    __slots__ = (
        "_application",
        "_busy",
        "_call_handlers",
        "_cancellable",
        "_connection",
        "_corked_bytes",
        "_direct",
        "_draining",
        "_flow",
        "_handler_timeouts",
        "_inbox",
        "_made_handler_log",
        "_rate",
        "_received",
        "_replies_due",
        "_session",
        "_throttle_seconds",
        "_throttled",
        "_transport",
        "_welcome",
        "_when_idle",
        "inbox_bytes",
        "mode",
    )

    def __init__(self, session: S, link: SessionTransport, application: Application[S]) -> None:
        self._session = session
        self._transport = link
        self._application = application
        self._received = application.received
        self._direct = link.context.direct
        self._connection = session._connection
        self._flow = link.flow
        most = link.limits.messages
        self._rate = None if most is None else TokenBucket(link.clocks.uptime, most, most)
        self._throttle_seconds = 0.0 if most is None else max(THROTTLE, (1 + ROUNDING) / most)
        self._throttled = False
        self._call_handlers = _compiled_calls if link.connection.compiled else None
        self.mode = Mode.FAST if most is None else Mode.TIMED
        self._busy = False
        self._draining = False
        self._welcome = False
        # An idle session has none of these.
        self._inbox: OrderedDict[object, Response | SessionClosed] | None = None  # a call under its id, to be found by a CANCEL
        self._handler_timeouts: HandlerTimeouts | None = None
        self._made_handler_log: HandlerLog | None = None
        self._when_idle: Waiters[None] | None = None
        self._cancellable: dict[int, Deferred[object]] | None = None
        self.inbox_bytes = 0
        self._replies_due = 0
        self._corked_bytes = 0

    @property
    def _handler_log(self) -> HandlerLog:
        """Log of the session's handlers, made for its first line."""
        if self._made_handler_log is None:
            self._made_handler_log = HandlerLog(self._session, self._transport)
        return self._made_handler_log

    def opened(self) -> None:
        """Call ``connected`` of the application, before any message; its outcome admits the session or closes it."""
        self._call_application("connected", self._connect, then=self._admit)

    def _connect(self) -> object:
        result = begin_set_up(self._application.connected, self._session, self._transport.clocks.reactor)
        return result.addCallback(lambda _: _WELCOME) if result is not None and isinstance(result, Deferred) else _WELCOME

    def _admit(self, result: object) -> None:
        """Admit the session or close it, by what ``connected`` has come to. The one place where that is decided.

        Only a ``connected`` that ended well, and in time, admits it. ``disconnected`` is its counterpart, and follows no other.
        """
        session = self._session
        if result is _WELCOME:
            self._welcome = True
            if session.closed is None:
                session._admit()
            return
        if isinstance(result, Failure):
            self._reject(result, _CONNECTED)
        else:
            self.discard_queued()
            self._transport.close(SessionClosed(DisconnectReason.MANUAL))  # cut off: the server stops

    def reject_unclassified(self, failure: Failure) -> None:
        """Close the session, and drop what its peer has sent: its classifier failed, was too late, or refused it."""
        self._reject(failure, _CLASSIFIER)

    def _reject(self, failure: Failure, entry: _Entry) -> None:
        self.discard_queued()
        error = failure.value.failure.value if isinstance(failure.value, StepFailed) else failure.value
        if self._session.closed is None:
            self._transport.shared.counters[entry.counter] += 1
            if isinstance(error, Rejected):
                self._handler_log.log_rejected(error)
            else:
                self._handler_log.log_failure(failure, entry.name, ": it is closed", step=entry.name)
            if isinstance(error, HandlerTimeout):
                error = Rejected(f"{entry.title} was not done after {error.seconds:g} s ({entry.setting})")
            self._transport.close(SessionClosed(entry.reason, error))
        elif not isinstance(error, (SessionClosed, CancelledError, Rejected)):
            self._handler_log.log_failure(failure, entry.name, step=entry.name)

    def dispatch(self, events: list[Event], other: Callable[[Event], None]) -> None:
        """Take what one read brought: messages are handled in their turn, replies are settled, the rest is passed on.

        The per-message path of the floors above the wire, one loop: from it one call leads to the handler, and
        one to the encoder.
        """
        session, flow, received, find = self._session, self._flow, self._received, self._direct.get
        send, answered = self._connection.send, 0
        requests = session._requests
        waiting = {} if requests is None else requests.entries
        if self._call_handlers is not None and self.mode is _FAST and not (self._busy or flow.backlogged):
            events = events[self._call_compiled(self._call_handlers, events) :]
        for event in events:
            if type(event) is not Response and not isinstance(event, Response):
                other(event)
                continue
            if self.mode is not _FAST:
                waits = waiting.pop(event.request_id, None)  # as settle() does, without a call for each reply
                if waits is not None:
                    waits[0].callback(event)
                    continue
                if requests is not None and requests.settle(event):
                    continue
                if self.mode is not _CHECKED:
                    self._dispatch_slowly(event)
                    continue
            if self._busy or flow.backlogged:
                self._dispatch_slowly(event)
                continue
            try:
                result = find(event.type.key, received)(session, event)
                if result is None:
                    continue
                if type(result) is bytes or (type(result) is str and event.type.reply_codec is None):
                    reply_type = event.type
                elif type(result) is CallResult:
                    reply_type, result = RESULT, result.content
                else:
                    reply_type = None
                if reply_type is not None and session.closed is None:
                    answered += send(reply_type, result, event.request_id)
                    if answered > MOST_CORKED:
                        answered = 0
                        self._transport.write_out()
                    continue
            except BaseException:  # as a Deferred does: a handler never ends a connection
                self._handler_failed(Failure(), event)
                continue
            self._await_result(event, result)

    def _call_compiled(self, call_handlers: CallHandlers, events: list[Event]) -> int:
        """Let the compiled loop call handlers as long as they answer nothing; return for how many events that was.

        It does what the loop of :meth:`dispatch` does with a plain message. A session whose handlers do answer is left to that
        loop.
        """
        outcome = call_handlers(events, self._session, self._direct, self._received, self, Response, _FAST)
        if isinstance(outcome, int):
            return outcome
        handled, result, error = outcome
        message = events[handled - 1]
        assert isinstance(message, Response)
        if error is not None:
            self._handler_failed(Failure(error), message)
        else:
            self._call_handlers = None
            self._await_result(message, result)
        return handled

    def expect_replies(self) -> None:
        """Look at every message from now on: it may be a reply."""
        self._enter(Mode.CHECKED)

    def _enter(self, mode: Mode) -> None:
        """Enter a mode, unless the dispatcher is in one further down."""
        if self.mode < mode:
            self.mode = mode

    def _dispatch_slowly(self, message: Response) -> None:
        if self.mode >= Mode.CLOSING:
            return
        waits = self._busy or self._flow.backlogged
        if not waits and self._is_throttled():
            waits = True
            self._transport.shared.counters["messages_throttled"] += 1
        if waits:
            self._enqueue(message)
            self.inbox_bytes += len(message.content) + _MESSAGE_COST
            self.update_read_pause()
        else:
            self._handle(message)

    def _is_throttled(self) -> bool:
        """Spend one of the messages that ``limits.messages`` grants; return True, for a while, where none is left."""
        if self._rate is None or (not self._throttled and self._rate.take(1)):
            return False
        if not self._throttled:
            self._throttled = True
            self._transport.timers.set("messages", self._throttle_seconds, self._end_throttling)
        return True

    def _end_throttling(self) -> None:
        self._throttled = False
        self.resume()

    def _await_result(self, message: Response, result: object) -> None:
        self._busy = True
        if isinstance(result, Classifying):
            self._watch(result.seconds, result.decision, partial(self._classified, message), self._transport.timeouts.close)
        else:
            self._reply_later(message, result, self._next)

    def _classified(self, message: Response, outcome: object) -> None:
        """Go on with the first message of a session, whose kind has been decided, or with none: it was refused, or cut off."""
        self._busy = False
        if isinstance(outcome, Failure):
            self.reject_unclassified(outcome)
        elif outcome is True:
            self._handle(message)
        if not self._busy:
            self._next()

    def _handle(self, message: Response) -> None:
        """Handle one message whose turn it is, in a context of its own."""
        self._transport.context.variables.copy().run(self._handle_here, message)

    def _handle_here(self, message: Response) -> None:
        """Handle one message, and see whether its handler blocks."""
        began = self._transport.clocks.uptime()
        try:
            result = self._direct.get(message.type.key, self._received)(self._session, message)
        except BaseException:
            self._handler_failed(Failure(), message)
        else:
            if result is not None:
                self._await_result(message, result)
        seconds = self._transport.clocks.uptime() - began
        if seconds > self._transport.timeouts.slow_handler:
            self._handler_log.warn_slow(seconds, **self._handler_log.handler_fields(message))

    def _enqueue(self, item: Response | SessionClosed) -> None:
        if self._inbox is None:
            self._inbox = OrderedDict()
        key: object = item
        if isinstance(item, Response) and item.type is CALL and item.request_id not in self._inbox:
            key = item.request_id
        self._inbox[key] = item

    def record_duration(self, seconds: float, events: Iterable[object]) -> None:
        """Record how long a read took to handle.

        Args:
            seconds: how long.
            events: what was read, the messages among it.
        """
        told, self._handler_log.warned_seconds = self._handler_log.warned_seconds, 0.0
        if seconds - told <= self._transport.timeouts.slow_handler:
            return
        messages = [event for event in events if isinstance(event, Response)]
        if messages:
            self._enter(Mode.TIMED)
            self._handler_log.warn_slow_read(seconds - told, messages)

    def connection_lost(self, closed: SessionClosed) -> None:
        """Cancel what runs; tell the application that the session is gone, after every message."""
        self._enter(Mode.GONE)
        if self._handler_timeouts is not None:
            self._handler_timeouts.connection_lost()
        if self._busy or self._inbox or self._replies_due or self._draining:
            self._enqueue(closed)
            if not self._busy:
                self._next()
        else:
            self._say_goodbye(closed)
            self._check_idle()

    def stop_accepting(self) -> None:
        """Take no further messages; those taken already are handled, without a limit to their rate."""
        self._enter(Mode.CLOSING)
        self._rate = None
        if self._throttled:
            self._transport.clocks.reactor.callLater(0, self._end_throttling)

    def let_go(self) -> None:
        """Keep the session, which keeps this, alive no longer: it is gone, and need not wait for the garbage collector."""
        self._session = proxy(self._session)
        self._made_handler_log = None
        timeouts, self._handler_timeouts = self._handler_timeouts, None
        if timeouts is not None:
            timeouts.let_go()

    def discard_queued(self) -> None:
        """Drop what waits for its turn, and take no more."""
        self.stop_accepting()
        kept = [item for item in (self._inbox or {}).values() if isinstance(item, SessionClosed)]
        self._inbox = OrderedDict(zip(kept, kept, strict=True))
        self.inbox_bytes = 0

    def cancel_all(self) -> None:
        """Forget what waits for its turn and cancel what runs: the time to stop in is over."""
        self.discard_queued()
        self._watcher().cancel_all()
        self._transport.charge_buffers()

    def when_idle(self) -> Deferred[None]:
        """Return a new Deferred that fires once every message so far has been handled and answered."""
        if self.idle:
            return succeed(None)
        if self._when_idle is None:
            self._when_idle = Waiters()
        if self._transport.corked:
            self._transport.clocks.reactor.callLater(0, self._check_idle)
        return self._when_idle.wait()

    def reply(self, message: Response, result: object) -> Deferred[None]:
        """Answer a message with a handler's result; see :meth:`Session.reply`."""
        done: Deferred[None] = Deferred(lambda _: running.cancel())

        def tell() -> None:
            if not done.called:
                done.callback(None)

        running = self._reply_later(message, result, tell)
        return done

    def cancel_call(self, request_id: int) -> None:
        """End a call that the peer waits for no more, begun or not. It is answered all the same."""
        running = None if self._cancellable is None else self._cancellable.get(request_id)
        if running is not None:
            running.cancel()
            return
        message = None if self._inbox is None else self._inbox.pop(request_id, None)
        if isinstance(message, Response):
            self.inbox_bytes -= len(message.content) + _MESSAGE_COST
            self._handler_failed(Failure(RpcError(CANCELLED, "the call was cancelled")), message)

    def _let_cancel(self, request_id: int, running: Deferred[object], then: Callable[[], None]) -> Callable[[], None]:
        """Let the peer cancel what runs, until it is settled; return what to do then."""
        if self._cancellable is None:
            self._cancellable = {}
        calls = self._cancellable
        calls[request_id] = running

        def settled() -> None:
            if calls.get(request_id) is running:  # a peer may use an id twice
                del calls[request_id]
            then()

        return settled

    def update_read_pause(self) -> None:
        """Pause reading while too much waits for its turn or is being answered."""
        factor = OWN_REQUESTS_FACTOR if self._session.pending_requests else 1
        queued = len(self._inbox or ())
        messages, size = queued + self._replies_due, self.inbox_bytes - queued * _MESSAGE_COST
        most, most_bytes = self._transport.limits.inflight * factor, self._connection.max_message_size * factor
        if messages >= most or size >= most_bytes:
            self._flow.pause("handlers busy")
        elif messages <= most // 2 and size <= most_bytes // 2:
            self._flow.resume("handlers busy")

    @property
    def waiting(self) -> int:
        """Number of messages that wait for their turn."""
        return len(self._inbox or ())

    @property
    def busy(self) -> bool:
        """True while a message is being handled, and later ones wait for it."""
        return self._busy

    def held_up(self) -> int:
        """Return how many messages wait for a handler that is not done."""
        return len(self._inbox or ()) if self._busy else 0

    @property
    def idle(self) -> bool:
        """True if every message so far has been handled and answered; never while a read is handled, a handler called perhaps."""
        return not (self._busy or self._replies_due or self._inbox or self._draining or self._transport.corked)

    def _call_application(
        self, name: str, function: Callable[..., object], *arguments: object, then: Callable[[object], None]
    ) -> None:
        """Call one of the application's other methods, in a context of its own.

        Args:
            name: what the log calls it.
            function: calls it.
            arguments: what to call that with.
            then: called with its result, a Failure where it failed, when it is done or has been given up.
        """
        self._transport.context.variables.copy().run(self._call_here, name, function, *arguments, then=then)

    def _call_here(self, name: str, function: Callable[..., object], *arguments: object, then: Callable[[object], None]) -> None:
        def settle(result: object) -> None:
            then(result)
            self._next()

        began = self._transport.clocks.uptime()
        self._busy = True
        after_end = math.inf if self.mode is Mode.GONE else self._transport.timeouts.close
        try:
            result = function(*arguments)
        except BaseException:
            result = Failure()
        seconds = self._transport.clocks.uptime() - began
        if seconds > self._transport.timeouts.slow_handler:
            self._handler_log.warn_slow(seconds, name, step=name)
        if result is None or result is _WELCOME or isinstance(result, Failure):
            settle(result)
        else:
            self._watch(self._transport.timeouts.handler, as_deferred(result, self._transport.clocks.reactor), settle, after_end)

    def _say_goodbye(self, closed: SessionClosed) -> None:
        if self._welcome:
            application = self._application
            self._call_application("disconnected", application.disconnected, self._session, closed, then=self._said_goodbye)

    def _said_goodbye(self, result: object) -> None:
        if isinstance(result, Failure) and not self._cancelled(result):
            self._handler_log.log_failure(result, "disconnected", step="disconnected")

    def _next(self) -> None:
        self._busy = False
        self.resume()

    def resume(self) -> None:
        """Go on with what has waited for its turn. Called again from inside when a turn is over at once."""
        if self._draining:
            return
        self._draining = True
        while self._inbox and not (self._busy or self._flow.backlogged):
            is_end = isinstance(next(iter(self._inbox.values())), SessionClosed)
            if (self._replies_due and is_end) or (not is_end and self._is_throttled()):
                break  # the end comes after the last of concurrent handlers
            _, item = self._inbox.popitem(last=False)
            if isinstance(item, SessionClosed):
                self._say_goodbye(item)
            else:
                self.inbox_bytes -= len(item.content) + _MESSAGE_COST
                self._handle(item)
        self._draining = False
        if self._flow.pause_reasons:
            self.update_read_pause()
        self._transport.charge_buffers()
        self._check_idle()

    def _reply_later(self, message: Response, result: object, then: Callable[[], None]) -> Deferred[object]:
        """Answer with a result when it comes, then do something; return what it comes from."""
        self._replies_due += 1
        if self._replies_due >= self._transport.limits.inflight:
            self.update_read_pause()
        seconds = self._transport.timeouts.handler
        limited = result if isinstance(result, TimeLimited) else None
        if limited is not None:
            seconds, result = limited.seconds, limited.result
        running = as_deferred(result, self._transport.clocks.reactor)
        if limited is not None and limited.cancellable and not running.called:
            then = self._let_cancel(message.request_id, running, then)
        settle = self._settle if limited is None or not limited.deadline else self._settle_in_time
        self._watch(seconds, running, partial(settle, message, then))
        return running

    def _watch(self, seconds: float, result: Deferred[object], settle: Callable[[object], None], after_end: float = 0.0) -> None:
        if result.called and not result.paused:
            result.addBoth(settle)
            return
        self._watcher().watch(seconds, result, settle, after_end)

    def _watcher(self) -> HandlerTimeouts:
        if self._handler_timeouts is None:
            self._handler_timeouts = HandlerTimeouts(
                self._transport.clocks, self._transport.timeouts.close, self._handler_log.log_late_result, self.discard_queued
            )
            if self.mode is Mode.GONE:
                self._handler_timeouts.connection_lost()
        return self._handler_timeouts

    def _settle_in_time(self, message: Response, then: Callable[[], None], result: object) -> None:
        """Settle what nobody waits for after its time."""
        if isinstance(result, Failure) and result.check(HandlerTimeout):
            result = Failure(RpcError(CANCELLED, "the time that the caller gave is over"))
        self._settle(message, then, result)

    def _settle(self, message: Response, then: Callable[[], None], result: object) -> None:
        if isinstance(result, Failure):
            self._handler_failed(result, message)
        else:
            try:
                self._send_reply(result, message)
            except BaseException:
                self._handler_failed(Failure(), message)
        self._replies_due -= 1
        if self._flow.pause_reasons:
            self.update_read_pause()
        self._check_idle()
        then()
        if self.mode is Mode.GONE:
            self.resume()

    def _send_reply(self, result: object, message: Response) -> None:
        if type(result) is bytes:
            self._send(message.type, result, message.request_id)
        elif isinstance(result, CallResult):
            self._send(RESULT, result.content, message.request_id)
        elif isinstance(result, Request):
            content = result.content if result.type.key != message.type.key else message._encode_reply(result.content)
            self._send(result.type, content, message.request_id if self._connection.supports_requests else None)
        elif result is not None:
            self._send(message.type, message._encode_reply(result), message.request_id)

    def _send(self, message_type: MessageType, value: object, request_id: int | None) -> None:
        if self._session.closed is None:
            size = self._connection.send(message_type, value, request_id)
            if not self._transport.corked:
                self._transport.flush()
                return
            self._corked_bytes += size
            if self._corked_bytes > MOST_CORKED:
                self._corked_bytes = 0
                self._transport.write_out()
                if self._flow.backlogged:
                    self._enter(Mode.CHECKED)  # the compiled loop looks at the mode alone

    def _handler_failed(self, failure: Failure, message: Response) -> None:
        if self._cancelled(failure):
            return
        error, shared = failure.value, self._transport.shared
        counters = shared.counters
        if isinstance(error, RpcError) and not error.remote:
            counters["handlers_refused"] += 1
            if not self._reply_error(message, error.code, error.message, error.details):
                self._handler_log.log_untold(error, **self._handler_log.handler_fields(message))
        elif isinstance(error, Dropped):
            self._session._drop(error, message.type)
        elif isinstance(error, InvalidContent) and error.value is message.content:
            counters["contents_invalid"] += 1
            self._handler_log.log_invalid_content(error, message)
            if self._session.closed is None:
                self._transport.decline(message.request_id, INVALID_CONTENT, error.summary)
        else:
            who = f"route {message.type.name}"
            if message.type.key == CALL.key and isinstance(error, StepFailed):
                who = error.who.removeprefix("the ")
            shared.count_failure(who)
            self._handler_log.log_failure(failure, **self._handler_log.handler_fields(message))
            self._reply_error(message)

    def _reply_error(self, message: Response, *words: Any) -> bool:
        """Send an error reply; return False where nothing was sent."""
        sent = self._session.closed is None and self._connection.reply_error(message.request_id, *words)
        if sent:
            self._transport.flush()
        return sent

    def _cancelled(self, failure: Failure) -> bool:
        """Return True if a handler failed because its peer has left, or was cancelled for that: neither a fault nor to be told."""
        return self._session.closed is not None and bool(failure.check(SessionClosed, CancelledError))

    def _check_idle(self) -> None:
        if self._when_idle is not None and self.idle:
            when_idle, self._when_idle = self._when_idle, None
            when_idle.fire(None)
