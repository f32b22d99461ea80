from __future__ import annotations

from twisted.internet.task import Clock

from veltix_tx.ops.logins import LIFETIME, Logins


def test_a_login_has_an_end() -> None:
    """However often it is used, a login holds for half a day, and leaves nothing behind."""
    clock = Clock()
    logins = Logins(clock.seconds)
    key = logins.begin("a token")
    clock.advance(LIFETIME - 1)
    assert logins.token(key) == "a token"
    clock.advance(1)
    assert logins.token(key) is None
    assert key not in logins._logins


def test_no_two_logins_have_one_key() -> None:
    """Keys are of the system's source of secrets, and long enough that nobody finds one."""
    logins = Logins(Clock().seconds)
    keys = {logins.begin("a token") for _ in range(50)}
    assert len(keys) == 50
    assert min(map(len, keys)) >= 43
