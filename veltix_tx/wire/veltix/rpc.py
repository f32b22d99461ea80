"""Remote procedure calls between two of this package on a Veltix wire, agreed as the feature ``rpc``.

A CALL's content is a MessagePack array of five: the method's name, the array of positional arguments, the map of keyword
arguments, the caller's timeout in ms or nil, and a map of metadata. A RESULT's content is the value, as MessagePack, and its
request id the call's. A call that fails is answered with FAILED. A CANCEL is empty and has the id of the call that nobody
waits for any more; the call is answered all the same, so that its id can be used again.
"""

from __future__ import annotations

import math

import msgspec

from veltix_tx.errors import InvalidContent
from veltix_tx.wire.rpc import MAX_METADATA, MAX_METHOD_SIZE, Call

__all__ = ["VELTIX_RPC", "VeltixRpc"]

_MAX_VALUE = 1024
_MAX_TIMEOUT_MS = 1 << 53

_decoder = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw, msgspec.Raw, int | None, dict[str, str]])
_encoder = msgspec.msgpack.Encoder()

_RULE = "a call: an array of a method, arguments, keyword arguments, a timeout in ms or nil, and metadata"


class VeltixRpc:
    """Codec of the three system messages; see the module."""

    cancels = True

    def encode_call(self, call: Call) -> bytes:
        """Return the content of a CALL; see :class:`~veltix_tx.wire.rpc.RpcCodec`."""
        _check(call)
        timeout = None if call.timeout is None or call.timeout == math.inf else math.ceil(call.timeout * 1000)
        args, kwargs = msgspec.Raw(call.args), msgspec.Raw(call.kwargs)
        return _encoder.encode((call.method, args, kwargs, timeout, call.metadata))

    def decode_call(self, content: bytes) -> Call:
        """Return what a CALL says; see :class:`~veltix_tx.wire.rpc.RpcCodec`."""
        try:
            method, args, kwargs, timeout, metadata = _decoder.decode(content)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise InvalidContent(content, _RULE) from None
        if timeout is not None and not 0 <= timeout <= _MAX_TIMEOUT_MS:
            raise InvalidContent(timeout, f"a timeout in ms, 0 to {_MAX_TIMEOUT_MS}")
        call = Call(method, bytes(args), bytes(kwargs), None if timeout is None else timeout / 1000, metadata)
        _check(call)
        return call

    def encode_result(self, result: bytes) -> bytes:
        """Return the value as it is."""
        return result

    def decode_result(self, content: bytes) -> bytes:
        """Return the content as it is."""
        return content


VELTIX_RPC = VeltixRpc()


def _check(call: Call) -> None:
    if not 0 < len(call.method.encode("utf-8", "surrogatepass")) <= MAX_METHOD_SIZE:
        raise InvalidContent(call.method, f"a method's name, 1 to {MAX_METHOD_SIZE} bytes of UTF-8")
    metadata = call.metadata
    if len(metadata) > MAX_METADATA:
        raise InvalidContent(len(metadata), f"a number of metadata entries up to {MAX_METADATA}")
    for key, value in metadata.items():
        if len(key) > MAX_METHOD_SIZE or len(value) > _MAX_VALUE:
            raise InvalidContent(key, f"metadata with keys up to {MAX_METHOD_SIZE} and values up to {_MAX_VALUE} characters")
