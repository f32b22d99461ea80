"""Calls of the peer's methods: arguments packed, the result unpacked, errors as the exceptions they stand for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from veltix_tx.errors import (
    InvalidArguments,
    InvalidContent,
    MethodNotFound,
    RemoteError,
    RequestTimeout,
    RpcError,
    RpcTimeout,
)
from veltix_tx.net.session.reply_waiters import Reply
from veltix_tx.net.session.requests import PendingRequests
from veltix_tx.net.session.signatures import methods_of, return_type
from veltix_tx.wire.contents import content_codec
from veltix_tx.wire.error_codes import HANDLER_FAILED, INVALID_ARGUMENTS, METHOD_NOT_FOUND
from veltix_tx.wire.messages import RESULT
from veltix_tx.wire.rpc import RpcCodec

__all__ = ["CallReply", "proxy", "result_decoder"]

T = TypeVar("T")


class CallReply(Reply):
    """Deferred of a call's result: what comes as a message becomes a value, and what fails the error it stands for.

    Attributes:
        method: the method's name.
        pending: what the call is one of.
        decode: RESULT's content -> the result; a value of any type by default.
    """

    method: str
    pending: PendingRequests
    decode: Callable[[bytes], Any] = staticmethod(content_codec(Any, "msgpack").decode)

    def callback(self, result: Any) -> None:
        """Fire with the value in a reply, or fail as :meth:`errback` does."""
        if result.type is not RESULT:
            odd = result if isinstance(result, Failure) else InvalidContent(result.type.name, "RESULT, the type of a call's reply")
            self.errback(odd)
            return
        try:
            value = self.decode(result.content)
        except InvalidContent as error:
            super().errback(error)
            return
        Deferred.callback(self, value)  # super() would cost as much as the decoder of a small result

    def errback(self, fail: Any = None) -> None:
        """Fail as a call does; tell the peer of one that has been given up."""
        failure = fail if isinstance(fail, Failure) else Failure(fail)
        if failure.check(CancelledError, RequestTimeout):
            self.pending.cancel_remote(self.request_id)
        super().errback(_translated(failure, self.method))


@lru_cache(maxsize=1024)
def result_decoder(codec: RpcCodec, method: str, returns: Any) -> Callable[[bytes], Any]:
    """Return what decodes the content of a RESULT.

    Args:
        codec: the wire's.
        method: what was called.
        returns: type of the result.
    """
    decode = content_codec(returns, "msgpack").decode
    return decode if codec.plain_results else lambda content: decode(codec.decode_result(method, content))


def proxy(service: Callable[..., T], invoke: Callable[..., Awaitable[Any]], prefix: str, timeout: float | None) -> T:
    """Return an object whose methods call those of the same name on the other side.

    Args:
        service: a class or Protocol: its public methods and what they return.
        invoke: calls a method: its name, positional and keyword arguments, timeout, metadata, and type of the result.
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
    raised.remote, raised.__cause__ = True, error
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
