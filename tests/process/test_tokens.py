"""Tokens of real processes: ``veltix token new``, ``twistd veltix --tokens``, and the commands that present one."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from veltix_tx import AuthenticationFailed, Client, MessageRegistry, MessageType, Token
from veltix_tx.app.auth import token_line

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

HERE = ("--port", "0", "--interface", "127.0.0.1")


@pytest.fixture
def veltix(run: Any, scripts: str) -> Any:
    """Run the ``veltix`` command to its end."""
    return lambda *arguments: run(os.path.join(scripts, "veltix"), *arguments)


@pytest.fixture
def start(spawn: Any, scripts: str) -> Any:
    """Start the ``veltix`` command."""
    return lambda *arguments: spawn(os.path.join(scripts, "veltix"), *arguments)


def test_a_token_is_shown_once_and_its_line_can_be_kept(veltix: Any, tmp_path: Path) -> None:
    """The token goes to standard error, the line with its hash to standard output, and nothing else to either."""
    made = veltix("token", "new", "ann")
    assert made.returncode == 0
    token = made.stderr.removesuffix("\n")
    assert re.fullmatch(r"vtx_[\w-]{43}", token)
    assert made.stdout == token_line("ann", token) + "\n"
    assert token not in made.stdout
    assert veltix("token", "new", "ann").stderr != made.stderr


@pytest.mark.parametrize("name", ["a b", "a:b", "", "#ann", "\x1b[2J"])
def test_a_name_that_cannot_be_is_told(command: Any, name: str) -> None:
    """A name that no line can have is wrong usage: no token is made."""
    made = command("token", "new", name)
    assert made.exit_code == 2
    assert "NAME" in made.output
    assert "\x1b" not in made.output
    assert "vtx_" not in made.output


def test_the_help_has_examples_that_work(veltix: Any, run: Any, scripts: str, tmp_path: Path) -> None:
    """Both lines of the help run as they stand, and make files that a server and a client can use."""
    said = veltix("token", "new", "--help").stdout
    examples = [line.strip() for line in said.partition("Examples:\n")[2].splitlines() if line.strip().startswith("veltix ")]
    assert len(examples) == 2
    for example in examples:
        done = run("sh", "-c", f'PATH="{scripts}:$PATH"; {example}')
        assert done.returncode == 0, done.stderr
    token = (tmp_path / "alice.token").read_text().strip()
    assert (tmp_path / "tokens.txt").read_text() == token_line("alice", token) + "\n"


async def test_twistd_lets_in_who_has_a_token(twistd: Any, start: Any, tmp_path: Path) -> None:
    """With --tokens a client of the package and the commands get in with a token of the file, and nobody without one."""
    made = start("token", "new", "ann")
    await made.exited
    (tmp_path / "tokens.txt").write_bytes(b"# the shop\n" + made.out)
    (tmp_path / "ann.token").write_bytes(made.err)
    (tmp_path / "eve.token").write_text("vtx_" + "A" * 43)
    token = made.err.decode().strip()
    process = twistd(*HERE, "--tokens", "tokens.txt", "--log-connections")
    where = f"127.0.0.1:{await process.port()}"
    client = Client(where, types=TYPES, credentials=Token(token))
    await client.connect()
    assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
    await client.disconnect()
    for credentials in (Token("vtx_" + "A" * 43), None):
        with pytest.raises(AuthenticationFailed):
            await Client(where, types=TYPES, credentials=credentials).connect()
    sent = start("send", "--wait", where, "200", "hi", "--token-file", "ann.token")
    assert await sent.exited == 0, sent.err
    assert sent.out == b"hi\n"
    for options, said in (
        ((), b"the server lets nobody in without credentials, and this client has none: give --token-file"),
        (("--token-file", "eve.token"), b"the server refused the credentials"),
    ):
        refused = start("ping", where, *options)
        assert await refused.exited == 1
        assert said in refused.err
    for options in (("--wire", "3.3.0"), ("--wire", "1.6.3")):
        other = start("ping", where, *options)
        assert await other.exited == 1
    process.signal(signal.SIGTERM)
    await process.exited
    assert process.out.count(b"authenticate returned none") == 6
    assert re.search(rb"refusing the identity of 127\.0\.0\.1:\d+ \(\d+-\d+\): authenticate returned none", process.out)
    assert token.encode() not in process.out + process.err
    assert b"vtx_" not in process.out + process.err
    assert b"Traceback" not in process.out + process.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "it must hold a token, and nothing else"),
        (b"\xff", "it must hold a token"),
        (b"x" * 5000, "hold a token"),
    ],
)
def test_a_token_that_cannot_be_read_is_wrong_usage(command: Any, tmp_path: Path, content: bytes | None, said: str) -> None:
    """A file that is missing, empty, no text or too long is told before anything is connected to."""
    if content is not None:
        (tmp_path / "ann.token").write_bytes(content)
    done = command("ping", "127.0.0.1:1", "--token-file", "ann.token")
    assert done.exit_code == 2
    assert said in done.output


async def test_twistd_tells_of_a_bad_line(twistd: Any, tmp_path: Path) -> None:
    """A token in place of its hash is one line that names the file and the line, and not the token; nothing is served."""
    (tmp_path / "tokens.txt").write_text("ann:vtx_s3cret\n")
    process = twistd(*HERE, "--tokens", "tokens.txt")
    assert await process.exited == 1
    assert b"--tokens tokens.txt: it must be a file of lines name:hash" in process.out + process.err
    assert b"line 1 is none" in process.out + process.err
    assert b"s3cret" not in process.out + process.err


async def test_that_credentials_can_be_read_is_said(twistd: Any, tmp_path: Path) -> None:
    """A port that other machines reach, with tokens and without TLS, says that anyone on the way can read them."""
    (tmp_path / "tokens.txt").write_text("")
    process = twistd("--port", "0", "--interface", "0.0.0.0", "--tokens", "tokens.txt")
    await process.says(rb"anyone on the way to 0\.0\.0\.0:\d+ can read credentials and messages")
    await process.says(rb"tokens.txt has no token: nobody is let in")
