"""Tags: what a server notes about its clients."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, new_type, until
from veltix_tx.dropin.veltix import ClientInfo, Request


@pytest.fixture
def info() -> ClientInfo:
    """A client without a connection."""
    return ClientInfo(None, ("127.0.0.1", 1), 1)  # type: ignore[arg-type]


def test_one_tag(info: ClientInfo) -> None:
    """A tag is set once, with a value or without; set again it keeps its value; it is taken away once."""
    assert (info.has_tag("role"), info.get_tag("role")) == (False, None)
    assert info.add_tag("role", "admin") is True
    assert info.add_tag("role", "user") is False
    assert (info.has_tag("role"), info.get_tag("role")) == (True, "admin")
    assert info.remove_tag("role") is True
    assert info.remove_tag("role") is False
    assert not info.has_tag("role")


def test_a_tag_without_a_value(info: ClientInfo) -> None:
    """A tag may have no value; it is there all the same."""
    assert info.add_tag("vip") is True
    assert (info.has_tag("vip"), info.get_tag("vip")) == (True, None)
    assert info.add_tag("vip", 1) is False
    assert info.remove_tag("vip") is True


def test_several_tags(info: ClientInfo) -> None:
    """All of none are set, any of none is not; any iterable of names does."""
    for name in "ab":
        info.add_tag(name)
    assert [info.has_all_tags(names) for names in (["a", "b"], ["a", "c"], [], ("b",))] == [True, False, True, True]
    assert [info.has_any_tags(names) for names in (["c", "b"], ["c"], [], {"a"})] == [True, False, False, True]
    assert info.clear_tags() is None  # type: ignore[func-returns-value]
    assert info.tags == {}


def test_tags_are_a_live_dict(info: ClientInfo) -> None:
    """``tags`` is the dict itself, as in 1.6.3."""
    info.tags["z"] = 1
    assert info.get_tag("z") == 1
    info.add_tag("y", 2)
    assert info.tags == {"z": 1, "y": 2}


def test_names_must_be_hashable(info: ClientInfo) -> None:
    """A name that cannot be one is a TypeError."""
    with pytest.raises(TypeError):
        info.add_tag([])  # type: ignore[arg-type]


def test_no_other_attributes(info: ClientInfo) -> None:
    """A ClientInfo has its attributes and no others: notes go into tags."""
    with pytest.raises(AttributeError):
        info.name = "me"  # type: ignore[attr-defined]


def test_two_clients_are_two(info: ClientInfo) -> None:
    """Two are equal when they are the same, whatever they have noted; they can be keys."""
    other = ClientInfo(info.conn, info.addr, info.thread_id)
    assert info != other
    assert len({info, other, *[info]}) == 2
    assert info.handshake_done is False


def test_of_many_threads_one_sets_a_tag(info: ClientInfo) -> None:
    """Of threads that set a tag at once one is told True, and its value stays."""

    class Slow(dict[str, object]):
        def __contains__(self, name: object) -> bool:
            found = super().__contains__(name)
            time.sleep(0.001)
            return found

    info.tags = Slow()
    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            told = list(threads.map(lambda who, number=number: info.add_tag(f"t{number}", who), range(8)))  # type: ignore[misc]
            assert told.count(True) == 1
            assert info.get_tag(f"t{number}") == told.index(True)


def test_tags_of_a_connection(ends: Ends) -> None:
    """Tags set in one callback are there in the next and in ``on_disconnect``; broadcasts go to who has them."""
    server, kind, gone = ends.server(), new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_connect", lambda info: info.add_tag("number", info.thread_id))
    server.set_callback("on_disconnect", lambda info: gone.append(info.get_tag("number")))

    def join(response: Any, info: ClientInfo) -> None:
        info.add_tag("room", response.content)
        server.get_sender().send(Request(kind, b"in", response.request_id), info.conn)

    server.route(kind)(join)
    clients, got = [], []  # type: ignore[var-annotated]
    for number, room in enumerate((b"red", b"blue", b"red")):
        client = ends.client(server)
        client.set_callback("on_recv", lambda response, number=number: got.append(number))
        assert client.send_and_wait(Request(kind, room)) is not None
        clients.append(client)
    red = [info.conn for info in server.clients if info.get_tag("room") == b"red"]
    assert server.get_sender().broadcast(Request(kind, b"to red"), red)
    assert sorted(until(lambda: len(got) == 2 and got)) == [0, 2]
    clients[1].disconnect()
    assert until(lambda: gone) == [2]
