"""Commands about nodes and rooms: of a server by its administration, or of all that share a backplane by its URL."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from functools import wraps
from typing import Any, Protocol, TypeVar

import click
import msgspec
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from veltix_tx.app.presence import members_of
from veltix_tx.app.rooms import room_counts, topic_of
from veltix_tx.backplane.globs import check_pattern
from veltix_tx.backplane.interface import Backplane
from veltix_tx.backplane.registry import backplane_from_url
from veltix_tx.backplane.visit import visit
from veltix_tx.errors import SettingsError, VeltixError
from veltix_tx.net.clock import Clocks
from veltix_tx.ops.admin_client import AdminClient
from veltix_tx.ops.output import Failed, epilog, output_option, shown_result
from veltix_tx.ops.reaching import Reach, reaching
from veltix_tx.passwords import hide_password
from veltix_tx.sanitize import escape_controls

__all__ = ["ROOM_COMMANDS"]

_Rows = list[dict[str, Any]]

T = TypeVar("T")


class _Source(Protocol):
    """Source of what the commands show."""

    def nodes(self) -> _Rows:
        """Return the nodes."""

    def rooms(self, pattern: str) -> dict[str, int]:
        """Return the rooms that have members, and how many each."""

    def members(self, room: str) -> _Rows:
        """Return the members of a room."""


class _AdministrationSource:
    """Source that asks a server's administration."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    def nodes(self) -> _Rows:
        return _whole(self._admin.get("nodes"), "nodes")

    def rooms(self, pattern: str) -> dict[str, int]:
        return {row["name"]: row["members"] for row in _whole(self._admin.get("rooms", pattern=pattern, limit=_MOST), "rooms")}

    def members(self, room: str) -> _Rows:
        return _whole(self._admin.get("members", room=room, limit=_MOST), "members")


_MOST = 1000
"""Rows that an administration tells at once."""


def _whole(found: dict[str, Any], name: str) -> _Rows:
    """Return an answer's rows; say where they are not all of them."""
    rows: _Rows = found[name]
    if found["total"] > len(rows):
        click.echo(f"veltix: {len(rows)} of {found['total']} {name} are shown", err=True)
    return rows


class _BackplaneSource:
    """What is found on a backplane, which is joined for a moment."""

    def __init__(self, url: str, timeout: float) -> None:
        self._timeout = timeout
        self._shown = hide_password(url)
        try:
            self._backplane = backplane_from_url(url)
        except SettingsError as error:
            raise click.UsageError(f"URL {escape_controls(str(error.value))}: it must be {error.rule}") from None

    def nodes(self) -> _Rows:
        async def ask(backplane: Backplane) -> _Rows:
            return [msgspec.to_builtins(each) for each in await backplane.nodes() if each.node != backplane.node_id]

        return self._ask(ask)

    def rooms(self, pattern: str) -> dict[str, int]:
        async def ask(backplane: Backplane) -> dict[str, int]:
            return room_counts(await backplane.topics(topic_of(check_pattern(pattern))))

        return self._ask(ask)

    def members(self, room: str) -> _Rows:
        async def ask(backplane: Backplane) -> _Rows:
            return [msgspec.to_builtins(each) for each in members_of(await backplane.members(topic_of(room)))]

        return self._ask(ask)

    def _ask(self, ask: Callable[[Backplane], Coroutine[Deferred[Any], Any, T]]) -> T:
        ended: list[T | VeltixError | DeferredTimeout] = []

        async def run(reactor: Any) -> None:
            try:
                ended.append(await visit(self._backplane, Clocks(reactor), self._timeout, ask))
            except (VeltixError, DeferredTimeout) as error:
                ended.append(error)

        with suppress(SystemExit):  # react's status: what it says is known here
            task.react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
        (answer,) = ended
        if isinstance(answer, SettingsError):
            raise click.UsageError(str(answer))
        if isinstance(answer, DeferredTimeout):
            raise Failed(f"{self._shown}: no answer within {self._timeout:g} s")
        if isinstance(answer, VeltixError):
            raise Failed(f"{self._shown}: {answer}")
        return answer


def _command(*examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator: a command with the argument WHERE and the options for it, which it gets as ``source``."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def command(*args: Any, where: str, reach: Reach, **kwargs: Any) -> None:
            is_url = "://" in where or "+" in where.partition(":")[0]  # a host may be named redis, none veltix+unix
            source = _BackplaneSource(where, reach.timeout) if is_url else _AdministrationSource(reach.client(where))
            function(source, *args, **kwargs)

        argument = click.argument("where", metavar="WHERE")
        return click.command(epilog=epilog(*examples))(argument(output_option(reaching(command))))

    return decorate


@_command("veltix nodes 127.0.0.1:9100", "veltix nodes redis://localhost -o json")
def nodes(source: _Source, output: str) -> None:
    """List the servers that share a backplane.

    WHERE is the administration of one of them, HOST:PORT or unix:PATH, or the URL of the backplane, such as redis://localhost.
    """
    _show([each | {"started": _moment(each["started"])} for each in source.nodes()], output, "no nodes")


@_command("veltix rooms 127.0.0.1:9100", "veltix rooms redis://localhost 'game:*'")
@click.argument("pattern", default="*")
def rooms(source: _Source, pattern: str, output: str) -> None:
    """List the rooms that have members on any server.

    WHERE is the administration of a server, HOST:PORT or unix:PATH, or the URL of a backplane, such as redis://localhost. PATTERN
    is of the rooms' names: * is any text, ? any character, [ab] one of these.
    """
    _show(source.rooms(pattern), output, "no rooms with members")


@_command("veltix members 127.0.0.1:9100 lobby", "veltix members redis://localhost lobby -o json")
@click.argument("room")
def members(source: _Source, room: str, output: str) -> None:
    """List the members of ROOM on all servers.

    WHERE is the administration of a server, HOST:PORT or unix:PATH, or the URL of a backplane, such as redis://localhost.
    """
    _show([each | {"since": _moment(each["since"])} for each in source.members(room)], output, "no members")


ROOM_COMMANDS = (rooms, members, nodes)
"""The commands."""


def _show(found: _Rows | dict[str, int], output: str, none: str) -> None:
    click.echo(shown_result(found, output) if found or output == "json" else none)


def _moment(seconds: float) -> str:
    """Return a time for people."""
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
