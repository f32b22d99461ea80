"""Runs what the documentation shows: programs, test files and shell lines, page by page, as a reader types them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.ports import accepts, free_port
from tests.support.redis_server import find_redis
from veltix_tx.wire.events import HandshakeCompleted, Pong
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import AUTO, find_release

from .not_run import NOT_RUN

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
PATIENCE = 100.0
"""Seconds until what is waited for is given up; nothing waits that long unless it is broken."""

_SIMPLE = re.compile(r"((?:\w+=\S+ +)*)(?!ulimit |kill )([^;&|<>()$`]+)")
"""A shell line that is one program, maybe with variables in front, and no command of the shell's own."""


def environment() -> dict[str, str]:
    """Return what a reader's shell has with the environment active: its programs come first, no module is found by luck."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "VIRTUAL_ENV": sys.prefix, "PYTHONUNBUFFERED": "1"}


class Program:
    """A line typed into a shell, and what it has printed. Stopped with SIGTERM, by its own id."""

    def __init__(self, line: str, folder: Path, log: Path, *, typed: bool = False) -> None:
        self.log = log
        self.said = line
        simple = _SIMPLE.fullmatch(line)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                # A signal is for the program, not for a shell that waits for it.
                ["sh", "-c", f"{simple[1]}exec {simple[2]}" if simple else line],
                cwd=folder,
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if typed else subprocess.DEVNULL,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first match of a pattern in the output, once it is there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            running = self.process.poll() is None
            found = re.search(pattern, self.output)
            if found:
                return found
            if not running:
                break
            time.sleep(0.02)
        raise AssertionError(f"{self.said}: no {pattern!r} in its output:\n{self.output}")

    def finish(self) -> str:
        """Wait until it ends by itself, with success; return what it printed."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        assert status == 0, f"{self.said} ended with status {status}:\n{self.output}"
        return self.output

    def stop(self) -> None:
        """End it if it runs, as an operator does; it must go quietly."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.said} did not end after SIGTERM:\n{self.output}") from None
        assert "Traceback" not in self.output, self.output
        assert "Unhandled" not in self.output, self.output


class Runner:
    """Types lines into shells in a folder of a test, and stops what they started.

    Args:
        folder: where they are typed: empty but for the files that the test put there.
        logs: another folder, for what they print.
    """

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.started: list[Program] = []
        self._logs = logs
        self._count = 0

    def start(self, line: str, *, typed: bool = False) -> Program:
        """Start what a line says; ``typed`` keeps its input open for :meth:`Program.type`."""
        self._count += 1
        program = Program(line, self.folder, self._logs / f"output-{self._count}.txt", typed=typed)
        self.started.append(program)
        return program

    def run(self, line: str) -> str:
        """Run what a line says to its end, which must be a success; return what it printed."""
        return self.start(line).finish()

    def until(self, true: Callable[[], bool], program: Program) -> None:
        """Wait until something is true while a program runs."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert program.process.poll() is None, program.output
            assert time.monotonic() < end, f"{program.said}: waited in vain\n{program.output}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop everything, newest first."""
        failures = []
        while self.started:
            try:
                self.started.pop().stop()
            except AssertionError as failure:  # noqa: PERF203 (the others are stopped all the same)
                failures.append(str(failure))
        assert not failures, "\n\n".join(failures)


@pytest.fixture
def runner(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Start programs in the test's folder, and stop them at the end of the test."""
    runner = Runner(tmp_path, tmp_path_factory.mktemp("output"))
    try:
        yield runner
    finally:
        runner.stop()


def ping(where: tuple[str, int] | str, wire: str = AUTO) -> VeltixConnection:
    """Complete a handshake and a ping on a plain socket; return the connection.

    ``where`` is a TCP address or the path of a UNIX socket. Waits until something listens there.
    """
    end = time.monotonic() + PATIENCE
    while True:
        link = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        link.settimeout(PATIENCE)
        try:
            link.connect(where)
            break
        except OSError:
            link.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
    with link:
        release = None if wire == AUTO else find_release(wire)
        connection = VeltixConnection(
            Role.CLIENT, release, calendar_ms=lambda: 0, uptime_ms=lambda: 0, getrandbits=lambda bits: 7, types=MessageRegistry()
        )
        events = connection.start()
        while True:
            for event in events:
                if isinstance(event, HandshakeCompleted):
                    connection.send_ping(connection.allocate_id(()))
                elif isinstance(event, Pong):
                    return connection
            link.sendall(b"".join(connection.data_to_send()))
            data = link.recv(65536)
            assert data, f"{where} closed the connection"
            events = connection.receive_data(data, 0)


@pytest.fixture(name="ping")
def _ping() -> Callable[..., VeltixConnection]:
    """Ask a server for a pong."""
    return ping


_SERVES = re.compile(
    r"\b(?:reactor|server)\.run\(\)|async with server:\n +await server\.when_stopping\(\)\n"
    r"|Mode\.SERVER(?s:.*)\bsocket\.start\(\)"
)
"""What a program has that serves until it is ended."""


def shell_lines(fence: str) -> list[str]:
    """Return the lines to type of a ``sh`` fence, without its comments."""
    return [line for line in fence.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


_OTHER_WIRE = re.compile(r"\b(?:lines@|Lines\(|netconduit@|Netconduit\(|dropin\.conduit\b)")
"""What says that not all ports of a program speak Veltix, so that no ping can ask them."""


_WELCOMES_ANYBODY = re.compile(r"\bFlexiSocket\(")
"""What says that a program neither logs where it listens nor minds a peer that says nothing."""


class Page:
    """A page of the documentation, run from top to bottom as a reader would.

    A ``python`` fence begins with a comment that names its file. A ``sh`` fence holds lines to type. Each goes to
    a shell as it stands, but for the parts that are in ``NOT_RUN``. A line that starts a server runs until the page
    starts another one on the same port (or with twistd's same pid file); a line that ends with ``&`` must end with
    success before the page does. Ports are replaced by free ones. ``.venv`` is the environment that runs the tests.

    Args:
        path: the page.
        runner: what starts programs, in the page's own folder.
    """

    _FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    _PORT = re.compile(r"\b80\d\d\b")

    def __init__(self, path: Path, runner: Runner) -> None:
        self.path = path
        self.files: dict[str, str] = {}
        self.used: set[str] = set()
        self.servers: list[tuple[set[str], Program]] = []
        self._runner = runner
        text = path.read_text(encoding="utf-8")
        self._own = {port: str(free_port()) for port in sorted(set(self._PORT.findall(text)))}
        self.ports = {int(own): int(shown) for shown, own in self._own.items()}
        self.fences = self._FENCE.findall(text)
        self._waiting: list[Program] = []

    def run(self) -> None:
        """Run it all."""
        for language, body in self.fences:
            if language == "python":
                self._write(self._with_own_ports(body))
            elif language == "sh":
                for line in shell_lines(body):
                    self._type(line)
        for program in self._waiting:
            program.finish()
        unused = set(self.files) - self.used
        assert not unused, f"{self.path.name} shows {sorted(unused)} but never runs it"

    def _write(self, body: str) -> None:
        named = re.match(r"# ([\w/]+\.py)\n", body)
        assert named, f"a python fence of {self.path.name} has no '# file.py' line:\n{body}"
        self.files[named[1]] = body
        (self._runner.folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
        (self._runner.folder / named[1]).write_text(body, encoding="utf-8")

    def _with_own_ports(self, text: str) -> str:
        return self._PORT.sub(lambda found: self._own[found[0]], text)

    def _type(self, line: str) -> None:
        line = " && ".join(part for part in line.split(" && ") if part not in NOT_RUN)
        if not line:
            return
        if ".venv/bin/" in line and not (self._runner.folder / ".venv").exists():
            (self._runner.folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        line = self._with_own_ports(line)
        background = line.endswith(" &")
        line = line.removesuffix(" &")
        words = shlex.split(line.replace(".venv/bin/", ""))
        while "=" in words[0]:
            del words[0]
        if {"--plugin", "--list-plugins"} & set(words):
            self.used |= {name for name in self.files if name.startswith("twisted/plugins/")}
        for word in words:
            self.used |= {name for name in self.files if word.split(":")[0].removeprefix("./") in (name, name[:-3])}
        for name in list(self.files):  # a file that a used one imports is used
            if name not in self.used and any(re.search(rf"\b{name[:-3]}\b", self.files[used]) for used in self.used):
                self.used.add(name)
        text = next((self.files[word] for word in words if word in self.files), "")
        if words[0] == "redis-server":
            self._runner.start(line.replace("redis-server", find_redis(), 1)).wait_for("Ready to accept connections")
        elif (words[0] == "twistd" and not {"--list-plugins", "--help", "--version"} & set(words)) or _SERVES.search(text):
            self._serve(line, words, text)
        elif background:
            self._waiting.append(self._runner.start(line))
        else:
            self._runner.run(line)

    def _serve(self, line: str, words: list[str], text: str) -> None:
        app = words[words.index("--app") + 1].split(":")[0] + ".py" if "--app" in words else ""
        served = re.sub(r"--admin \S+", "", line)  # which speaks HTTP
        named = set(re.findall(r"(?:([\w.-]+)@)?(?:tcp:|udp:|tls:|--port |port=)(\d{4,5})", served))
        named = named or set(re.findall(r"(?:([\w.-]+)@)?(?:tcp:|udp:|port=)(\d{4,5})", text or self.files.get(app, "")))
        sockets = set(re.findall(r"unix:([\w.]+)", line + text))
        pinned = re.search(r"""wire[= ]"?(\d[\d.]+)""", line + text)
        assert named or sockets, f"no port in {line!r} nor in what it runs"
        pidfile = next((word.partition("=")[2] for word in words if word.startswith("--pidfile=")), "twistd.pid")
        taken = {port for _, port in named} | ({pidfile} if words[0] == "twistd" else set())
        for earlier, program in self.servers:
            if earlier & taken:
                program.stop()
        program = self._runner.start(line)
        self.servers.append((taken, program))
        if _WELCOMES_ANYBODY.search(text):
            for _, port in named:
                self._runner.until(lambda port=port: accepts(int(port)), program)
            return
        silent = {"--tls-cert", "--tokens"} & set(words) or "authenticate=" in text + self.files.get(app, "")
        if silent or _OTHER_WIRE.search(line + text):  # nobody pings it
            for _, port in named:
                program.wait_for(rf"speaks .*:{port}\b")
            return
        for wire, port in named:
            ping(("127.0.0.1", int(port)), wire or (pinned[1] if pinned else AUTO))
        for name in sockets:
            ping(str(self._runner.folder / name))
        assert program.process.poll() is None, program.output


@pytest.fixture
def run_page(runner: Runner) -> Callable[[str], Page]:
    """Run a page of the checkout by its path."""

    def run(path: str) -> Page:
        page = Page(ROOT / path, runner)
        page.run()
        return page

    return run


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import what writes the generated blocks, ``docs/generate.py``."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return import_module("generate")
