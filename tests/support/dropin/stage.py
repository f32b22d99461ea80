"""Scripts in processes of their own, and what a test does with them: waits for what they print, types Enter, asks their names."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.support.ports import free_port

SCRIPTS = Path(__file__).parents[2] / "dropin" / "veltix"
RUN_BLOCK = Path(__file__).with_name("run_block.py")
OURS, REAL = "veltix_tx.dropin.veltix", "veltix"
RELEASE = "1.6.3"
"""The real one: the drop-in is its twin."""

LOG_LINE = re.compile(r"(\x1b\[\d+m)?\[\d\d:\d\d:\d\d\.\d{3}\][^\n]*\n")
"""A line of the logger: it may be coloured, and it may stand behind a prompt."""


class Script(ProcessProtocol):
    """A running script: see ``run_block.py`` for what it can be told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.errors = ""
        self.status: int | None = None
        self.ended: Deferred[int | None] = Deferred()
        self._reached: set[str] = set()
        self._read = 0
        self._rest = b""
        self._half = b""
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self._asked: dict[int, Deferred[Any]] = {}
        self._paused: list[str] = []

    # What it does.

    @property
    def said(self) -> str:
        """What it has printed itself: everything but the log."""
        return LOG_LINE.sub("", self.text)

    @property
    def log(self) -> str:
        """The log lines it has printed."""
        return "".join(match[0] for match in LOG_LINE.finditer(self.text))

    def says(self, pattern: str) -> Deferred[re.Match[str]]:
        """Wait until it prints something like this, behind what was waited for before."""
        compiled = re.compile(pattern, re.MULTILINE)

        def look() -> re.Match[str] | None:
            match = compiled.search(self.text, self._read)
            if match is not None:
                self._read = match.end()
            return match

        return self._when(look, f"say {pattern!r}")

    @property
    def listening(self) -> Deferred[bool]:
        """Wait until it listens."""
        return self._when(lambda: "listening" in self._reached, "listen")

    @property
    def done(self) -> Deferred[bool]:
        """Wait until its last statement is done."""
        return self._when(lambda: "done" in self._reached, "come to its end")

    def pauses(self) -> Deferred[str]:
        """Wait until it pauses; the statement before which it does."""
        return self._when(lambda: self._paused.pop(0) if self._paused else None, "pause")

    def _when(self, look: Callable[[], Any], what: str) -> Deferred[Any]:
        """Fire with the first truth that ``look`` tells; fail, telling all, if it ends before or the test's time is over."""
        waiting: Deferred[Any] = Deferred(lambda each: each.errback(self._missed(what)))
        self._waiting.append((look, waiting))
        self._look()
        if self.status is not None and not waiting.called:
            waiting.errback(self._missed(what))
        return waiting

    def _missed(self, what: str) -> AssertionError:
        return AssertionError(f"{self.name} did not {what}; it said\n{self.text}\n{self.errors}")

    def _look(self) -> None:
        for each in list(self._waiting):
            look, waiting = each
            if waiting.called:
                self._waiting.remove(each)
            elif found := look():
                self._waiting.remove(each)
                waiting.callback(found)

    # What it is told.

    def enter(self, line: str = "") -> None:
        """Type a line."""
        self.transport.write(line.encode() + b"\n")

    async def do(self, code: str) -> Any:
        """Run code in the script's namespace, beside what it does; return its last expression, or its repr if that is not plain."""
        number = len(self._asked)
        self._asked[number] = answer = Deferred(lambda each: each.errback(self._missed(f"answer {code!r}")))
        self.transport.writeToChild(4, json.dumps([number, code]).encode() + b"\n")
        told, error = await answer
        if error is not None:
            raise AssertionError(f"{self.name}, told {code!r}: {error}\n{self.text}")
        try:
            return ast.literal_eval(told)
        except (ValueError, SyntaxError):
            return told

    async def until(self, code: str) -> Any:
        """Ask again and again until the answer is true; return it."""
        from twisted.internet import reactor

        while not (answer := await self.do(code)):
            await deferLater(reactor, 0.02)
        return answer

    async def resume(self) -> None:
        """Let it go on where it pauses."""
        await self.do("resume()")

    async def ends(self) -> str:
        """Wait for its end, by itself and without an error; return what it has printed itself."""
        await self.ended
        assert (self.status, self.errors) == (0, ""), self._missed("end well")
        return self.said

    async def finish(self) -> str:
        """Type Enter, let it leave if it stays, wait for its end; return what it has printed itself."""
        with suppress(KeyError):  # it is leaving
            self.enter()
            self.transport.writeToChild(4, b'[-1, "leave()"]\n')
        return await self.ends()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
        await self.ended

    # ProcessProtocol.

    def childDataReceived(self, descriptor: int, data: bytes) -> None:
        """Take what it prints, and what it tells on the channel."""
        if descriptor == 1:
            whole, self._half = _characters(self._half + data)
            self.text += whole
        elif descriptor == 2:
            self.errors += data.decode(errors="replace")
        else:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._told(json.loads(line))
        self._look()

    def _told(self, what: list[Any]) -> None:
        if what[0] == "paused":
            self._paused.append(what[1])
        elif what[0] in ("listening", "done"):
            self._reached.add(what[0])
        elif what[0] in self._asked:
            self._asked[what[0]].callback(what[1:])

    def processEnded(self, reason: Failure) -> None:
        """Fail what waits."""
        self.status = getattr(reason.value, "exitCode", None)
        if self.status is None:
            self.status = -(getattr(reason.value, "signal", None) or 0)
        self._look()
        waiting = [each for _, each in self._waiting] + [each for each in self._asked.values() if not each.called]
        self._waiting.clear()
        for each in waiting:
            each.errback(self._missed("go on: it ended"))
        self.ended.callback(self.status)


def _characters(data: bytes) -> tuple[str, bytes]:
    """Return the text so far and the bytes of a character that has not come whole."""
    for cut in range(len(data), max(len(data) - 4, -1), -1):
        with suppress(UnicodeDecodeError):
            return data[:cut].decode(), data[cut:]
    return data.decode(errors="replace"), b""


class Stage:
    """Where the scripts of one test run: a folder, a port nobody listens on, and a package.

    Args:
        folder: the scripts' working directory.
        package: what ``veltix`` means to them unless they are told otherwise.
        release: the folder of the real package.
    """

    def __init__(self, folder: Path, package: str, release: Path | None) -> None:
        self.folder, self.package, self.port = folder, package, free_port()
        self.scripts: list[Script] = []
        self._release = release

    def block(self, name: str, **options: Any) -> Script:
        """Run a block of the documents."""
        return self.run(SCRIPTS / "blocks" / f"{name}.py", **options)

    def peer(self, name: str, **options: Any) -> Script:
        """Run one of the scripts in ``peers/`` at the other end, until the test ends."""
        return self.run(SCRIPTS / "peers" / f"{name}.py", stay=True, **options)

    def twin(self, name: str, package: str, **options: Any) -> Script:
        """Run one of the scripts in ``twins/``."""
        return self.run(SCRIPTS / "twins" / f"{name}.py", package=package, **options)

    def run(
        self,
        script: Path,
        *,
        package: str | None = None,
        given: str = "",
        pause: str = "",
        stay: bool = False,
        retry_delay: float | None = None,
    ) -> Script:
        """Start a script.

        Args:
            script: its file.
            package: what ``veltix`` is in it.
            given: code that defines the names it takes as given.
            pause: the beginning of the statements before which it waits for ``resume``.
            stay: keep its names alive behind its last statement, until ``finish``.
            retry_delay: a shorter one than it configures.
        """
        from twisted.internet import reactor

        package = package or self.package
        command = [sys.executable, str(RUN_BLOCK), str(script), str(self.port), "--channel", "--package", package]
        command += ["--prelude", given] if given else []
        command += ["--pause", pause] if pause else []
        command += ["--stay"] if stay else []
        command += ["--retry-delay", str(retry_delay)] if retry_delay is not None else []
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        if package == REAL:
            environment["PYTHONPATH"] = str(self._release)
        running = Script(f"{script.stem} ({package})")
        self.scripts.append(running)
        ends = {0: "w", 1: "r", 2: "r", 3: "r", 4: "w"}
        reactor.spawnProcess(running, command[0], command, environment, str(self.folder), childFDs=ends)  # type: ignore[attr-defined]
        return running

    async def finish(self) -> None:
        """Let all that still run come to their end, in the order they began."""
        for each in self.scripts:
            if each.status is None:
                await each.finish()
