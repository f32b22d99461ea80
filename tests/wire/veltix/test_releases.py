from __future__ import annotations

import pytest

from veltix_tx.errors import SettingsError
from veltix_tx.wire.veltix.layouts import W14, W15, W16, W22, W46, W62
from veltix_tx.wire.veltix.releases import AUTO_HELLOS, PAD, RELEASES, SUPERSET, HandshakeKind, find_release, release_of

PUBLISHED = [
    "1.2.0",
    "1.2.1",
    "1.3.0",
    "1.4.0",
    "1.5.0",
    "1.6.1",
    "1.6.2",
    "1.6.3",
    "1.6.4",
    "1.6.5",
    "1.6.6",
    "1.6.8",
    "1.6.9",
    "1.6.10",
    "1.7.0",
    "1.7.1",
    "1.7.2",
    "1.7.5",
    "1.8.0",
    "1.8.1",
    "1.9.0",
    "2.0.0",
    "2.0.1",
    "2.0.2",
    "2.0.3",
    "3.0.0",
    "3.0.1",
    "3.0.2",
    "3.1.0",
    "3.1.1",
    "3.2.0",
    "3.2.1",
    "3.3.0",
]


def test_every_published_release_is_in_the_table() -> None:
    """All releases that can be imported are there, in order, and the paper format before them."""
    assert list(RELEASES) == ["1.0", *PUBLISHED]
    assert all(release.name == name for name, release in RELEASES.items())


def test_the_layout_follows_the_release() -> None:
    """Each release has the header layout of its generation."""
    borders = {"1.0": W46, "1.2.0": W62, "1.6.2": W22, "1.6.10": W14, "1.7.0": W16, "2.0.0": W15}
    layout = W46
    for name, release in RELEASES.items():
        layout = borders.get(name, layout)
        assert release.layout is layout, name


def test_the_handshake_follows_the_release() -> None:
    """None before 1.4.0, HELLO frames up to 1.7.5, JSON from 1.8.0."""
    borders = {"1.0": HandshakeKind.NONE, "1.4.0": HandshakeKind.HELLO, "1.8.0": HandshakeKind.JSON}
    kind = HandshakeKind.NONE
    for name, release in RELEASES.items():
        kind = borders.get(name, kind)
        assert release.handshake is kind, name


def test_a_release_announces_itself_but_for_those_that_lie() -> None:
    """1.6.1 says 1.6.0 and 1.6.5 says 1.6.4; releases without a handshake say nothing."""
    lies = {"1.6.1": "1.6.0", "1.6.5": "1.6.4"}
    for name, release in RELEASES.items():
        silent = release.handshake is HandshakeKind.NONE
        assert release.announces == ("" if silent else lies.get(name, name))


def test_the_protocol_version_is_sent_from_203_on() -> None:
    """``pv`` is 1.0 from 2.0.3 on, and servers of 2.0.x tell their id window."""
    for name, release in RELEASES.items():
        assert release.protocol == ("1.0" if name == "2.0.3" or name >= "3" else None)
        assert release.meta == ({"id_window": 30000} if name.startswith("2.0") else {})


def test_only_169_sends_its_uptime() -> None:
    """The clock in the header is the calendar's but in 1.6.9."""
    assert [name for name, release in RELEASES.items() if release.monotonic] == ["1.6.9"]


ACCEPTED_BY_CLIENT = {
    "1.4.0": "1.4.0 1.5.0 1.6.0",
    "1.5.0": "1.4.0 1.5.0 1.6.0",
    "1.6.1": "1.4.0 1.5.0 1.6.0",
    "1.6.2": "1.6.2",
    "1.6.3": "1.6.3",
    "1.6.4": "1.6.4",
    "1.6.5": "1.6.4",
    "1.6.6": "1.6.6",
    "1.6.8": "1.6.6 1.6.8",
    "1.6.9": "1.6.6 1.6.8 1.6.9",
    "1.6.10": "1.6.10",
    "1.7.0": "1.7.0",
    "1.7.1": "1.7.0 1.7.1",
    "1.7.2": "1.7.0 1.7.1 1.7.2",
    "1.7.5": "1.7.0 1.7.1 1.7.2 1.7.5",
    "1.8.0": "1.8.0",
    "1.8.1": "1.8.1",
    "1.9.0": "1.9.0",
    "2.0.0": "2.0.0",
    "2.0.1": "2.0.0 2.0.1",
    "2.0.2": "2.0.0 2.0.1 2.0.2",
}


@pytest.mark.parametrize("name", ACCEPTED_BY_CLIENT)
def test_a_release_accepts_the_versions_of_its_table(name: str) -> None:
    """Up to 2.0.2 a release accepts the announced versions its own table names, and no other."""
    announced = {release.announces for release in RELEASES.values()} | {"1.6.7", "9.9.9", "1.6", "", "x"}
    accepted = {version for version in announced if RELEASES[name].accepts(version)}
    assert accepted == set(ACCEPTED_BY_CLIENT[name].split())


@pytest.mark.parametrize("name", ["2.0.3", "3.0.0", "3.3.0"])
def test_from_203_on_the_major_protocol_version_decides(name: str) -> None:
    """A ``pv`` of exactly two numbers, the first of them 1, is accepted whatever the version says."""
    release = RELEASES[name]
    for pv in ("1.0", "1.1", "1.99", "1.9999"):
        assert release.accepts("whatever", pv)
    for wrong in (
        "2.0",
        "0.9",
        "1",
        "1.",
        ".1",
        "1.0.0",
        "1.x",
        " 1.0",
        "1.0 ",
        "1.0\n",
        "-1.0",
        "\u0661.0",
        "1.\u0661",
        "",
        "11.0",
        1.0,
        1,
        None,
        True,
        ["1.0"],
        {},
    ):
        assert not release.accepts(name, wrong), wrong


@pytest.mark.parametrize("pv", ["1.0", "2.0", None, 7])
def test_before_203_the_protocol_version_is_not_looked_at(pv: object) -> None:
    """A release that knows no ``pv`` decides by version alone."""
    assert RELEASES["1.9.0"].accepts("1.9.0", pv)
    assert not RELEASES["1.9.0"].accepts("1.8.0", pv)


@pytest.mark.parametrize(
    ("server", "clients"),
    [
        ("1.4.0", "1.4.0 1.5.0 1.6.0"),
        ("1.6.1", "1.4.0 1.5.0 1.6.0"),
        ("1.6.3", "1.6.3"),
        ("1.6.4", "1.6.4"),
        ("1.6.6", "1.6.6 1.6.8 1.6.9"),
        ("1.6.8", "1.6.8 1.6.9"),
        ("1.6.9", "1.6.9"),
        ("1.6.10", "1.6.10"),
        ("1.7.0", "1.7.0 1.7.1 1.7.2 1.7.5"),
        ("1.7.1", "1.7.1 1.7.2 1.7.5"),
        ("1.7.2", "1.7.2 1.7.5"),
        ("1.7.5", "1.7.5"),
    ],
)
def test_a_server_welcomes_the_clients_that_accept_it(server: str, clients: str) -> None:
    """A server with HELLO frames welcomes exactly the clients whose tables name its version."""
    assert RELEASES[server].welcome == set(clients.split())


def test_a_rule_reads_as_a_part_of_a_sentence() -> None:
    """What a release accepts can be told to people."""
    assert RELEASES["1.6.9"].rule == "1.6.6 or 1.6.8 or 1.6.9"
    assert RELEASES["3.3.0"].rule == "pv 1.x"
    assert SUPERSET.rule == "pv 1.x or 2.0.0 or 2.0.1 or 2.0.2"


def test_the_superset_accepts_all_of_two_and_three() -> None:
    """One JSON hello serves every release from 2.0.0 to 3.3.0."""
    for name, release in RELEASES.items():
        if release.layout is W15:
            assert SUPERSET.accepts(release.announces, release.protocol), name
            assert release.accepts(SUPERSET.announces, SUPERSET.protocol), name
    assert not SUPERSET.accepts("1.9.0")


def test_the_staged_hellos_come_in_the_documented_order() -> None:
    """JSON first, the magic layout last, a pad wherever the layout changes."""
    said = [PAD if stage is None else (stage.layout.name, stage.announces) for stage in AUTO_HELLOS]
    assert said == [
        ("W15", "2.0.0"),
        ("W22", "1.6.6"),
        ("W22", "1.6.4"),
        ("W22", "1.6.3"),
        ("W22", "1.6.2"),
        PAD,
        ("W14", "1.6.10"),
        PAD,
        ("W62", "1.6.0"),
        ("W62", "1.5.0"),
        ("W62", "1.4.0"),
        PAD,
        ("W16", "1.7.0"),
    ]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("1.6.3", "1.6.3"),
        ("1.0", "1.0"),
        ("1.6", "1.6.10"),
        ("1.2", "1.2.1"),
        ("1.7", "1.7.5"),
        ("2.0", "2.0.3"),
        ("3", "3.3.0"),
        ("3.2", "3.2.1"),
    ],
)
def test_a_release_is_found_by_its_name_or_the_start_of_it(name: str, found: str) -> None:
    """A name without its last part means the last release of that line."""
    assert find_release(name) is RELEASES[found]


@pytest.mark.parametrize("name", ["", "4.0", "1.6.7", "1.6.", ".", "auto", "3.3.0.0", "v3.3.0", "1.1.2"])
def test_an_unknown_release_is_a_settings_error_that_lists_them(name: str) -> None:
    """A release that was never published is refused with all there are."""
    with pytest.raises(SettingsError) as caught:
        find_release(name)
    assert (caught.value.name, caught.value.value) == ("wire", name)
    assert "'auto'" in caught.value.rule
    assert all(known in caught.value.rule for known in PUBLISHED)


def test_a_peers_release_is_told_by_layout_and_version() -> None:
    """A version that is known on its layout is a release, the first of those that announce it."""
    assert release_of(W62, "1.6.0") is RELEASES["1.6.1"]
    assert release_of(W22, "1.6.4") is RELEASES["1.6.4"]
    assert release_of(W22, "1.6.9") is RELEASES["1.6.9"]
    assert release_of(W14, "1.6.9") is None
    assert release_of(W15, "9.9.9") is None
