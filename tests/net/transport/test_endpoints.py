"""Endpoints from their descriptions: what is wrong with one is said in words of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from veltix_tx.errors import SettingsError
from veltix_tx.net.clock import Clocks
from veltix_tx.net.transport.endpoints import ListenSpec, TlsFiles, listen_specs, open_client_endpoint, open_endpoint
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.registry import find_wire


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("tcp", "tcp needs a port: tcp:8080"),
        ("tcp:", "tcp needs a port: tcp:8080"),
        ("1.9.0@tcp", "tcp needs a port: tcp:8080"),
        ("tcp:interface=127.0.0.1", "tcp needs a port: tcp:8080"),
        ("tcp6", "tcp6 needs a port: tcp6:8080"),
        ("tls", "tls needs a port and a certificate: tls:8443:cert=FILE"),
        ("tls:", "tls needs a port and a certificate: tls:8443:cert=FILE"),
        ("ssl", "ssl needs a port, a key and a certificate: ssl:8443:privateKey=FILE:certKey=FILE"),
        ("unix", "unix needs a path: unix:veltix.sock"),
        ("unix:", "unix needs a path: unix:veltix.sock"),
        ("systemd", "systemd needs a domain and an index or a name: systemd:domain=INET:index=0"),
        ("systemd:domain=INET:index=0", "systemd has no such one: "),
        ("haproxy", "haproxy needs an endpoint behind it: haproxy:tcp:8080"),
        ("tcp:http", "'http' is no whole number"),
        ("tcp:8080:backlog=many", "'many' is no whole number"),
        ("tcp:65536", "65536 is no port: they are from 0 to 65535"),
        ("tls:65536:cert=c", "65536 is no port: they are from 0 to 65535"),
        ("tcp:port=65536", "65536 is no port: they are from 0 to 65535"),
        ("tcp:8080:interfac=127.0.0.1", "tcp has no interfac="),
        ("tls:8443:cert=c:colour=red", "tls has no colour="),
        ("tcp:8080:::1:5", "it has too many parts for tcp: a colon in one is written "),
        ("lines@udp", "udp needs a port: udp:8080"),
        ("lines@udp:", "udp needs a port: udp:8080"),
        ("lines@udp6:interface=127.0.0.1", "udp6 needs a port: udp6:8080"),
        ("lines@udp:syslog", "'syslog' is no whole number"),
        ("lines@udp:65536", "65536 is no port: they are from 0 to 65535"),
        ("lines@udp:8080:backlog=5", "udp has no backlog="),
        ("lines@udp:8080:interface=localhost", "'localhost' is no address of an interface"),
        ("lines@udp:8080:::1:1", "it has too many parts for udp: a colon in one is written "),
        ("8080", "'8080' is none of tcp, tcp6, tls, ssl, unix, systemd, haproxy, udp, udp6, nor of a plugin; a port is tcp:8080"),
        ("nonsense:1", "'nonsense' is none of tcp, tcp6, tls, ssl, unix, systemd, haproxy, udp, udp6, nor of a plugin"),
    ],
)
def test_what_a_server_endpoint_lacks_is_said(description: str, said: str) -> None:
    """The error quotes the description as it was given, and says what is missing, unknown or no number in it."""
    (place,) = listen_specs(ServerConfig(endpoints=(description,)))
    with pytest.raises(SettingsError) as caught:
        open_endpoint(Clocks(MemoryReactorClock()), place)
    assert (caught.value.name, caught.value.value) == ("endpoint", description)
    assert caught.value.rule.startswith(f"a Twisted server endpoint ({said}")


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("tcp", "tcp needs a host and a port: tcp:127.0.0.1:8080"),
        ("tcp:8080", "tcp needs a host and a port: tcp:127.0.0.1:8080"),
        ("tcp:host=localhost", "tcp needs a host and a port: tcp:127.0.0.1:8080"),
        ("tls:localhost", "tls needs a host and a port: tls:localhost:8443"),
        ("ssl:localhost", "ssl needs a host and a port: ssl:localhost:8443"),
        ("unix:", "unix needs a path: unix:veltix.sock"),
        ("tcp:localhost:http", "'http' is no whole number"),
        ("tcp:localhost:1:colour=red", "tcp has no colour="),
        ("tls:localhost:http", "'http' is no whole number"),
        ("tls:localhost:1:colour=red", "tls has no colour="),
        ("tls:localhost:1:trustRoots=absent", "[Errno 2] No such file or directory: 'absent'"),
        ("udp", "udp needs a host and a port: udp:127.0.0.1:8080"),
        ("udp:8080", "udp needs a host and a port: udp:127.0.0.1:8080"),
        ("udp:localhost:syslog", "'syslog' is no whole number"),
        ("udp:localhost:0", "0 is no port: they are from 1 to 65535"),
        ("udp:localhost:1:timeout=5", "udp has no timeout="),
        ("localhost:8080", "'localhost' is none of tcp, tls, ssl, unix, udp, nor of a plugin"),
    ],
)
def test_what_a_client_endpoint_lacks_is_said(description: str, said: str) -> None:
    """A client's endpoint likewise."""
    with pytest.raises(SettingsError) as caught:
        open_client_endpoint(Clocks(MemoryReactorClock()), description)
    assert (caught.value.name, caught.value.value) == ("endpoint", description)
    assert caught.value.rule.startswith(f"a Twisted client endpoint ({said}")


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("tls:8443", ListenSpec("auto", "tcp:8443:backlog=1024", TlsFiles("own.pem", None, None))),
        ("1.6.3@tls:1:cert=c", ListenSpec("1.6.3", "tcp:1:backlog=1024", TlsFiles("c", None, None))),
        (
            r"tls:1:interface=\:\:1:cert=C\:\\c\=1.pem:backlog=5:key=k:client_ca=a",
            ListenSpec("auto", r"tcp:1:interface=\:\:1:backlog=5", TlsFiles(r"C:\c=1.pem", "k", "a")),
        ),
        ("tls:folder:port=1", ListenSpec("auto", "tls:folder:port=1", None)),
        ("ssl:1:privateKey=k", ListenSpec("auto", "ssl:1:privateKey=k", None)),
        ("tcp:1", ListenSpec("auto", "tcp:1:backlog=1024", None)),
        (r"tcp6:1:interface=\:\:1", ListenSpec("auto", r"tcp6:1:interface=\:\:1:backlog=1024", None)),
        ("tcp:1:backlog=7", ListenSpec("auto", "tcp:1:backlog=7", None)),
        ("tcp:1:localhost:7", ListenSpec("auto", "tcp:1:localhost:7", None)),
        ("tcp:1::7", ListenSpec("auto", "tcp:1::7", None)),
        ("unix:1", ListenSpec("auto", "unix:1", None)),
        (r"lines@udp:1:interface=\:\:1", ListenSpec("lines", r"udp:1:interface=\:\:1", None)),
        ("raw@udp6:1", ListenSpec("raw", "udp6:1", None)),
    ],
)
def test_where_a_description_leads(endpoint: str, place: ListenSpec) -> None:
    """``tls:`` and a port is TCP with the files it names, or with tls_cert; others are Twisted's; TCP waits for many."""
    assert listen_specs(ServerConfig(endpoints=(endpoint, "tls:1"), tls_cert="own.pem"))[0][:3] == (
        find_wire(place[0]),
        *place[1:3],
    )
    assert place.encrypted == ("tls" in endpoint or "ssl" in endpoint)


@pytest.mark.parametrize(
    ("description", "connects"),
    [
        ("tls:127.0.0.1:8443", ("127.0.0.1", 8443, 30, None)),
        ("tls:host=127.0.0.1:port=8443:timeout=7:bindAddress=127.0.0.2", ("127.0.0.1", 8443, 7, ("127.0.0.2", 0))),
        (r"tls:\:\:1:8443", ("::1", 8443, 30, None)),
        (r"tls:elsewhere:1:endpoint=tcp\:127.0.0.1\:8080\:timeout=9", ("127.0.0.1", 8080, 9, None)),
    ],
)
def test_a_clients_tls_endpoint_uses_its_own_reactor(description: str, connects: tuple[object, ...]) -> None:
    """A ``tls:`` description means what it means to Twisted, and all of it happens on the reactor that was given."""
    reactor = MemoryReactorClock()
    factory = Factory.forProtocol(Protocol)
    open_client_endpoint(Clocks(reactor), description).connect(factory)
    ((host, port, wrapped, timeout, address),) = reactor.tcpClients
    assert (host, port, timeout, address) == connects
    assert wrapped._wrappedFactory._clock is reactor


def test_a_server_with_twisteds_own_tls_uses_its_own_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint ``tls:FOLDER`` of Twisted's (26.4 and later) would take the time from the global reactor."""
    made = SimpleNamespace(clock=None)
    monkeypatch.setattr("twisted.internet.endpoints.serverFromString", lambda reactor, description: made)
    reactor = MemoryReactorClock()
    (place,) = listen_specs(ServerConfig(endpoints=("tls:folder:port=1",)))
    assert open_endpoint(Clocks(reactor), place) is made
    assert made.clock is reactor
