"""Administration of a server: its resource, what that shows, and its listener, as a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from veltix_tx.app.auth import TokenFile
from veltix_tx.errors import SettingsError
from veltix_tx.ops.admin import AdminResource
from veltix_tx.ops.admin_api import AdminApi
from veltix_tx.ops.admin_listener import AdminListener, admin_place
from veltix_tx.ops.configuration import Configuration
from veltix_tx.ops.event_stream import EventStream
from veltix_tx.ops.fleet import Fleet
from veltix_tx.ops.interface import Administered
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.ops.measuring import check_measurable, measured_by
from veltix_tx.ops.recent import RecentEvents
from veltix_tx.ops.supervisor import Supervisor
from veltix_tx.server import Server

if TYPE_CHECKING:
    from veltix_tx.ops.metrics import Metrics

__all__ = ["Administration", "administer"]


class Administration(Service):
    """Administration of one server, for a site of the program's own: put its ``resource`` anywhere below that.

    Made before the server listens. It keeps recent events, and measures, while it runs as a service.

    Args:
        server: the server, or the supervisor of the workers that serve: these measure by themselves.
        tokens: lets in who has one of its tokens; without it everybody who reaches the resource is let in.
        measured: True to measure the server's traffic, which needs the extra ``metrics``; None to do so where that is installed.
        levels: the log's levels, where these may be changed.

    Attributes:
        resource: the resource.
        tokens: as given.
        listener: its own listener, where it has one.

    Raises:
        SettingsError: the server listens already, or is to be measured and cannot be.
    """

    def __init__(
        self,
        server: Server | Supervisor,
        *,
        tokens: TokenFile | None = None,
        measured: bool | None = None,
        levels: LogLevels | None = None,
    ) -> None:
        self._events = RecentEvents()
        self._metrics: Metrics | None = None
        self._api: Administered
        if isinstance(server, Supervisor):
            check_measurable(measured)  # here, and not in each worker alone
            self._api = Fleet(server, self._events, levels)
        else:
            self._metrics = measured_by(server, measured)
            self._api = AdminApi(server, self._metrics, self._events, levels)
        self._stream = EventStream(self._api)
        self.tokens = tokens
        self.resource = AdminResource(self._api, self._stream, tokens)
        self.listener: AdminListener | None = None

    def privilegedStartService(self) -> None:
        """Begin to listen, where it has a listener; raises CannotListenError."""
        super().privilegedStartService()
        if self.listener is not None:
            self.listener.privilegedStartService()

    def startService(self) -> None:
        """Begin to keep events, and to measure."""
        super().startService()
        self._api.ready, self._api.began = True, self._api.clocks.uptime()
        self._events.start()
        if self._metrics is not None:
            self._metrics.start()
        if self.listener is not None:
            self.listener.startService()

    def drain(self, seconds: float) -> Deferred[None]:
        """Say that the server is ready no more, and wait until who asks for that has seen it.

        Args:
            seconds: how long.
        """
        self._api.ready = False
        return deferLater(self._api.clocks.reactor, seconds) if seconds else succeed(None)

    def stopService(self) -> Deferred[None]:
        """Stop to keep events, to measure and to listen."""
        super().stopService()
        self._stream.stop()
        self._events.stop()
        if self._metrics is not None:
            self._metrics.stop()
        return succeed(None) if self.listener is None else self.listener.stopService()


def administer(
    configuration: Configuration, server: Server, levels: LogLevels, supervisor: Supervisor | None = None
) -> Administration | None:
    """Return the administration with the listener that a configuration asks for; None where it asks for none.

    Args:
        configuration: the configuration.
        server: the server, whose certificate the listener may use.
        levels: the log's levels.
        supervisor: administered in the server's place, where workers serve.

    Raises:
        SettingsError: a setting cannot be.
    """
    endpoint, tokens = configuration["admin"].value, configuration["admin_tokens"].value
    if endpoint is None:
        for key in ("admin_tokens", "admin_plaintext", "drain_delay"):
            if configuration[key].value not in (None, configuration[key].setting.default):
                raise SettingsError(key, configuration[key].value, "left out, or admin given: it is of no use without")
        return None
    plaintext = configuration["admin_plaintext"].value
    place = admin_place(endpoint, server.config, server.clocks, has_tokens=tokens is not None, plaintext=plaintext)
    try:
        known = None if tokens is None else TokenFile(tokens)
    except SettingsError as error:
        raise SettingsError("admin_tokens", error.value, error.rule) from None
    if known is not None and not known.names:
        rule = "a file with a token, as 'veltix token new NAME' prints it: without one nobody can ask the administration"
        raise SettingsError("admin_tokens", tokens, rule)
    metrics = configuration["metrics"]
    measured = metrics.value if metrics.given else None
    made = Administration(supervisor or server, tokens=known, measured=measured, levels=levels)
    made.listener = AdminListener(place, made.resource, server.clocks)
    return made
