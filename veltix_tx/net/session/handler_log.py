"""Lines of the log about handlers that block, fail, or are done too late."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import CancelledError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from veltix_tx.errors import InvalidContent, Rejected, RpcError
from veltix_tx.net.session.handler_timeouts import HandlerTimeout
from veltix_tx.net.session.interface import SessionTransport
from veltix_tx.sanitize import SanitizedFailure, one_line
from veltix_tx.wire.messages import Response

__all__ = ["HandlerLog", "StepFailed"]

_log = Logger()

_NAMED = 3
"""Handlers that a warning about many messages names."""


class StepFailed(Exception):
    """One of several steps that an application's call is made of failed.

    Attributes:
        who: what the log calls it.
        failure: its failure.
    """

    def __init__(self, who: str, failure: Failure) -> None:
        super().__init__(who, failure)
        self.who = who
        self.failure = failure


class LoggedSession(Protocol):
    """A session as the log of its handlers sees it."""

    kind: str | None


class HandlerLog:
    """Log and counters of one session's handlers: failures, slow ones, results that come too late.

    Args:
        session: the session, for the log.
        link: the protocol below.

    Attributes:
        late_results: results that came after their handlers had been given up, and were dropped.
        warned_seconds: seconds of the present read that warnings have named already.
    """

    __slots__ = ("_session", "_transport", "late_results", "warned_seconds")

    def __init__(self, session: LoggedSession, link: SessionTransport) -> None:
        self._session = session
        self._transport = link
        self.warned_seconds = 0.0
        self.late_results = 0

    def warn_slow_read(self, seconds: float, messages: list[Response]) -> None:
        """Warn of a read that took too long to handle."""
        if len(messages) == 1:
            self.warn_slow(seconds, **self.handler_fields(messages[0]))
            return
        names = list(dict.fromkeys(self.handler_fields(message)["who"] for message in messages))
        shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        self.warn_slow(seconds, f"handling {len(messages)} messages ({shown})", messages=len(messages))

    def warn_slow(self, seconds: float, who: str, **fields: object) -> None:
        """Warn of a handler that blocked."""
        self._transport.shared.counters["handlers_slow"] += 1
        if self._transport.corked:
            self.warned_seconds += seconds  # of this read, of which took() is still to be told
        if self._transport._may_log():
            fields |= {"who": who, "seconds": seconds, **self._fields}
            _log.warn("{who} blocked everything for {seconds:.2f} s, for {session}", **fields)

    def log_failure(self, failure: Failure, who: str, end: str = "", **fields: object) -> None:
        """Log a failure of the application, sanitized."""
        if not self._transport._may_log():
            return
        text = "{who} failed for {session}{end}"
        overdue = failure.value
        if isinstance(overdue, HandlerTimeout):
            text = "{who} was not done after {seconds:g} s, for {session}{end}"
            fields["seconds"] = overdue.seconds
            failure = overdue.cancel_failure or failure
        if isinstance(failure.value, StepFailed):
            who, failure = failure.value.who, failure.value.failure
        _log.failure(text, SanitizedFailure(failure), LogLevel.critical, who=who, end=end, **fields, **self._fields)

    def log_rejected(self, error: Rejected) -> None:
        """Log that ``on_connect`` or a classifier refused the session on purpose."""
        if self._transport._may_log():
            _log.info("rejecting {session}: {why}", **self._fields, why=one_line(str(error)))

    def log_untold(self, error: RpcError, **fields: object) -> None:
        """Log words of a handler for its asker that the wire does not carry, or nobody asked for."""
        if self._transport._may_log():
            text = "{who} refused a message of {session}, which is not told: {why}"
            _log.info(text, session=self._session, why=one_line(str(error)), **fields)

    def log_invalid_content(self, error: InvalidContent, message: Response) -> None:
        """Log that a peer's content does not fit its type."""
        if self._transport._may_log():
            text = "a message of type {type} from {session} has an invalid content: {why}"
            _log.warn(text, type=message.type.name, session=self._session, why=one_line(str(error)))

    def log_late_result(self, result: object) -> None:
        """Count, and log, what a handler brings after it was given up."""
        self.late_results += 1
        self._transport.shared.counters["handlers_late"] += 1
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log_failure(result, "a handler that had been given up")
        elif self._transport._may_log():
            _log.warn("a handler that had been given up is done after all, for {session}", **self._fields)

    @property
    def _fields(self) -> dict[str, object]:
        """Fields of every line about the session."""
        return {"session": self._session, **self._transport.log_fields()}

    def handler_fields(self, message: Response) -> dict[str, str]:
        """Return what handles a message, as fields of a log event."""
        find = self._transport.context.handlers.handler_for
        try:
            handler = find(message.type.key, self._session.kind)
        except Exception:  # of the user's
            handler = find
        name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
        return {"who": f"the handler {name} of {message.type.name}", "handler": name, "type": message.type.name}
