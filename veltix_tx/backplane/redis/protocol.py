"""One connection to Redis: commands out, replies and pushed messages in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from veltix_tx.errors import BackplaneError, BackplaneUnavailable

__all__ = ["Argument", "RedisConnection", "ScriptUnknown"]

Argument = bytes | str | int

_LONGEST_ERROR = 200


class ScriptUnknown(BackplaneError):
    """Redis does not know a script, as after SCRIPT FLUSH. It did not run."""


class RedisConnection(Protocol):
    """A connection: each command gets the reply in its order.

    Replies are parsed by txredisapi, which reads them with hiredis where that is installed. Its protocol is a parser
    here and nothing else, because its own factories, pools and timeouts use the global reactor.

    Args:
        reactor: for the parser, which may go on in the next turn.
        uptime: seconds that never jump.
        ready: called with it when it is connected.
        lost: called with it and the reason when it is lost.
        pushed: called with each message that is no reply; None: there are none, the connection is no subscriber.

    Attributes:
        pending_bytes: bytes of the commands that are not answered.
        awaited_since: the uptime since which an answer is awaited and nothing has come; None where none is.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        uptime: Callable[[], float],
        ready: Callable[[RedisConnection], object],
        lost: Callable[[RedisConnection, Failure], object],
        pushed: Callable[[list[Any]], object] | None = None,
    ) -> None:
        self._uptime = uptime
        self._ready, self._lost, self._pushed = ready, lost, pushed
        self._replies: deque[tuple[Deferred[Any], int]] = deque()
        self._parser = _parser(self._reply_received, reactor)
        self._no_redis = False
        self.pending_bytes = 0
        self.awaited_since: float | None = None

    def connectionMade(self) -> None:
        """The transport is there."""
        self._parser.transport = self.transport
        self._ready(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse replies."""
        self.awaited_since = None
        try:
            self._parser.dataReceived(data)
        except Exception:  # whatever it raises: who listens there is no Redis
            self._no_redis = True
            self.abort()
        if self._replies:
            self.awaited_since = self._uptime()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what waits: nobody knows which of these commands were executed, so that none of them is sent again."""
        replies, self._replies, self.pending_bytes = self._replies, deque(), 0
        for reply, _ in replies:
            reply.errback(BackplaneUnavailable("the connection to Redis was lost", uncertain=True))
        self._lost(
            self, Failure(BackplaneError("what listens there does not speak Redis's protocol")) if self._no_redis else reason
        )

    def execute(self, *command: Argument) -> Deferred[Any]:
        """Send a command.

        Returns:
            a Deferred of the reply. It errbacks with BackplaneError where Redis refuses the command, and with
            BackplaneUnavailable where the connection is lost first. Cancelling it gives up the wait alone.
        """
        data = encode(command)
        reply: Deferred[Any] = Deferred()  # without a canceller: a reply that nobody waits for keeps its place
        self._replies.append((reply, len(data)))
        self._write(data)
        self.pending_bytes += len(data)
        return reply

    def give_up(self, error: Exception) -> None:
        """Fail every command that waits for its reply; what comes of it is ignored."""
        waiting, self._replies = self._replies, deque()
        for reply, size in waiting:
            ignored: Deferred[Any] = Deferred()
            self._replies.append((ignored.addErrback(lambda _: None), size))
            reply.errback(error)

    def push(self, *command: Argument) -> None:
        """Send a command whose replies are pushed: of a subscriber."""
        self._write(encode(command))

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self._pushed is None:
            self.execute("PING").addErrback(lambda _: None)  # its loss is told by ``lost``
        else:
            self.push("PING")

    def abort(self) -> None:
        """End the connection at once."""
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
        if self.awaited_since is None:
            self.awaited_since = self._uptime()

    def _reply_received(self, reply: Any) -> None:
        if not self._replies:
            if self._pushed is not None:
                self._pushed(reply)
            return
        waiting, size = self._replies.popleft()
        self.pending_bytes -= size
        if isinstance(reply, Exception):
            words = str(reply)
            error = ScriptUnknown if words.startswith("NOSCRIPT") else BackplaneError
            waiting.errback(error(f"Redis refused a command: {words[:_LONGEST_ERROR]}"))
        else:
            waiting.callback(reply)


def encode(command: tuple[Argument, ...]) -> bytes:
    """Return a command as RESP carries it: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(command)]
    for each in command:
        data = each if isinstance(each, bytes) else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _parser(reply_received: Callable[[Any], None], reactor: IReactorTime) -> Any:
    import txredisapi  # noqa: PLC0415 (importing it installs a reactor: not before there is one)

    parser = txredisapi.RedisProtocol(charset=None, convertNumbers=False)
    parser.replyReceived = reply_received
    parser.callLater = reactor.callLater  # without hiredis it goes on in the next turn, of the global reactor by default
    return parser
