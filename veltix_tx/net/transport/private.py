"""Places to listen in that are not for everybody: this machine's own, unless a secret and TLS guard them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from veltix_tx.errors import SettingsError
from veltix_tx.net.addresses import is_loopback
from veltix_tx.net.clock import Clocks
from veltix_tx.net.transport.endpoints import ListenSpec, listen_specs, open_endpoint
from veltix_tx.settings import ServerConfig

__all__ = ["Guard", "private_place"]

_LOOPBACK = "127.0.0.1"


class Guard(NamedTuple):
    """Settings that guard a place.

    Attributes:
        setting: names the place.
        secret: names what only those know who are let in.
        has_secret: True if that is given.
        allowance: names what allows to present it without TLS.
        allowed: True if that is given.
    """

    setting: str
    secret: str
    has_secret: bool
    allowance: str
    allowed: bool


def private_place(endpoint: str, clocks: Clocks, files: Mapping[str, Any], guard: Guard) -> ListenSpec:
    """Return where to listen: on this machine's own address, where the endpoint names none, and on a socket for this user alone.

    Args:
        endpoint: a Twisted endpoint's description.
        clocks: where time comes from.
        files: settings of the files that ``tls:PORT`` uses.
        guard: what guards it.

    Raises:
        SettingsError: it is none, or others on the network could use it, or read what goes to it.
    """
    kind, _, rest = endpoint.partition(":")
    if kind in ("tcp", "tls") and "interface=" not in rest:
        endpoint += f":interface={_LOOPBACK}"
    if kind == "unix" and "mode=" not in rest:
        endpoint += ":mode=600"  # what loopback's addresses are not: for this user alone
    try:
        (place,) = listen_specs(ServerConfig(endpoints=(endpoint,), **(files if kind == "tls" else {})))
        open_endpoint(clocks, place)
    except SettingsError as error:
        raise SettingsError(guard.setting, endpoint, error.rule) from None
    given = re.search(r"interface=((?:\\.|[^:\\])*)", rest)
    interface = _LOOPBACK if given is None else given[1].replace("\\", "")
    local = kind == "unix" or (kind in ("tcp", "tls") and is_loopback(interface) and interface != "::")
    if not local and not guard.has_secret:
        rule = f"on this machine's own address, or {guard.secret} given: everybody who reaches it could use it"
        raise SettingsError(guard.setting, endpoint, rule)
    if not local and not place.encrypted and not guard.allowed:
        rule = f"tls:PORT, on this machine's own address, or {guard.allowance} given: others on the way could read secrets"
        raise SettingsError(guard.setting, endpoint, rule)
    return place
