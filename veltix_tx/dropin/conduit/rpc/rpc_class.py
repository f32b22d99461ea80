"""A client's calls."""

from __future__ import annotations

from typing import Any, Protocol

from veltix_tx.aio.session import Session
from veltix_tx.dropin.conduit.exceptions import NotConnectedError, RPCError, TimeoutError  # noqa: A004 (netconduit's name)
from veltix_tx.dropin.conduit.response.error import ErrorCode
from veltix_tx.errors import InvalidContent, RemoteError, RpcError, RpcTimeout, SessionClosed, VeltixError
from veltix_tx.wire.netconduit.rpc import LIST_METHOD, failure_number, list_method

__all__ = ["RPC", "RPCError", "RPCTimeout"]


class RPCTimeout(RPCError, TimeoutError):
    """A call had no answer in time.

    Attributes:
        method: the method.
        timeout: seconds it was waited for.
    """

    def __init__(self, method: str, timeout: float) -> None:
        super().__init__(f"RPC call to '{method}' timed out after {timeout}s", ErrorCode.TIMEOUT)
        self.method = method
        self.timeout = timeout


class Caller(Protocol):
    """A client, as its calls see it."""

    def _present(self) -> Session:
        """Return the session; raise NotConnectedError where there is none."""


class RPC:
    """A client's calls: ``client.rpc``.

    Args:
        client: the client.
        default_timeout: seconds to wait for an answer.
    """

    def __init__(self, client: Caller, default_timeout: float = 30.0) -> None:
        self._client = client
        self.default_timeout = default_timeout

    @property
    def default_timeout(self) -> float:
        """Seconds to wait for an answer where a call does not say; setting it raises ValueError for none above 0."""
        return self._default_timeout

    @default_timeout.setter
    def default_timeout(self, value: float) -> None:
        if value <= 0:
            raise ValueError("Timeout must be positive")
        self._default_timeout = value

    async def call(self, method: str, args: dict[str, Any] | None = None, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a method of the server; return its result.

        Args:
            method: its name.
            args: its arguments; see :func:`~veltix_tx.dropin.conduit.data` and ``params``.
            timeout: seconds to wait, :attr:`default_timeout` by default.
            kwargs: more arguments, in place of those of the same name in ``args``.

        Raises:
            RPCError: the method failed, there is none, its arguments do not fit or cannot be sent, or the client is not connected,
                or not any more: at once.
            RPCTimeout: there was no answer in time.
        """
        if method == LIST_METHOD:
            methods = await self.discover()
            return {"methods": methods, "count": len(methods)}
        seconds = self.default_timeout if timeout is None else timeout
        try:
            return await self._client._present()._invoke(method, (), {**(args or {}), **kwargs}, seconds)
        except Exception as error:
            raise _as_rpc_error(error, method, seconds) from error

    async def call_no_wait(self, method: str, args: dict[str, Any] | None = None, **kwargs: Any) -> int:
        """Call a method and do not wait for its answer, which is dropped; return the call's id.

        Raises:
            RPCError: it was not sent.
        """
        try:
            sent: Any = self._client._present()._native._invoke(method, (), {**(args or {}), **kwargs}, self.default_timeout)
            failures: list[Any] = []
            sent.addErrback(failures.append)
            if failures:
                failures[0].raiseException()
        except Exception as error:
            raise _as_rpc_error(error, method, self.default_timeout) from error
        return int(sent.request_id)

    async def discover(self) -> list[dict[str, Any]]:
        """Return the server's methods: maps of name, description, parameters and their types, and return type.

        Raises:
            RPCError: as :meth:`call`.
        """
        try:
            return [list_method(each) for each in await self._client._present().methods(self.default_timeout)]
        except Exception as error:
            raise _as_rpc_error(error, LIST_METHOD, self.default_timeout) from error


def _as_rpc_error(error: Exception, method: str, seconds: float) -> RPCError:
    """Return a native error of a call as netconduit's."""
    if isinstance(error, RpcTimeout):
        return RPCTimeout(method, seconds)
    remote = error.__cause__ if isinstance(error, RpcError) else error
    if isinstance(remote, RemoteError):
        details = remote.details if isinstance(remote.details, dict) else None
        return RPCError(remote.message or "Unknown error", failure_number(remote.detail), details)
    if isinstance(error, (NotConnectedError, SessionClosed)):
        return RPCError(f"RPC call failed: {error}", ErrorCode.DISCONNECTED)
    if isinstance(error, (VeltixError, InvalidContent, TypeError, ValueError)):
        return RPCError(f"RPC call failed: {error}")
    raise error
