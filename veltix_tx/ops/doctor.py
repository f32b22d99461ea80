"""Diagnosis of a way to a server: its name, its port, its TLS, its clock, each with the remedy where something is wrong."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from veltix_tx.wire.events import Event, Pong
from veltix_tx.wire.interface import WireConnection

__all__ = ["ClockReader", "Finding", "compare_clocks", "examine", "speaks_tls"]

_SOON = 14 * 86400
"""Seconds before its end in which a certificate is spoken of."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one step.

    Attributes:
        step: its name.
        good: True if nothing is wrong there.
        said: one line of what was found.
        remedy: what to do; empty where there is nothing to do.
    """

    step: str
    good: bool
    said: str
    remedy: str = ""


def examine(
    host: str,
    port: int,
    timeout: float,
    *,
    tls: ssl.SSLContext | None = None,
    tls_name: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
    calendar: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Yield what is found on the way to a server, step by step; the last one where one fails.

    Args:
        host: its name or address.
        port: its TCP port.
        timeout: seconds for each step.
        tls: the side of TLS to be; None for none.
        tls_name: the name that its certificate must be for, ``host`` by default.
        clock: seconds that never jump.
        calendar: seconds since 1970.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding("name", False, f"{host} has no address: {error.strerror}", "check the name, and this machine's DNS")
        return
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    yield Finding("name", True, f"{host} is {', '.join(addresses)}")
    link, finding = _connected(addresses, port, timeout, clock)
    yield finding
    if link is None:
        return
    with link:
        if tls is not None:
            yield from _secured(link, tls, tls_name or host, calendar)


class ClockReader:
    """Proxy of a client's WireConnection that keeps what pongs tell of the server's clock, where the wire carries that.

    Args:
        connection: the connection.
        calendar: seconds since 1970.

    Attributes:
        differences: seconds for each pong by which the server's clock was ahead of this machine's when it came.
    """

    def __init__(self, connection: WireConnection, calendar: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._calendar = calendar
        self.differences: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Receive, and keep what is told."""
        events = self._connection.receive_data(data, received_at)
        told = [event.timestamp for event in events if isinstance(event, Pong) and event.timestamp is not None]
        self.differences += [each / 1000 - self._calendar() for each in told]
        return events


def compare_clocks(differences: list[float], round_trips: list[float]) -> Finding:
    """Return what is found of a server's clock.

    Args:
        differences: seconds by which it was ahead when a pong came; none where the wire does not tell it.
        round_trips: seconds of the pings that these answered.
    """
    if not differences:
        said = "the wire does not tell the server's clock"
        return Finding("clock", True, said, "where times matter, compare what date -u says on both machines")
    round_trip, difference = min(zip(round_trips, differences, strict=False))
    difference += round_trip / 2  # which the pong has been on its way
    if abs(difference) <= _CLOSE + round_trip / 2:
        return Finding("clock", True, "the server's clock and this machine's agree")
    way = "ahead of" if difference > 0 else "behind"
    said = f"the server's clock is {abs(difference):.1f} s {way} this machine's"
    remedy = "set the one that is wrong (timedatectl says whether NTP keeps it): tokens and certificates expire by it"
    return Finding("clock", True, said, remedy)


_CLOSE = 1.0
"""Seconds between two clocks that agree."""


def speaks_tls(host: str, port: int, timeout: float) -> bool:
    """Return True if what listens there speaks TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only whether, not with whom
    try:
        with socket.create_connection((host, port), timeout) as link, context.wrap_socket(link):
            return True
    except OSError:
        return False


def _connected(addresses: list[str], port: int, timeout: float, clock: Callable[[], float]) -> tuple[socket.socket | None, Finding]:
    errors = []
    for address in addresses:
        began = clock()
        try:
            link = socket.create_connection((address, port), timeout)
        except OSError as error:
            errors.append((address, error))
        else:
            said = f"{address} port {port} answers after {(clock() - began) * 1000:.1f} ms"
            missed = [f"{each} does not ({_reason(error)})" for each, error in errors]
            remedy = "the name has an address where nothing answers: clients may try it first" if missed else ""
            return link, Finding("tcp", True, "; ".join([said, *missed]), remedy)
    address, failure = errors[-1]
    remedy = "a firewall drops what is sent there, or the machine is down"
    if isinstance(failure, ConnectionRefusedError):
        remedy = "start the server, or give the port it listens on; on its own machine it may listen on 127.0.0.1 only"
    return None, Finding("tcp", False, f"{address} port {port}: {_reason(failure)}", remedy)


def _secured(link: socket.socket, tls: ssl.SSLContext, name: str, calendar: Callable[[], float]) -> Iterator[Finding]:
    try:
        with tls.wrap_socket(link, server_hostname=name) as secured:
            version, certificate = secured.version(), secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        remedy = "give --tls-ca with its issuer, or --tls-name with the name it is for; or the server another certificate"
        yield Finding("tls", False, f"its certificate cannot be trusted: {error.verify_message}", remedy)
        return
    except (OSError, ValueError) as error:
        yield Finding("tls", False, f"there is no TLS: {_reason(error)}", "leave --tls out, or serve the port with TLS")
        return
    end = str(certificate.get("notAfter", ""))
    old = bool(end) and ssl.cert_time_to_seconds(end) - calendar() < _SOON
    yield Finding("tls", True, f"{version}, a certificate until {end}", "renew the certificate" if old else "")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()
