"""Every error the package raises or errbacks.

::

    VeltixError
    ├── SettingsError (ValueError)          a setting that cannot be
    ├── MessageTypeError (ValueError)       a message code that cannot be
    ├── InvalidContent (ValueError)         a content that is not what it is taken for
    ├── CannotBlock (RuntimeError)          a call that would block a thread that must not, or for ever
    ├── CannotAwait (RuntimeError)          an asyncio awaitable where no loop of asyncio's runs
    ├── ProtocolError
    │   ├── LocalProtocolError              this side asked for what the wire forbids
    │   │   ├── NotReady                    before the handshake is complete, or on_connect done
    │   │   ├── StreamEnded                 the one message of this side has been sent
    │   │   ├── MessageTooLarge             over the limit; nothing was sent
    │   │   ├── QueueFull                   the peer does not read fast enough; nothing was sent
    │   │   ├── UnvalidatedAddress          too much for a peer of UDP that may be somebody else; nothing was sent
    │   │   └── PlaintextCredentials        credentials would go over the network in the open; nothing was sent
    │   └── RemoteProtocolError             the peer broke a rule; its connection ends
    │       ├── FrameTooLarge
    │       │   └── EndlessMessage          no end of it came within the limit
    │       ├── MalformedFrame
    │       ├── TooManyProtocolErrors
    │       ├── TooManyPings
    │       ├── FrameTimeout
    │       └── HandshakeError
    │           ├── MalformedHello
    │           │   └── NotVeltix           it speaks another protocol
    │           ├── EarlyMessage
    │           ├── VersionRefused
    │           ├── HandshakeTimeout
    │           ├── TlsFailed
    │           ├── AuthenticationFailed
    │           └── ServerFull
    ├── SessionClosed                       the connection is gone, and why
    ├── Rejected                            raised by on_connect or a classifier: the session is refused
    ├── Dropped                             raised by middleware or before_send: the message is dropped
    ├── CredentialsUnavailable              the client's own credentials could not be had; nothing was sent
    ├── NoSuchSession                       no node has a session of that id
    ├── RoomError                           a room's limit, or its name
    ├── BackplaneError                      between the nodes of a service
    │   ├── BackplaneUnavailable            it is down
    │   ├── BackplaneRefused                over one of its limits; nothing was done
    │   ├── NoSuchNode                      no node of that id is there
    │   └── NodeGone                        the node went away before it answered
    └── RequestError
        ├── RequestTimeout
        │   └── RpcTimeout                  no result of a call came in time
        ├── TooManyRequests
        ├── RpcError                        raised by handlers: passed on to the asker as it is
        │   ├── MethodNotFound              the other side serves no such method
        │   └── InvalidArguments            the arguments do not fit the method's parameters
        └── RemoteError                     the peer's handler failed

Facts are attributes; ``str()`` composes the sentence from them.
"""

from __future__ import annotations

import json
import re
from typing import ClassVar

from veltix_tx.disconnect import DisconnectReason

__all__ = [
    "AuthenticationFailed",
    "BackplaneError",
    "BackplaneRefused",
    "BackplaneUnavailable",
    "CannotAwait",
    "CannotBlock",
    "CredentialsUnavailable",
    "Dropped",
    "EarlyMessage",
    "EndlessMessage",
    "FrameTimeout",
    "FrameTooLarge",
    "HandshakeError",
    "HandshakeTimeout",
    "InvalidArguments",
    "InvalidContent",
    "LocalProtocolError",
    "MalformedFrame",
    "MalformedHello",
    "MessageTooLarge",
    "MessageTypeError",
    "MethodNotFound",
    "NoSuchNode",
    "NoSuchSession",
    "NodeGone",
    "NotReady",
    "NotVeltix",
    "PlaintextCredentials",
    "ProtocolError",
    "QueueFull",
    "Rejected",
    "RemoteError",
    "RemoteProtocolError",
    "RequestError",
    "RequestTimeout",
    "RoomError",
    "RpcError",
    "RpcTimeout",
    "RpcUnsupported",
    "ServerFull",
    "SessionClosed",
    "SettingsError",
    "StreamEnded",
    "TlsFailed",
    "TooManyPings",
    "TooManyProtocolErrors",
    "TooManyRequests",
    "UnvalidatedAddress",
    "VeltixError",
    "VersionRefused",
    "excerpt",
]

_EXCERPT = 64

ERROR_CODE = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
"""Form of the codes that errors have on the wire."""


def excerpt(value: object) -> str:
    """Return ``repr(value)``, cut short: the only form in which peer-supplied data is shown."""
    if isinstance(value, (bytes, str)):
        value = value[: _EXCERPT + 1]  # a repr of all of it may take four times its memory
    try:
        text = repr(value)
    except RecursionError:  # a peer's JSON, nested as deep as its parser allows
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


class VeltixError(Exception):
    """The root of every error of this package."""


class SettingsError(VeltixError, ValueError):
    """A setting has a value it cannot have.

    Attributes:
        name: the setting.
        value: what was given.
        rule: what it must be.
    """

    def __init__(self, name: str, value: object, rule: str) -> None:
        super().__init__(name, value, rule)
        self.name = name
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.name} is {excerpt(self.value)}: it must be {self.rule}"


class MessageTypeError(VeltixError, ValueError):
    """A message type's code is out of range or reserved, or another type has it or its name already."""


class InvalidContent(VeltixError, ValueError):
    """Message content cannot be decoded, or a value cannot be encoded, as JSON, as UTF-8 or as the type that it is to be.

    Attributes:
        value: the content, or the value that was to become one.
        rule: what it must be.
        detail: what is wrong with it, empty where that is all there is to say.
        path: where in it that is, such as ``$.items[2].price``; empty where it is nowhere in particular.
    """

    def __init__(self, value: object, rule: str, detail: str = "", path: str = "") -> None:
        super().__init__(value, rule, detail, path)
        self.value = value
        self.rule = rule
        self.detail = detail
        self.path = path

    @property
    def summary(self) -> str:
        """Sentence for the content's sender, without an excerpt of it."""
        said = f": {self.detail}" if self.detail else ""
        return f"not {self.rule}{said}" + (f" at {self.path}" if self.path else "")

    def __str__(self) -> str:
        return f"{excerpt(self.value)} is {self.summary}"


class CannotBlock(VeltixError, RuntimeError):
    """A call that waits was made where waiting cannot end, such as in the reactor's own thread. Nothing was done."""


class CannotAwait(VeltixError, RuntimeError):
    """A handler awaited something of asyncio's, whose loop does not run under this reactor."""

    def __str__(self) -> str:
        return (
            "asyncio's loop does not run under this reactor, so a handler awaits Deferreds only: install Twisted's asyncio reactor "
            "(twistd --reactor asyncio), or use veltix_tx.aio"
        )


class ProtocolError(VeltixError):
    """The rules of the wire were broken, by this side or by the peer."""


class LocalProtocolError(ProtocolError):
    """This side asked for something the wire cannot carry. Nothing was sent."""


class NotReady(LocalProtocolError):
    """Something was sent before the handshake was complete, or by others before ``on_connect`` was done.

    Attributes:
        detail: what is not done, and what to do.
    """

    def __init__(self, detail: str = "the handshake is not complete: nothing can be sent yet") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class StreamEnded(LocalProtocolError):
    """The one message that this side may send on the connection has been sent, and its stream ended. Nothing was sent."""

    def __str__(self) -> str:
        return "the wire carries one message in each direction, and this side has sent its own: the next needs a new connection"


class MessageTooLarge(LocalProtocolError):
    """A message is over the limit that the peer would refuse it for. Nothing was sent.

    Attributes:
        size: bytes of the whole message, header included.
        limit: the most bytes a message may have, header included.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"the message has {self.size} bytes with its header, over max_message_size {self.limit}"


class QueueFull(LocalProtocolError):
    """So much waits to be sent that nothing more is taken. Nothing was sent; wait for ``when_writable()``.

    Attributes:
        queued: bytes that wait.
        limit: the most that may.
    """

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(queued, limit)
        self.queued = queued
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.queued} bytes wait for the peer to read, and at most {self.limit} may: wait for when_writable()"


class UnvalidatedAddress(LocalProtocolError):
    """A message over UDP is too much for what has come from its peer, whose address anybody may have written. Nothing was sent.

    Attributes:
        size: bytes of the message.
        left: the most bytes that may be sent before more comes.
    """

    def __init__(self, size: int, left: int) -> None:
        super().__init__(size, left)
        self.size = size
        self.left = left

    def __str__(self) -> str:
        return (
            f"{self.size} bytes are over the {self.left} that may be sent to an unvalidated address before more comes from it: "
            "call session.validate() once the peer has shown that the address is its own"
        )


class PlaintextCredentials(LocalProtocolError):
    """Credentials would go to another machine without TLS. Nothing was sent, and the connection is closed.

    Attributes:
        server: the server's address.
    """

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.server = server

    def __str__(self) -> str:
        return (
            f"the credentials for {self.server} would go over the network in the open, and nothing was sent: "
            "connect with tls=True, or give allow_plaintext_credentials=True where the network itself is trusted"
        )


class RpcUnsupported(LocalProtocolError):
    """Calls were asked for where the wire, or the peer, has none. Nothing was sent.

    Attributes:
        wire: the wire's name.
    """

    def __init__(self, wire: str) -> None:
        super().__init__(wire)
        self.wire = wire

    def __str__(self) -> str:
        return (
            f"the peer has not agreed on calls of methods (wire {self.wire}): both sides must be veltix_tx on wire 'auto'; "
            "send_and_wait() asks any peer whose messages have request ids"
        )


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule of the wire; its connection is closed."""

    reason: ClassVar[DisconnectReason] = DisconnectReason.PROTOCOL_ERROR


class FrameTooLarge(RemoteProtocolError):
    """The peer declared a frame over the limit; none of its content was buffered.

    Attributes:
        size: bytes declared, header included.
        limit: the most bytes accepted, header included.
        first: the peer's first bytes, where it may be that it does not speak Veltix; empty elsewhere.
    """

    def __init__(self, size: int, limit: int, first: bytes = b"") -> None:
        super().__init__(size, limit, first)
        self.size = size
        self.limit = limit
        self.first = first

    def __str__(self) -> str:
        said = f"the peer declared a frame of {self.size} bytes, over the limit of {self.limit}"
        return f"{said}: it begins with {excerpt(self.first)}" if self.first else said


class EndlessMessage(FrameTooLarge):
    """The peer sent more bytes without the end of a message than one may have.

    Attributes:
        size: bytes that came, at least.
    """

    def __str__(self) -> str:
        return f"the peer sent {self.size} bytes or more without the end of a message, and one may have {self.limit}"


class MalformedFrame(RemoteProtocolError):
    """The peer sent a frame that cannot be read; its connection ends.

    Attributes:
        part: the part of the frame that is wrong, such as ``"magic"`` or ``"payload"``.
        value: what it is.
        rule: what it must be.
    """

    def __init__(self, part: str, value: object, rule: str) -> None:
        super().__init__(part, value, rule)
        self.part = part
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"the {self.part} of a frame is {excerpt(self.value)}: it must be {self.rule}"


class TooManyProtocolErrors(RemoteProtocolError):
    """The peer sent too many frames that had to be refused.

    Attributes:
        count: how many were refused.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return (
            f"the peer sent over {self.count} frames that had to be refused: "
            "bad checksums, garbage, unknown types, malformed errors, pongs never asked for"
        )


class TooManyPings(RemoteProtocolError):
    """The peer sent more pings than ``limits.pings`` and ``limits.ping_burst`` allow."""

    def __str__(self) -> str:
        return "the peer sent more pings than limits.pings and limits.ping_burst allow"


class FrameTimeout(RemoteProtocolError):
    """The peer began a message and did not finish it in time.

    Attributes:
        size: bytes of its content, or of what has come of a short one.
        seconds: the time it had.
        hint: why that was less than usual, or what the message begins with; empty where there is nothing to say.
    """

    def __init__(self, size: int, seconds: float, hint: str = "") -> None:
        super().__init__(size, seconds, hint)
        self.size = size
        self.seconds = seconds
        self.hint = hint

    def __str__(self) -> str:
        said = f"a message of about {self.size} bytes was begun and not finished within {self.seconds:.3g} s"
        return f"{said}: {self.hint}" if self.hint else said


class HandshakeError(RemoteProtocolError):
    """The handshake did not complete."""


class MalformedHello(HandshakeError):
    """The peer's part of the handshake is not one of any known release."""


class NotVeltix(MalformedHello):
    """The peer speaks another protocol.

    Attributes:
        peer: ``"client"`` or ``"server"``.
        looks_like: the protocol.
        first: the peer's first bytes.
    """

    def __init__(self, peer: str, looks_like: str, first: bytes) -> None:
        super().__init__(peer, looks_like, first)
        self.peer = peer
        self.looks_like = looks_like
        self.first = first

    def __str__(self) -> str:
        said = f"the {self.peer} does not speak Veltix: it begins with {excerpt(self.first)}, which looks like {self.looks_like}"
        return f"{said}: is this the right port?" if self.peer == "server" else said


class EarlyMessage(HandshakeError):
    """The peer sent a message before the handshake was complete.

    Attributes:
        code: the message's type code.
        first: its first bytes, which tell whether it is one.
    """

    def __init__(self, code: int, first: bytes = b"") -> None:
        super().__init__(code, first)
        self.code = code
        self.first = first

    def __str__(self) -> str:
        said = f"a message of type {self.code} came before the handshake was complete"
        return f"{said}: it begins with {excerpt(self.first)}" if self.first else said


class VersionRefused(HandshakeError):
    """The two sides' versions do not go together.

    Attributes:
        version: what the peer announced (its own words).
        accepted: what this side accepts, as a short sentence part.
    """

    reason = DisconnectReason.VERSION_REFUSED

    def __init__(self, version: object, accepted: str) -> None:
        super().__init__(version, accepted)
        self.version = version
        self.accepted = accepted

    def __str__(self) -> str:
        return f"the peer announces version {excerpt(self.version)}, and this side accepts {self.accepted}"


class HandshakeTimeout(HandshakeError):
    """The handshake was not complete within its deadline.

    Attributes:
        seconds: the deadline, counted from the connection.
        hint: what had not come by then, and what may help; empty where that is not known.
    """

    reason = DisconnectReason.HANDSHAKE_TIMEOUT

    def __init__(self, seconds: float, hint: str = "") -> None:
        super().__init__(seconds, hint)
        self.seconds = seconds
        self.hint = hint

    def __str__(self) -> str:
        return f"the handshake was not complete after {self.seconds:g} s" + (f": {self.hint}" if self.hint else "")


class TlsFailed(HandshakeError):
    """TLS did not come about: one side refuses the other's certificate, or does not speak TLS. It says which, and what helps."""

    reason = DisconnectReason.TLS_FAILED


class AuthenticationFailed(HandshakeError):
    """The server refused the credentials of its client, or a client that presented none. Why is not told."""

    reason = DisconnectReason.AUTHENTICATION_FAILED


class ServerFull(HandshakeError):
    """The server refuses the connection in words of its own, usually ``server_full``.

    Attributes:
        detail: the server's words.
    """

    reason = DisconnectReason.SERVER_FULL

    def __init__(self, detail: object) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"the server refuses the connection: {excerpt(self.detail)}"


class SessionClosed(VeltixError):
    """The connection is gone.

    Attributes:
        reason: why, as a member of :class:`DisconnectReason`.
        cause: the error behind it, or None where there is none (a polite close).
    """

    def __init__(self, reason: DisconnectReason, cause: BaseException | None = None) -> None:
        super().__init__(reason, cause)
        self.reason = reason
        self.cause = cause

    def __str__(self) -> str:
        if self.cause is None:
            return _WHY_CLOSED.get(self.reason, "this side closed the connection")
        if self.reason is DisconnectReason.PEER_CLOSED:
            return str(self.cause)  # a HandshakeError that says so
        said = {
            DisconnectReason.RESET: "the connection was reset",
            DisconnectReason.ERROR: "the connection failed",
            DisconnectReason.REJECTED: "on_connect refused the session",
            DisconnectReason.UNREACHABLE: "the peer cannot be reached",
        }.get(self.reason, "the connection was closed")
        return f"{said}: {self.cause}"


_WHY_CLOSED = {
    DisconnectReason.PEER_CLOSED: "the peer closed the connection",
    DisconnectReason.ERROR: "the connection failed",
    DisconnectReason.RESET: "the connection was reset",
    DisconnectReason.SERVER_FULL: "this side closed the connection because it has as many as it may",
    DisconnectReason.WRITE_TIMEOUT: "this side closed the connection because its peer did not read what it was sent",
    DisconnectReason.PING_TIMEOUT: "this side closed the connection because its peer was silent, and did not answer a ping either",
    DisconnectReason.REJECTED: "this side closed the connection because on_connect refused the session",
    DisconnectReason.IDENTITY_EXPIRED: "this side closed the connection because its peer's identity has expired",
    DisconnectReason.UNCLASSIFIED: "this side closed the connection because its classifier could not tell the session's kind",
    DisconnectReason.COMPLETED: "each side has sent the one message that the wire carries",
    DisconnectReason.UNANSWERED: (
        "this side closed the connection because it gave a request up whose late reply could not be told from the next one"
    ),
    DisconnectReason.IDLE: "this side closed the connection because its peer was silent for timeouts.idle (over UDP datagram_idle)",
    DisconnectReason.EVICTED: "this side ended the session to make room for another peer's (limits.datagram_peers)",
    DisconnectReason.UNREACHABLE: "the peer cannot be reached",
    DisconnectReason.OVERLOAD: "this side closed the connection because all together kept too much, and this one the most",
}
"""Text of a SessionClosed without a cause, by its reason."""


class Rejected(VeltixError):
    """Raised by ``on_connect``, a ``connected`` or a classifier to refuse a session: it is closed, with one line of the log.

    Attributes:
        detail: why, for the log and ``session.closed``; the peer is not told.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return str(self.detail) or "the session was refused without a reason given"


class Dropped(VeltixError):
    """Raised by middleware to drop a message as it came, and by ``before_send`` not to send one: that takes one line of the log.

    Who asked with a message that is dropped as it came is told nothing; RpcError is for what is to be told.

    Attributes:
        detail: why, for the log.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return str(self.detail) or "the message was dropped without a reason given"


class CredentialsUnavailable(VeltixError):
    """The function that gives a client its credentials failed, or gave none that can be presented. Nothing was sent.

    Attributes:
        detail: what it did; never what it gave.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"this client's credentials cannot be had: {self.detail}"


class NoSuchSession(VeltixError):
    """No node has an open session of that id. Nothing was sent.

    Attributes:
        connection_id: the id.
    """

    def __init__(self, connection_id: str) -> None:
        super().__init__(connection_id)
        self.connection_id = connection_id

    def __str__(self) -> str:
        return f"there is no open session {excerpt(self.connection_id)}"


class RoomError(VeltixError):
    """A room cannot take what it was to take. Nothing was done.

    Attributes:
        room: its name.
        rule: what must be.
        limit: the maximum that was reached; None where it is none of a number.
    """

    def __init__(self, room: str, rule: str, limit: int | None = None) -> None:
        super().__init__(room, rule, limit)
        self.room = room
        self.rule = rule
        self.limit = limit

    def __str__(self) -> str:
        return f"room {excerpt(self.room)}: {self.rule}" + ("" if self.limit is None else f" (at most {self.limit})")


class BackplaneError(VeltixError):
    """Something between the nodes of a service did not work."""


class BackplaneUnavailable(BackplaneError):
    """The backplane is down: what needs other nodes cannot be done.

    Attributes:
        cause: what is wrong with it, for people.
        uncertain: True if it got down while this was under way, so that it may have been done all the same.
    """

    def __init__(self, cause: str, *, uncertain: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.uncertain = uncertain

    def __str__(self) -> str:
        return f"the backplane is down: {self.cause}" + (" (it may have been done all the same)" if self.uncertain else "")


class BackplaneRefused(BackplaneError):
    """A limit of the backplane was reached. Nothing was done.

    Attributes:
        setting: the field of BackplaneLimits.
        limit: its value.
    """

    def __init__(self, setting: str, limit: int) -> None:
        super().__init__(setting, limit)
        self.setting = setting
        self.limit = limit

    def __str__(self) -> str:
        return f"the backplane takes no more: its limit {self.setting} is {self.limit}"


class NoSuchNode(BackplaneError):
    """There is no node of that id. Nothing was sent.

    Attributes:
        node: the id.
    """

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"there is no node {excerpt(self.node)}"


class NodeGone(BackplaneError):
    """The node that was asked went away before it answered. It may have done what it was asked.

    Attributes:
        node: its id.
    """

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"node {excerpt(self.node)} is gone, and did not answer"


class RequestError(VeltixError):
    """A request ended without a reply."""


class RequestTimeout(RequestError):
    """No reply came in time. A later one is dropped and counted.

    Attributes:
        seconds: the time that was given.
        held_up: messages of the peer that waited at that moment, on this side, for a handler that was not done. Where the
            peer needs their answers for its own, the two sides wait for each other.
    """

    def __init__(self, seconds: float, held_up: int = 0) -> None:
        super().__init__(seconds, held_up)
        self.seconds = seconds
        self.held_up = held_up

    def __str__(self) -> str:
        said = f"no reply within {self.seconds:g} s"
        if not self.held_up:
            return said
        waiting = "1 message of the peer waits" if self.held_up == 1 else f"{self.held_up} messages of the peer wait"
        return (
            f"{said}, and {waiting} here behind a handler that is not done: if that handler waits for this reply, and the "
            "reply for them, register it with concurrent=True"
        )


class TooManyRequests(RequestError):
    """As many requests as allowed are waiting already, or their ids are all in use. Nothing was sent.

    Attributes:
        limit: how many may wait at once, or how many ids there are.
        given_up: how many of the ids are those of requests that were given up; 0 where ``limits.pending`` is the cause.
    """

    def __init__(self, limit: int, given_up: int = 0) -> None:
        super().__init__(limit, given_up)
        self.limit = limit
        self.given_up = given_up

    def __str__(self) -> str:
        if not self.given_up:
            return f"{self.limit} requests are waiting for their replies already, as many as limits.pending allows"
        return (
            f"all {self.limit} request ids of the connection are in use: those of {self.given_up} requests that were given up are "
            "still awaited. A late reply frees its id, a new connection frees all"
        )


class RpcError(RequestError):
    """Raised by a handler to fail the request with words of its own, which its asker gets.

    Making one raises SettingsError for a code that is none, a message that is no text, and details that JSON cannot hold.
    Where the wire carries no errors, and where nobody asked, it only ends the handler, and a line of the log has it.

    Attributes:
        code: what happened, for programs: up to 32 lower-case ASCII letters, digits and ``_``, beginning with a letter.
        message: the same for people. A wire cuts what is longer than it carries (4 KiB on Veltix's).
        details: more of it, of JSON's kinds; None for nothing. Left out where longer than the wire carries (2 KiB on
            Veltix's), or nested as deep as no content may be (64 levels).
        remote: True for one that a call of this side failed with. A handler that lets it escape fails as with any other
            exception: the words are another's, about another call.
    """

    remote = False

    def __init__(self, code: str, message: str = "", details: object = None) -> None:
        if not (isinstance(code, str) and ERROR_CODE.fullmatch(code)):
            raise SettingsError("code", code, "up to 32 of a-z, 0-9 and _, beginning with a letter")
        if not isinstance(message, str):
            raise SettingsError("message", message, "a text")
        try:
            json.dumps(details, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise SettingsError("details", details, "of JSON's kinds") from None
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return "the request failed" + (f": {excerpt(self.message)}" if self.message else "") + f" ({self.code})"


class RemoteError(RequestError):
    """The peer could not answer and said so (message type FAILED, or ERROR of the releases up to 1.9.0).

    Attributes:
        detail: the content of its message, raw bytes.
        code: what happened, for programs, such as ``handler_failed``; empty where the peer did not say.
        message: the same for people, in the peer's words; likewise.
        details: what its handler added to an :class:`RpcError`, of JSON's kinds; None for nothing.
    """

    def __init__(self, detail: bytes = b"", code: str = "", message: str = "", details: object = None) -> None:
        super().__init__(detail, code, message, details)
        self.detail = detail
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        said = excerpt(self.message) if self.message else excerpt(self.detail) if self.detail and not self.code else ""
        return "the peer could not answer" + (f": {said}" if said else "") + (f" ({self.code})" if self.code else "")


class RpcTimeout(RequestTimeout):
    """No result of a call came in time. The other side is told, so that it ends the call.

    Attributes:
        method: the method's name.
        seconds: the time that was given.
        held_up: see :class:`RequestTimeout`.
    """

    def __init__(self, method: str, seconds: float, held_up: int = 0) -> None:
        super().__init__(seconds, held_up)
        self.args = (method, seconds, held_up)
        self.method = method

    def __str__(self) -> str:
        return f"{excerpt(self.method)}: {super().__str__()}"


class MethodNotFound(RpcError):
    """The other side serves no method of that name.

    Attributes:
        method: the name.
    """

    def __init__(self, method: str) -> None:
        super().__init__("method_not_found", f"there is no method {excerpt(method)}", {"method": method})
        self.args = (method,)
        self.method = method


class InvalidArguments(RpcError):
    """The arguments of a call do not fit the method's parameters; the method was not called.

    Attributes:
        method: the method's name.
        path: the parameter, and the place in it, such as ``order.items[0].price``; empty where it is none in particular.
        rule: what it must be.
    """

    def __init__(self, method: str, path: str, rule: str) -> None:
        said = f"{method}: {path}: {rule}" if path else f"{method}: {rule}"
        super().__init__("invalid_arguments", said, {"method": method, "path": path, "rule": rule})
        self.args = (method, path, rule)
        self.method = method
        self.path = path
        self.rule = rule
