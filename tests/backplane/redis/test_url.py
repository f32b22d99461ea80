"""URLs of Redis servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from veltix_tx.backplane.redis.url import RedisUrl, parse_redis_url
from veltix_tx.backplane.registry import backplane_from_url
from veltix_tx.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://localhost", RedisUrl("localhost")),
        ("redis://10.0.0.1:6380/3", RedisUrl("10.0.0.1", 6380, database=3)),
        ("redis://[::1]:6380", RedisUrl("::1", 6380)),
        ("redis://me:s%40fe%2F@h", RedisUrl("h", user="me", password="s@fe/")),
        ("redis://:secret@h?db=2&prefix=shop.eu", RedisUrl("h", password="secret", database=2, prefix="shop.eu")),
        ("redis://h?lease=2.5", RedisUrl("h", lease=2.5)),
        ("rediss://h?tls_ca=ca.pem&tls_name=n", RedisUrl("h", tls=True, tls_ca="ca.pem", tls_name="n")),
        ("redis+unix:/run/redis.sock?db=1&user=me", RedisUrl(path="/run/redis.sock", database=1, user="me")),
    ],
)
def test_what_a_url_says(url: str, parsed: RedisUrl) -> None:
    """Host, port, path, database, user, password, prefix and TLS are read from a URL, with the usual defaults."""
    assert parse_redis_url(url, {}) == parsed


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "redis:",
            "redis://",
            "http://h",
            "redis://h:port",
            "redis://h:99999",
            "redis://h/one",
            "redis://h/-1",
            "redis://h/9999",
        ),
        *("redis://h?colour=red", "redis://h?tls_ca=ca.pem", "redis://h?db", "redis://h?db=", "redis://h#1", "redis+unix:"),
        *(
            "redis+unix://host/path",
            "redis://h?prefix=a*b",
            "redis://h?prefix=a b",
            "redis://[::1",
            "redis://h?db=1&db=x",
            "redis://h?lease=0",
            "redis://h?lease=nan",
        ),
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """What is no such URL, or has an option that there is not, raises SettingsError."""
    with pytest.raises(SettingsError):
        parse_redis_url(url, {})


def test_a_password_is_not_shown() -> None:
    """Neither a URL that was parsed nor the error about one that cannot be shows a password."""
    url = parse_redis_url("redis://me:secret@h", {})
    shown = [str(url), repr(url)]
    for wrong in (
        "redis://me:secret@h:port",
        "redis://me:se/secret@h",
        "redis:me:secret@h",
        "rediss//me:secret@h",
        "redas://:secret@h",
    ):
        with pytest.raises(SettingsError) as caught:
            backplane_from_url(wrong)
        shown += str(caught.value), repr(caught.value)

    assert [each for each in shown if "secret" in each] == []
    assert str(url) == "redis://me@h:6379/0"


def test_the_password_is_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """``password_file`` and VELTIX_BACKPLANE_PASSWORD keep the password out of the URL; the file goes first, then the URL."""
    file = tmp_path / "password"
    file.write_text("from a file\n")
    environment = {"VELTIX_BACKPLANE_PASSWORD": "from outside"}

    assert parse_redis_url(f"redis://h?password_file={file}", environment).password == "from a file"
    assert parse_redis_url("redis://h", environment).password == "from outside"
    assert parse_redis_url("redis://:own@h", environment).password == "own"
    with pytest.raises(SettingsError):
        parse_redis_url(f"redis://h?password_file={tmp_path}", environment)
