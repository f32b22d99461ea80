"""Session whose methods are awaited in asyncio's loop."""

from __future__ import annotations

from asyncio import CancelledError, Future, get_running_loop
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.session.calls import proxy
from veltix_tx.net.session.reply_waiters import Reply
from veltix_tx.net.session.serial_requests import SerialRequests
from veltix_tx.net.session.session import BlockingSession
from veltix_tx.net.session.session import Session as NativeSession
from veltix_tx.net.session.tags import Tags
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.handlers import IHandlerTable
from veltix_tx.net.tasks import wait
from veltix_tx.wire.messages import PROCESS_TYPES, BytesLike, MessageType, R, Request, Response, T, parts_of
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.rpc import MethodInfo

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Room", "Session", "ViewedApplication", "ask", "natives", "view_of"]


class Room:
    """Awaitable that waits until there is room to send more, at once if there is, or until the session has ended.

    Args:
        sent: what Twisted's coroutines await for that.
    """

    __slots__ = ("_sent",)

    def __init__(self, sent: Awaitable[None]) -> None:
        self._sent = sent

    def __await__(self) -> Generator[Any, None, None]:
        return wait(Deferred.fromCoroutine(_wait_for(self._sent))).__await__()


async def _wait_for(sent: Awaitable[None]) -> None:
    await sent


class _FutureReply(Reply):
    """Reply that a task awaits: it sets a future, and has no callbacks.

    Args:
        abandon: its canceller.

    Attributes:
        future: the future.
    """

    def __init__(self, abandon: Callable[[Deferred[Any]], None]) -> None:
        super().__init__(abandon)
        self.future: Future[Response] = get_running_loop().create_future()

    def callback(self, result: Any) -> None:
        if isinstance(result, Failure):
            self.errback(result)
            return
        self.called = True
        if not self.future.done():  # else it was cancelled
            self.future.set_result(result)

    def errback(self, fail: Any = None) -> None:
        self.called = True
        if not self.future.done():
            self.future.set_exception(fail.value if isinstance(fail, Failure) else fail)  # type: ignore[arg-type]  # it has one


async def ask(
    native: NativeSession,
    message: MessageType[T, R] | Request[T, R],
    content: T | BytesLike,
    timeout: float | None,
    request_id: int | None = None,
) -> Response[R]:
    """Send a request on a session and return its reply."""
    if type(message) is not MessageType:
        message, content, _ = parts_of(message, content)  # type: ignore[assignment]
    requests = native._start_requests() if native._requests is None else native._requests
    if isinstance(requests, SerialRequests):  # whose Deferreds are its own
        return await wait(native.send_and_wait(message, content, timeout=timeout))
    reply = _FutureReply(requests.requests.abandon)
    sent = requests.send(message, content, timeout, request_id, reply)
    if sent is not reply:
        return await wait(sent)  # which raises why it was not sent
    try:
        response = await reply.future
    except CancelledError:
        reply.cancel()
        raise
    if message.reply_codec is not None:
        response._decode_as_reply(message)
    return response


class Session:
    """One connection to a peer, as :class:`veltix_tx.Session`, with methods that are awaited.

    There is one for each session: it can be compared, hashed and kept. Methods that return at once may be called in any
    thread; threads have :attr:`blocking` for the others.

    Args:
        native: the session.
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: NativeSession) -> None:
        self._native = native
        native._view = self

    def __repr__(self) -> str:
        return repr(self._native)

    @property
    def id(self) -> str:
        """Id of the connection, which every line of the log about it has."""
        return self._native.id

    @property
    def peer(self) -> Peer:
        """The other side as the handshake made it known."""
        return self._native.peer

    @property
    def identity(self) -> object:
        """Identity that ``authenticate`` returned for the peer."""
        return self._native.identity

    @property
    def kind(self) -> str | None:
        """Kind that the server's classifier has named; None before, for none, and without a classifier."""
        return self._native.kind

    @property
    def recovered(self) -> bool | None:
        """True if a client that connected again got all that it missed in rooms; see :attr:`veltix_tx.Session.recovered`."""
        return self._native.recovered

    @property
    def closed(self) -> SessionClosed | None:
        """Reason for which nothing can be sent any more; None while the session is open."""
        return self._native.closed

    @property
    def admitted(self) -> bool:
        """True once ``on_connect`` is done."""
        return self._native.admitted

    @property
    def is_gone(self) -> bool:
        """True once the connection is gone."""
        return self._native.is_gone

    @property
    def address(self) -> IAddress:
        """The other side's network address."""
        return self._native.address

    @property
    def certificate(self) -> Certificate | None:
        """The peer's certificate, a ``cryptography.x509.Certificate`` that TLS has verified; None without one, and without TLS."""
        return self._native.certificate

    @property
    def ip(self) -> str:
        """The peer's address as text, ``""`` for a transport that has none (a UNIX socket)."""
        return self._native.ip

    @property
    def port(self) -> int:
        """The peer's port, 0 for a transport that has none."""
        return self._native.port

    @property
    def pending_requests(self) -> int:
        """Own requests and pings that wait for their replies."""
        return self._native.pending_requests

    @property
    def late_replies(self) -> int:
        """Replies dropped because their request had been given up."""
        return self._native.late_replies

    @property
    def frames_rejected(self) -> int:
        """Frames refused and dropped."""
        return self._native.frames_rejected

    @property
    def broadcasts_dropped(self) -> int:
        """Broadcasts left out because too much was queued."""
        return self._native.broadcasts_dropped

    @property
    def write_buffer_size(self) -> int:
        """Bytes that wait here for the peer to read."""
        return self._native.write_buffer_size

    @property
    def blocking(self) -> BlockingSession:
        """The session's methods for other threads than the loop's, where they block and return plain values."""
        return self._native.blocking

    def send(
        self, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"", *, request_id: int | None = None
    ) -> Awaitable[None]:
        """Send a message at once; see :meth:`veltix_tx.Session.send`, which it raises as.

        Returns:
            an awaitable for senders of much, which waits until there is room for more. It need not be awaited.
        """
        return Room(self._native.send(message, content, request_id=request_id))

    async def send_and_wait(
        self,
        message: MessageType[T, R] | Request[T, R],
        content: T | BytesLike = b"",
        *,
        timeout: float | None = None,
        request_id: int | None = None,
    ) -> Response[R]:
        """Send a request and return its reply; see :meth:`veltix_tx.Session.send_and_wait`. Cancelling gives the request up."""
        return await ask(self._native, message, content, timeout, request_id)

    @overload
    async def call(
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
    async def call(
        self,
        method: str,
        /,
        *args: object,
        returns: Any = ...,
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Any: ...
    async def call(
        self,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Any:
        """Call a method of the peer; see :meth:`veltix_tx.Session.call`. Cancelling cancels what serves it, too."""
        return await self._invoke(method, args, kwargs, timeout, metadata, returns)

    def service(self, service: Callable[..., T], *, prefix: str = "", timeout: float | None = None) -> T:
        """Return an object whose methods call the peer's, and are awaited; see :meth:`veltix_tx.Session.service`."""
        return proxy(service, self._invoke, prefix, timeout)

    async def methods(self, timeout: float | None = None) -> list[MethodInfo]:
        """Return which methods the peer serves; see :meth:`veltix_tx.Session.methods`."""
        return await wait(self._native.methods(timeout))

    async def ping(self, timeout: float | None = None) -> float:
        """Return the round trip to the peer in milliseconds; see :meth:`veltix_tx.Session.ping`."""
        return await wait(self._native.ping(timeout))

    def can_send(self, size: int) -> bool:
        """Return True if a message of so many bytes, header included, would be taken and not raise QueueFull."""
        return self._native.can_send(size)

    async def when_writable(self) -> None:
        """Wait until there is room to send more, or the session has ended."""
        await wait(self._native.when_writable())

    def validate(self) -> None:
        """Vouch that the peer is where its address says; see :meth:`veltix_tx.Session.validate`."""
        self._native.validate()

    async def disconnect(self) -> SessionClosed:
        """Close gracefully; return the reason once the connection is gone. Cancelling ends the waiting alone."""
        return await wait(self._native.disconnect())

    async def when_closed(self) -> SessionClosed:
        """Wait until the connection is gone; return the reason."""
        return await wait(self._native.when_closed())

    async def when_idle(self) -> None:
        """Wait until every message received so far has been handled and answered."""
        await wait(self._native.when_idle())

    async def drain(self) -> None:
        """Take the messages that have arrived by now and no more, finish those taken, and close."""
        await wait(self._native.drain())

    async def reply(self, message: Response, result: object) -> None:
        """Answer a message with a handler's result, which may be a coroutine or a future, and wait until this is done."""
        await wait(self._native.reply(message, result))

    # Tags.

    @property
    def tags(self) -> Tags:
        """Notes of the application about it."""
        return self._native.tags

    def add_tag(self, name: str, value: object = None) -> bool:
        """Set a tag; return False, and leave its value as it is, where it is set already."""
        return self._native.add_tag(name, value)

    def has_tag(self, name: str) -> bool:
        """Return True if a tag is set."""
        return self._native.has_tag(name)

    def has_all_tags(self, names: Iterable[str]) -> bool:
        """Return True if all of these tags are set, as for none."""
        return self._native.has_all_tags(names)

    def has_any_tags(self, names: Iterable[str]) -> bool:
        """Return True if any of these tags is set."""
        return self._native.has_any_tags(names)

    def get_tag(self, name: str) -> object:
        """Return a tag's value, None where it is not set."""
        return self._native.get_tag(name)

    def remove_tag(self, name: str) -> bool:
        """Take a tag away; return whether it was set."""
        return self._native.remove_tag(name)

    def clear_tags(self) -> None:
        """Take every tag away."""
        self._native.clear_tags()

    async def _invoke(self, *request: Any) -> Any:
        return await wait(self._native._invoke(*request))


def view_of(native: NativeSession) -> Session:
    """Return the one view of a session."""
    view = native._view
    return view if isinstance(view, Session) else Session(native)


def natives(sessions: Any) -> Any:
    """Return the sessions behind views; what is no iterable of views as it is, which is refused then."""
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Iterable):
        return sessions
    return [session._native for session in sessions]


@implementer(IVeltixApplication, IHandlerTable)
class ViewedApplication:
    """Application of the user's, which gets the views of sessions.

    Args:
        application: the user's.
    """

    def __init__(self, application: Application[Session]) -> None:
        self.types = getattr(application, "types", PROCESS_TYPES)
        self.direct: dict[Hashable, Callable[..., object]] = {}
        self._application = application

    def handler_for(self, key: Hashable, kind: str | None = None) -> object:
        """Return what handles the messages of a type, for the log."""
        return self._application.received

    def connected(self, session: NativeSession) -> object:
        """Pass on that a session is ready."""
        return self._application.connected(view_of(session))

    def received(self, session: NativeSession, message: Response) -> object:
        """Pass on a message."""
        return self._application.received(view_of(session), message)

    def disconnected(self, session: NativeSession, reason: SessionClosed) -> object:
        """Pass on that a session is gone."""
        return self._application.disconnected(view_of(session), reason)
