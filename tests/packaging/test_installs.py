"""Installed for real, each way in a fresh environment, and run from another folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

Run = Callable[..., str]

SPEAKS = re.compile(r"speaks .* on 127\.0\.0\.1:(\d+)")


class Install(NamedTuple):
    """An environment with the package installed."""

    way: str
    bin: Path


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would lead Python elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "UV_"))} | more


def _pip(scripts: Path) -> list[str | Path]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", scripts / "python"]


@pytest.fixture(scope="module", params=["wheel", "pip install -e", "uv pip install -e"])
def install(
    request: pytest.FixtureRequest,
    wheel: Path,
    copy_tree: Callable[[Path], Path],
    run: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> Install:
    """The package, installed in one of the ways people do."""
    folder = tmp_path_factory.mktemp("install")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    scripts = folder / "venv" / "bin"
    # Without bytecode: of what is installed a small part is imported.
    pip = [*_pip(scripts), "install", "--quiet", "--no-compile"]
    if request.param == "wheel":
        run(*pip, wheel, cwd=folder, env=environment())
    else:
        checkout = copy_tree(folder / "checkout")
        if request.param == "pip install -e":
            run(*pip, "-e", checkout, cwd=folder, env=environment())
        else:
            run(*pip, "uv", cwd=folder, env=environment())
            uv = [scripts / "uv", "pip", "install", "--quiet", "--python", scripts / "python"]
            run(*uv, "-e", checkout, cwd=folder, env=environment())
    return Install(request.param, scripts)


@contextmanager
def serving(install: Install, folder: Path, *options: str) -> Iterator[int]:
    """Twistd with the veltix command, on a port of its own, until it is ended by SIGTERM; yields the port."""
    log = folder / "twistd.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [install.bin / "twistd", "-n", "--pidfile=", "veltix", "--port", "0", "--interface", "127.0.0.1", *options],
            cwd=folder,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while (said := SPEAKS.search(log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield int(said.group(1))
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_twistd_lists_the_command(install: Install, run: Run, tmp_path: Path) -> None:
    """From any folder ``twistd --help`` and ``python -m twisted --help`` know veltix."""
    for command in ([install.bin / "twistd"], [install.bin / "python", "-m", "twisted"]):
        listed = run(*command, "--help", cwd=tmp_path, env=environment())
        assert re.search(r"^ +veltix +A server for structured TCP messages", listed, re.MULTILINE)


def test_the_command_explains_itself(install: Install, run: Run, tmp_path: Path) -> None:
    """``twistd veltix --help`` shows the options."""
    shown = run(install.bin / "twistd", "veltix", "--help", cwd=tmp_path, env=environment())
    for option in ("--port", "--wire", "--listen", "--app"):
        assert option in shown


def test_twistd_serves_and_a_client_is_answered(install: Install, run: Run, tmp_path: Path) -> None:
    """The server starts on a port of its own, answers a request and a ping, and ends on SIGTERM."""
    with serving(install, tmp_path) as port:
        client = [install.bin / "veltix"]
        assert (
            run(*client, "send", f"127.0.0.1:{port}", "200", "hi there", "--wait", cwd=tmp_path, env=environment()) == "hi there\n"
        )
        pinged = run(
            install.bin / "python", "-m", "veltix_tx", "ping", "-c", "2", f"127.0.0.1:{port}", cwd=tmp_path, env=environment()
        )
        assert re.search(r"^2: \d+\.\d+ ms$", pinged, re.MULTILINE)


def test_a_pinned_server_serves_a_client_that_finds_out(install: Install, run: Run, tmp_path: Path) -> None:
    """``--wire`` pins a release, and the client mirrors it."""
    with serving(install, tmp_path, "--wire", "1.6.3") as port:
        said = run(install.bin / "veltix", "send", f"127.0.0.1:{port}", "200", "old", "--wait", cwd=tmp_path, env=environment())
        assert said == "old\n"


def test_twisted_stays_itself(install: Install, run: Run, tmp_path: Path) -> None:
    """The plugin folder is added to Twisted's, never put in its place."""
    code = "import twisted, twisted.plugins, veltix_tx; print(twisted.__file__, veltix_tx.__file__, sep='\\n')"
    theirs, ours = run(install.bin / "python", "-c", code, cwd=tmp_path, env=environment()).splitlines()
    assert "site-packages" in theirs
    assert ("site-packages" in ours) == (install.way == "wheel")


def test_uninstalling_leaves_twisted_whole(install: Install, run: Run, tmp_path: Path) -> None:
    """Without the package Twisted works on and the command is gone."""
    run(*_pip(install.bin), "uninstall", "--quiet", "--yes", "veltix-tx", cwd=tmp_path, env=environment())
    listed = run(install.bin / "twistd", "--help", cwd=tmp_path, env=environment())
    assert "veltix" not in listed
    assert "web" in listed
