"""TLS and signals of real processes: twistd with certificates, SIGHUP, a second SIGTERM, the ``veltix`` command over TLS."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority, Files
from veltix_tx import Client, MessageRegistry, MessageType, SessionClosed

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

HERE = ("--port", "0", "--interface", "127.0.0.1")


@pytest.fixture
def files(authority: Authority) -> Files:
    """Return a server's certificate for 127.0.0.1."""
    return authority.issue("server", "127.0.0.1")


async def connected(port: int, authority: Authority, **settings: Any) -> Client:
    """Return a connected client that trusts the authority."""
    client = Client("127.0.0.1", port, tls=True, tls_ca=authority.ca, types=TYPES, **settings)
    await client.connect()
    return client


def certificate_of(client: Client) -> str:
    """Return the name in the certificate that a client was shown."""
    transport: Any = client.session._transport.transport  # type: ignore[union-attr]
    return str(transport.getPeerCertificate().to_cryptography().subject.rfc4514_string())


# Certificates.


async def test_sighup_reads_the_certificate_again(twistd: Any, authority: Authority, files: Files) -> None:
    """After SIGHUP new connections get the new certificate and a live one goes on; a broken file keeps the last good one."""
    process = twistd(*HERE, "--tls-cert", str(files.cert), "--tls-key", str(files.key))
    port = await process.port()
    assert b"over TLS on 127.0.0.1" in process.out
    live = await connected(port, authority)
    renewed = authority.issue("renewed", "127.0.0.1")
    files.cert.write_bytes(renewed.cert.read_bytes())
    files.key.write_bytes(renewed.key.read_bytes())
    process.signal(signal.SIGHUP)
    await process.says(rb"SIGHUP: the configuration was read again, and 1 TLS certificates")
    second = await connected(port, authority)
    assert (certificate_of(live), certificate_of(second)) == ("CN=server", "CN=renewed")
    files.key.write_bytes(b"broken")
    process.signal(signal.SIGHUP)
    found = await process.says(rb"SIGHUP: the TLS certificates stay as they were.*")
    assert b"--tls-key" in found.group()
    assert b"a PEM file with a private key" in found.group()
    third = await connected(port, authority)
    assert certificate_of(third) == "CN=renewed"
    for client in (live, second, third):
        assert (await client.send_and_wait(CHAT, b"still here")).content == b"still here"
        await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_sighup_without_tls_changes_nothing(twistd: Any) -> None:
    """Without certificates SIGHUP is a line in the log; connections and the process go on."""
    process = twistd(*HERE)
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    process.signal(signal.SIGHUP)
    await process.says(rb"SIGHUP: the configuration was read again")
    assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
    await client.disconnect()


async def test_mutual_tls_and_endpoints(twistd: Any, authority: Authority, files: Files) -> None:
    """--tls-client-ca asks for a certificate; --listen tls: and --tls-cert go together, and each place says what it is."""
    own = authority.issue("client", client=True)
    given = ("--tls-cert", str(files.both), "--tls-client-ca", str(authority.ca))
    process = twistd("--listen", "3.3.0@tls:0:interface=127.0.0.1", *given)
    port = int((await process.says(rb"speaks Veltix 3\.3\.0 over TLS on 127\.0\.0\.1:(\d+)")).group(1))
    client = await connected(port, authority, tls_cert=own.both)
    assert (await client.send_and_wait(CHAT, b"in")).content == b"in"
    await client.disconnect()
    with pytest.raises(Exception, match="the server asks for a client's certificate"):
        await connected(port, authority)
    await process.says(rb"the client shows no certificate, and tls_client_ca asks for one")


@pytest.mark.parametrize("tls", [False, True])
async def test_who_can_connect_is_said(tls: bool, twistd: Any, authority: Authority, files: Files) -> None:
    """That anyone can connect without TLS is said of a port that other machines reach, and not of one with TLS."""
    process = twistd("--port", "0", "--interface", "0.0.0.0", *(["--tls-cert", str(files.both)] if tls else []))
    port = int((await process.says(rb"speaks .* on 0\.0\.0\.0:(\d+)")).group(1))
    client = Client("127.0.0.1", port, types=TYPES, **({"tls": True, "tls_ca": authority.ca} if tls else {}))
    await client.connect()
    await client.disconnect()
    assert (b"neither TLS nor authentication" in process.out) != tls


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-cert", "absent.pem"), "--tls-cert absent.pem: it must be a file that can be read (No such file or directory)"),
        (("--tls-cert", "{cert}", "--tls-key", "{other}"), "it must be a key and a certificate that go together"),
        (("--tls-key", "{key}"), "--tls-cert: it must be given where --tls-key is"),
        (("--tls-cert", "{cert}"), "it must be a PEM file with the private key, too, or --tls-key given"),
        (("--listen", "tls:0"), "--listen tls:0: it must be one with cert=FILE in it, or --tls-cert given"),
        (("--listen", "tcp:0", "--tls-cert", "{both}"), "it must be left out, or used by an endpoint tls:PORT"),
        (
            ("--listen", "tls:0:cert=absent.pem"),
            "--listen tls:0:cert=absent.pem: it must be one whose cert=absent.pem is a file that can be read",
        ),
        (
            ("--listen", "tls:0", "--listen", "1.9.0@tls:0:cert={both}:key={other}", "--tls-cert", "{both}"),
            "--listen 1.9.0@tls:0:cert=",
        ),
    ],
)
def test_a_mistake_is_one_line(
    options: tuple[str, ...], said: str, run: Any, scripts: str, authority: Authority, files: Files
) -> None:
    """A file that cannot be used ends twistd with status 1 and one line on stderr with the option, the file and what it must be."""
    names = {**files._asdict(), "other": authority.issue("other").key}
    words = [word.format(**names) for word in options]
    here = () if "--listen" in words else ("--interface", "127.0.0.1")
    ended = run(os.path.join(scripts, "twistd"), "-n", "--pidfile=", "veltix", *here, *words)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.strip()]
    assert line.startswith("twistd veltix: ")
    assert said in line


WITHOUT = """
import sys

for name in ("OpenSSL", "service_identity"):
    sys.modules[name] = None
"""


def test_without_the_packages_for_tls(run: Any, scripts: str, tmp_path: Path, files: Files) -> None:
    """All but TLS works where its packages are not installed, and who asks for TLS is told how to install them."""
    (tmp_path / "hidden.py").write_text(
        WITHOUT + "import veltix_tx, veltix_tx.cli, veltix_tx.tap\n[getattr(veltix_tx, name) for name in veltix_tx.__all__]\n"
        "for made in (veltix_tx.Server(port=0, tls_cert='x').listen, veltix_tx.Client(tls=True).connect):\n"
        "    try:\n        made()\n    except veltix_tx.SettingsError as error:\n        print(error)\n"
    )
    ended = run(sys.executable, "hidden.py")
    assert ended.returncode == 0, ended.stderr
    remedy = "it must be left out, or TLS installed: pip install 'veltix-tx[tls]'"
    assert ended.stdout.splitlines() == [f"tls_cert is 'x': {remedy}", f"tls is True: {remedy}"]
    (tmp_path / "own_app.py").write_text(WITHOUT + "from veltix_tx.app.applications import Echo as thing\n")
    twistd = os.path.join(scripts, "twistd")
    ended = run(twistd, "-n", "--pidfile=", "veltix", *HERE, "--app", "own_app:thing", "--tls-cert", str(files.both))
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.strip()]
    assert line == f"twistd veltix: --tls-cert {files.both}: {remedy}"


# The command.


async def test_the_command_speaks_tls(twistd: Any, spawn: Any, scripts: str, authority: Authority, files: Files) -> None:
    """``veltix`` verifies the server, shows its own certificate, takes a name, and tells in one line why it is not let in."""
    own = authority.issue("client", client=True)
    process = twistd(*HERE, "--tls-cert", str(files.both), "--tls-client-ca", str(authority.ca))
    port = await process.port()
    veltix, trust = os.path.join(scripts, "veltix"), ("--tls-ca", str(authority.ca))
    shown = ("--tls-cert", str(own.cert), "--tls-key", str(own.key))
    sent = spawn(veltix, "send", "--wait", f"127.0.0.1:{port}", "200", "hello", "--tls", *trust, *shown)
    assert await sent.exited == 0, sent.err
    assert sent.out == b"hello\n"
    by_name = spawn(veltix, "ping", "-c", "1", f"localhost:{port}", "--tls-name", "127.0.0.1", *trust, *shown)
    assert await by_name.exited == 0, by_name.err
    for options, said in (
        (("--tls",), b"is not trusted here: give the issuer's certificate as --tls-ca"),
        (trust, b"the server asks for a client's certificate, and got none it takes: give one with --tls-cert"),
        (
            ("--tls-name", "elsewhere", *trust, *shown),
            b"it is not for elsewhere: connect by a name that it has, or give that as --tls-name",
        ),
    ):
        refused = spawn(veltix, "ping", f"127.0.0.1:{port}", *options)
        assert await refused.exited == 1
        (line,) = refused.err.splitlines()
        assert line.startswith(b"veltix: ")
        assert said in line


# Signals.

SLOW = """
import time
from twisted.internet import reactor
from twisted.internet.task import deferLater
from veltix_tx import MessageRegistry, MessageType, Server

TYPES = MessageRegistry()
server = Server(types=TYPES)


@server.route(MessageType(200, "chat", registry=TYPES))
async def slow(client, message):
    print("handling", flush=True)
    await deferLater(reactor, 8, lambda: None)
    return b"done"


@server.route(MessageType(201, "thread", registry=TYPES), thread=True)
def in_a_thread(client, message):
    print("handling", flush=True)
    time.sleep(20)


@server.route(MessageType(202, "stuck", registry=TYPES))
def stuck(client, message):
    print("handling", flush=True)
    time.sleep(20)
"""


@pytest.mark.parametrize("tls", [False, True])
async def test_one_signal_drains_for_as_long_as_it_takes(
    tls: bool, twistd: Any, tmp_path: Path, authority: Authority, files: Files
) -> None:
    """After SIGTERM a handler that takes 8 s ends and its reply arrives, while SIGHUP does no harm; the status is the signal's."""
    (tmp_path / "slow_app.py").write_text(SLOW)
    process = twistd(*HERE, "--app", "slow_app:server", *(["--tls-cert", str(files.both)] if tls else []))
    port = await process.port()
    client = Client("127.0.0.1", port, types=TYPES, **({"tls": True, "tls_ca": authority.ca} if tls else {}))
    await client.connect()
    reply = client.send_and_wait(CHAT, b"?", timeout=20)
    await process.says(rb"handling")
    process.signal(signal.SIGTERM)
    await process.says(rb"Received SIGTERM")
    process.signal(signal.SIGHUP)
    assert (await reply).content == b"done"
    assert await process.exited == -signal.SIGTERM
    assert b"Traceback" not in process.out + process.err
    await client.disconnect()


@pytest.mark.parametrize("code", [200, 201, 202])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(code: int, second: int, twistd: Any, tmp_path: Path) -> None:
    """A second signal cuts off what drains, were it a handler that blocks a thread or the reactor; the client knows at once."""
    (tmp_path / "slow_app.py").write_text(SLOW)
    process = twistd(*HERE, "--app", "slow_app:server")
    types = MessageRegistry()
    client = Client("127.0.0.1", await process.port(), types=types)
    await client.connect()
    reply = client.send_and_wait(MessageType(code, "slow", registry=types), b"?", timeout=20)
    await process.says(rb"handling")
    process.signal(signal.SIGTERM)
    await process.says(rb"Received SIGTERM")
    begun = time.monotonic()
    process.signal(second)
    with pytest.raises(SessionClosed):
        await reply
    assert await process.exited in (-signal.SIGTERM, -second)
    assert time.monotonic() - begun < 5
    assert b"Traceback" not in process.out + process.err
