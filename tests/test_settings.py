from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from veltix_tx import Client, MessageRegistry, Server
from veltix_tx.errors import SettingsError, VeltixError, excerpt
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.settings import (
    BufferSize,
    ClientConfig,
    PerformanceMode,
    RetryPolicy,
    ServerConfig,
    SocketCore,
    evolve,
    split_address,
)

ALL = (Limits, Timeouts, RetryPolicy, ServerConfig, ClientConfig)

NOT_WHOLE = (True, 1.5, "5", None, math.nan)
NOT_SECONDS = (True, "5", None, math.nan, math.inf, -math.inf, -0.001)
NOT_ENDLESS = (True, "5", None, math.nan, -math.inf, -0.001)
NOT_HOSTS = ("a\0b", "a\n", "\x1b[2J")
NOT_TEXT = ("", None, 5, b"127.0.0.1")

WRONG: dict[tuple[type, str], tuple[Any, ...]] = {
    (Limits, "hello_size"): (31, 65536, *NOT_WHOLE),
    (Limits, "json_hello_size"): (63, 65536, *NOT_WHOLE),
    (Limits, "values"): (0, *NOT_WHOLE),
    (Limits, "protocol_errors"): (0, -1, *NOT_WHOLE),
    (Limits, "inflight"): (0, *NOT_WHOLE),
    (Limits, "pending"): (0, *NOT_WHOLE),
    **{(Limits, name): (0, -1, *NOT_WHOLE) for name in ("half_open", "half_open_per_source", "pings", "ping_burst")},
    **{(Limits, name): (0, -1, *NOT_WHOLE) for name in ("receive_buffers", "send_buffers", "log_lines", "log_burst")},
    **{(Limits, name): (0, -1, *(value for value in NOT_WHOLE if value is not None)) for name in ("per_source", "messages")},
    (Limits, "authentication_failures"): (0, -1, *NOT_WHOLE),
    (Limits, "datagram_peers"): (0, -1, *NOT_WHOLE),
    **{(Limits, name): (0, -1, *NOT_WHOLE) for name in ("rooms", "room_members", "rooms_per_session", "member_state")},
    (Limits, "write_low"): (-1, *NOT_WHOLE),
    (Limits, "write_high"): (256 * 1024 - 1, *NOT_WHOLE),
    (Limits, "write_hard"): (1024 * 1024 - 1, *NOT_WHOLE),
    **{(Timeouts, name): (0, 0.0, *NOT_ENDLESS) for name in ("idle", "handler", "slow_handler")},
    (Timeouts, "datagram_idle"): (0, *NOT_SECONDS),
    **{
        (Timeouts, name): (0, 0.0, *NOT_SECONDS)
        for name in ("request", "close", "drain", "write", "frame", "ping_interval", "ping_timeout", "classifier")
    },
    (RetryPolicy, "max_retries"): (-1, True, 1.5, "5"),
    (RetryPolicy, "initial_delay"): NOT_SECONDS,
    (RetryPolicy, "max_delay"): NOT_SECONDS,
    (RetryPolicy, "stable_after"): NOT_ENDLESS,
    (RetryPolicy, "after_refusal"): (None, 1, "yes"),
    (RetryPolicy, "factor"): (0.99, 0, -1, math.inf, math.nan, "2", None),
}
for config in (ServerConfig, ClientConfig):
    WRONG |= {
        (config, "wire"): ("", None, 5, b"1.6.3"),  # find_wire() checks names
        (config, "max_message_size"): (127, 2**32, *NOT_WHOLE),
        (config, "handshake_timeout"): (0, *NOT_SECONDS),
        (config, "buffer_size"): (0, -1, 2**30 + 1, *NOT_WHOLE),
        (config, "max_workers"): (0, -1, 1025, *NOT_WHOLE),
        (config, "performance_mode"): (None, 2, "balanced", SocketCore.ASYNC),
        (config, "socket_core"): (None, "async", PerformanceMode.LOW),
        (config, "limits"): (None, {}, Timeouts()),
        (config, "timeouts"): (None, 5.0, Limits()),
    }
NOT_FILES = ("", 5, b"cert.pem", True)
WRONG |= {
    (ServerConfig, "host"): (*NOT_TEXT, *NOT_HOSTS),
    (ServerConfig, "port"): (-1, 65536, *NOT_WHOLE),
    (ServerConfig, "max_connections"): (0, -2, *NOT_WHOLE),
    (ServerConfig, "log_connections"): (None, 1, "yes"),
    (ServerConfig, "max_connection"): (0, -2, True, 1.5, "5", math.nan),
    (ServerConfig, "endpoints"): ("tcp:1", ["tcp:1"], None, ("",)),
    (ClientConfig, "server_addr"): (*NOT_TEXT, *NOT_HOSTS),
    (ClientConfig, "port"): (0, 65536, *NOT_WHOLE),
    (ClientConfig, "endpoint"): ("",),
    (ServerConfig, "tls_cert"): NOT_FILES,
    (ServerConfig, "tls_key"): NOT_FILES,
    (ServerConfig, "tls_client_ca"): NOT_FILES,
    (ClientConfig, "tls"): (None, 1, "yes"),
    (ClientConfig, "tls_ca"): NOT_FILES,
    (ClientConfig, "tls_name"): ("", 5, b"localhost"),
    (ClientConfig, "tls_cert"): NOT_FILES,
    (ClientConfig, "tls_key"): NOT_FILES,
    (ClientConfig, "allow_plaintext_credentials"): (None, 1, "yes"),
    (ClientConfig, "connect_timeout"): (0, *NOT_SECONDS),
    (ClientConfig, "retry"): (None, -1, True, 1.5, math.inf, "3", {}),
    (ClientConfig, "retry_delay"): NOT_SECONDS,
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_setting_has_wrong_values_listed_here(kind: type) -> None:
    """No setting goes unchecked; the jitter switch alone takes anything."""
    listed = {name for owner, name in WRONG if owner is kind}
    assert {field.name for field in fields(kind)} - listed <= {"jitter"}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for (kind, name), values in WRONG.items() for value in values],
    ids=lambda each: each.__name__ if isinstance(each, type) else str(each),
)
def test_a_wrong_value_is_refused_where_it_is_given(kind: type, name: str, value: Any) -> None:
    """A setting that cannot be is an error that names the setting, the value and the rule."""
    with pytest.raises(SettingsError) as caught:
        kind(**{name: value})
    error = caught.value
    assert isinstance(error, VeltixError)
    assert isinstance(error, ValueError)
    assert error.name == name
    shown = "" if name == "endpoints" and value == ("",) else value
    assert repr(error.value) == repr(shown)
    assert str(error) == f"{name} is {excerpt(shown)}: it must be {error.rule}"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Limits, "hello_size", 32),
        (Limits, "hello_size", 65535),
        (Limits, "protocol_errors", 1),
        (Timeouts, "request", 1),
        (RetryPolicy, "max_retries", 0),
        (RetryPolicy, "max_retries", None),
        (RetryPolicy, "initial_delay", 0),
        (RetryPolicy, "max_delay", 0),
        (RetryPolicy, "stable_after", 0),
        (RetryPolicy, "stable_after", math.inf),
        (RetryPolicy, "factor", 1),
        (ServerConfig, "port", 0),
        (ServerConfig, "port", 65535),
        (ServerConfig, "max_message_size", 128),
        (ServerConfig, "max_message_size", 2**32 - 1),
        (ServerConfig, "endpoints", ("tcp:1", object())),
        (ServerConfig, "max_connections", 1),
        (ServerConfig, "max_connections", -1),
        (ServerConfig, "buffer_size", 1),
        (ServerConfig, "buffer_size", BufferSize.HUGE),
        (ServerConfig, "max_workers", 1024),
        (ServerConfig, "performance_mode", PerformanceMode.AUTO),
        (ServerConfig, "socket_core", SocketCore.THREADING),
        (ClientConfig, "retry", 0),
        (ClientConfig, "retry", 10**9),
        (ClientConfig, "retry_delay", 0),
        (ClientConfig, "port", 1),
        (ClientConfig, "endpoint", "tcp:host=h:port=1"),
    ],
)
def test_the_edges_of_a_rule_are_allowed(kind: type, name: str, value: Any) -> None:
    """The last allowed value of each rule is allowed."""
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_settings_do_not_change(kind: type) -> None:
    """Settings are frozen, and two of the same values are equal."""
    made = kind()
    assert made == kind()
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(kind)[0].name, 1)


def test_the_defaults_are_upstreams_where_it_has_them() -> None:
    """Host, port, size limit, handshake timeout, workers are what an upstream user expects; a client does not retry."""
    server, client = ServerConfig(), ClientConfig()
    assert (server.host, server.port, client.server_addr, client.port) == ("0.0.0.0", 8080, "127.0.0.1", 8080)
    for config in (server, client):
        assert (config.wire, config.max_message_size, config.handshake_timeout) == ("auto", 10 * 1024 * 1024, 5.0)
        assert (config.max_workers, config.performance_mode) == (4, PerformanceMode.BALANCED)
    assert (client.retry, client.retry_delay) == (0, 1.0)
    assert [size.value for size in BufferSize] == [1024, 8192, 65536, 1048576]


def test_retry_as_a_number_is_a_constant_delay() -> None:
    """``retry`` and ``retry_delay`` are that many tries at that distance, without jitter; a policy is taken as it is."""
    policy = ClientConfig(retry=3, retry_delay=0.5).retry_policy
    assert policy.max_retries == 3
    assert {policy.delay(attempt, lambda: 0.25) for attempt in (1, 2, 3)} == {0.5}
    assert ClientConfig(retry=2, retry_delay=60).retry_policy.delay(2, lambda: 0.0) == 60
    given = RetryPolicy()
    assert ClientConfig(retry=given, retry_delay=7).retry_policy is given


def test_max_connection_is_another_name() -> None:
    """Upstream's ``max_connection`` sets ``max_connections``, and stays set when another setting is changed."""
    config = ServerConfig(max_connection=7)
    assert config.max_connections == config.max_connection == 7
    assert config == ServerConfig(max_connections=7)
    assert replace(config, max_connections=8).max_connections == 8
    assert replace(config, max_connection=8).max_connections == 8
    config = evolve(config, {"port": 1}, ServerConfig)
    assert config.max_connections == 7
    assert evolve(config, {"max_connection": -1}, ServerConfig).max_connections == -1
    assert evolve(config, {"max_connections": 9}, ServerConfig).max_connections == 9


def test_a_long_wrong_value_is_cut_in_the_message() -> None:
    """The sentence of a SettingsError stays short."""
    with pytest.raises(SettingsError) as caught:
        Limits(protocol_errors="9" * 10_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200


def test_delays_grow_to_the_longest() -> None:
    """Each wait is the factor times the last, up to max_delay."""
    policy = RetryPolicy(initial_delay=0.5, factor=2.0, max_delay=5.0, jitter=False)
    assert [policy.delay(attempt, lambda: 0.0) for attempt in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_factor_of_one_is_a_constant_delay() -> None:
    """Factor 1 does not grow."""
    policy = RetryPolicy(initial_delay=0.5, factor=1, jitter=False)
    assert {policy.delay(attempt, lambda: 0.0) for attempt in (1, 10, 10**6)} == {0.5}


def test_jitter_draws_from_zero_to_the_delay() -> None:
    """With jitter the wait is the delay times what the dice show."""
    policy = RetryPolicy(initial_delay=2.0, factor=3.0, max_delay=10.0)
    assert [policy.delay(2, lambda drawn=drawn: drawn) for drawn in (0.0, 0.25, 1.0)] == [0.0, 1.5, 6.0]  # type: ignore[misc]


@pytest.mark.parametrize(("factor", "attempt"), [(2.0, 100_000), (2, 100_000), (1000, 10**9)], ids=str)
def test_a_delay_that_overflows_is_the_longest(factor: float, attempt: int) -> None:
    """However many tries there have been, the wait is a number: the longest one."""
    policy = RetryPolicy(factor=factor, max_delay=7.0, jitter=False)
    assert policy.delay(attempt, lambda: 0.0) == 7.0


def test_no_first_delay_is_no_delay_ever() -> None:
    """Nothing grows from zero, however many tries there have been."""
    policy = RetryPolicy(initial_delay=0, max_delay=30, jitter=False)
    assert [policy.delay(attempt, lambda: 0.0) for attempt in (1, 5000)] == [0.0, 0.0]


def test_a_first_delay_longer_than_the_longest_is_cut() -> None:
    """max_delay holds for the first try as well."""
    assert RetryPolicy(initial_delay=9.0, max_delay=1.0, jitter=False).delay(1, lambda: 0.0) == 1.0


# Addresses.


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", None),
        ("localhost:8080", "localhost", 8080),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("::1", "::1", None),
        ("::", "::", None),
        ("[::1]", "::1", None),
        ("[::]:8080", "::", 8080),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("fe80::1%eth0", "fe80::1%eth0", None),
    ],
)
def test_an_address_has_a_host_and_maybe_a_port(text: str, host: str, port: int | None) -> None:
    """A host, with a port behind it or not; an IPv6 address with a port stands in brackets."""
    assert split_address("server_addr", text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", None, 5, b"localhost", ":8080", "localhost:", "localhost:x", "localhost:-1", "localhost:\u0661", "localhost:80 "),
        *("localhost:80:81", "http://localhost", "tcp:localhost:80", "[::1", "[::1]:", "[::1]80", "[localhost]:80", "[]:80"),
        *("localhost:" + "9" * 5000, "8080", "8080:80"),
    ],
)
def test_what_is_no_address_is_refused(text: Any) -> None:
    """Anything else is an error of the setting, which shows what one looks like."""
    with pytest.raises(SettingsError) as caught:
        split_address("server_addr", text)
    assert caught.value.name == "server_addr"


@pytest.mark.parametrize(("kind", "name"), [(ServerConfig, "host"), (ClientConfig, "server_addr")])
def test_a_configs_host_has_no_port(kind: Any, name: str) -> None:
    """In a config the port is a setting of its own; brackets are left off."""
    with pytest.raises(SettingsError, match=f"{name} is 'h:81': it must be a name or an address alone: .* port=81"):
        kind(**{name: "h:81"})
    assert getattr(kind(**{name: "[::1]"}), name) == "::1"


DOORS = [(Server, "host"), (Client, "server_addr")]


@pytest.mark.parametrize(("door", "name"), DOORS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("127.0.0.1", 81), ("127.0.0.1", 81)),
        (("127.0.0.1:81",), ("127.0.0.1", 81)),
        (("127.0.0.1:81", 81), ("127.0.0.1", 81)),
        (("[::1]:81",), ("::1", 81)),
        (("[::1]", 81), ("::1", 81)),
        (("::1", 81), ("::1", 81)),
        (("localhost",), ("localhost", 8080)),
    ],
)
def test_servers_and_clients_take_the_same_addresses(door: Any, name: str, arguments: Any, expected: Any) -> None:
    """``HOST, PORT`` and ``"HOST:PORT"`` are the same for both."""
    config = door(*arguments, types=MessageRegistry()).config
    assert (getattr(config, name), config.port) == expected


@pytest.mark.parametrize(("door", "name"), DOORS)
def test_two_answers_to_one_question_are_refused(door: Any, name: str) -> None:
    """A port or a host that is given twice, differently, is an error that names both."""
    with pytest.raises(SettingsError, match="port is 82: it must be left out, or 81 as in 'h:81'"):
        door("h:81", 82)
    with pytest.raises(SettingsError, match=f"{name} is 'other': it must be left out, or h as in 'h'"):
        door("h", 81, **{name: "other"})
    with pytest.raises(SettingsError, match="such as 127"):
        door("h:eighty")
    with pytest.raises(SettingsError, match="port is 65536"):
        door("h:65536")


@pytest.mark.parametrize("kind", [(ServerConfig, "host"), (ClientConfig, "server_addr")], ids=lambda kind: kind[1])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("[::1]", "::1"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("::1", "::1"),
        ("localhost.", "localhost."),
        ("b\xfccher.example", "b\xfccher.example"),
        ("my_host-1", "my_host-1"),
    ],
)
def test_a_host_is_taken_as_people_write_it(kind: Any, given: str, kept: str) -> None:
    """An IPv6 address may stand in brackets, as it does before a port; a name is kept as it is."""
    config = kind[0](**{kind[1]: given})
    assert getattr(config, kind[1]) == kept
    assert replace(config, wire="3.3.0") == kind[0](**{kind[1]: kept, "wire": "3.3.0"})
