"""``twistd veltix`` with plugins from a folder that is on PYTHONPATH."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from veltix_tx import Client, MessageRegistry, MessageType
from veltix_tx.app.plugins import plugin_code

HERE = ("--port", "0", "--interface", "127.0.0.1")

DROPIN = """
from veltix_tx.app.plugins import Plugin


class Greeter(Plugin):
    name = "greeter"
    description = "Greets who asks."
    types = {"greet": None, "count": 700}
    events = ("on_connect", "on_recv")
    connections = 0

    def connected(self, session):
        self.connections += 1

    def received(self, session, message):
        if message.type == self.message_types["greet"]:
            return b"hello, " + message.content
        return b"%d" % self.connections


greeter = Greeter()
"""


@pytest.fixture
def dropins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a plugin where twisted.plugin finds it: a folder of this test, which gets its dropin.cache, too."""
    folder = tmp_path / "path" / "twisted" / "plugins"
    folder.mkdir(parents=True)
    (folder / "greeter_plugin.py").write_text(DROPIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"), prepend=os.pathsep)
    return folder


def test_the_list_shows_what_is_installed(dropins: Path, run: Any, scripts: str) -> None:
    """--list-plugins prints the plugins and ends with status 0; a module that cannot be imported is told, and in nobody's way."""
    twistd = os.path.join(scripts, "twistd")
    ended = run(twistd, "veltix", "--list-plugins")
    assert (ended.returncode, ended.stderr) == (0, "")
    types = f"greet {plugin_code('greeter', 'greet')}, count 700"
    assert ended.stdout == f"greeter\n  Greets who asks.\n  types: {types}\n  asks for: on_recv, on_connect\n"
    (dropins / "broken_plugin.py").write_text("raise ValueError('inside')\n")
    ended = run(twistd, "veltix", "--list-plugins")
    assert ended.returncode == 0
    assert ended.stdout.startswith("greeter\n")
    assert "broken_plugin.py" in ended.stderr


@pytest.mark.parametrize(("given", "connections"), [("greeter", b"1"), ("greeter=", b"0")])
async def test_an_enabled_plugin_answers_beside_the_application(given: str, connections: bytes, dropins: Path, twistd: Any) -> None:
    """--plugin serves the plugin's types beside the echo, with codes both ends work out; it sees no more than it is granted."""
    process = twistd(*HERE, "--plugin", given)
    types = MessageRegistry()
    client = Client("127.0.0.1", await process.port(), types=types)
    greet = MessageType(plugin_code("greeter", "greet"), registry=types)
    count = MessageType(700, registry=types)
    chat = MessageType(200, registry=types)
    await client.connect()
    answers = [(await client.send_and_wait(each, b"ann")).content for each in (greet, count, chat)]
    assert answers == [b"hello, ann", connections, b"ann"]
    await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    sees = b"on_recv, on_connect" if connections == b"1" else b"no events"
    assert b"plugin greeter sees " + sees in process.out
    assert b"Traceback" not in process.out + process.err
