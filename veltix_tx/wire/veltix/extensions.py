"""Extensions that two peers of this package agree on in the JSON handshake, beyond upstream's protocol.

A server that finds out offers features in its hello's ``meta``, a client that finds out answers with those it wants.
Real releases ignore the key, and a pinned side never sends it. What is agreed uses system codes from 100 on, which are
never sent to a peer that did not agree, and from one are frames of an unknown type.

``errors``: a request that failed is answered with a FAILED frame (code 100) that carries the request's id and a JSON object.

``identity``: the server decides who is let in, and offers this only then; see :mod:`~veltix_tx.wire.veltix.authentication`.
"""

from __future__ import annotations

import json
import re

__all__ = [
    "ERRORS",
    "FEATURES",
    "IDENTITY",
    "MAX_ERROR_SIZE",
    "PARAMETER",
    "agreed_features",
    "decode_error",
    "encode_error",
]

PARAMETER = "features"
"""The key in the ``meta`` of both hellos: a list of names."""

ERRORS, IDENTITY = "errors", "identity"

FEATURES = (ERRORS, IDENTITY)
"""Features that this side offers and wants."""

MAX_ERROR_SIZE = 4096
"""Maximum bytes of a FAILED frame's content, either way. A longer one is rejected as malformed."""

_CODE = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


def agreed_features(*lists: object) -> tuple[str, ...]:
    """Return the features that are in all of these lists, in the order of :data:`FEATURES`; one may be a peer's, and anything."""
    if not all(isinstance(each, (list, tuple)) for each in lists):
        return ()
    return tuple(feature for feature in FEATURES if all(feature in each for each in lists))  # type: ignore[operator]


def encode_error(code: str, message: str) -> bytes:
    """Return the content of a FAILED frame.

    Args:
        code: what happened, for programs: lower-case ASCII letters, digits and ``_``.
        message: the same for people, without internals. It is cut to :data:`MAX_ERROR_SIZE`.
    """
    assert _CODE.fullmatch(code)
    room = MAX_ERROR_SIZE - len(json.dumps({"code": code, "message": ""}))
    while len(json.dumps(message)) - 2 > room:  # escapes are up to twelve bytes for a character
        message = message[: min(room, len(message) * 3 // 4)]
    return json.dumps({"code": code, "message": message}).encode()


def decode_error(content: bytes) -> tuple[str, str] | None:
    """Return the code and the message in a FAILED frame's content, None for a malformed one. Other keys are ignored."""
    if len(content) > MAX_ERROR_SIZE:
        return None
    try:
        error = json.loads(content.decode())
        code, message = error["code"], error["message"]
        message.encode()  # a lone surrogate could not be shown or stored
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if not (isinstance(code, str) and isinstance(message, str) and _CODE.fullmatch(code)):
        return None
    return code, message
