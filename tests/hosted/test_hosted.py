"""A backplane that one process hosts for others: who is let in, what is told anew, and what has an end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.backplane.cable import Cable
from tests.backplane.test_contract import Receiver, clocks, until
from veltix_tx.backplane.interface import BackplaneLimits, BackplaneState, History
from veltix_tx.backplane.registry import backplane_from_url
from veltix_tx.client import Client
from veltix_tx.errors import BackplaneRefused, BackplaneUnavailable, NoSuchNode, SettingsError
from veltix_tx.hosted import messages
from veltix_tx.hosted.backplane import HostedBackplane
from veltix_tx.hosted.messages import COMMAND, TYPES, encode
from veltix_tx.hosted.private import PrivateBackplane
from veltix_tx.hosted.server import BackplaneServer
from veltix_tx.hosted.url import parse_host_url

Make = Callable[..., Any]

ANOTHER = encode(messages.Join(messages.VERSION + 1, "node", "host", 1, 0.0, 0, False, 1, 1))
"""What a node of another version says first."""


@pytest.fixture
def host(finish: Any) -> Iterator[Callable[..., BackplaneServer]]:
    """Return a function that starts a host."""
    started: list[BackplaneServer] = []

    def start(listen: str = "tcp:0", **settings: Any) -> BackplaneServer:
        made = BackplaneServer(listen, **settings)
        made.startService()
        started.append(made)
        return made

    yield start
    finish(gatherResults([each.stopService() for each in started]))


@pytest.fixture
def join(finish: Any) -> Iterator[Make]:
    """Return a function that makes a node of a URL's host, with a receiver, and a Deferred of its having joined."""
    started: list[Any] = []

    def join(url: str, limits: BackplaneLimits | None = None, **environment: str) -> Any:
        node, receiver = HostedBackplane(parse_host_url(url, environment), limits=limits), Receiver()
        started.append(node)
        return node, receiver, node.start(receiver, clocks()).addErrback(lambda _: None)

    yield join
    finish(gatherResults([node.stop() for node in started]))


# Who is let in.


async def test_only_who_knows_the_password_joins(host: Make, join: Make) -> None:
    """A node with the password of the host joins; one with another, or none, does not, and is in no list."""
    url = host(password="correct horse").url
    wrong = [join(url)[0], join(url, VELTIX_BACKPLANE_PASSWORD="battery")[0]]
    node, _, joined = join(url, VELTIX_BACKPLANE_PASSWORD="correct horse")

    await joined
    await until(lambda: all("VELTIX_BACKPLANE_PASSWORD" in str(each._problem) for each in wrong))

    assert [each.node for each in await node.nodes()] == [node.node_id]
    assert [each.state for each in wrong] == [BackplaneState.DOWN] * 2


@pytest.mark.parametrize("refused", [True, False])
async def test_an_outage_is_one_line(refused: bool, host: Make, join: Make, tmp_path: Path, log_events: Any) -> None:
    """A host that is not there, or refuses the password, is told once, whatever tries follow."""
    url = host(password="correct horse").url if refused else f"veltix+unix:{tmp_path}/absent.sock"
    node = join(url, VELTIX_BACKPLANE_PASSWORD="battery")[0]

    lost, tries = node._lost, []
    node._lost = lambda problem: (tries.append(problem), lost(problem))

    await until(lambda: len(tries) > 3)

    about_tries = [event for event in log_events if "trying" in event["log_format"] or "closing" in event["log_format"]]
    assert [event["log_namespace"] for event in about_tries] == ["veltix_tx.hosted.backplane"]


async def test_tls_verifies_the_host(host: Make, join: Make, authority: Any) -> None:
    """Over TLS a node joins a host whose certificate is of an issuer that it trusts and for the name, and no other."""
    files = authority.issue("host", "localhost")
    hosting = host("tls:0", tls_cert=str(files.cert), tls_key=str(files.key), password="correct horse")
    url = hosting.url.replace("127.0.0.1", "localhost")
    assert url.startswith("veltix+tls://localhost:")
    secret = {"VELTIX_BACKPLANE_PASSWORD": "correct horse"}
    others = [join(f"{url}{options}", **secret)[0] for options in ("", f"?tls_ca={authority.ca}&tls_name=other.example")]

    node, _, joined = join(f"{url}?tls_ca={authority.ca}", **secret)
    await joined
    await until(lambda: all("certificate" in each._problem for each in others))

    assert hosting.nodes == [node.node_id]


@pytest.mark.parametrize(
    ("listen", "settings", "rule"),
    [
        ("tcp:7000:interface=0.0.0.0", {}, "or password given"),
        ("tcp:7000:interface=192.0.2.1", {"password": "x"}, "or plaintext given"),
        ("nonsense:1", {}, "a Twisted server endpoint"),
        ("tcp:0", {"lease": 0}, "a number of seconds"),
        ("tcp:0", {"password": ""}, "a text of 1 to"),
    ],
)
def test_a_host_is_for_this_machine_unless_it_is_guarded(listen: str, settings: dict[str, Any], rule: str) -> None:
    """A host that others on the network could join, or whose password they could read, is not made."""
    with pytest.raises(SettingsError, match=rule):
        BackplaneServer(listen, **settings)


async def test_a_private_backplane_is_of_this_user_alone_and_leaves_nothing(join: Make, tmp_path: Path) -> None:
    """It listens on a socket in a folder with mode 0700 while it runs, and both are gone behind it."""
    private = PrivateBackplane(folder=tmp_path)
    with pytest.raises(SettingsError):
        _ = private.url
    private.startService()
    (name,) = os.listdir(tmp_path)
    node, _, joined = join(private.url)
    await joined
    assert [os.stat(tmp_path / path).st_mode & 0o777 for path in (name, f"{name}/backplane.sock")] == [0o700, 0o600]
    await node.stop()
    await private.stopService()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("veltix+unix:///run/b.sock", "veltix+unix:/run/b.sock"),
        ("veltix+unix:run/b.sock", "veltix+unix:run/b.sock"),
        ("veltix://[::1]:7000", "veltix://[::1]:7000"),
        ("veltix+tls://host:7000?tls_name=other", "veltix+tls://host:7000"),
    ],
)
def test_urls_of_a_host(url: str, shown: str) -> None:
    """A URL names a socket, or a host and a port with TLS or without."""
    assert str(parse_host_url(url, {})) == shown


@pytest.mark.parametrize(
    "url",
    [
        "veltix:",
        "veltix://host",
        "veltix://:7000",
        "veltix://host:7000/0",
        "veltix+unix://host/path",
        "veltix+unix:",
        "veltix://user:secret@host:7000",
        "veltix://h:7000?tls_ca=x",
        "veltix+tls://h:7000?plaintext=yes",
        "veltix://h:7000?plaintext=1",
        "veltix://h:7000?x=1",
    ],
)
def test_what_is_no_url_of_a_host_is_refused(url: str) -> None:
    """Anything else is no URL of a host, and the error shows no password."""
    with pytest.raises(SettingsError) as caught:
        backplane_from_url(url)
    assert "secret" not in str(caught.value)


# What is told anew.


async def test_another_host_on_the_same_place_is_told_everything(host: Make, join: Make, tmp_path: Path) -> None:
    """After its host was started anew a node has its members and topics again, its lease counted as lost, and other epochs."""
    place = f"unix:{tmp_path / 'sock'}"
    first = host(place)
    (a, at_a, joined), (b, _, also) = join(first.url), join(first.url)
    await gatherResults([joined, also])
    await gatherResults([a.subscribe("x"), b.track("x", "gone", b""), b.track("x", "stays", b"1")])
    before = await a.publish("x", b"", History())

    await first.stopService()
    await until(lambda: BackplaneState.DOWN is a.state is b.state)
    await b.untrack("x", "gone")
    assert await b.track("y", "new", b"") is False
    host(place)

    await until(lambda: BackplaneState.UP is a.state is b.state and at_a.interruptions)
    assert [each.member for each in await a.members("x")] == ["stays"]
    assert await a.topics() == {"x": 1, "y": 1}
    assert (await a.publish("x", b"", History())).epoch != before.epoch
    assert (a.counters["leases_lost"], a.counters["outages"], at_a.interruptions) == (1, 1, [frozenset({"x"})])
    await b.publish("x", b"again")
    await until(lambda: [payload for _, payload, _, _ in at_a.messages] == [b"again"])


async def test_what_changes_while_a_node_joins_is_told_behind_its_state(host: Make, join: Make, tmp_path: Path) -> None:
    """Changes that come between a connection and its having joined are neither lost nor overtaken by what was before."""
    place = f"unix:{tmp_path / 'sock'}"
    node, _, joined = join(f"veltix+unix:{tmp_path / 'sock'}")
    for number in range(200):
        assert await node.track("x", f"{number}", bytes(100_000)) is False  # more than is written at once
    host(place)
    await until(lambda: node._session is not None)
    for number in range(0, 200, 2):
        await node.untrack("x", f"{number}")
    await node.track("x", "1", b"latest")
    await joined

    members = {each.member: each.info for each in await node.members("x")}
    assert members.keys() == {f"{number}" for number in range(1, 200, 2)}
    assert members["1"] == b"latest"


async def test_what_changes_before_the_host_has_said_that_a_node_joined_is_told(
    host: Make, join: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes between the end of a node's state and the host's word that it has all of it are in effect, too."""
    readied: list[Any] = []
    ready = BackplaneServer._ready
    monkeypatch.setattr(BackplaneServer, "_ready", lambda *args: readied.append(args))
    node, receiver, joined = join(host().url)
    await until(lambda: readied)

    changes = [node.track("x", "m", b""), node.subscribe("x")]
    ready(*readied[0])
    await joined

    assert await gatherResults(changes) == [False, False]
    assert [each.member for each in await node.members("x")] == ["m"]
    assert receiver.interruptions == [frozenset({"x"})]


async def test_a_stop_fails_what_is_under_way_and_leaves(host: Make, join: Make) -> None:
    """What waits when a node stops errbacks at once, and the results that come all the same are nobody's."""
    hosting = host()
    node, _, joined = join(hosting.url)
    await joined
    waiting = [node.publish("x", b"", History()), node.members("x"), node.request(node.node_id, b"", 60)]

    stopped = node.stop()

    for each in waiting:
        with pytest.raises(BackplaneUnavailable):
            await each
    await stopped
    assert hosting.nodes == []
    assert node.counters["outages"] == 0


async def test_nodes_are_bounded(host: Make, join: Make) -> None:
    """A host takes no more nodes than its maximum; one that waits is in when there is room."""
    hosting = host(max_nodes=1)
    node, _, joined = join(hosting.url)
    await joined
    other, at_other, also = join(hosting.url)
    await until(lambda: other._problem != "it has not joined the others yet")
    assert (hosting.nodes, at_other.states) == ([node.node_id], [])

    await node.stop()

    await also
    assert hosting.nodes == [other.node_id]


# What has an end.


async def test_a_host_that_takes_too_little_gets_the_state_anew(host: Make, join: Make) -> None:
    """More than may wait for the host ends the connection; on the next, everything is as the node has it."""
    node, receiver, joined = join(host().url, BackplaneLimits(publish_bytes=1 << 20))
    await joined

    for number in range(140):
        node.track("x", f"{number}", bytes(100_000)).addErrback(lambda _: None)

    await until(lambda: BackplaneState.DOWN in receiver.states)
    await until(lambda: node.state is BackplaneState.UP)
    assert await node.count("x") == 140


async def test_limits_of_the_host_are_told_as_what_they_are(host: Make, join: Make) -> None:
    """What the host refuses errbacks with the same error as what the node itself refuses, and so does a node that is not there."""
    node, _, joined = join(host(limits=BackplaneLimits(subscriptions=1, payload=10)).url)
    await joined
    await node.subscribe("1")

    with pytest.raises(BackplaneRefused) as caught:
        await node.subscribe("2")
    with pytest.raises(BackplaneRefused):
        await node.publish("1", bytes(11))
    with pytest.raises(NoSuchNode):
        await node.request("nobody", b"", 3)
    with pytest.raises(SettingsError):
        await node.topics("*" * 1000)
    assert (caught.value.setting, caught.value.limit) == ("subscriptions", 1)
    await node.unsubscribe("1")
    assert await node.subscribe("2") is True


@pytest.mark.parametrize("said", [b"", b"\xc1", b"\x92\xa1s\x01", encode(messages.Subscribe("x")), ANOTHER])
async def test_who_says_what_is_no_command_is_closed(host: Make, said: bytes, join: Make) -> None:
    """A peer whose message cannot be read, comes before Join, or is of another version, is closed, and a node beside it stays."""
    hosting = host()
    node, _, joined = join(hosting.url)
    await joined
    address: Any = hosting.address
    peer = Client("127.0.0.1", address.port, types=TYPES)
    session = await peer.connect()

    session.send(COMMAND, said)

    await session.when_closed()
    assert hosting.nodes == [node.node_id]
    await peer.disconnect()


async def test_a_node_that_hangs_is_gone_within_its_lease_and_comes_back(host: Make, join: Make) -> None:
    """A node that says nothing is taken for dead with its members; when it goes on, they are there again."""
    hosting = host(lease=0.5)
    address: Any = hosting.address
    cable = Cable(address.port)
    (a, _, joined), (b, at_b, also) = join(f"veltix://127.0.0.1:{cable.entry}"), join(hosting.url)
    await gatherResults([joined, also])
    await gatherResults([b.subscribe("x"), a.track("x", "m", b"")])
    await until(lambda: at_b.joined)

    cable.hold()
    await until(lambda: at_b.left == {"m"})
    assert [each.node for each in await b.nodes()] == [b.node_id]
    at_b.diffs.clear()
    cable.release()

    await until(lambda: at_b.joined == {"m"})
    assert (a.counters["leases_lost"], b.counters["nodes_reaped"]) == (1, 1)
    cable.cut()


async def test_a_node_that_reads_too_slowly_is_cut_off(host: Make, join: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a node is bounded; over it the node is cut off, comes back, and is told that it missed something."""
    monkeypatch.setattr("veltix_tx.hosted.server.MAX_MESSAGE_SIZE", 2 << 20)
    hosting = host()
    address: Any = hosting.address
    cable = Cable(address.port)
    (a, _, joined), (b, at_b, also) = join(hosting.url), join(f"veltix://127.0.0.1:{cable.entry}")
    await gatherResults([joined, also])
    await b.subscribe("x")

    cable.hold()
    for _ in range(20):  # what the system's own buffers take, and more
        await a.publish("x", bytes(1 << 20))
    cable.release()

    await until(lambda: at_b.interruptions)
    cable.cut()
    assert at_b.interruptions == [frozenset({"x"})]
    assert b.counters["outages"] == 1


async def test_a_backplane_of_two_forks_has_two_ids() -> None:
    """A node's id names it alone, whatever made it: also in processes that are copies of one another."""
    node = HostedBackplane(parse_host_url("veltix://localhost:7000", os.environ))
    other = HostedBackplane(parse_host_url("veltix://localhost:7000", os.environ))
    assert node.node_id == node.node_id != other.node_id


async def test_a_node_is_stopped_before_it_has_joined() -> None:
    """A node whose host is not there can be stopped, and its start fails then."""
    node = HostedBackplane(parse_host_url("veltix+unix:/nowhere", {}))
    failed: list[Any] = []
    starting: Deferred[None] = node.start(Receiver(), clocks())
    starting.addErrback(failed.append)
    await node.stop()
    assert failed
