"""Ways to a server: users, passwords, databases, prefixes, UNIX sockets and TLS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol

from tests.backplane.test_contract import Receiver, clocks, until
from tests.support.redis_server import RedisServer
from veltix_tx.backplane.interface import History
from veltix_tx.backplane.redis.access import COMMANDS, acl_rule
from veltix_tx.backplane.redis.url import OPTIONS, parse_redis_url
from veltix_tx.errors import BackplaneUnavailable


class Web(Protocol):
    """Answers whatever comes as a web server does."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def do_everything(a: Any, b: Any, at_b: Any) -> None:
    """Have two nodes do all that a backplane does."""
    await gatherResults([b.subscribe("x"), b.subscribe("y")])
    await b.unsubscribe("y")
    await gatherResults([a.publish("x", b"1"), a.publish("x", b"2", History()), a.track("x", "m", b""), a.track("x", "n", b"")])
    await until(lambda: len(at_b.messages) == 2 and at_b.joined)
    assert await a.request(b.node_id, b"hello", 3) == b"re hello"
    assert (await b.history("x", None, 10)).top == 1
    await a.untrack("x", "n")
    await a.track("x", "m", b"new")
    assert [entry.info for entry in await b.members("x")] == [b"new"]
    assert (await b.topics(), await b.count("x")) == ({"x": 1}, 1)
    assert len(await b.nodes()) == 2


async def test_a_user_needs_the_documented_commands_and_no_others(redis: RedisServer, nodes: Any) -> None:
    """Two nodes do everything as a user that may call COMMANDS alone, on keys and channels of its prefix; each is called."""
    redis.command("ACL", "SETUSER", "nodes", ">secret", *acl_rule("shop").split())
    redis.command("CONFIG", "RESETSTAT")
    url = redis.url.replace("//", "//nodes:secret@") + "/1?prefix=shop"

    (a, _), (b, at_b) = [await nodes.start(url) for _ in range(2)]
    await do_everything(a, b, at_b)
    await a.stop()
    await until(lambda: at_b.left == {"m", "n"})
    await until(lambda: b"cmdstat_ping:" in redis.command("INFO", "commandstats"))

    statistics = redis.command("INFO", "commandstats").decode()
    assert set(re.findall(r"cmdstat_([\w|]+):", statistics)) - {"auth", "config|resetstat"} == set(COMMANDS)
    assert set(re.findall(r"rejected_calls=(\d+)", statistics)) == {"0"}
    assert b.counters["redis_failures"] == 0


async def test_a_refused_subscription_is_told(redis: RedisServer, nodes: Any, log_events: Any) -> None:
    """A user that may not listen on a channel is told so in the log, and its node does not join."""
    redis.command("ACL", "SETUSER", "nodes", ">secret", *acl_rule("shop").replace("&shop:*", "").split())
    node = nodes.make(redis.url.replace("//", "//nodes:secret@") + "?prefix=shop")
    joining = node.start(Receiver(), clocks()).addErrback(lambda failure: failure.trap(BackplaneUnavailable))

    await until(lambda: any("NOPERM" in str(event.get("words")) for event in log_events))
    await node.stop()
    await joining


async def test_a_wrong_password_is_told_once_and_tried_again(redis: RedisServer, nodes: Any, log_events: Any) -> None:
    """A refused password is in the log once, without the password; once it is right the node joins by itself."""
    redis.command("ACL", "SETUSER", "nodes", ">right", *acl_rule("veltix").split())
    node = nodes.make(redis.url.replace("//", "//nodes:wrong@"))
    joining = node.start(Receiver(), clocks())
    await until(lambda: node.counters["redis_failures"] > 4)

    said = [event for event in log_events if "WRONGPASS" in str(event.get("problem"))]
    assert len(said) == 1
    assert "password_file=FILE" in said[0]["problem"]
    with pytest.raises(BackplaneUnavailable, match="WRONGPASS"):  # whenever it is asked
        await node.nodes()
    assert "wrong@" not in str(said)

    redis.command("ACL", "SETUSER", "nodes", ">wrong")
    await joining


async def test_what_is_no_redis_is_told(nodes: Any, log_events: Any) -> None:
    """Something that answers in another protocol is named as such in the log, once, and costs no traceback."""
    from twisted.internet import reactor

    listening = reactor.listenTCP(0, Factory.forProtocol(Web), interface="127.0.0.1")  # type: ignore[attr-defined]
    node = nodes.make(f"redis://127.0.0.1:{listening.getHost().port}")
    joining = node.start(Receiver(), clocks()).addErrback(lambda failure: failure.trap(BackplaneUnavailable))

    await until(lambda: node.counters["redis_failures"] > 4)
    await node.stop()
    await joining
    await listening.stopListening()

    assert len([event for event in log_events if "does not speak Redis's protocol" in str(event.get("problem"))]) == 1


async def test_prefixes_share_a_server(redis: RedisServer, nodes: Any) -> None:
    """Applications of different prefixes see nothing of each other; keys and channels begin with it."""
    (a, _), (b, at_b) = [await nodes.start(f"{redis.url}?prefix={prefix}") for prefix in ("one", "two")]
    await b.subscribe("x")
    await a.publish("x", b"", History())
    await a.track("x", "m", b"")

    assert [len(await b.nodes()), await b.count("x"), (await b.history("x", None, 1)).top] == [1, 0, 0]
    assert at_b.messages == []
    keys = redis.command("KEYS", "*").decode().split("\r\n")[2::2]
    assert keys
    assert all(key.startswith(("one:", "two:")) for key in keys)


async def test_a_unix_socket(redis: RedisServer, nodes: Any) -> None:
    """A node meets the others through the server's UNIX socket, and in the database that is asked for."""
    (a, _), (b, at_b) = await nodes.start(f"redis+unix:{redis.socket}?db=1"), await nodes.start(redis.url + "/1")

    await do_everything(a, b, at_b)
    assert b"node:" not in redis.command("KEYS", "*")


@pytest.fixture
def tls_redis(tmp_path: Path, authority: Any) -> Any:
    """Start a server that speaks TLS alone on TCP."""
    files = authority.issue("redis", "localhost")
    folder = tmp_path / "tls"
    folder.mkdir()
    server = RedisServer(folder)
    tls = ("--tls-port", str(server.port), "--tls-cert-file", str(files.cert), "--tls-key-file", str(files.key))
    server = RedisServer(
        folder, "--port", "0", *tls, "--tls-ca-cert-file", str(authority.ca), "--tls-auth-clients", "no", at=server.port
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def test_tls_verifies_the_server(tls_redis: RedisServer, nodes: Any, authority: Any, log_events: Any) -> None:
    """A ``rediss:`` URL joins where the certificate is of a trusted issuer and for the name, and nowhere else."""
    where = f"rediss://localhost:{tls_redis.port}"
    (a, _), (b, at_b) = [await nodes.start(f"{where}?tls_ca={authority.ca}") for _ in range(2)]
    await do_everything(a, b, at_b)

    for url in (where, f"{where}?tls_ca={authority.ca}&tls_name=other.example"):
        node = nodes.make(url)
        joining = node.start(Receiver(), clocks()).addErrback(lambda failure: failure.trap(BackplaneUnavailable))
        await until(lambda node=node: node.counters["redis_failures"])
        assert node.counters["redis_connections"] == 0
        await node.stop()
        await joining
    problems = " ".join(str(event["problem"]) for event in log_events if "problem" in event)
    assert "is not trusted" in problems
    assert "not for other.example" in problems


def test_the_password_is_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """``password_file`` and VELTIX_BACKPLANE_PASSWORD keep the password out of the URL; the URL's own goes first."""
    file = tmp_path / "password"
    file.write_text("from a file\n")

    assert parse_redis_url(f"redis://h?password_file={file}", {"VELTIX_BACKPLANE_PASSWORD": "e"}).password == "from a file"
    assert parse_redis_url("redis://h", {"VELTIX_BACKPLANE_PASSWORD": "from outside"}).password == "from outside"
    assert parse_redis_url("redis://:own@h", {"VELTIX_BACKPLANE_PASSWORD": "from outside"}).password == "own"


def test_the_documentation_has_the_rule_and_the_options() -> None:
    """The how-to shows the ACL rule word for word, and every option of a URL."""
    page = Path(__file__).parents[3] / "docs" / "howto" / "many-processes.md"
    text = page.read_text(encoding="utf-8")

    assert acl_rule("veltix") in " ".join(text.split())
    assert [option for option in OPTIONS if f"`{option}=" not in text] == []
