"""Extensions that two peers of this package agree on in the JSON handshake, beyond upstream's protocol.

A server that finds out offers features in its hello's ``meta``, a client that finds out answers with those it wants.
Real releases ignore the key, and a pinned side never sends it. What is agreed uses system codes from 100 on, which are
never sent to a peer that did not agree, and from one are frames of an unknown type.

``errors``: a request that failed is answered with a FAILED frame (code 100) that carries the request's id and a JSON object
with ``code``, ``message`` and, where there are some, ``details``.

``rpc``: methods are called with CALL, RESULT and CANCEL frames (codes 111 to 113), see :mod:`veltix_tx.wire.veltix.rpc`.

``rooms`` and ``resume``: messages of rooms with a history have their places there with them (codes 120 to 123), see
:mod:`veltix_tx.wire.rooms`. A client that has places to present agrees on ``resume``, too, and begins with them.

``identity``: the server decides who is let in, and offers this only then; see :mod:`veltix_tx.wire.veltix.authentication`.
"""

from __future__ import annotations

import json

from veltix_tx.errors import ERROR_CODE
from veltix_tx.wire.contents import MAX_DEPTH, json_depth
from veltix_tx.wire.rooms import RESUMES, ROOMS

__all__ = [
    "ERRORS",
    "FEATURES",
    "IDENTITY",
    "MAX_DETAILS_SIZE",
    "MAX_ERROR_SIZE",
    "OPTIONAL",
    "PARAMETER",
    "RPC",
    "agreed_features",
    "decode_error",
    "encode_error",
]

PARAMETER = "features"
"""The key in the ``meta`` of both hellos: a list of names."""

ERRORS, IDENTITY = "errors", "identity"

RPC = "rpc"

OPTIONAL = (ROOMS, RESUMES)
"""Features that this side offers and wants where the floors above do."""

FEATURES = (ERRORS, RPC, IDENTITY, *OPTIONAL)
"""Features that this side offers and wants."""

MAX_ERROR_SIZE = 4096
"""Maximum bytes of a FAILED frame's content, either way. A longer one is rejected as malformed."""

MAX_DETAILS_SIZE = 2048
"""Maximum bytes of the details in it, as JSON in ASCII. Longer ones are left out."""


def agreed_features(*lists: object) -> tuple[str, ...]:
    """Return the features that are in all of these lists, in the order of :data:`FEATURES`; one may be a peer's, and anything."""
    if not all(isinstance(each, (list, tuple)) for each in lists):
        return ()
    return tuple(feature for feature in FEATURES if all(feature in each for each in lists))  # type: ignore[operator]


def encode_error(code: str, message: str, details: object = None) -> bytes:
    """Return the content of a FAILED frame, of at most :data:`MAX_ERROR_SIZE`.

    Args:
        code: what happened, for programs: lower-case ASCII letters, digits and ``_``.
        message: the same for people, without internals. It is cut where it is too long.
        details: more of it, of JSON's kinds; None for nothing. Left out where they take more than :data:`MAX_DETAILS_SIZE`,
            or are nested as deep as :data:`~veltix_tx.wire.contents.MAX_DEPTH`.
    """
    assert ERROR_CODE.fullmatch(code)
    error = {"code": code, "message": ""}
    end = b"}"
    if details is not None:
        added = json.dumps(details, allow_nan=False).encode()
        if len(added) <= MAX_DETAILS_SIZE and json_depth(added) < MAX_DEPTH:
            end = b', "details": ' + added + b"}"
    message = message.encode("utf-8", "replace").decode()  # without lone surrogates, which no peer takes
    room = MAX_ERROR_SIZE - len(json.dumps(error)) + 1 - len(end)
    while len(json.dumps(message)) - 2 > room:  # escapes are up to twelve bytes for a character
        message = message[: min(room, len(message) * 3 // 4)]
    return json.dumps(error | {"message": message}).encode()[:-1] + end


def decode_error(content: bytes) -> tuple[str, str, object] | None:
    """Return code, message and details in a FAILED frame's content, None for a malformed one. Other keys are ignored.

    One that is nested more than :data:`~veltix_tx.wire.contents.MAX_DEPTH` deep is malformed, whatever Python takes.
    """
    if len(content) > MAX_ERROR_SIZE or json_depth(content) > MAX_DEPTH:
        return None
    try:
        error = json.loads(content.decode())
        code, message, details = error["code"], error["message"], error.get("details")
        message.encode()  # a lone surrogate could not be shown or stored
        if details is not None:
            json.dumps(details, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if not (isinstance(code, str) and isinstance(message, str) and ERROR_CODE.fullmatch(code)):
        return None
    return code, message, details
