"""The operator's page in a real browser: what it shows, and what is done with it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

import pytest

from tests.support.browser import MISSING, Browser, wait
from veltix_tx.app.auth import new_token, token_line

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

APP = """
from twisted.logger import Logger
from veltix_tx import TEXT, Server

server = Server("127.0.0.1", port=0, wire="lines")

@server.route(TEXT)
def on_line(client, message):
    if message.value == "fail":
        raise ValueError("as asked")
    if message.value.startswith("join "):
        joining = server.room(message.value[5:]).join(client, state={"name": "ann"})
        return joining.addCallback(lambda _: message.value)
    if message.value.startswith("log "):
        Logger().info("{client} says {text}", client=client, connection=client.id, text=message.value[4:])
    return message.value
"""

HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"

AXE = (files("axe_core_python") / "axe.min.js").read_text()

FAULTS = """
return axe.run().then((found) => found.violations.map((each) => each.id + ": " + each.nodes.map((node) => node.html).join(" ")))
"""


class Process:
    """A server in a process of its own, with an administration.

    Args:
        folder: where it runs.
        admin: port of its administration.
        tokens: True to ask for tokens of ``operators.txt``.
        workers: number of worker processes; None for a server in one process.
    """

    def __init__(self, folder: Path, admin: int = 0, *, tokens: bool = False, workers: int | None = None) -> None:
        (folder / "shop.py").write_text(APP)
        self.clients: list[socket.socket] = []
        options = ["--app", "shop:server", "--admin", f"tcp:{admin}", *(["--admin-tokens", "operators.txt"] if tokens else [])]
        options += [] if workers is None else ["--workers", str(workers)]
        twistd = os.path.join(os.path.dirname(sys.executable), "twistd")
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(folder)}
        self._log: IO[str] = (folder / f"log{admin}").open("w+")
        command = [twistd, "-n", "--pidfile=", "veltix", *options]
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self._log, stderr=subprocess.STDOUT)
        self.port = int(self._says(r"speaks .* on 127\.0\.0\.1:(\d+)"))
        self.admin = int(self._says(r"the administration is on 127\.0\.0\.1:(\d+)"))
        self.url = f"http://127.0.0.1:{self.admin}/"

    def _says(self, pattern: str) -> str:
        def look() -> Any:
            assert self._process.poll() is None, Path(self._log.name).read_text()
            return re.search(pattern, Path(self._log.name).read_text())

        found: str = wait(look, 20)[1]
        return found

    def connect(self, *lines: str) -> socket.socket:
        """Connect a client that sends lines, and reads what comes for them."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.clients.append(client)
        for line in lines:
            client.sendall(line.encode() + b"\n")
            if line != "fail":
                assert client.recv(4096)
        return client

    def connect_slow(self) -> socket.socket:
        """Connect a client that asks for much, and reads nothing of it."""
        client = socket.socket()
        self.clients.append(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.port))
        client.settimeout(0.5)
        try:
            for _ in range(5000):
                client.sendall(b"x" * 8000 + b"\n")
        except TimeoutError:
            return client
        raise AssertionError("the server has taken 40 MB without an end")

    def ask(self, path: str) -> Any:
        """Return what the API shows."""
        with urlopen(f"{self.url}api/v1/{path}", timeout=60) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End it, and its clients."""
        for client in self.clients:
            client.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._log.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with some clients, of which one is slow, one calls what fails, and one is hostile."""
    process = Process(tmp_path_factory.mktemp("shop"))
    for number in range(59):
        process.connect(f"hello {number}")
    process.connect("join lobby", f"join {HOSTILE}")
    process.connect("fail", f"log {HOSTILE}")
    process.connect_slow()
    yield process
    process.stop()


@pytest.fixture
def page(browser: Browser, shop: Process) -> Iterator[Browser]:
    """The page, live, wide and light; it has nothing to complain of at the end."""
    browser.emulate(1200)
    browser.open(shop.url)
    wait(lambda: browser.text("#link") == "live")
    browser.errors()
    yield browser
    assert browser.errors() == []


def go(browser: Browser, place: str) -> None:
    """Go to a place of the page."""
    browser.script("location.hash = arguments[0]", place)


def test_its_numbers_are_the_servers(page: Browser, shop: Process) -> None:
    """Sessions, messages, counters and routes are on the page as the server has them."""
    sessions = shop.ask("server")["sessions"]
    assert sessions == 62
    wait(lambda: page.text("#chart-sessions output") == str(sessions))
    counters = shop.ask("server")["counters"]
    shown = dict(zip(page.texts("#counters dt"), page.texts("#counters dd"), strict=True))
    assert {name: int(shown[name.replace("_", " ")].replace(",", "")) for name in ("accepted", "ready", "handlers_failed")} == {
        name: counters[name] for name in ("accepted", "ready", "handlers_failed")
    }
    assert page.texts("#attention a")[0] == "1 slow"
    go(page, "#/routes")
    (route,) = shop.ask("routes")["routes"]
    wait(lambda: page.texts("#route-rows td")[2:4] == [f"{route['received']:,}", "1"])
    go(page, "#/limits")
    wait(lambda: "62 of 10,000" in page.text("#bars"))
    assert page.script("return document.getElementById('bar-max_connections').value") == 62


def test_sessions_are_searched_sorted_and_paged(page: Browser, shop: Process) -> None:
    """A screen has 50 sessions; the next ones, those of a search and another order are a step away, and a URL of their own."""
    go(page, "#/sessions")
    wait(lambda: page.text("#range") == "1 to 50 of 62")
    page.click("#next")
    wait(lambda: page.text("#range") == "51 to 62 of 62")
    last = shop.ask("sessions?limit=1&sort=-id")["sessions"][0]["id"]
    page.type("#search", f"{last}\n")
    wait(lambda: page.texts("#session-rows td:first-child") == [last])
    page.type("#search", "\n")
    wait(lambda: page.text("#range") == "1 to 50 of 62")
    page.click("[data-sort=id]")
    wait(lambda: page.texts("#session-rows td:first-child")[:1] == [last])
    assert page.script("return location.hash") == "#/sessions?sort=-id"


def test_a_slow_session_is_found_and_disconnected(page: Browser, shop: Process) -> None:
    """From the overview to the slow session, why it is slow, and its end: four clicks."""
    slow = shop.connect_slow()
    id_of_slow = shop.ask("sessions?sort=-id&limit=1")["sessions"][0]["id"]
    page.click("#attention li:first-child a")
    wait(lambda: len(page.texts("#session-rows tr")) == 2)
    assert all("its peer does not read" in text for text in page.texts("#session-rows td:nth-child(5)"))
    page.click(f"#session-rows a[href='#/sessions/{id_of_slow}']")
    wait(lambda: page.text("#why").startswith("Slow: its peer does not read"))
    page.click("#disconnect")
    page.click("#yes")
    wait(lambda: "being disconnected" in page.text("#done"))
    wait(lambda: "being closed" in page.text("#why") or "gone" in page.text("#why"))
    slow.close()
    wait(lambda: page.text("#why").startswith("It is gone"))
    page.errors()  # the stream says so, too: nothing that is asked for is not there


def test_rooms_their_members_and_nodes_are_shown(page: Browser, shop: Process) -> None:
    """Rooms are found by a text or a pattern; a room's members lead to their sessions; the nodes are there."""
    (member,) = shop.ask("members?room=lobby")["members"]
    go(page, "#/rooms")
    wait(lambda: page.texts("#room-rows tr td:first-child") == [HOSTILE, "lobby"])
    page.type("#room-search", "lob\n")
    wait(lambda: page.texts("#room-rows td") == ["lobby", "1"])
    page.click("#room-rows a")
    wait(lambda: page.texts("#member-rows td")[::4] == [member["id"], '{"name":"ann"}'])
    assert page.text("#members-title") == "Members of lobby"
    assert page.texts("#node-rows td")[0] == shop.ask("nodes")["this"]
    assert page.text("#backplane") == "The backplane is up; 1 server shares it."
    page.click("#member-rows a")
    wait(lambda: page.text("#why") == "It is well.")


def test_text_of_peers_is_text(page: Browser) -> None:
    """What a peer has the log say is shown as it is, and makes no element and no script."""
    go(page, "#/log?search=says")
    wait(lambda: any(HOSTILE in text for text in page.texts("#lines .text")))
    assert page.script("return [document.images.length, document.scripts.length, document.title]") == [0, 1, "Veltix: Log"]


def test_it_is_used_by_keyboard_alone(page: Browser) -> None:
    """Tab comes to everything in order, what has the focus is marked, and a dialog keeps it until it is left."""
    page.press("Tab")
    assert page.script("return document.activeElement.className") == "skip"
    page.press("Tab", "Tab", "Enter")
    wait(lambda: page.script("return location.hash") == "#/sessions")
    wait(lambda: page.script("return document.activeElement.id") == "sessions-title")
    wait(lambda: page.texts("#session-rows a"))
    page.script("document.querySelector('#session-rows a').focus()")
    assert page.script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    wait(lambda: page.text("#why") == "It is well.")
    page.press("Tab", "Enter")
    wait(lambda: "not support" in page.text("#done") or "no pings" in page.text("#done") or "cannot" in page.text("#done"))
    page.errors()  # lines have no pings, and the answer says so
    page.press("Tab", "Enter")
    wait(lambda: page.script("return document.querySelector('#sure').open"))
    page.press("Escape")
    wait(lambda: not page.script("return document.querySelector('#sure').open"))


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_accessible_and_fits_a_phone(dark: bool, page: Browser, shop: Process) -> None:
    """At 360 pixels nothing is wider than the screen, and axe-core finds no fault in any part, light and dark."""
    page.script(AXE)
    page.emulate(360, 740, dark=dark)
    for place, ready in (
        ("#/", "#chart-sessions output"),
        ("#/sessions?state=slow", "#session-rows td"),
        (f"#/sessions/{shop.ask('sessions?limit=1')['sessions'][0]['id']}", "#detail dd"),
        ("#/routes", "#route-rows td"),
        ("#/rooms?room=lobby", "#member-rows td"),
        ("#/limits", "#bars .use"),
        ("#/log", "#lines .text"),
    ):
        go(page, place)
        wait(lambda ready=ready: page.text(ready))
        assert page.script("return document.documentElement.scrollWidth") <= 360, place
        assert page.script(FAULTS) == [], place


def test_workers_are_shown_and_one_that_hangs_is_told(page: Browser, shop: Process, tmp_path: Path) -> None:
    """With workers the overview has a row for each, sessions say whose they are, and a worker that hangs needs attention."""
    several = Process(tmp_path, workers=2)
    wait(lambda: [each["state"] for each in several.ask("server")["workers"]] == ["ready", "ready"], 20)
    for number in range(8):
        several.connect(f"hello {number}")
    page.open(several.url)
    wait(lambda: page.texts("#workers td:nth-child(3)") == ["ready", "ready"])
    assert sum(map(int, page.texts("#workers td:last-child"))) == 8
    page.script(AXE)
    assert page.script(FAULTS) == []
    go(page, "#/sessions")
    rows = [[row["id"], str(row["worker"])] for row in several.ask("sessions")["sessions"]]
    wait(lambda: page.texts("#session-rows td:first-child") == [row[0] for row in rows])
    assert page.texts("#session-rows td:last-child") == [row[1] for row in rows]
    hung = several.ask("server")["workers"][0]["pid"]
    os.kill(hung, signal.SIGSTOP)
    go(page, "#/")
    wait(lambda: page.texts("#attention a")[:1] == ["1 silent among the workers"])
    os.kill(hung, signal.SIGCONT)
    wait(lambda: page.texts("#workers td:nth-child(3)") == ["ready", "ready"])
    page.open(shop.url)
    several.stop()


def test_a_restart_is_survived(page: Browser, tmp_path: Path) -> None:
    """While its server is away the page says so; it goes on with the next one, with that one's numbers."""
    first = Process(tmp_path)
    page.open(first.url)
    first.connect("hello")
    wait(lambda: page.text("#chart-sessions output") == "1")
    first.stop()
    wait(lambda: page.text("#link").startswith("connection lost"))
    second = Process(tmp_path, first.admin)
    try:
        wait(lambda: page.text("#link") == "live")
        wait(lambda: page.text("#chart-sessions output") == "0")
    finally:
        second.stop()
    page.errors()  # of the time between


def test_a_login_is_asked_for(page: Browser, tmp_path: Path) -> None:
    """Without a right token there are no numbers; with one there are until the log-out, and no script sees the cookie."""
    token = new_token()
    (tmp_path / "operators.txt").write_text(token_line("ann", token) + "\n")
    process = Process(tmp_path, tokens=True)
    try:
        page.open(process.url)
        wait(lambda: page.script("return document.activeElement.id") == "token")
        page.script(AXE)
        assert page.script(FAULTS) == []
        page.type("#token", "vtx_wrong\n")
        wait(lambda: page.text("#login-said") == "This token is not known.")
        assert page.texts("figure") == []
        page.type("#token", f"{token}\n")
        wait(lambda: page.text("#chart-sessions output") == "0")
        assert page.script("return document.cookie") == ""
        page.open(process.url)
        wait(lambda: page.text("#link") == "live")
        page.click("#logout")
        wait(lambda: page.script("return document.activeElement.id") == "token")
        page.open(process.url)
        wait(lambda: page.script("return document.activeElement.id") == "token")
    finally:
        process.stop()
    page.errors()  # the refusals
