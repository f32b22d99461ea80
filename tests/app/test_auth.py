"""Token files, routes that ask who is there, and choosing sessions by their identity."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from veltix_tx import Identity, RemoteError, RpcError, Server, Session, SettingsError, Token, TokenFile
from veltix_tx.app.auth import new_token, token_line
from veltix_tx.net.shared.authentication import Credentials
from veltix_tx.wire.credentials import MAX_SECRET_SIZE


def presenting(token: str | None = None, **more: Any) -> Credentials:
    """Credentials of a connection that shows nothing else."""
    address = IPv4Address("TCP", "127.0.0.1", 1)
    return Credentials(address=address, encrypted=False, certificate=None, wire="W15", version="", token=token, **more)


def written(folder: Path, text: str | bytes) -> Path:
    """A token file with this content."""
    path = folder / "tokens.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Token files


def test_a_file_lets_in_who_has_a_token_of_it(tmp_path: Path) -> None:
    """A name may have several tokens, empty lines and comments are passed over, and nothing else lets anybody in."""
    first, second, other = (new_token() for _ in range(3))
    lines = [
        "# the shop",
        "",
        f"  {token_line('ann', first)}  ",
        token_line("ann", second),
        token_line("bob@shop.example", other),
        "",
    ]
    tokens = TokenFile(written(tmp_path, "\r\n".join(lines)))
    assert [tokens(presenting(each)) for each in (first, second, other)] == [Identity("ann")] * 2 + [Identity("bob@shop.example")]
    assert tokens.names == {"ann", "bob@shop.example"}
    for wrong in (None, "", first[:-1], first + "x", first.upper(), sha256(first.encode()).hexdigest(), "ann"):
        assert tokens(presenting(wrong)) is None
    assert tokens(presenting(name="ann", password=first)) is None


def test_a_file_without_tokens_lets_nobody_in(tmp_path: Path) -> None:
    """Empty, or with comments alone: nobody."""
    for text in ("", "# nobody yet\n", "\n\n"):
        assert TokenFile(written(tmp_path, text))(presenting(new_token())) is None


HASH = "0" * 64
BAD = {
    "no hash": "ann",
    "empty hash": "ann:",
    "short hash": "ann:" + HASH[1:],
    "long hash": f"ann:{HASH}0",
    "upper hash": f"ann:{'A' * 64}",
    "no name": f":{HASH}",
    "a space": f"a nn:{HASH}",
    "a token": "ann:vtx_s3cret",
    "a slash": f"../ann:{HASH}",
    "long name": f"{'x' * 65}:{HASH}",
    "escape": f"\x1b[2J:{HASH}",
    "not UTF-8": b"\xff\xfe:" + HASH.encode(),
    "twice": f"ann:{HASH}\nbob:{HASH}",
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_a_line_that_is_none_is_named_by_its_number(tmp_path: Path, line: str | bytes) -> None:
    """A bad line is a SettingsError with the file and the line's number, and without the line, which may hold a token."""
    text = f"# names\n{token_line('eve', new_token())}\n".encode() + (line if isinstance(line, bytes) else line.encode())
    with pytest.raises(SettingsError, match=r"line [34]|line 4 stands") as raised:
        TokenFile(written(tmp_path, text))
    assert str(raised.value.value).endswith("tokens.txt")
    assert "s3cret" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """One that is not there, is a folder or is endless is a SettingsError."""
    for path in (tmp_path / "none", tmp_path, written(tmp_path, b"#" * (2**20 + 1))):
        with pytest.raises(SettingsError, match="tokens is"):
            TokenFile(path)


def test_tokens_cannot_be_guessed() -> None:
    """A token has 256 random bits, says that it is one, and fits where tokens go; its line has its hash alone."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert re.fullmatch(r"vtx_[\w-]{43}", token)
        assert Token(token).token == token
        assert len(token) < MAX_SECRET_SIZE
        assert token not in token_line("ann", token)
    assert new_token(lambda size: "x" * size) == "vtx_" + "x" * 32


@pytest.mark.parametrize("name", ["", "a b", "a:b", "#ann", "\n", "é", "x" * 65, "-x"])
def test_a_name_that_no_line_can_have_is_refused(name: str) -> None:
    """A line is read as it was written."""
    with pytest.raises(SettingsError, match=r"^name is"):
        token_line(name, "vtx_x")


# allow


def only(*names: str) -> Any:
    """A function that allows the sessions of these identities."""
    return lambda session: session.identity in names


@pytest.fixture
def town_of_names(town: Any) -> Any:
    """A town whose clients are known by their tokens."""
    return town(authenticate=lambda credentials: credentials.token)


@pytest.mark.parametrize("terms", [{}, {"concurrent": True}, {"thread": True}, {"timeout": 5}])
def test_a_route_is_for_whom_it_allows(town_of_names: Any, terms: Any) -> None:
    """The handler is called for those sessions alone; who else asks is told that it is forbidden, and it is counted."""
    town = town_of_names
    town.server.register_route(town.chat, lambda client, message: message.content, allow=only("ann"), **terms)
    (ann, _), (bob, _) = (town.client(name, credentials=Token(name)) for name in ("ann", "bob"))
    assert town.network.result(ann.send_and_wait(town.chat, b"x")).content == b"x"
    with pytest.raises(RemoteError) as raised:
        town.network.result(bob.send_and_wait(town.chat, b"x"))
    assert (raised.value.code, raised.value.message) == ("forbidden", "a message of type 200 is not allowed to this session")
    assert town.server.counters["messages_forbidden"] == 1
    bob.send(town.chat, b"asks nothing")
    town.network.pump()
    assert town.heard == {"ann": [], "bob": []}
    assert town.server.counters["messages_forbidden"] == 2


def broken(session: Session) -> bool:
    """Fail."""
    raise LookupError("no roles")


NOT_TRUE: dict[str, Any] = {
    "raises": broken,
    "none": lambda session: None,
    "truthy": lambda session: "yes",
    "one": lambda session: 1,
    "no arguments": lambda: True,
}


@pytest.mark.parametrize("allow", NOT_TRUE.values(), ids=NOT_TRUE)
def test_anything_but_true_forbids(town_of_names: Any, logged_failures: Any, allow: Any) -> None:
    """An error, and what is not exactly True, calls no handler."""
    called: list[object] = []
    town = town_of_names
    town.server.register_route(town.chat, lambda client, message: called.append(message), allow=allow)
    ann, _ = town.client("ann", credentials=Token("ann"))
    with pytest.raises(RemoteError, match="forbidden"):
        town.network.result(ann.send_and_wait(town.chat, b"x"))
    assert called == []
    logged_failures.flush()


def test_what_cannot_allow_is_refused_where_it_is_given(town_of_names: Any) -> None:
    """A coroutine function, whose coroutine would be true, and what cannot be called."""

    async def later(session: Session) -> bool:
        return False

    for wrong in (later, "admin", True):
        with pytest.raises(SettingsError, match=r"^allow is"):
            town_of_names.server.register_route(town_of_names.chat, lambda client, message: None, allow=wrong)
    assert not town_of_names.server.router.has_route(town_of_names.chat)


def test_a_route_without_it_has_no_terms(town_of_names: Any) -> None:
    """A route that allows everybody is called without another look at who asks."""
    router = town_of_names.server.router
    town_of_names.server.register_route(town_of_names.chat, print)
    town_of_names.server.register_route(town_of_names.news, print, allow=only("ann"))
    assert list(router.direct) == [town_of_names.chat.key]


def test_a_renewed_identity_counts_at_once(town_of_names: Any) -> None:
    """``allow`` looks at who the session is by now."""
    town = town_of_names
    town.server.register_route(town.chat, lambda client, message: b"done", allow=only("admin"))
    ann, _ = town.client("ann", credentials=Token("ann"))
    with pytest.raises(RemoteError):
        town.network.result(ann.send_and_wait(town.chat))
    town.network.result(ann.reauthenticate(Token("admin")))
    assert town.network.result(ann.send_and_wait(town.chat)).content == b"done"


@pytest.mark.parametrize("terms", [{}, {"concurrent": False}, {"thread": True}, {"timeout": 5}])
def test_a_method_is_for_whom_it_allows(town_of_names: Any, terms: Any) -> None:
    """Its function is called for those sessions alone; who else calls it is told so, whatever the arguments are."""
    town, called = town_of_names, list[int]()

    @town.server.rpc(allow=only("ann"), **terms)
    def double(number: int) -> int:
        called.append(number)
        return 2 * number

    (ann, _), (bob, _) = (town.client(name, credentials=Token(name)) for name in ("ann", "bob"))
    assert town.network.result(ann.call("double", 3)) == 6
    for arguments in ((3,), ("no number",), ()):
        with pytest.raises(RpcError) as raised:
            town.network.result(bob.call("double", *arguments))
        assert (raised.value.code, raised.value.message) == ("forbidden", "a call of double is not allowed to this session")
    assert (called, town.server.counters["messages_forbidden"]) == ([3], 3)


@pytest.mark.parametrize("allow", NOT_TRUE.values(), ids=NOT_TRUE)
def test_anything_but_true_forbids_a_call(town_of_names: Any, logged_failures: Any, allow: Any) -> None:
    """As for a route: an error, and what is not exactly True, calls no function."""
    called: list[object] = []
    town_of_names.server.register_rpc(called.append, "keep", allow=allow)
    ann, _ = town_of_names.client("ann", credentials=Token("ann"))
    with pytest.raises(RpcError, match="forbidden"):
        town_of_names.network.result(ann.call("keep", 1))
    assert called == []
    logged_failures.flush()


def test_what_cannot_allow_a_method_is_refused_where_it_is_given(town_of_names: Any) -> None:
    """As for a route; the name stays free."""

    async def later(session: Session) -> bool:
        return False

    for wrong in (later, "admin", True):
        with pytest.raises(SettingsError, match=r"^allow is"):
            town_of_names.server.register_rpc(len, allow=wrong)
    assert not town_of_names.server.unregister_rpc("len")


# Choosing sessions


def test_sessions_are_chosen_by_identity(town_of_names: Any) -> None:
    """``select`` finds the sessions of one identity, with tags or without, and a broadcast goes to them."""
    town = town_of_names
    for number, name in enumerate(["ann", "bob", "ann"]):
        town.client(f"{name}{number}", credentials=Token(name))
    server: Server = town.server
    assert [session.identity for session in server.select(identity="ann")] == ["ann", "ann"]
    assert server.select(identity="eve") == []
    server.clients[0].add_tag("mobile")
    server.clients[1].add_tag("mobile")
    assert server.select(["mobile"], identity="ann") == server.select(any_of=["mobile"], identity="ann") == [server.clients[0]]
    assert server.broadcast(town.chat, b"hello, ann", to=server.select(identity="ann")) == 2
    town.network.pump()
    assert town.heard == {"ann0": [b"hello, ann"], "bob1": [], "ann2": [b"hello, ann"]}


def test_a_session_says_whose_it_is(town_of_names: Any) -> None:
    """Lines of the log about a session name its identity, with nothing in it that a terminal would obey."""
    town_of_names.client("ann", credentials=Token("\x1b[2Jann"))
    assert r"identity '\x1b[2Jann'" in repr(town_of_names.server.clients[0])
