"""Calls of the peer's methods: arguments packed, the result unpacked, errors as the exceptions they stand for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from veltix_tx.errors import (
    InvalidArguments,
    InvalidContent,
    MethodNotFound,
    RemoteError,
    RequestTimeout,
    RpcError,
    RpcTimeout,
    RpcUnsupported,
)
from veltix_tx.net.session.reply_waiters import Reply
from veltix_tx.net.session.requests import PendingRequests
from veltix_tx.net.session.serial_requests import SerialRequests
from veltix_tx.net.session.signatures import methods_of, return_type
from veltix_tx.wire.contents import content_codec
from veltix_tx.wire.error_codes import HANDLER_FAILED, INVALID_ARGUMENTS, METHOD_NOT_FOUND
from veltix_tx.wire.messages import CALL, RESULT
from veltix_tx.wire.rpc import RpcCodec

__all__ = ["call", "proxy"]

T = TypeVar("T")


def call(
    requests: PendingRequests | SerialRequests,
    codec: RpcCodec | None,
    wire: str,
    method: str,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    timeout: float | None,
    metadata: Mapping[str, str] | None,
    returns: Any,
) -> Deferred[Any]:
    """Call a method of the peer.

    Args:
        requests: the session's pending requests.
        codec: the wire's, None where it has none.
        wire: its name, for the error.
        method: the method's name.
        args: positional arguments.
        kwargs: keyword arguments.
        timeout: seconds to wait; ``timeouts.request`` by default.
        metadata: small texts that travel with it.
        returns: type of the result.

    Returns:
        a Deferred of the result, as :meth:`Session.call` says.

    Raises:
        ValueError: the timeout is no number above 0.
    """
    if codec is None or isinstance(requests, SerialRequests):
        return fail(RpcUnsupported(wire))
    reply = _Result(requests.requests.abandon)
    reply.method, reply.codec, reply.pending, reply.decode = method, codec, requests, _decoder(returns)
    try:
        content = codec.encode_call(method, args, kwargs, requests.default_timeout if timeout is None else timeout, metadata)
    except InvalidContent as error:
        return fail(error)
    return requests.send(CALL, content, timeout, None, reply)


class _Result(Reply):
    """Deferred of a call's result: what comes as a message becomes a value, and what fails the error it stands for.

    Attributes:
        method: the method's name.
        codec: the wire's codec.
        pending: what the call is one of.
        decode: MessagePack -> the result.
    """

    method: str
    codec: RpcCodec
    pending: PendingRequests
    decode: Callable[[bytes], Any]

    def callback(self, result: Any) -> None:
        """Fire with the value in a reply, or fail as :meth:`errback` does."""
        if result.type is not RESULT:
            odd = result if isinstance(result, Failure) else InvalidContent(result.type.name, "RESULT, the type of a call's reply")
            self.errback(odd)
            return
        try:
            value = self.decode(self.codec.decode_result(self.method, result.content))
        except InvalidContent as error:
            super().errback(error)
        else:
            super().callback(value)

    def errback(self, fail: Any = None) -> None:
        """Fail as a call does; tell the peer of one that has been given up."""
        failure = fail if isinstance(fail, Failure) else Failure(fail)
        if self.codec.cancels and failure.check(CancelledError, RequestTimeout):
            self.pending.cancel_remote(self.request_id)
        super().errback(_translated(failure, self.method))


@lru_cache(maxsize=1024)
def _decoder(returns: Any) -> Callable[[bytes], Any]:
    return content_codec(returns, "msgpack").decode


def proxy(service: Callable[..., T], invoke: Callable[..., Awaitable[Any]], prefix: str, timeout: float | None) -> T:
    """Return an object whose methods call those of the same name on the other side.

    Args:
        service: a class or Protocol: its public methods and what they return.
        invoke: calls a method: its name and all that follows it in :func:`call`.
        prefix: put before each name.
        timeout: seconds for each call.

    Raises:
        SettingsError: an annotation of what a method returns cannot be looked up.
    """

    def stub(method: str, returns: Any) -> Callable[..., Awaitable[Any]]:
        def call_remote(*args: object, **kwargs: object) -> Awaitable[Any]:
            return invoke(method, args, kwargs, timeout, None, returns)

        return call_remote

    methods = {name: stub(prefix + name, return_type(function)) for name, function in methods_of(service).items()}
    return cast(T, SimpleNamespace(**methods))


def _translated(failure: Failure, method: str) -> Failure:
    """Return the failure of a request as that of a call."""
    error = failure.value
    if isinstance(error, RequestTimeout):
        return Failure(RpcTimeout(method, error.seconds, error.held_up))
    if not isinstance(error, RemoteError):
        return failure
    if error.code in ("", HANDLER_FAILED):
        return failure
    raised = _raised(error, method)
    raised.remote = True
    return Failure(raised)


def _raised(error: RemoteError, method: str) -> RpcError:
    """Return the error that the other side raised."""
    if error.code == METHOD_NOT_FOUND:
        return MethodNotFound(method)
    details = error.details
    if error.code == INVALID_ARGUMENTS and isinstance(details, dict):
        path, rule = details.get("path"), details.get("rule")
        if isinstance(path, str) and isinstance(rule, str):
            return InvalidArguments(method, path, rule)
    return RpcError(error.code, error.message, details)
