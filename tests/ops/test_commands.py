"""An operator's commands against a real administration."""

from __future__ import annotations

import json
import shlex
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support.authority import DAY
from tests.support.ports import free_port
from veltix_tx import Client, MessageRegistry, MessageType, RemoteError, Server, ServerConfig, TokenFile
from veltix_tx.app.auth import new_token, token_line
from veltix_tx.cli import STATUSES, _veltix
from veltix_tx.ops.admin_listener import AdminListener, admin_place
from veltix_tx.ops.administration import Administration
from veltix_tx.ops.doctor import Finding, compare_clocks, examine
from veltix_tx.ops.log_levels import LogLevels

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

Veltix = Callable[..., Awaitable[Result]]


@pytest.fixture
def veltix() -> Veltix:
    """Run the command in a thread; return how it ended."""
    return lambda *arguments: deferToThread(CliRunner().invoke, _veltix, arguments)


class Served:
    """A server with an administration, on real ports."""

    def __init__(self, endpoint: str, tokens: TokenFile | None = None) -> None:
        self.server = Server("127.0.0.1", port=0, types=TYPES)
        self.server.route(CHAT)(lambda client, message: message.content)
        self.administration = Administration(self.server, tokens=tokens, levels=LogLevels("info", {"veltix_tx.net": "warn"}))
        clocks = self.server._clocks
        place = admin_place(endpoint, ServerConfig(), clocks, has_tokens=tokens is not None, plaintext=True)
        self.administration.listener = AdminListener(place, self.administration.resource, clocks)
        self.server.startService()
        self.administration.startService()

    @property
    def where(self) -> str:
        """Where the administration is."""
        address: Any = self.administration.listener.address  # type: ignore[union-attr]
        return f"127.0.0.1:{address.port}"

    async def stop(self) -> None:
        """Stop it all."""
        await self.server.stopService()
        await self.administration.stopService()


@pytest.fixture
def served(clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Callable[..., Served]]:
    """Serve."""
    from twisted.internet.defer import Deferred

    running: list[Served] = []

    def serve(endpoint: str = "tcp:0", tokens: TokenFile | None = None) -> Served:
        running.append(Served(endpoint, tokens))
        return running[-1]

    yield serve
    for each in running:
        finish(Deferred.fromCoroutine(each.stop()))


async def test_a_session_is_found_shown_and_kicked(served: Callable[..., Served], veltix: Veltix) -> None:
    """Sessions lists, show shows, kick disconnects, events tells who did that; both as tables and as JSON."""
    here = served()
    client = Client("127.0.0.1", here.server.port, types=TYPES)
    session = await client.connect()
    (peer,) = here.server.clients
    listed = await veltix("sessions", here.where, "--search", peer.id)
    assert listed.exit_code == 0, listed.output
    assert listed.output.splitlines()[1].startswith(f"{peer.id}  127.0.0.1:")
    assert listed.output.splitlines()[-1] == "1 of 1 sessions"
    shown = json.loads((await veltix("show", here.where, peer.id, "-o", "json")).output)
    assert (shown["id"], shown["state"], shown["events"]) == (peer.id, "open", [])
    kicked = await veltix("kick", here.where, peer.id, "-o", "json")
    assert json.loads(kicked.output) == [{"closing": peer.id}]
    await session.when_closed()
    await peer.when_closed()
    told = await veltix("events", here.where, "--search", peer.id)
    assert f"disconnects <Session {peer.id}" in told.output
    again = await veltix("kick", here.where, peer.id)
    assert (again.exit_code, again.output) == (1, f"veltix: {here.where}: there is no open session with this id\n")


async def test_a_slow_session_is_listed_with_its_reason(served: Callable[..., Served], veltix: Veltix) -> None:
    """Sessions of a state are selected, and those that are slow have a column that says why."""
    here = served()
    clients = [Client("127.0.0.1", here.server.port, types=TYPES) for _ in range(2)]
    for client in clients:
        await client.connect()
    peer = here.server.clients[0]
    assert "why" not in (await veltix("sessions", here.where)).output
    peer._flow.pause("handlers busy")
    head, line, said = (await veltix("sessions", here.where, "--state", "slow")).output.splitlines()
    assert (head.split()[-1], line.split()[0], said) == ("why", peer.id, "1 of 1 sessions")
    assert line.endswith("  nothing is read from it (handlers busy)")
    assert line.index("nothing") == head.index("why")
    peer._flow.resume("handlers busy")
    for client in clients:
        await client.disconnect()


async def test_numbers_are_shown(served: Callable[..., Served], veltix: Veltix) -> None:
    """Stats shows the server, its listeners, limits and counters; top looks as often as it is told, with what went through."""
    here = served()
    client = Client("127.0.0.1", here.server.port, types=TYPES)
    await client.connect()
    stats = json.loads((await veltix("stats", here.where, "-o", "json")).output)
    assert stats["server"]["counters"]["ready"] == 1
    assert stats["limits"]["in_use"]["max_connections"]["used"] == 1
    table = (await veltix("stats", here.where)).output
    assert all(word in table for word in ("uptime", "listener", "max_connections", "accepted"))
    top = (await veltix("top", here.where, "--count", "2", "--interval", "0.2", "--sort=-queued")).output
    assert top.count("1 of 1 sessions") == 2
    assert "messages/s in" in top
    assert "KiB/s in" in top
    assert "0.0 failures/s, 0 handlers failed" in top
    looks = (await veltix("top", here.where, "--count", "2", "--interval", "0.2", "-o", "json")).output
    assert [json.loads(line)["total"] for line in looks.splitlines()] == [1, 1]
    await client.disconnect()


async def test_routes_and_methods_are_listed(served: Callable[..., Served], veltix: Veltix, logged_failures: Any) -> None:
    """Routes shows what came for each route and method, how often it failed and its mean time; top tells the failures."""
    here = served()

    @here.server.rpc
    def divide(a: int, b: int) -> float:
        return a / b

    client = Client("127.0.0.1", here.server.port, types=TYPES)
    session = await client.connect()
    with pytest.raises(RemoteError):
        await session.call("divide", 1, 0)
    await session.send_and_wait(CHAT, b"hello")
    shown = (await veltix("routes", here.where)).output.splitlines()
    head, *rows = (line.split() for line in shown)
    assert head == ["kind", "name", "received", "failed", "timed", "mean_ms"]
    assert [row[:4] for row in rows] == [["route", "chat", "1", "0"], ["method", "divide", "-", "1"]]
    found = json.loads((await veltix("routes", here.where, "--search", "div", "-o", "json")).output)
    assert ([each["name"] for each in found["methods"]], found["routes"]) == (["divide"], [])
    assert "1 handlers failed" in (await veltix("top", here.where, "--count", "1")).output
    assert (await veltix("routes", here.where, "--search", "nothing")).output == "no routes and no methods\n"
    logged_failures.flush(ZeroDivisionError)
    await client.disconnect()


async def test_the_frames_of_a_session_are_traced(served: Callable[..., Served], veltix: Veltix) -> None:
    """Trace shows a session's frames as they come and go, until its seconds are over or the session is."""
    here = served()
    client = Client("127.0.0.1", here.server.port, types=TYPES)
    session = await client.connect()
    (peer,) = here.server.clients
    tracing = veltix("trace", here.where, peer.id, "--seconds", "30", "--contents", "-o", "json")
    while (await deferToThread(_trace_of, here, peer.id)) is None:
        await deferLater(here.server.reactor, 0.02)
    await session.send_and_wait(CHAT, b"hello")
    await client.disconnect()
    ended = await tracing
    assert ended.exit_code == 0, ended.output
    rows = [json.loads(line) for line in ended.output.splitlines()]
    assert [(row["direction"], row["name"], row["content"]) for row in rows] == [("in", "chat", "hello"), ("out", "chat", "hello")]
    shown = await veltix("trace", here.where, peer.id)
    assert (shown.exit_code, shown.output) == (1, f"veltix: {here.where}: there is no open session with this id\n")


def _trace_of(here: Served, session_id: str) -> Any:
    return here.administration._api._traces.find(session_id)


async def test_log_levels_are_shown_and_set(served: Callable[..., Served], veltix: Veltix) -> None:
    """Log-level shows the levels, sets that of a namespace, or of all others, and says what a level must be."""
    here = served()
    shown = await veltix("log-level", here.where)
    assert [line.split() for line in shown.output.splitlines()[1:]] == [["(all", "others)", "info"], ["veltix_tx.net", "warn"]]
    await veltix("log-level", here.where, "veltix_tx.app", "error")
    levels = json.loads((await veltix("log-level", here.where, "debug", "-o", "json")).output)
    assert levels == {"": "debug", "veltix_tx.net": "warn", "veltix_tx.app": "error"}
    wrong = await veltix("log-level", here.where, "loud")
    assert (wrong.exit_code, "level must be one of" in wrong.output) == (1, True)


async def test_nodes_rooms_and_members_are_asked_of_an_administration(served: Callable[..., Served], veltix: Veltix) -> None:
    """Nodes, rooms and members ask an administration as they ask a backplane."""
    here = served()
    client = Client("127.0.0.1", here.server.port, types=TYPES)
    await client.connect()
    (peer,) = here.server.clients
    await here.server.room("lobby").join(peer, state={"name": "ann"})
    (node,) = json.loads((await veltix("nodes", here.where, "-o", "json")).output)
    assert node["node"] == here.server.backplane.node_id
    assert (await veltix("rooms", here.where, "lo*")).output == "lobby  1\n"
    assert (await veltix("rooms", here.where, "game:*")).output == "no rooms with members\n"
    (member,) = json.loads((await veltix("members", here.where, "lobby", "-o", "json")).output)
    assert (member["id"], member["state"]) == (peer.id, {"name": "ann"})
    await client.disconnect()


async def test_a_token_is_presented(served: Callable[..., Served], veltix: Veltix, tmp_path: Path) -> None:
    """--token-file presents its token; without it the remedy is told; it goes nowhere else in the open unless allowed."""
    token = new_token()
    (tmp_path / "ops.token").write_text(token + "\n")
    (tmp_path / "operators.txt").write_text(token_line("ann", token) + "\n")
    here = served(tokens=TokenFile(tmp_path / "operators.txt"))
    refused = await veltix("stats", here.where)
    assert refused.exit_code == 1
    assert refused.output.endswith("(give --token-file)\n")
    assert (await veltix("stats", here.where, "--token-file", str(tmp_path / "ops.token"))).exit_code == 0
    (tmp_path / "wrong.token").write_text(new_token())
    wrong = await veltix("stats", here.where, "--token-file", str(tmp_path / "wrong.token"))
    assert (wrong.exit_code, wrong.output) == (1, f"veltix: {here.where}: the token is not known\n")
    open_way = await veltix("stats", "192.0.2.1:9100", "--token-file", str(tmp_path / "ops.token"))
    assert (open_way.exit_code, "give --tls, or --allow-plaintext" in open_way.output) == (1, True)
    assert token not in refused.output + open_way.output


async def test_a_unix_socket_is_asked(served: Callable[..., Served], veltix: Veltix, tmp_path: Path) -> None:
    """An administration on a UNIX socket is reached by its path."""
    served(f"unix:{tmp_path / 'admin'}")
    assert (await veltix("sessions", f"unix:{tmp_path / 'admin'}")).output == "0 of 0 sessions\n"


async def test_what_is_no_administration_is_told_in_one_line(served: Callable[..., Served], veltix: Veltix) -> None:
    """The message port, a port where nothing listens, and what is no address end in one line that says what to look for."""
    here = served()
    for where, status in ((f"127.0.0.1:{here.server.port}", 1), (f"127.0.0.1:{free_port()}", 1), ("nonsense", 1)):
        ended = await veltix("stats", where, "--timeout", "2")
        assert (ended.exit_code, ended.output.count("\n")) == (status, 1), ended.output
        assert "administration" in ended.output
    plain = await veltix("stats", here.where, "--tls", "--timeout", "0.5")
    assert (plain.exit_code, plain.output.count("\n"), "leave out --tls" in plain.output) == (1, 1, True)
    assert (await veltix("show", here.where, "../server")).exit_code == 2


def _all_commands(group: click.Group, name: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for word, each in group.commands.items():
        found |= _all_commands(each, f"{name}{word} ") if isinstance(each, click.Group) else {f"{name}{word}": each}
    return found


ALL = {name: each for name, each in _all_commands(_veltix).items() if name != "bench"}  # which has a help of its own


@pytest.mark.parametrize("name", ALL)
def test_each_help_has_two_examples_and_the_exit_statuses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--help of each command has two lines to type, which it understands as they are, and the one table of exit statuses."""
    monkeypatch.chdir(tmp_path)
    for file in ("stream.bin", "ops.token", "veltix.toml"):
        (tmp_path / file).write_bytes(b"")

    shown = CliRunner().invoke(_veltix, [*name.split(), "--help"]).output

    lines = [line.strip() for line in shown.splitlines() if line.startswith("    veltix ")]
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line.partition(" > ")[0].partition(" >> ")[0])
        assert words[: len(name.split()) + 1] == ["veltix", *name.split()]
        ALL[name].make_context(name, words[len(name.split()) + 1 :]).close()  # raises for what it does not understand
    assert all(f"  {status:<3}  {meaning}" in shown for status, meaning in STATUSES.items())


def test_a_shell_completes_commands_and_wires() -> None:
    """The script for bash has it ask veltix, which completes commands, and the names of wires; each shell has a script."""
    for shell in ("bash", "zsh", "fish"):
        assert "_VELTIX_COMPLETE" in CliRunner().invoke(_veltix, ["completion", shell]).output
    script = CliRunner().invoke(_veltix, ["completion", "bash"]).output
    loaded = subprocess.run(
        ["bash", "-c", "source /dev/stdin; complete -p veltix"],
        input=script,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert loaded.stdout == "complete -o nosort -F _veltix_completion veltix\n"

    def completed(words: str, position: int) -> list[str]:
        environment = {"_VELTIX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        lines = CliRunner().invoke(_veltix, [], prog_name="veltix", env=environment).output.splitlines()
        return [line.removeprefix("plain,") for line in lines]

    assert completed("veltix ses", 1) == ["sessions"]
    assert "netconduit" in completed("veltix ping --wire net", 3)
    assert completed("veltix log-level 127.0.0.1:9100 veltix_tx.net ", 4) == ["debug", "info", "warn", "error", "critical"]


# The doctor.


async def test_a_good_way_is_told_step_by_step(served: Callable[..., Served], veltix: Veltix) -> None:
    """Name, TCP, wire with its version, clock and round trip are a line each, and the status is 0."""
    here = served()
    ended = await deferToThread(_doctor, f"127.0.0.1:{here.server.port}", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    assert [(each["step"], each["good"]) for each in json.loads(ended.stdout)] == [
        *(("name", True), ("tcp", True), ("wire", True), ("clock", True), ("round trip", True)),
    ]


async def test_the_clock_is_told_where_the_wire_tells_it(served: Callable[..., Served]) -> None:
    """A release whose headers carry the sender's clock has it compared; of any other it is said that it is not told."""
    here = served()
    for wire, said in (("1.6.3", "the server's clock and this machine's agree"), ("auto", "the wire does not tell")):
        shown = (await deferToThread(_doctor, f"127.0.0.1:{here.server.port}", "--wire", wire)).stdout
        assert f"ok   clock      {said}" in shown


@pytest.mark.parametrize(
    ("differences", "said"),
    [([0.4, -0.4], "agree"), ([8.0, 7.95], "8.1 s ahead of"), ([-90.1, -91.0], "90.0 s behind"), ([], "does not tell")],
)
def test_clocks_are_compared_by_the_quickest_ping(differences: list[float], said: str) -> None:
    """The difference is that of the ping with the shortest round trip, half of which the answer was on its way."""
    finding = compare_clocks(differences, [0.2, 1.0])
    assert said in finding.said
    assert bool(finding.remedy) is ("agree" not in said)


async def test_a_bad_way_ends_with_a_remedy(served: Callable[..., Served]) -> None:
    """Where nothing listens, and where something else does, the step that fails is the last, with what to do, and status 1."""
    here = served()
    for where, step, remedy in (
        (f"127.0.0.1:{free_port()}", "tcp", "start the server"),
        (here.where, "wire", "give --wire with what it speaks"),
    ):
        ended = await deferToThread(_doctor, where, "--timeout", "1")
        assert ended.returncode == 1
        *_, failed, told = ended.stdout.splitlines()
        assert failed.startswith(f"FAIL {step}")
        assert remedy in told


async def test_a_wire_without_tokens_is_told(clean_reactor: None, tmp_path: Path) -> None:
    """Where a server asks for a token, a wire that carries none is told of, and with one that does the remedy is the token."""
    (tmp_path / "tokens.txt").write_text(token_line("ann", new_token()) + "\n")
    server = Server("127.0.0.1", port=0, types=TYPES, authenticate=TokenFile(tmp_path / "tokens.txt"))
    server.startService()
    try:
        where = f"127.0.0.1:{server.port}"
        for name, remedy in (("1.6.3", "1.6.3 carries none, wire auto does"), ("auto", "-> give --token-file")):
            ended = await deferToThread(_doctor, where, "--wire", name, "--timeout", "2")
            assert ended.returncode == 1
            assert remedy in ended.stdout.splitlines()[-1]
            assert "busy" not in ended.stdout
    finally:
        await server.stopService()


def _doctor(*arguments: str) -> Any:
    return _veltix_process("doctor", *arguments)


def test_a_name_without_an_address_is_told() -> None:
    """A name that cannot be looked up is the first step's failure."""
    (finding,) = examine("no-such-host.invalid", 1, 1)
    assert (finding.step, finding.good, finding.remedy) == ("name", False, "check the name, and this machine's DNS")


async def test_tls_is_told_with_its_certificate(authority: Any, clean_reactor: None) -> None:
    """A trusted certificate is told with its end, and spoken of when that is near; one that is not trusted has a remedy."""
    now = datetime.now(timezone.utc).timestamp()
    files = authority.issue("server", "localhost", life=30 * DAY)
    server = Server(endpoint=f"tls:0:interface=127.0.0.1:cert={files.both}", types=TYPES)
    server.startService()
    try:
        trusting = ssl.create_default_context(cafile=authority.ca)
        good = await deferToThread(_examined, server.port, trusting, now)
        assert [(each.step, each.good, each.remedy) for each in good] == [("name", True, ""), ("tcp", True, ""), ("tls", True, "")]
        late = await deferToThread(_examined, server.port, trusting, now + 20 * 86400)
        assert late[-1].remedy == "renew the certificate"
        bad = await deferToThread(_examined, server.port, ssl.create_default_context(), now)
        assert (bad[-1].good, "--tls-ca" in bad[-1].remedy) == (False, True)
    finally:
        await server.stopService()


def _examined(port: int, context: ssl.SSLContext, now: float) -> list[Finding]:
    return list(examine("127.0.0.1", port, 5, tls=context, tls_name="localhost", calendar=lambda: now))


# Calls.


async def test_methods_tell_defaults_and_calls_take_what_begins_with_a_dash(clean_reactor: None) -> None:
    """A parameter's default is shown as JSON; a negative number goes behind --, or with a name, and the error says so."""
    server = Server("127.0.0.1", port=0, types=TYPES)

    @server.rpc
    def add(a: int, b: int = 0, word: str | None = None, long: str = "x" * 100) -> int:
        return a + b

    server.startService()
    try:
        where = f"127.0.0.1:{server.port}"
        listed = await deferToThread(_veltix_process, "methods", where)
        assert "add(a: integer, b: integer = 0, word: string | null = null, long: string = …) -> integer" in listed.stdout
        for arguments in (("--", "-1", "2"), ("a=-1", "b=2")):
            assert (await deferToThread(_veltix_process, "call", where, "add", *arguments)).stdout == "1\n"
        for wrong in ("-1", "-.5"):
            refused = await deferToThread(_veltix_process, "call", where, "add", wrong, "2")
            assert refused.returncode == 2
            assert "give values behind --" in refused.stderr
        typo = await deferToThread(_veltix_process, "call", where, "add", "--timout", "2")
        assert "No such option" in typo.stderr
    finally:
        await server.stopService()


def _veltix_process(*arguments: str) -> Any:
    """Run a command as a process: it runs a reactor of its own."""
    command = [sys.executable, "-m", "veltix_tx", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# Recorded bytes.


def test_recorded_bytes_are_decoded(tmp_path: Path) -> None:
    """A file, standard input or hexadecimal digits are shown frame by frame; the status says whether all of it is the wire's."""
    ping = "56 58 00 00 00 00 00 00 00 00 00 00 00 00 07"
    shown = CliRunner().invoke(_veltix, ["wire", "decode", "--hex", ping])
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0] == "00000000  W15 header, type 0, name PING, size 0, request id 7, checksum right"
    (tmp_path / "bytes").write_bytes(bytes.fromhex(ping) + b"\x1b[2Jjunk")
    shown = CliRunner().invoke(_veltix, ["wire", "decode", str(tmp_path / "bytes"), "-o", "json"])
    assert (shown.exit_code, [each["sound"] for each in json.loads(shown.output)]) == (1, [True, False])
    assert "\x1b" not in CliRunner().invoke(_veltix, ["wire", "decode", str(tmp_path / "bytes")]).output
    shown = CliRunner().invoke(_veltix, ["wire", "decode", "-", "--wire", "lines"], input="one\ntwo\n")
    assert shown.output.count("message, size 3") == 2
    shown = CliRunner().invoke(_veltix, ["wire", "decode", "--hex", ping[:-3]])
    assert (shown.exit_code, "<-- incomplete" in shown.output, "not of this wire" in shown.output) == (1, True, False)
    hello = b'{"credentials": {"token": "vtx_hush"}}'
    (tmp_path / "hello").write_bytes(len(hello).to_bytes(2, "big") + hello)
    for output in ("table", "json"):
        shown = CliRunner().invoke(_veltix, ["wire", "decode", str(tmp_path / "hello"), "-o", output])
        assert "(a secret)" in shown.output
        assert not any(secret in shown.output for secret in ("vtx_", b"vtx_".hex(), b"vtx_".hex(" ")))
    for wrong in (["--hex", "zz"], [], ["--hex", "00", "--wire", "nothing"]):
        assert CliRunner().invoke(_veltix, ["wire", "decode", *wrong]).exit_code == 2
