from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.support.interop.driver import ECHO, NOTE, Running, each_release, running


class Twistd(Running):
    """``twistd`` in the foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.listens: Deferred[int] = Deferred()
        self.log: list[str] = []

    def line(self, line: str) -> None:
        """Find the port in the log."""
        self.log.append(line)
        port = re.search(r"speaks .* on 127\.0\.0\.1:(\d+)", line)
        if port and not self.listens.called:
            self.listens.callback(int(port[1]))


@pytest.mark.parametrize("new", each_release("3.3.0"))
async def test_twistd_serves_a_new_and_an_old_client_on_one_port(new: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """``twistd -n veltix`` without a wire answers clients of the newest and of an old release on its one port, and ends cleanly."""
    from twisted.internet import reactor

    twistd = Twistd()
    script = str(Path(sysconfig.get_path("scripts"), "twistd"))
    options = ["-n", "--pidfile=", "veltix", "--port", "0", "--interface", "127.0.0.1"]
    reactor.spawnProcess(twistd, sys.executable, [sys.executable, script, *options], None, str(tmp_path))
    try:
        port = await twistd.listens
        for release in (new, "1.6.3"):
            async with running(folders[release], "client") as real:
                assert await real.call("connect", port) is True
                assert await real.call("send", NOTE.code, b"plain".hex()) is True
                assert await real.next("received") == [NOTE.code, b"plain".hex()]
                assert await real.call("ask", ECHO.code, b"request".hex()) == b"request".hex()
                assert 0 <= await real.call("ping") < 1000
    finally:
        twistd.signal("TERM")
        await twistd.stop()
    log = "\n".join(twistd.log)
    assert log.endswith("Server Shut Down.")
    assert "Traceback" not in log
    assert twistd.errors == b""
