"""The administration: what it shows and does, who may, and what bad HTTP gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from tests.support.administration import BAD, NEWS, TYPES, Answer, World
from veltix_tx import BackplaneUnavailable, Client, Identity, RemoteError, Server, ServerConfig, SettingsError
from veltix_tx.backplane.memory import MemoryBackplane
from veltix_tx.net.clock import Clocks
from veltix_tx.net.shared.turn_queue import TURN_SECONDS, TurnQueue
from veltix_tx.ops.admin import MOST_BODY
from veltix_tx.ops.admin_api import ApiError, Call
from veltix_tx.ops.admin_listener import LIFETIME, MOST_CONNECTIONS, AdminListener, admin_place
from veltix_tx.ops.administration import Administration
from veltix_tx.ops.logins import MOST_LOGINS
from veltix_tx.ops.sessions import SLICE
from veltix_tx.testing import MemoryNetwork

# What it shows.


def test_health_and_readiness_are_told_apart(world: World) -> None:
    """It is healthy as long as it answers, and ready until it is to stop; then, for a while, everything else goes on."""
    session = world.network.connect(Client(types=TYPES))
    assert [world.ask("GET", path).status for path in ("/healthz", "/readyz")] == [200, 200]
    delayed = world.administration.drain(2.0)
    assert [world.ask("GET", path).status for path in ("/healthz", "/readyz")] == [200, 503]
    assert session.closed is None
    assert not delayed.called
    world.network.advance(2)
    assert delayed.called


def test_the_server_is_shown(world: World) -> None:
    """Version, uptime, addresses and counters; listeners with their traffic; routes and methods; limits with their use."""
    client = Client(types=TYPES)
    world.network.connect(client)
    client.send(NEWS, b"")
    world.network.advance(3)
    server = world.get("server")
    assert (server["uptime"], server["ready"], server["sessions"], server["counters"]["ready"]) == (3, True, 1, 1)
    assert world.get("now")["uptime"] == 3
    (listener,) = world.get("listeners")
    assert (listener["wire"], listener["encrypted"], listener["open"], listener["ready"]) == ("auto", False, 1, 1)
    assert listener["bytes_in"] > 0
    client.send(NEWS, b"")
    world.network.pump()
    assert world.get("routes") == {
        "routes": [{"type": 200, "name": "news", "received": 2, "failed": 0, "timed": 1, "mean_ms": 0}],
        "methods": [{"name": "add", "concurrent": True, "failed": 0, "timed": 0, "mean_ms": 0}],
    }
    limits = world.get("limits")
    assert limits["in_use"]["max_connections"] == {"used": 1, "limit": 10_000}
    assert (limits["limits"]["half_open"], limits["timeouts"]["idle"]) == (256, "inf")


def test_metrics_are_served(world: World) -> None:
    """/metrics is what Prometheus reads."""
    world.network.connect(Client(types=TYPES))
    answer = world.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"\nveltix_ready_total 1.0\n" in answer.body


def test_a_server_that_is_not_measured_has_no_metrics(network: MemoryNetwork) -> None:
    """Without measuring /metrics says so; everything else works."""
    server = Server(types=TYPES)
    api = Administration(server, measured=False)._api
    network.serve(server)
    with pytest.raises(ApiError, match="nothing is measured"):
        api.answer("GET", "metrics", Call())
    api.answer("GET", "api/v1/listeners", Call())


def test_a_session_of_any_node_and_over_udp_is_shown(network: MemoryNetwork) -> None:
    """The id of a node may be of letters and dots, as those of Redis are; a session over UDP has no heartbeat, and is shown."""
    server = Server(endpoint="lines@udp:0", backplane=MemoryBackplane(node_id="a3f.shop"))
    api = Administration(server, measured=False)._api
    network.serve(server)
    network.dial_udp().send(b"hello\n")
    network.pump()
    (session,) = server.sessions
    shown: Any = api.answer("GET", f"api/v1/sessions/{session.id}", Call())
    assert (shown["id"].startswith("a3f.shop-"), shown["silent_since_ping"]) == (True, False)


def test_sessions_are_searched_sorted_and_paged(world: World) -> None:
    """A page has so many of the sessions a search finds, in an order; the total says how many there are."""
    sessions = [world.network.connect(Client(types=TYPES)) for _ in range(5)]
    peers = world.server.clients
    peers[3].add_tag("vip", "yes")
    found = world.get("sessions?limit=2&offset=1")
    assert (found["total"], [row["id"] for row in found["sessions"]]) == (5, [peers[1].id, peers[2].id])
    assert [row["id"] for row in world.get("sessions?sort=-id&limit=1")["sessions"]] == [peers[4].id]
    found = world.get(f"sessions?search={peers[2].id}")
    assert (found["total"], found["sessions"][0]["state"]) == (1, "open")
    assert world.get("sessions?search=nothing") == {"total": 0, "offset": 0, "sessions": []}
    world.network.advance(5)
    world.network.result(sessions[0].ping())
    assert world.get("sessions?sort=idle&limit=1")["sessions"][0]["id"] == peers[0].id
    assert len(sessions) == 5


def test_an_identity_is_shown_by_its_name(world: World) -> None:
    """Who a session's peer is told by the name of its identity, and by what that looks like where it has no name."""
    for _ in range(3):
        world.network.connect(Client(types=TYPES))
    for peer, identity in zip(world.server.clients, (Identity("ann"), {"user": 7}, None), strict=True):
        peer.identity = identity
    assert [row["identity"] for row in world.get("sessions")["sessions"]] == ["ann", "{'user': 7}", ""]
    assert world.get("sessions?search=ann")["total"] == 1


def test_many_sessions_are_looked_at_in_slices(world: World) -> None:
    """Between some hundred sessions the reactor has a turn for everything else, and the answer is whole all the same."""
    for _ in range(SLICE + 10):
        world.network.connect(Client(types=TYPES))
    protocol, transport = world.dial()
    protocol.dataReceived(b"GET /api/v1/sessions?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert not transport.value()
    world.network.advance(0)
    assert len(Answer(transport.value()).json["sessions"]) == SLICE + 10


def test_a_sessions_detail_says_why_it_is_slow(world: World) -> None:
    """A session's page has its tags, what waits, and what it has done wrong."""
    world.network.connect(Client(types=TYPES))
    (peer,) = world.server.clients
    peer.add_tag("vip", "yes")
    peer._flow.pause("handlers busy")
    shown = world.get(f"sessions/{peer.id}")
    assert (shown["state"], shown["paused"], shown["tags"]) == ("paused", ["handlers busy"], {"vip": "'yes'"})
    assert {"queued", "waiting", "pending", "idle", "busy", "late_replies", "frames_rejected"} <= set(shown)
    assert world.ask("GET", "/api/v1/sessions/1-99").status == 404


def test_sessions_are_selected_by_state(world: World) -> None:
    """Slow ones say why, each in words; connections in their handshake are rows of their own."""
    for _ in range(4):
        world.network.connect(Client(types=TYPES))
    peers = world.server.clients
    peers[1]._flow.pause("handlers busy")
    peers[2]._flow.blocked = True
    peers[2]._flow.queued = 70_000
    found = {
        state: world.get(f"sessions?state={state}")["sessions"] for state in ("slow", "paused", "blocked", "open", "half-open")
    }
    ids = {state: [row["id"] for row in rows] for state, rows in found.items()}
    assert ids["slow"] == [peers[1].id, peers[2].id]
    assert [row["id"] for row in world.get("sessions?sort=-slow&limit=2")["sessions"]] == [peers[2].id, peers[1].id]
    assert (ids["paused"], ids["blocked"], ids["open"]) == ([peers[1].id], [peers[2].id], [peers[0].id, peers[3].id])
    assert [row["why"] for row in found["slow"]] == [
        "nothing is read from it (handlers busy)",
        "its peer does not read: 70,000 bytes wait for it",
    ]
    assert found["half-open"] == []
    world.network.dial()
    world.network.advance(2)
    (row,) = world.get("sessions?state=half-open")["sessions"]
    assert (row["state"], row["why"]) == ("half-open", "its handshake is not complete after 2 s")
    assert set(row) == set(found["open"][0])
    assert world.ask("GET", "/api/v1/sessions?state=odd").status == 400
    peers[2]._flow.blocked = False


def test_routes_say_which_of_them_fails(world: World, logged_failures: Any) -> None:
    """Failures are counted by route and by method; routes are searched by name."""

    @world.server.route(BAD)
    def bad(client: object, message: object) -> None:
        raise ZeroDivisionError

    @world.server.rpc
    def divide() -> None:
        raise ZeroDivisionError

    client = Client(types=TYPES)
    session = world.network.connect(client)
    client.send(BAD, b"")
    world.network.pump()
    world.network.result(session.call("divide").addErrback(lambda failure: failure.trap(RemoteError)))
    routes = world.get("routes")
    assert {route["name"]: route["failed"] for route in routes["routes"]} == {"news": 0, "bad": 1}
    assert {method["name"]: method["failed"] for method in routes["methods"]} == {"add": 0, "divide": 1}
    assert [route["name"] for route in world.get("routes?search=ba&limit=1")["routes"]] == ["bad"]
    assert len(logged_failures.flush(ZeroDivisionError)) == 2


def test_nodes_rooms_and_members_are_shown(world: World) -> None:
    """What all servers of the backplane know together: nodes, rooms with the largest first, and members; each with its total."""
    for _ in range(3):
        world.network.connect(Client(types=TYPES))
    peers = world.server.clients
    for peer in peers[:2]:
        world.network.result(world.server.room("game:1").join(peer, state=7))
    world.network.result(world.server.room("lobby").join(peers[2]))
    found = world.get("nodes")
    assert (found["backplane"], found["total"], found["nodes"][0]["node"]) == ("up", 1, found["this"])
    assert world.get("rooms") == {"total": 2, "rooms": [{"name": "game:1", "members": 2}, {"name": "lobby", "members": 1}]}
    assert world.get("rooms?pattern=lo*&limit=0") == {"total": 1, "rooms": []}
    found = world.get("members?room=game:1&limit=1")
    assert (found["total"], [(row["id"], row["state"]) for row in found["members"]]) == (2, [(peers[0].id, 7)])
    assert world.get("members?room=empty") == {"total": 0, "members": []}
    assert world.ask("GET", "/api/v1/members").status == 400
    assert world.ask("GET", f"/api/v1/rooms?pattern={'x' * 300}").status == 400


def test_a_backplane_that_is_down_is_told(world: World) -> None:
    """Where the backplane does not answer, that is the answer, after a while, and nothing else waits for it."""
    never: Deferred[Any] = Deferred()
    world.server.backplane.nodes = lambda: never  # type: ignore[method-assign]
    protocol, transport = world.dial()
    protocol.dataReceived(b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert world.ask("GET", "/api/v1/server").status == 200
    world.network.advance(1)
    assert Answer(transport.value()).status == 504
    world.server.backplane.nodes = lambda: fail(BackplaneUnavailable("refused"))  # type: ignore[method-assign]
    assert world.ask("GET", "/api/v1/nodes").status == 503


def test_recent_events_are_kept(world: World) -> None:
    """Lines of the log are shown with numbers, by which later ones are asked for; their number is bounded, and text is safe."""
    from twisted.logger import Logger

    logger = Logger()
    for number in range(600):
        logger.info("line {number} \x1b[2J", number=number)
    logger.debug("not this one")
    events = world.get("events?limit=1000")
    assert len(events) == 500
    assert events[-1]["text"] == "line 599 \\x1b[2J"
    last = events[-2]["number"]
    assert [event["text"][:8] for event in world.get(f"events?after={last}")] == ["line 599"]
    assert len(world.get("events?search=line%20595")) == 1


def test_a_connections_lines_are_no_others(world: World) -> None:
    """Those of 7-1 are the lines about it and those that name it, and none of 7-10 or 47-1."""
    from twisted.logger import Logger

    logger = Logger()
    for name in ("7-1", "7-10", "47-1"):
        logger.info("of its own", connection=name)
        logger.info("it failed for <Session {name} with ann>", name=name)
    found = world.get("events?connection=7-1")
    assert [(event["connection"], event["text"]) for event in found] == [
        ("7-1", "of its own"),
        (None, "it failed for <Session 7-1 with ann>"),
    ]


# What it does.


def test_a_session_is_pinged_sent_to_and_disconnected(world: World, log_events: list[Any]) -> None:
    """Ping tells the round trip, send sends, disconnect closes politely; who did it is in the log."""
    client = Client(types=TYPES)
    heard: list[bytes] = []
    client.set_callback("on_recv", lambda message: heard.append(message.content))
    session = world.network.connect(client)
    (peer,) = world.server.clients
    here = f"/api/v1/sessions/{peer.id}"
    assert world.ask("POST", f"{here}/ping", {}).json["milliseconds"] >= 0
    assert world.ask("POST", f"{here}/send", {"type": 200, "text": "hello"}).json == {"sent": 5}
    assert world.ask("POST", f"{here}/send", {"type": "news", "hex": "00ff"}).json == {"sent": 2}
    world.network.pump()
    assert heard == [b"hello", b"\x00\xff"]
    assert world.ask("POST", f"{here}/disconnect", {}).json == {"closing": peer.id}
    world.network.pump()
    assert session.closed is not None
    assert any("{who} disconnects" in event["log_format"] for event in log_events if event.get("log_format"))
    assert world.ask("POST", f"{here}/ping", {}).status == 404


def test_a_session_is_shown_until_it_is_gone(world: World) -> None:
    """One that is being closed, but not yet, is there by its id as it is in the list, and is pinged in vain."""
    client = Client(types=TYPES)
    world.network.connect(client)
    (peer,) = world.server.clients
    peer._transport.transport.loseConnection = peer._transport.transport.loseWriteConnection = lambda: None  # type: ignore[attr-defined]
    here = f"/api/v1/sessions/{peer.id}"
    assert world.ask("POST", f"{here}/disconnect", {}).json == {"closing": peer.id}
    (row,) = world.get("sessions")["sessions"]
    shown = world.ask("GET", here).json
    assert (shown["id"], shown["state"], shown["why"]) == (row["id"], row["state"], row["why"])
    assert shown["state"] == "closing"
    assert world.ask("POST", f"{here}/ping", {}).status == 409
    world.network.advance(60)
    assert world.ask("GET", here).status == 404


def test_a_ping_that_is_not_answered_is_an_error(world: World) -> None:
    """A peer that answers no ping is told as 504 once the time is over."""
    world.network.connect(Client(types=TYPES))
    (peer,) = world.server.clients
    peer._transport.transport.write = lambda data: None  # nothing reaches it any more
    protocol, transport = world.dial()
    protocol.dataReceived(
        f"POST /api/v1/sessions/{peer.id}/ping HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\n\r\n{}".encode()
    )
    world.network.advance(5)
    assert Answer(transport.value()).status == 504


def test_log_levels_change(world: World) -> None:
    """A namespace's level is set while it runs; one that is none is refused."""
    assert world.get("log") == {"": "info"}
    assert world.ask("POST", "/api/v1/log", {"namespace": "shop", "level": "debug"}).json == {"": "info", "shop": "debug"}
    assert world.ask("POST", "/api/v1/log", {"level": "loud"}).status == 400


# Who may.


def test_without_tokens_a_page_of_somebody_elses_gets_nothing(world: World) -> None:
    """What a browser sends for another origin or another site, or under a name that may be pointed here, is refused."""
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "evil.example:9100"},
        {"Host": "127.0.0.1.evil.example"},
    ):
        assert world.ask("GET", "/api/v1/server", **headers).status == 403, headers
        assert world.ask("POST", "/api/v1/log", {"level": "info"}, **headers).status == 403, headers
    for headers in ({"Host": "localhost:9100"}, {"Host": "[::1]:9100"}, {"Origin": "http://127.0.0.1:9100"}):
        assert world.ask("GET", "/api/v1/server", **headers).status == 200, headers


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_changes_nothing(content_type: str, world: World) -> None:
    """A change must be JSON, which no page can send to another origin without asking; GET changes nothing."""
    body = b'{"level": "debug"}'
    assert world.ask("POST", "/api/v1/log", body, Content_Type=content_type).status in (400, 415)
    assert world.ask("GET", "/api/v1/log?level=debug").json == {"": "info"}


def test_answers_are_for_programs_only(world: World) -> None:
    """No answer is cached, framed or taken for something else by a browser."""
    headers = world.ask("GET", "/api/v1/server").headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_token_is_asked_for(guarded: World, token: str) -> None:
    """Everything but health and readiness is for who has a token, whatever the name it is asked under."""
    assert guarded.ask("GET", "/healthz").status == guarded.ask("GET", "/readyz").status == 200
    for path in ("/metrics", "/api/v1/server", "/nothing"):
        answer = guarded.ask("GET", path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json["error"].startswith("a token is needed")
    assert guarded.ask("GET", "/api/v1/server", Authorization=f"Basic {token}").status == 401
    wrong = guarded.ask("GET", "/api/v1/server", Authorization="Bearer wrong")
    assert (wrong.status, wrong.json) == (401, {"error": "the token is not known"})
    assert guarded.ask("GET", "/api/v1/server", Authorization=f"Bearer {token}", Host="shop.example").status == 200


def cookie_of(answer: Answer) -> str:
    """Return the cookie that an answer sets, as a browser sends it back."""
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_browser_logs_in(guarded: World, token: str) -> None:
    """A token is changed for a cookie that no script reads and no other site has sent; it lets in until the log-out."""
    answer = guarded.ask("POST", "/login", {"token": token})
    assert (answer.status, answer.json) == (200, {"name": "ann"})
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert {each.lower() for each in attributes} == {"path=/", "httponly", "samesite=strict"}
    assert token not in name
    cookie = cookie_of(answer)
    assert guarded.ask("GET", "/api/v1/server", Cookie=cookie).status == 200
    assert guarded.ask("GET", "/api/v1/server", Cookie=cookie + "x").status == 401
    assert guarded.ask("GET", "/api/v1/server", Cookie=cookie, Authorization="Bearer wrong").status == 401
    gone = guarded.ask("POST", "/logout", {}, Cookie=cookie)
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert guarded.ask("GET", "/api/v1/server", Cookie=cookie).status == 401


def test_a_cookie_is_for_tls_where_the_browser_speaks_it(guarded: World, token: str) -> None:
    """Behind a proxy with TLS the browser's origin says so, and its cookie goes nowhere else."""
    headers = {"Origin": "https://shop.example", "Host": "shop.example"}
    assert "; Secure" in guarded.ask("POST", "/login", {"token": token}, **headers).headers["set-cookie"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"token": "vtx_wrong"}, {}, 401),
        ({"token": ""}, {}, 401),
        ({}, {}, 400),
        ({"token": 1}, {}, 400),
        (b"token=x", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"token": "x"}, {"Origin": "http://evil.example"}, 403),
        ({"token": "x"}, {"Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
def test_a_wrong_login_sets_no_cookie(body: Any, headers: dict[str, str], status: int, guarded: World) -> None:
    """A wrong token, a form and another site's page are refused."""
    answer = guarded.ask("POST", "/login", body, **headers)
    assert answer.status == status
    assert "set-cookie" not in answer.headers
    assert guarded.ask("GET", "/login").status == guarded.ask("GET", "/logout").status == 405


def test_a_login_is_as_good_as_its_token(guarded: World, token: str) -> None:
    """A login ends with its token, and when too many come after it."""
    tokens = guarded.administration.tokens
    assert tokens is not None
    cookies = [cookie_of(guarded.ask("POST", "/login", {"token": token})) for _ in range(MOST_LOGINS + 1)]
    assert [guarded.ask("GET", "/metrics", Cookie=each).status for each in (cookies[0], cookies[1])] == [401, 200]
    names = tokens.read()
    tokens.use({})
    assert guarded.ask("GET", "/metrics", Cookie=cookies[1]).status == 401
    tokens.use(names)
    assert guarded.ask("GET", "/metrics", Cookie=cookies[1]).status == 200


def test_the_page_is_open_and_closed_to_others(guarded: World) -> None:
    """Its files need no token and may be linked to; they load nothing of anybody else's, and run no script within."""
    for path, kind in (("/", "text/html"), ("/style.css", "text/css"), ("/app.js", "text/javascript")):
        answer = guarded.ask("GET", path, Sec_Fetch_Site="cross-site")
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        assert guarded.ask("POST", path, {}).status == 405
    page = guarded.ask("GET", "/")
    policy = dict(each.split(" ", 1) for each in page.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert b"://" not in page.body + guarded.ask("GET", "/style.css").body


def test_without_tokens_the_page_has_no_other_name_either(world: World) -> None:
    """A name that somebody else's DNS points here gets no page that could ask on."""
    assert world.ask("GET", "/", Host="evil.example").status == 403
    assert world.ask("POST", "/login", {"token": "any"}).json == {"name": ""}


def test_below_another_site_its_links_are_its_own(world: World) -> None:
    """As a child of another resource it is at a folder's address, so that what is linked to is found there."""
    root = Resource()
    root.putChild(b"veltix", world.administration.resource)
    world.listener._factory.wrappedFactory.resource = root
    moved = world.ask("GET", "/veltix")
    assert (moved.status, moved.headers["location"]) == (301, "/veltix/")
    assert world.ask("GET", "/veltix/").status == world.ask("GET", "/veltix/app.js").status == 200


def test_who_tries_tokens_has_to_wait(guarded: World, token: str) -> None:
    """After some wrong tokens their source waits, with a right one, too, and nobody else does."""
    statuses = [guarded.ask("GET", "/metrics", ip="192.0.2.1", Authorization="Bearer x").status for _ in range(20)]
    assert (statuses[0], statuses[-1]) == (401, 429)
    assert guarded.ask("GET", "/metrics", ip="192.0.2.1", Authorization=f"Bearer {token}").status == 429
    assert guarded.ask("POST", "/login", {"token": token}, ip="192.0.2.1").status == 429
    assert guarded.ask("GET", "/metrics", ip="192.0.2.2", Authorization=f"Bearer {token}").status == 200
    guarded.network.advance(60)
    assert guarded.ask("GET", "/metrics", ip="192.0.2.1", Authorization=f"Bearer {token}").status == 200


@pytest.mark.parametrize(
    ("endpoint", "tokens", "plaintext", "rule"),
    [
        ("tcp:9100:interface=0.0.0.0", False, True, "or admin_tokens given"),
        (r"tcp:9100:interface=\:\:", False, True, "or admin_tokens given"),
        ("tcp:9100:interface=192.0.2.1", True, False, "or admin_plaintext given"),
        ("tcp6:9100", False, True, "or admin_tokens given"),
        ("nonsense", True, True, "a Twisted server endpoint"),
    ],
)
def test_others_on_the_network_need_a_token_and_tls(endpoint: str, tokens: bool, plaintext: bool, rule: str) -> None:
    """An address that is not this machine's own needs tokens, and TLS or an allowance; what is no endpoint is told."""
    server = Server(reactor=Clock())

    def make() -> AdminListener:
        place = admin_place(endpoint, ServerConfig(), Clocks(Clock()), has_tokens=tokens, plaintext=plaintext)
        return AdminListener(place, Administration(server).resource, server._clocks)

    with pytest.raises(SettingsError) as caught:
        make()
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "tokens", "plaintext"),
    [
        ("tcp:9100", False, False),
        ("tcp:9100:interface=127.0.0.1", False, False),
        (r"tcp:9100:interface=\:\:1", False, False),
        ("unix:admin.sock", False, False),
        ("tcp:9100:interface=0.0.0.0", True, True),
        ("tls:9100:interface=0.0.0.0:cert=cert.pem", True, False),
    ],
)
def test_it_is_on_this_machine_unless_told_otherwise(endpoint: str, tokens: bool, plaintext: bool) -> None:
    """Without an interface it is the loopback address."""
    place = admin_place(endpoint, ServerConfig(), Clocks(Clock()), has_tokens=tokens, plaintext=plaintext)
    assert "interface=" in str(place.endpoint) or endpoint.startswith("unix:")


def test_its_certificate_is_read_again(authority: Any) -> None:
    """A reload reads the administration's certificate, too; one that cannot be used is told under the setting's name."""
    files = authority.issue("admin", "localhost")
    clocks = Clocks(Clock())
    place = admin_place(f"tls:9100:cert={files.both}", ServerConfig(), clocks, has_tokens=False, plaintext=False)
    listener = AdminListener(place, Resource(), clocks)
    assert listener._tls is not None
    before = listener._tls._context
    listener.prepare_reload()()
    assert listener._tls._context is not before
    files.both.write_text("no certificate")
    with pytest.raises(SettingsError, match=r"^admin is 'tls:9100:cert="):
        listener.prepare_reload()


# What bad input gets.


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/api/v1/sessions/../server", None, 404),
        ("GET", "/api/v1/sessions/x", None, 404),
        ("DELETE", "/api/v1/server", None, 405),
        ("POST", "/api/v1/server", {}, 405),
        ("GET", "/api/v1/sessions/1-1/ping", None, 405),
        ("GET", "/api/v1/sessions?limit=-1", None, 400),
        ("GET", "/api/v1/sessions?limit=99999999999999999999", None, 400),
        ("GET", "/api/v1/sessions?sort=password", None, 400),
        ("POST", "/api/v1/log", b"{", 400),
        ("POST", "/api/v1/log", b"[]", 400),
        ("POST", "/api/v1/log", b'{"level": 1}', 400),
        ("POST", "/api/v1/log", b"[" * 60_000, 400),
        ("POST", "/api/v1/log", b'"\xff"', 400),
        ("POST", "/api/v1/log", {"level": "info", "namespace": "\ud800"}, 400),
        ("POST", "/api/v1/log", {"level": "info", "namespace": "x" * 201}, 400),
    ],
)
def test_a_wrong_request_is_one_line_of_json(method: str, path: str, body: Any, status: int, world: World) -> None:
    """A wrong path, method, parameter or body has a status and a line that says what is wrong."""
    answer = world.ask(method, path, body)
    assert answer.status == status
    assert "\n" not in answer.json["error"]


def test_what_is_to_be_sent_is_checked(world: World) -> None:
    """Sending an unknown type, broken hexadecimal digits or a type of another kind changes nothing."""
    world.network.connect(Client(types=TYPES))
    here = f"/api/v1/sessions/{world.server.clients[0].id}/send"
    contents: list[dict[str, Any]] = [{"hex": "0"}, {"text": 1}, {"text": "\ud800"}]
    for body in ({"type": 999}, {"type": True}, {"type": "no"}, *({"type": 200} | each for each in contents)):
        assert world.ask("POST", here, body).status == 400, body


@pytest.mark.parametrize("declared", [f"Content-Length: {MOST_BODY + 1}", "Transfer-Encoding: chunked"])
def test_a_long_body_is_refused_before_it_is_kept(declared: str, world: World) -> None:
    """A body that is, or says it is, too long ends the connection; no more than the limit was kept of it."""
    protocol, transport = world.dial()
    protocol.dataReceived(f"POST /api/v1/log HTTP/1.1\r\nHost: localhost\r\n{declared}\r\n\r\n".encode())
    for _ in range(20):
        if not transport.disconnecting:
            protocol.dataReceived(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    assert transport.disconnecting
    assert transport.value().startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "data", [b"\x00\xff" * 50, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 600, b"GET /" + b"x" * 20_000, b"\r\n" * 100]
)
def test_garbage_ends_its_own_connection_only(data: bytes, world: World) -> None:
    """What is no HTTP, or has too many or too long headers, is refused, and the next one is served."""
    protocol, transport = world.dial()
    protocol.dataReceived(data)
    world.network.advance(LIFETIME)
    assert transport.disconnecting or transport.disconnected
    assert world.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: localhost\r\nAuthorization: Bearer \xff\xfe",
        b"Host: localhost\r\nHost: example.org",
        b"Host: localhost\r\nOrigin: http://example.org\r\nOrigin: http://localhost",
    ],
)
def test_headers_that_can_be_read_in_two_ways_are_refused(headers: bytes, world: World) -> None:
    """No text, or one of those that decide given twice: a line of JSON, and none of the log."""
    protocol, transport = world.dial()
    protocol.dataReceived(b"GET /api/v1/server HTTP/1.1\r\n" + headers + b"\r\n\r\n")
    world.network.advance(0)
    assert transport.value().startswith(b"HTTP/1.1 400 ")


def test_a_slow_request_has_an_end(world: World) -> None:
    """A byte now and then keeps no connection open for longer than its lifetime."""
    protocol, transport = world.dial()
    protocol.dataReceived(b"GET / HTTP/1.1\r\n")
    for _ in range(int(LIFETIME)):
        world.network.advance(1)
        if not transport.disconnected:
            protocol.dataReceived(b"a: b\r\n")
    assert transport.disconnected


def test_the_oldest_connection_gives_way(world: World) -> None:
    """However many connect and send nothing, one more is served."""
    dialled = [world.dial() for _ in range(MOST_CONNECTIONS + 5)]
    assert [transport.disconnected for _, transport in dialled[:6]] == [True] * 5 + [False]
    assert world.ask("GET", "/healthz").status == 200


def test_many_requests_are_answered_in_turns(world: World) -> None:
    """However many ask at once, a turn of the reactor has a bounded time for their answers: the message port is not held up."""
    uptime = [0.0]
    turns: list[Any] = []
    reactor: Any = SimpleNamespace(callLater=lambda delay, function: turns.append(function))
    world.administration.resource._turns = TurnQueue(reactor, lambda: uptime[0])
    answered = []

    def answer(*_: object) -> dict[str, object]:
        answered.append(uptime[0])
        uptime[0] += 0.4 * TURN_SECONDS
        return {}

    world.administration._api.answer = answer  # type: ignore[method-assign]
    for _ in range(7):
        protocol, _ = world.dial()
        protocol.dataReceived(b"GET /api/v1/server HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    counts = [len(answered)]
    while turns:
        turns.pop()()
        counts.append(len(answered))
    assert counts == [0, 3, 6, 7]


def test_an_error_inside_is_told_without_its_text(world: World, logged_failures: Any) -> None:
    """A fault of this side is a 500 that gives nothing away; the log has it."""
    world.administration._api._events.after = lambda *arguments: 1 / 0  # type: ignore[method-assign]
    answer = world.ask("GET", "/api/v1/events")
    assert (answer.status, answer.json) == (500, {"error": "it failed; the log has more"})
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
