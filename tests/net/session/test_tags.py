"""Tags: notes on sessions, and selections by them."""

from __future__ import annotations

from typing import Any

import pytest

from veltix_tx import MessageRegistry, MessageType, Server, SettingsError
from veltix_tx.app.hub import Hub
from veltix_tx.client import Client
from veltix_tx.net.session.tags import Taggable, Tags
from veltix_tx.testing import MemoryNetwork

TYPES = MessageRegistry()
NEWS = MessageType(200, "news", registry=TYPES)


def crowd(count: int) -> tuple[MemoryNetwork, Server, list[list[bytes]]]:
    """A server with as many clients, and what each of them gets."""
    network, server = MemoryNetwork(), Server(types=TYPES)
    network.serve(server)
    inboxes: list[list[bytes]] = []
    for _ in range(count):
        client, inbox = Client(types=TYPES), []  # type: ignore[var-annotated]
        client.route(NEWS)(lambda message, inbox=inbox: inbox.append(message.content))
        network.connect(client)
        inboxes.append(inbox)
    return network, server, inboxes


def test_a_tag_is_set_once() -> None:
    """Setting a tag again says False and leaves its value."""
    tags = Tags(Taggable())
    assert tags.add("role", "admin")
    assert not tags.add("role", "guest")
    assert tags.get("role") == "admin"
    assert tags.get("other") is None


def test_none_of_no_tags_is_all_and_not_any() -> None:
    """All of no tags are always there, any of no tags never is, as upstream has it."""
    tags = Tags(Taggable())
    assert tags.has_all([])
    assert not tags.has_any([])
    tags.add("a")
    tags.add("b")
    assert tags.has_all(["a", "b"])
    assert not tags.has_all(["a", "c"])
    assert tags.has_any(["c", "b"])


def test_a_tag_goes_once() -> None:
    """Removing says whether there was something to remove; clearing takes all."""
    tags = Tags(Taggable())
    tags.add("a")
    assert tags.remove("a")
    assert not tags.remove("a")
    tags.add("b")
    tags.clear()
    assert len(tags) == 0


def test_clients_are_selected_by_their_tags() -> None:
    """A selection is what has all of some tags and any of others, however they were set and taken."""
    _, server, _ = crowd(4)
    a, b, c, d = server.clients
    for client in (a, b, c):
        client.add_tag("player")
    a.add_tag("red")
    b.add_tag("blue")
    d.add_tag("blue", "judge")
    assert server.select() == [a, b, c, d]
    assert server.select(["player"]) == [a, b, c]
    assert server.select(["player"], ["red", "blue"]) == [a, b]
    assert server.select(any_of=["blue", "red"]) == [b, d, a]
    assert server.select(["player", "nobody"]) == []
    assert server.get_clients_by_tag("blue") == [b, d]
    assert server.get_clients_by_tag("blue", "judge") == [d]
    b.clear_tags()
    assert server.select(any_of=["blue"]) == [d]


def test_a_client_that_left_is_in_no_selection() -> None:
    """A closed session is out of every selection, and its tags keep nothing of it in the hub."""
    network, server, _ = crowd(2)
    gone, stays = server.clients
    for client in (gone, stays):
        client.add_tag("player")
    network.result(gone.disconnect())
    assert server.select(["player"]) == [stays]
    gone.add_tag("late")
    assert server.select(["late"]) == []
    assert list(server._hub._tagged) == ["player"]


def test_a_broadcast_goes_to_a_selection() -> None:
    """Only the selected clients get the message, but for those excluded."""
    network, server, inboxes = crowd(3)
    first, second, _ = server.clients
    first.add_tag("player")
    second.add_tag("player")
    assert server.broadcast(NEWS, b"go", to=server.select(["player"]), exclude=[second]) == 1
    network.pump()
    assert inboxes == [[b"go"], [], []]


def test_a_selection_looks_at_the_rarest_tag_only(monkeypatch: Any) -> None:
    """Selecting by a rare and a common tag does not walk the common one's sessions."""
    _, server, _ = crowd(20)
    for client in server.clients:
        client.add_tag("common")
    server.clients[7].add_tag("rare")
    looked: list[object] = []
    usual = Tags.has_all
    monkeypatch.setattr(Tags, "has_all", lambda tags, names: looked.append(tags) or usual(tags, names))
    assert len(server.select(["common", "rare"])) == 1
    assert len(looked) == 1
    assert len(server.select(["common"], ["rare"])) == 1
    assert len(looked) == 2


def test_two_hubs_know_the_same_tags() -> None:
    """A session in two hubs (a server's, and that of the relay it serves) is selected in both, until it is gone."""
    network, server, _ = crowd(1)
    (session,) = server.clients
    second = Hub()
    second.add(session)
    session.add_tag("late")
    assert server.select(["late"]) == second.select(["late"]) == [session]
    session.disconnect()
    network.pump()
    assert server.select(["late"]) == second.select(["late"]) == []
    session.add_tag("afterwards")
    assert session._tag_observers == ()


@pytest.mark.parametrize("wrong", ["admin", b"admin", "", None, 5])
def test_one_tag_where_several_are_due_is_named(wrong: Any) -> None:
    """A text would be taken for its letters, and find nobody: SettingsError says what it must be."""
    network, server = MemoryNetwork(), Server(types=MessageRegistry())
    network.serve(server)
    network.connect(Client(types=MessageRegistry()))
    (session,) = server.clients
    session.add_tag("admin")
    for argument in ("all_of", "any_of"):
        with pytest.raises(SettingsError, match=f"^{argument} is .*: it must be several tags"):
            server.select(**{argument: wrong})
    for method in (session.has_all_tags, session.has_any_tags):
        with pytest.raises(SettingsError, match=r"^names is .*: it must be several tags"):
            method(wrong)
    with pytest.raises(SettingsError, match=r"such as \['admin'\]"):
        server.select("admin")
    assert server.select({"admin"}, iter(["admin"])) == [session]
