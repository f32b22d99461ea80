"""Runs a block of Veltix code as a script. Run, never imported.

``python run_block.py BLOCK.py PORT [--package veltix_tx.dropin.veltix]``: of the block's source only the import
lines are changed, from ``veltix`` to the package. The package's two configurations are told where to go
instead of the block: port 8080 becomes PORT, every host becomes loopback.

With ``--channel`` the test that started it talks to it beside its stdin and stdout: a line of JSON
``[number, code]`` on descriptor 4 is run in the block's namespace, in a thread of its own; ``[number, its
repr | null, error | null]`` comes back on descriptor 3. So do ``["listening"]`` for each port it opens, and
``["paused", statement]`` before a statement that ``--pause`` names, which waits for the code ``resume()``,
and ``["done"]`` behind the last one. With ``--stay`` it waits there for the code ``leave()``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import Any

TOLD, TELLS = 4, 3


class Lines(io.TextIOBase):
    """Stdout, of which each thread writes whole lines: prints of several threads do not mix."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._begun = threading.local()

    def write(self, text: str) -> int:
        """Write the whole lines there are."""
        whole, newline, rest = (getattr(self._begun, "text", "") + text).rpartition("\n")
        self._begun.text = rest
        self._out(whole + newline)
        return len(text)

    def flush(self) -> None:
        """Write what is there, a prompt."""
        rest, self._begun.text = getattr(self._begun, "text", ""), ""
        self._out(rest)

    def _out(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(1, data) :]


class Block:
    """A block and its names."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.names: dict[str, Any] = {"__name__": "__main__", "__file__": options.block}
        self.results: list[Any] = []
        self.names["results"] = self.results  # of the block's statements that are expressions
        self._resumed, self._left = threading.Event(), threading.Event()
        self.names.update(resume=self._resumed.set, leave=self._left.set)

    def run(self) -> None:
        """Run the prelude, then the block statement by statement."""
        if self.options.prelude:
            exec(compile(self.imports(self.options.prelude), "<prelude>", "exec"), self.names)
        source = self.imports(Path(self.options.block).read_text(encoding="utf-8"))
        for statement in ast.parse(source, self.options.block).body:
            text = ast.get_source_segment(source, statement) or ""
            if any(text.startswith(each) for each in self.options.pause):
                self.tell("paused", text)
                self._resumed.wait()
                self._resumed.clear()
            if isinstance(statement, ast.Expr):
                self.results.append(eval(compile(ast.Expression(statement.value), self.options.block, "eval"), self.names))
            else:
                exec(compile(ast.Module([statement], []), self.options.block, "exec"), self.names)
        self.tell("done")
        if self.options.stay:
            self._left.wait()

    def imports(self, source: str) -> str:
        """Change the import lines."""
        package = self.options.package
        source = re.sub(r"^(\s*)import veltix$", rf"\1import {package} as veltix", source, flags=re.MULTILINE)
        return re.sub(r"^(\s*)from veltix(?=[ .])", rf"\1from {package}", source, flags=re.MULTILINE)

    def aim(self) -> None:
        """Let the configurations mean our port, on loopback, and our patience."""
        package = importlib.import_module(self.options.package)
        for config, host in ((package.ServerConfig, "host"), (package.ClientConfig, "server_addr")):
            config.__init__ = self._aimed(config.__init__, host)

    def _aimed(self, init: Any, host: str) -> Any:
        def aimed(config: Any, *arguments: Any, **options: Any) -> None:
            init(config, *arguments, **options)
            object.__setattr__(config, host, "127.0.0.1")
            if config.port == 8080:
                object.__setattr__(config, "port", self.options.port)
            if self.options.retry_delay is not None and hasattr(config, "retry_delay"):
                object.__setattr__(config, "retry_delay", self.options.retry_delay)

        return aimed

    def tell(self, *what: object) -> None:
        """Tell the test."""
        if self.options.channel:
            os.write(TELLS, json.dumps(what).encode() + b"\n")

    def obey(self) -> None:
        """Run what the test tells, each in a thread of its own: some of it waits for another."""

        def run(number: int, code: str) -> None:
            try:
                tree = ast.parse(self.imports(code), "<test>")
                last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, "<test>", "exec"), self.names)
                value = eval(compile(last, "<test>", "eval"), self.names) if last else None
                self.tell(number, repr(value), None)
            except BaseException as error:
                self.tell(number, None, f"{type(error).__name__}: {error}")

        with os.fdopen(TOLD) as lines:
            for line in lines:
                threading.Thread(target=run, args=json.loads(line), daemon=True).start()
        os._exit(1)  # the test is gone

    def listens(self) -> None:
        """Tell of each port that is opened: ``start()`` of the real one returns before that."""
        listen = socket.socket.listen

        def told(door: socket.socket, *arguments: int) -> None:
            listen(door, *arguments)
            self.tell("listening")

        socket.socket.listen = told  # type: ignore[method-assign]


def main() -> None:
    """Read the command line, run the block."""
    parser = argparse.ArgumentParser()
    parser.add_argument("block")
    parser.add_argument("port", type=int)
    parser.add_argument("--package", default="veltix_tx.dropin.veltix")
    parser.add_argument("--prelude", help="code to run before the block, in its namespace")
    parser.add_argument("--pause", action="append", default=[], help="wait before the statements that begin so")
    parser.add_argument("--retry-delay", type=float, help="instead of the configured one")
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("--channel", action="store_true")
    block = Block(parser.parse_args())
    sys.argv = [block.options.block]
    sys.stdout = Lines()
    block.aim()
    block.listens()
    if block.options.channel:
        threading.Thread(target=block.obey, daemon=True).start()
    block.run()


if __name__ == "__main__":
    main()
