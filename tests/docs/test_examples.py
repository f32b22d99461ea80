"""Every example runs as its docstring says, typed in a folder that has the examples, on ports the system chooses."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.support.ports import accepts, free_port

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
    with urllib.request.urlopen(page, data, timeout=60) as answer:
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


def test_rooms_tell_who_is_there_and_what_was_missed(runner):
    """Members hear their room alone, who comes and goes, who is there, and what was said while they were away."""
    port = runner.start("python 19_rooms.py serve 0").wait_for(LISTENING)[1]
    ann = runner.start(f"python 19_rooms.py join ann kitchen {port}", typed=True)
    ann.wait_for("welcome to kitchen")
    bob = runner.start(f"python 19_rooms.py join bob kitchen {port}", typed=True)
    ann.wait_for(r"\* bob comes")
    eve = runner.start(f"python 19_rooms.py join eve attic {port}", typed=True)
    eve.wait_for("welcome to attic")

    ann.type("hello, bob")
    bob.wait_for("ann: hello, bob")
    bob.type("/who")
    bob.wait_for("here: ann bob")
    bob.type("/away")
    bob.wait_for("you are away")
    ann.wait_for(r"\* bob goes")
    ann.type("come back")
    bob.wait_for("ann: come back")
    bob.finish()
    ann.wait_for(r"\* bob goes[^$]*\* bob goes")

    for each in (ann, eve):
        each.finish()
    assert bob.output.count("hello, bob") == 1
    assert "missing" not in bob.output
    assert "hello" not in eve.output


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


def test_lines_from_two_kinds_of_devices_reach_an_operator(runner):
    """One server has a wire for devices and one for operators; each hears what is its own, and what is no device is asked."""
    server = runner.start("python 14_lines.py 0 0")
    devices = server.wait_for(rf"devices: {LISTENING}")[1]
    operator = runner.start(f"veltix listen 127.0.0.1:{server.wait_for(f'operators: {LISTENING}')[1]}")
    operator.wait_for("connected")

    def answers(said):
        return runner.run(f"printf '{said}' | veltix send 127.0.0.1:{devices} --wire lines - --wait").splitlines()

    assert answers(r"PANEL 4711\nBEAT\nALARM kitchen\nALARM\n") == ["ACK", "ACK", "ACK, 1 told", "WHAT?"]
    operator.wait_for('200 "alarm in kitchen, says panel 4711"')
    assert answers(r"SENSOR boiler\n20\n61.5\nwarm\n") == ["ACK", "ACK", "ACK", "WHAT?"]
    operator.wait_for('200 "61.5 degrees at boiler"')
    assert answers(r"hello\n") == ["WHO ARE YOU?"]
    with sqlite3.connect(runner.folder / "alarms.db") as database:
        assert database.execute("SELECT * FROM alarms").fetchall() == [("4711", "kitchen")]
    database.close()


def test_a_line_whose_handler_fails_is_answered_in_its_turn(runner):
    """A device without ids counts answers: a failed alarm and a line that is no text have their own, and shift none."""
    (runner.folder / "alarms.db").mkdir()  # nothing can be stored
    server = runner.start("exec python 14_lines.py 0 0 2>failures.txt")
    devices = server.wait_for(rf"devices: {LISTENING}")[1]
    with socket.create_connection(("127.0.0.1", int(devices)), timeout=60) as device, device.makefile("rb") as answers:
        device.sendall(b"PANEL 4711\nALARM kitchen\nBEAT\n\xff\xfe\nBEAT\n")
        device.shutdown(socket.SHUT_WR)
        heard = answers.read().split()

    assert heard == [b"ACK", b"NAK", b"ACK", b"WHAT?", b"ACK"]
    assert "unable to open database file" in (runner.folder / "failures.txt").read_text(encoding="utf-8")


def test_peers_are_known_by_their_first_lines(runner):
    """Panels and sensors are answered each in their way, others turned away; who listens hears of an alarm."""
    port = free_port()
    server = runner.start(f"python 18_flexi_socket.py {port}")
    runner.until(lambda: accepts(port), server)
    listener = runner.start(f"veltix listen 127.0.0.1:{port} --wire lines")
    listener.wait_for("connected")
    assert runner.run(f"veltix send 127.0.0.1:{port} --wire lines '##battery low' --wait") == "NOTED battery low\n"
    assert runner.run(f"veltix send 127.0.0.1:{port} --wire lines '!!kitchen' --wait") == "ACK\n"
    assert runner.run(f"veltix send 127.0.0.1:{port} --wire lines hello --wait") == "WHO ARE YOU?\n"
    listener.wait_for("ALARM kitchen")
    server.wait_for("disconnected: Connection: 127.0.0.1:")


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


def test_a_shop_on_netconduits_own_api(runner):
    """What is bought is told, what cannot be sold is an error with its details, and a wrong password is refused."""
    serve = "CONDUIT_PASSWORD=secret python 17_conduit.py serve"
    port = free_port()
    server = runner.start(f"{serve} {port}")
    server.wait_for(f"the shop is at 127.0.0.1:{port}")
    buy = "CONDUIT_PASSWORD=secret python 17_conduit.py buy"
    said = runner.run(f"{buy} pen 3 {port}")
    assert "bought 3 pen" in said
    assert "2 pen left" in said
    assert "[4002] sold out {'left': 2}" in runner.run(f"{buy} pen 3 {port}")
    assert "[2000] Validation error in buy" in runner.run(f"{buy} pen 0 {port}")
    refused = runner.start(f"CONDUIT_PASSWORD=wrong python 17_conduit.py buy pen 1 {port}")
    refused.wait_for("the password is another")
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


def test_people_on_two_servers_share_a_room(runner, redis):
    """What one types the others read, on whichever server they are; ``who`` lists all of them."""
    servers = [runner.start(f"python 20_nodes.py serve {free_port()} {redis.url}") for _ in range(2)]
    ports = [server.wait_for(LISTENING)[1] for server in servers]
    for server in servers:
        server.wait_for("the backplane is up")
    ann = runner.start(f"python 20_nodes.py join ann {ports[0]}", typed=True)
    bob = runner.start(f"python 20_nodes.py join bob {ports[1]}", typed=True)
    for person in (ann, bob):
        person.wait_for(r"\* connected")

    def both_are_there():
        ann.type("who")
        return "here: ann, bob" in ann.output

    runner.until(both_are_there, ann)
    ann.type("hello, bob")
    bob.wait_for("ann: hello, bob")
    for person in (ann, bob):
        person.finish()


def test_nothing_is_missing_after_a_server_was_killed(runner, redis):
    """The example kills one of two servers: its people miss nothing, and the members are right within a lease."""
    said = runner.run(f"python 21_kill_a_node.py {redis.url}")

    assert "on the other one she got: bob: line 0, bob: line 1, bob: line 2, bob: line 3, bob: line 4" in said
    assert "the members are right again" in said
