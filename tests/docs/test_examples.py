"""Every example runs as its docstring says, typed in a folder that has the examples, on ports the system chooses."""

from __future__ import annotations

import re
import shutil
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LISTENING = r"listening on 127\.0\.0\.1:(\d+)"


@pytest.fixture
def runner(runner):
    """Type lines in a folder that has the examples and nothing else."""
    for path in EXAMPLES.glob("*.py"):
        shutil.copy2(path, runner.folder)
    return runner


def _get(page: str, form: dict[str, str] | None = None) -> str:
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(page, data, timeout=5) as answer:
        return answer.read().decode()


def _commands(path: Path) -> list[str]:
    """Return the words of the lines to type in an example's docstring, up to what the reader chooses."""
    docstring = path.read_text(encoding="utf-8").split('"""')[1]
    lines = [line.strip() for line in docstring.splitlines() if line.startswith("    ")]
    return [re.split(r" (?=[\[A-Z]|--port|\d+\.)", line)[0] for line in lines]


def test_each_example_says_how_to_run_it():
    """A docstring names the file in an indented line to type, and each such line is typed here."""
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        commands = _commands(path)
        assert any(path.stem in command or "twistd" in command for command in commands), path.name
        assert [command for command in commands if f'"{command} ' not in tested and f'"{command}"' not in tested] == [], path.name


def test_client_talks_to_server(runner):
    """The client of the examples gets its answer from the server of the examples."""
    server = runner.start("python 01_server.py 0")
    port = server.wait_for(LISTENING)[1]

    said = runner.run(f"python 02_client.py {port}")

    assert "the server says: delivered to 0" in said
    assert "round trip: " in said
    server.wait_for("connected, it speaks Veltix .*\n.* is gone: the peer closed the connection")


def test_chat_reaches_everybody_else(runner):
    """What one types the others read; who comes and goes is told."""
    port = runner.start("python 03_chat.py serve 0").wait_for(LISTENING)[1]
    ann = runner.start(f"python 03_chat.py join ann {port}", typed=True)
    ann.wait_for("you are in")
    bob = runner.start(f"python 03_chat.py join bob {port}", typed=True)
    ann.wait_for(r"\* bob joins")

    ann.type("hello, bob")
    bob.wait_for("ann: hello, bob")
    bob.finish()

    ann.wait_for(r"\* bob leaves")
    assert "hello, bob" not in ann.output
    ann.finish()


def test_web_page_and_veltix_share_a_process(runner):
    """A page shows what a Veltix client sent, and its form reaches the clients."""
    server = runner.start("python 04_twisted_web.py 0 0")
    port = server.wait_for(LISTENING)[1]
    page = server.wait_for(r"http://\S+")[0]
    listener = runner.start(f"veltix listen 127.0.0.1:{port}")
    runner.until(lambda: "send to 1 clients" in _get(page), listener)

    said = runner.run(f"veltix send 127.0.0.1:{port} 200 '<hello>' --wait")
    assert "noted" in said
    assert "&lt;hello&gt;" in _get(page)

    _get(page, {"note": "from the page"})
    listener.wait_for("200 from the page")


def test_factories_work_on_plain_tcp(runner):
    """Both factories, without the doors, talk to each other and end."""
    said = runner.run("python 05_connect_tcp.py 0")

    assert "client: hello, 127.0.0.1" in said
    assert "client: the answer is IS ANYBODY THERE?" in said
    assert "server: the peer closed the connection" in said
    assert "client: this side closed the connection" in said


def test_module_is_served_by_twistd(runner):
    """Both ways to name what is served: a Server and a function that returns one."""
    for name in ("server", "make_server"):
        server = runner.start(f"twistd -n veltix --port 0 --interface 127.0.0.1 --app 06_chatserver:{name}")
        port = server.wait_for(r"speaks Veltix .* on 127\.0\.0\.1:(\d+)")[1]
        assert "delivered" in runner.run(f"veltix send 127.0.0.1:{port} 200 hello --wait")
        server.stop()


def test_tests_run_under_pytest_and_trial(runner):
    """The tests of the example pass in both runners."""
    assert "4 passed" in runner.run("pytest 07_testing_yours.py")
    assert "PASSED (successes=2)" in runner.run("trial ./07_testing_yours.py")


def test_old_releases_have_ports_of_their_own(runner, ping):
    """Each port answers a client of the release it is for."""
    server = runner.start("python 08_old_releases.py 0")
    for wire in ("auto", "1.8.0", "1.8.1", "1.9.0", "1.6.3"):
        port = server.wait_for(rf"(?m)^{wire}: {LISTENING}")[1]
        connection = ping(("127.0.0.1", int(port)), "3.3.0" if wire == "auto" else wire)
        assert connection.peer.version == ("2.0.0" if wire == "auto" else wire)


def test_blocking_handler_stops_nobody_else(runner):
    """While one client's password is stretched another one's question is answered."""
    port = runner.start("python 09_blocking.py 0 10_000_000").wait_for(LISTENING)[1]
    asking = runner.start(f"veltix send 127.0.0.1:{port} 200 x --wait --timeout 60")

    runner.until(lambda: "1 in work" in runner.run(f"veltix send 127.0.0.1:{port} 201 '?' --wait"), asking)

    key = "e1bf3c1c3a1e4abea8be2fdc817faf7f64a1b4a53f141c81894589a8fb342e49"  # hashlib.pbkdf2_hmac("sha256", b"x", b"salt", 10**7)
    assert key in asking.finish()


def test_tokens_tell_readers_from_writers(runner):
    """A writer's token lets write, a reader's read alone, and a guess nothing."""
    server = runner.start("python 13_tokens.py serve 0")
    tokens = {name: server.wait_for(rf"{name}: (\S+)")[1] for name in ("reader", "writer")}
    port = server.wait_for(LISTENING)[1]

    assert "written by writer" in runner.run(f"python 13_tokens.py write {tokens['writer']} hello {port}")
    assert "hello" in runner.run(f"python 13_tokens.py read {tokens['reader']} {port}")
    assert "forbidden: " in runner.run(f"python 13_tokens.py write {tokens['reader']} bye {port}")
    assert "the server refused the credentials" in runner.run(f"python 13_tokens.py read guess {port}")


def test_a_plugin_has_two_halves(runner):
    """Who is there is answered, who comes and goes is told, by a plugin at either end."""
    port = runner.start("python 10_plugin.py serve 0").wait_for(LISTENING)[1]
    ann = runner.start(f"python 10_plugin.py join ann {port}", typed=True)
    ann.wait_for("there: ann\n")
    bob = runner.start(f"python 10_plugin.py join bob {port}", typed=True)
    bob.wait_for("there: ann, bob\n")
    ann.wait_for(r"\* bob comes")
    bob.finish()

    ann.wait_for(r"\* bob goes")
    ann.finish()
    assert "*" not in bob.output


def test_orders_are_values_and_the_shop_says_what_is_wrong(runner):
    """An order gets its receipt; one for too much, and one that is none, get their errors."""
    port = runner.start("python 11_typed.py serve 0").wait_for(LISTENING)[1]
    assert "receipt 1: 3.00" in runner.run(f"python 11_typed.py order pen 2 {port}")
    assert "sold_out: too few of ink {'left': 2}" in runner.run(f"python 11_typed.py order ink 3 {port}")
    said = runner.run(f"python 11_typed.py order pen many {port}")
    assert "invalid_content: not Order in JSON: Expected `int`, got `str` at $.count" in said


def test_a_line_from_a_device_reaches_an_operator(runner):
    """One server has a wire for devices and one for operators; each hears what is its own."""
    server = runner.start("python 14_lines.py 0 0")
    devices = server.wait_for(rf"devices: {LISTENING}")[1]
    operator = runner.start(f"veltix listen 127.0.0.1:{server.wait_for(f'operators: {LISTENING}')[1]}")
    operator.wait_for("connected")

    assert runner.run(f"veltix send 127.0.0.1:{devices} --wire lines 'ALARM kitchen' --wait") == "ACK, 1 told\n"
    operator.wait_for("200 alarm in kitchen")
    assert runner.run(f"veltix send 127.0.0.1:{devices} --wire lines BEAT --wait") == "ACK\n"


def test_temperatures_go_over_netconduits_wire(runner):
    """A measurement is answered with a summary; without the password nothing is."""
    serve = "VELTIX_PASSWORD=secret python 15_netconduit.py serve"
    port = runner.start(f"{serve} 0").wait_for(LISTENING)[1]
    measure = "VELTIX_PASSWORD=secret python 15_netconduit.py measure"
    assert "1 at attic, 20.0 on average" in runner.run(f"{measure} attic 20 {port}")
    assert "2 at attic, 21.0 on average" in runner.run(f"{measure} attic 22 {port}")
    refused = runner.start(f"VELTIX_PASSWORD=wrong python 15_netconduit.py measure attic 99 {port}")
    refused.wait_for("AuthenticationFailed: the server refused the password")
    refused.process.wait(10)
    runner.started.remove(refused)


def test_methods_are_called_by_name(runner):
    """The calculator answers, calls back before a half, and says what it does not do."""
    server = runner.start("python 12_rpc.py serve 0")
    port = server.wait_for(LISTENING)[1]
    assert "2.5" in runner.run(f"python 12_rpc.py divide 5 2 {port}")
    server.wait_for("127.0.0.1 wants a half: to share it")
    assert "by_zero {'dividend': 1.0}" in runner.run(f"python 12_rpc.py divide 1 0 {port}")


def test_a_web_page_speaks_to_clients(runner):
    """FastAPI and Veltix share a loop: what the page is told the clients hear, and it knows who is there. Both end politely."""
    web = runner.start("python 16_fastapi.py 0 0")
    port = web.wait_for(LISTENING)[1]
    page = web.wait_for(r"running on (http://127\.0\.0\.1:\d+)")[1]
    listening = runner.start(f"veltix listen 127.0.0.1:{port}")
    runner.until(lambda: '"ms"' in _get(f"{page}/clients"), listening)

    assert _get(f"{page}/say?text=hello", {"posted": "yes"}) == '{"heard":1}'

    listening.wait_for("hello")
    assert "1" in runner.run(f"veltix send 127.0.0.1:{port} 200 hi --wait")
    listening.wait_for("hi")
