"""Allow functions of routes and methods: which sessions may use them. They fail closed."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction

from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.errors import SettingsError
from veltix_tx.net.session.session import Session
from veltix_tx.sanitize import SanitizedFailure

__all__ = ["Allow", "allows", "check_allow"]

_log = Logger()

Allow = Callable[[Session], bool]
"""Decides whether a session's messages to a route, or its calls of a method, are handled."""


def check_allow(allow: object) -> None:
    """Raise SettingsError for what is no :data:`Allow`, nor None."""
    if allow is not None and (not callable(allow) or iscoroutinefunction(allow)):
        raise SettingsError("allow", allow, "a function of a session that returns True or False at once")


def allows(allow: Allow, session: Session) -> bool:
    """Return what an allow function says of a session; False where it fails, or says neither True nor False."""
    try:
        allowed: object = allow(session)
    except BaseException:  # as a Deferred does: it forbids, and ends nothing
        if session._may_log():
            _log.failure("allow failed for {session}", SanitizedFailure(Failure()), session=session, connection=session.id)
        return False
    if not isinstance(allowed, bool) and session._may_log():
        fields = {"kind": type(allowed).__name__, "session": session, "connection": session.id}
        _log.error("allow returned a {kind} for {session}, and not True or False", **fields)
    return allowed is True
