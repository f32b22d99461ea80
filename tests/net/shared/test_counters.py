"""Counters that the connections of one server share."""

from __future__ import annotations

from typing import Any

from tests.support.line import together
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.shared.admission import AdmissionControl
from veltix_tx.net.shared.counters import COUNTERS


def test_counters_have_known_names(server_line: Any, logged_failures: Any) -> None:
    """Everything that is counted is in the table, or is a reason that a connection ended for."""
    reasons = {f"closed_{reason.name.lower()}" for reason in DisconnectReason}
    (line,) = together(server_line, 1, protocol_errors=2)
    line.application.on_message = lambda session, message: 1 / 0
    line.say(b"x")
    line.far._out.append(line.far._pack(1, b"", 77) * 4)
    line.deliver()
    line.protocol.flow.pause("a test")
    line.lose()
    logged_failures.flush(ZeroDivisionError)
    counted = line.side.shared.counters
    assert set(counted) <= COUNTERS.keys() | reasons
    assert {name: counted[name] for name in ("ready", "handlers_failed", "closed_protocol_error")} == dict.fromkeys(
        ("ready", "handlers_failed", "closed_protocol_error"), 1
    )


def test_a_server_counts_who_comes_and_goes(server_line: Any) -> None:
    """Shared by all its factories, a server's counters begin at nothing."""
    line = server_line()
    assert not AdmissionControl(5, Limits(), Timeouts(), line.clocks).shared.counters
