"""Addressing: sessions by their ids, tags and identities, on whichever node they live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.python.failure import Failure

from veltix_tx.app.hub import Hub, Slow
from veltix_tx.app.node import Node, TopicReceiver, backplane_error, first_error, ignore_unavailable
from veltix_tx.app.portable import from_message, to_message
from veltix_tx.app.presence import pack_identity
from veltix_tx.app.rooms import Delivery
from veltix_tx.backplane.envelope import (
    Answer,
    CallTo,
    Disconnect,
    Done,
    Failed,
    Found,
    Message,
    Question,
    Returned,
    Select,
    SendTo,
)
from veltix_tx.backplane.interface import Position, node_of
from veltix_tx.errors import (
    InvalidContent,
    LocalProtocolError,
    MethodNotFound,
    NodeGone,
    NoSuchNode,
    NoSuchSession,
    RemoteError,
    RpcError,
    RpcTimeout,
    SessionClosed,
    SettingsError,
)
from veltix_tx.net.session.session import Session
from veltix_tx.net.session.tags import check_names
from veltix_tx.wire.contents import content_codec, pack
from veltix_tx.wire.error_codes import METHOD_NOT_FOUND
from veltix_tx.wire.messages import MessageRegistry, MessageType, Request, parts_of

__all__ = ["MAX_FOUND", "Addressing"]

MAX_FOUND = 10_000
"""Maximum sessions of one node in a selection over all nodes."""

_EVERYBODY = "all"
"""Topic of what is for the sessions of all nodes."""

_MARGIN = 1.0
"""Seconds that a node has to answer beyond the time that the session it asks has."""

_LONGEST = 86_400.0
"""Seconds that a node waits for another's answer at most."""

_unpack = msgspec.msgpack.Decoder().decode


class Addressing:
    """Sessions of all nodes, as one server of them reaches each.

    Args:
        node: the server's part in the backplane.
        hub: its own sessions.
        types: the message types it knows.
        timeout: returns the seconds for a request that says nothing else.
    """

    def __init__(self, node: Node, hub: Hub, types: MessageRegistry, timeout: Callable[[], float]) -> None:
        self._node = node
        self._hub = hub
        self._types = types
        self._timeout = timeout
        node.answer = self.answer

    def start(self) -> None:
        """Hear what is for the sessions of all nodes, now that the node has been started."""
        self._node.subscribe(_EVERYBODY, TopicReceiver(self._message_received)).addErrback(ignore_unavailable)

    def send_to(self, connection_id: str, message: MessageType | Request, content: object) -> Deferred[None]:
        """Send a message to a session; see :meth:`Server.send_to <veltix_tx.Server.send_to>`."""
        message_type, value, _ = parts_of(message, content)
        session = self._find(connection_id)
        if session is not None:
            session.send(message_type, value)
            return succeed(None)
        carried = to_message(self._node.next_number(), message_type, value)
        return self._ask(connection_id, SendTo(connection_id, carried), self._timeout()).addCallback(_nothing)

    def call_to(
        self,
        connection_id: str,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        returns: Any,
    ) -> Deferred[Any]:
        """Call a method of a session's peer; see :meth:`Server.call_to <veltix_tx.Server.call_to>`."""
        session = self._find(connection_id)
        if session is not None:
            return session.call(method, *args, timeout=timeout, metadata=metadata, returns=returns, **kwargs)
        seconds = self._timeout() if timeout is None else timeout
        try:
            packed = tuple(msgspec.Raw(pack(each)) for each in args)
            named = {name: msgspec.Raw(pack(each)) for name, each in kwargs.items()}
        except InvalidContent as error:
            return fail(error)
        question = CallTo(connection_id, method, packed, named, seconds, dict(metadata or {}))
        return self._ask(connection_id, question, seconds, method).addCallback(partial(_result, returns))

    def disconnect(self, connection_id: str) -> Deferred[None]:
        """Close a session; see :meth:`Server.disconnect <veltix_tx.Server.disconnect>`."""
        session = self._find(connection_id)
        if session is not None:
            session.disconnect()
            return succeed(None)
        return self._ask(connection_id, Disconnect(connection_id), self._timeout()).addCallback(_nothing)

    def select(self, all_of: Iterable[str], any_of: Iterable[str], identity: object) -> Deferred[list[str]]:
        """Return a Deferred of ids; see :meth:`Server.select_everywhere <veltix_tx.Server.select_everywhere>`."""
        check_names("all_of", all_of)
        check_names("any_of", any_of)
        packed = b"" if identity is None else pack_identity(identity)
        question = Select(tuple(all_of), tuple(any_of), packed, MAX_FOUND)
        here, timeout = self._found(question), self._timeout()

        def ask_all(nodes: Iterable[Any]) -> Deferred[list[list[str]]]:
            others = [each.node for each in nodes if each.node != self._node.id]
            asked = [self._node.ask(node, question, timeout).addCallbacks(_ids, _gone) for node in others]
            return gatherResults(asked, consumeErrors=True).addErrback(first_error)

        found = self._node.backplane.nodes().addCallback(ask_all)
        return found.addCallback(lambda lists: [*here, *(each for ids in lists for each in ids)])

    def broadcast(
        self, message: MessageType | Request, content: object, exclude: Iterable[Session], slow: Slow
    ) -> Deferred[Delivery]:
        """Send a message to the sessions of all nodes; see :meth:`Server.broadcast <veltix_tx.Server.broadcast>`."""
        message_type, value, _ = parts_of(message, content)
        left_out = list(exclude)
        sent = self._hub.broadcast(message_type, value, exclude=left_out, slow=slow)
        ids = tuple(session.id for session in left_out)
        carried = to_message(self._node.next_number(), message_type, value, ids, drop=slow == "drop")
        published = self._node.publish(_EVERYBODY, carried)
        return published.addCallbacks(lambda _: Delivery(sent), lambda failure: Delivery(sent, None, backplane_error(failure)))

    # From other nodes.

    def answer(self, question: Question) -> Deferred[Answer]:
        """Answer a question of another node. Never errbacks."""
        if isinstance(question, Select):
            return succeed(Found(tuple(self._found(question))))
        session = self._hub.find(question.connection_id)
        if session is None:
            return succeed(Failed("no_such_session"))
        try:
            answered = self._ask_session(session, question)
        except Exception:
            answered = fail()
        return answered.addErrback(_failed)

    def _message_received(self, message: Message, position: Position | None, node: str) -> None:
        """Send the sessions here what is for those of all nodes."""
        try:
            message_type, value = from_message(message, self._types)
            excluded = [session for session in map(self._hub.find, message.exclude) if session is not None]
            self._hub.broadcast(message_type, value, exclude=excluded, slow="drop" if message.drop else "close")
        except (LookupError, InvalidContent, LocalProtocolError, TypeError):
            self._node.counters["room_messages_uncarried"] += len(self._hub)

    # Inside.

    def _find(self, connection_id: str) -> Session | None:
        if not isinstance(connection_id, str):
            raise SettingsError("connection_id", connection_id, "a connection id, such as session.id")
        return self._hub.find(connection_id)

    def _ask_session(self, session: Session, question: SendTo | CallTo | Disconnect) -> Deferred[Answer]:
        if isinstance(question, Disconnect):
            session.disconnect()
            return succeed(Done())
        if isinstance(question, SendTo):
            session.send(*from_message(question.message, self._types))
            return succeed(Done())
        args = [_unpack(each) for each in question.args]
        kwargs = {name: _unpack(each) for name, each in question.kwargs.items()}
        called = session.call(question.method, *args, timeout=question.timeout, metadata=question.metadata, **kwargs)
        return called.addCallback(lambda result: Returned(pack(result)))

    def _found(self, question: Select) -> list[str]:
        found = self._hub.select(question.all_of, question.any_of)
        if question.identity:
            found = [session for session in found if pack_identity(session.identity) == question.identity]
        return [session.id for session in found[: question.limit]]

    def _ask(self, connection_id: str, question: Question, timeout: float, method: str = "") -> Deferred[Answer]:
        node = node_of(connection_id)
        if not node or node == self._node.id:
            return fail(NoSuchSession(connection_id))
        asked = self._node.ask(node, question, min(timeout, _LONGEST) + _MARGIN)
        return asked.addCallbacks(partial(_checked, connection_id, method, timeout), partial(_not_there, connection_id))


def _nothing(_: object) -> None:
    return None


def _ids(answer: Answer | None) -> list[str]:
    return list(answer.connection_ids) if isinstance(answer, Found) else []


def _gone(failure: Failure) -> list[str]:
    """Return no sessions of a node that is gone."""
    failure.trap(NodeGone, NoSuchNode)
    return []


def _not_there(connection_id: str, failure: Failure) -> Failure:
    return Failure(NoSuchSession(connection_id)) if failure.check(NoSuchNode) else failure


def _result(returns: Any, answer: Answer) -> Any:
    if not isinstance(answer, Returned):
        raise RemoteError(code="unsupported", message="the other node answered with something else than a result")
    return content_codec(returns, "msgpack").decode(answer.value)


def _failed(failure: Failure) -> Failed:
    """Return a failure as the other node gets it."""
    error = failure.value
    if isinstance(error, RpcTimeout):
        return Failed("timeout")
    if isinstance(error, RpcError):
        try:
            return Failed("rpc", error.code, error.message, pack(error.details))
        except InvalidContent:
            return Failed("rpc", error.code, error.message)
    if isinstance(error, SessionClosed):
        return Failed("no_such_session")
    if isinstance(error, RemoteError):
        return Failed("remote", error.code, error.message)
    return Failed("failed", "", f"{type(error).__name__}: {error}"[:1024])


def _checked(connection_id: str, method: str, seconds: float, answer: Answer | None) -> Answer:
    """Return an answer, or raise the error that it stands for."""
    if answer is None:
        raise RemoteError(code="unreadable", message="the other node's answer cannot be read")
    if not isinstance(answer, Failed):
        return answer
    if answer.error == "no_such_session":
        raise NoSuchSession(connection_id)
    if answer.error == "timeout":
        raise RpcTimeout(method, seconds)
    if answer.error == "rpc":
        if answer.code == METHOD_NOT_FOUND:
            raise MethodNotFound(method)
        raise RpcError(answer.code, answer.message, _unpack(answer.details))
    raise RemoteError(code=answer.code or answer.error, message=answer.message)
