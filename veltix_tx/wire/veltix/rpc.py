"""Remote procedure calls between two of this package on a Veltix wire, agreed as the feature ``rpc``.

A CALL's content is a :class:`~veltix_tx.wire.rpc.Call` in MessagePack: an array of the method's name, the array of positional
arguments, the caller's timeout in ms or nil, the map of keyword arguments, and a map of metadata; the last two may be
left out. A RESULT's content is the value in MessagePack, and its request id the call's. A call that fails is answered with
FAILED. A CANCEL is empty and has the id of the call that nobody waits for any more; the call is answered all the same, so
that its id can be used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil, inf

import msgspec

from veltix_tx.errors import InvalidContent
from veltix_tx.wire.contents import not_packable, pack_unchecked
from veltix_tx.wire.rpc import MAX_METADATA, MAX_METHOD_SIZE, MAX_VALUE_SIZE, Call, MethodInfo

__all__ = ["VELTIX_RPC", "VeltixRpc"]


class VeltixRpc:
    """Codec of calls and results; see the module, and :class:`~veltix_tx.wire.rpc.RpcCodec`."""

    cancels = plain_results = True
    encode_result = staticmethod(pack_unchecked)

    def encode_call(
        self,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        timeout: float,
        metadata: Mapping[str, str] | None,
    ) -> bytes:
        """Return the content of a CALL."""
        milliseconds = _milliseconds(method, timeout)
        said: tuple[object, ...] = (method, args, milliseconds)
        if metadata:
            said = (method, args, milliseconds, kwargs, _checked(metadata))
        elif kwargs:
            said = (method, args, milliseconds, kwargs)
        try:
            return pack_unchecked(said)
        except Exception as error:
            raise not_packable(said, error) from error

    def decode_call(self, content: bytes) -> Call:
        """Return what a CALL says."""
        try:
            return _decode_call(content)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise InvalidContent(content, "a call: an array of a method, arguments, ms, keyword arguments and metadata") from None

    def describe(self, methods: list[MethodInfo]) -> object:
        """Return the methods as they are."""
        return methods

    def decode_result(self, method: str, content: bytes) -> bytes:
        """Return the content as it is."""
        return content


VELTIX_RPC = VeltixRpc()

_decode_call = msgspec.msgpack.Decoder(Call).decode
"""Without a look at the depth of the arguments, which the codec of the method's arguments takes."""


@lru_cache(maxsize=1024)
def _milliseconds(method: str, timeout: float) -> int | None:
    """Return the timeout of calls of a method in ms, None for no end; the same for each call, as a rule.

    Raises:
        InvalidContent: the name is over its limit.
    """
    if not 0 < len(method) <= MAX_METHOD_SIZE:
        raise InvalidContent(method, f"a method's name of 1 to {MAX_METHOD_SIZE} characters")
    return None if timeout == inf else ceil(timeout * 1000)


def _checked(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return metadata.

    Raises:
        InvalidContent: it is over a limit, or holds something else than texts.
    """
    if len(metadata) > MAX_METADATA:
        raise InvalidContent(len(metadata), f"a number of metadata entries up to {MAX_METADATA}")
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str) and len(key) <= MAX_METHOD_SIZE and len(value) <= MAX_VALUE_SIZE):
            raise InvalidContent((key, value), f"metadata: texts up to {MAX_METHOD_SIZE} and {MAX_VALUE_SIZE} characters")
    return metadata
