"""Commands of an operator: what a server's administration shows and does, from a shell."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import wraps
from typing import Any, BinaryIO

import click

from veltix_tx.backplane.interface import node_of
from veltix_tx.errors import SettingsError
from veltix_tx.ops.admin_client import AdminClient
from veltix_tx.ops.output import epilog, json_line, output_option, readable_text, shown_result
from veltix_tx.ops.reaching import Reach, reaching
from veltix_tx.ops.sessions import SORTS, STATES
from veltix_tx.ops.settings import LEVELS
from veltix_tx.wire.annotation import HIDDEN, Piece
from veltix_tx.wire.registry import annotate_stream

__all__ = ["COMMANDS"]

_COLUMNS = ("id", "address", "version", "identity", "state", "idle", "queued", "waiting", "pending", "inbox_bytes")
"""Columns of a table of sessions."""

_NARROWEST, _LONGEST_REASON = 20, 1000
"""Characters of WHY: fewer are no column, and more than there is room for in a terminal's line are cut off."""

_HANDLER_COLUMNS = ("received", "failed", "timed", "mean_ms")
"""The same of routes and methods; what is not measured is a dash."""

_SUMMARY = ("version", "build", "pid", "uptime", "ready", "addresses", "sessions")


def _admin(*examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator: a command of an administration, which it gets as ``admin``.

    Args:
        examples: two lines to type.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def command(*args: Any, where: str, reach: Reach, **kwargs: Any) -> None:
            function(reach.client(where), *args, **kwargs)

        return click.command(epilog=epilog(*examples))(click.argument("where", metavar="ADMIN")(reaching(command)))

    return decorate


@_admin("veltix stats 127.0.0.1:9100", "veltix stats 127.0.0.1:9100 -o json")
@output_option
def stats(admin: AdminClient, output: str) -> None:
    """Show the server of ADMIN: version, addresses, listeners, counters, limits with their use.

    ADMIN is HOST:PORT or unix:PATH of the administration, see twistd veltix --admin.
    """
    found = {name: admin.get(name) for name in ("server", "listeners", "limits")}
    if output == "json":
        click.echo(shown_result(found, output))
        return
    server, used = found["server"], found["limits"]["in_use"]
    click.echo(shown_result({name: server[name] for name in _SUMMARY}, output))
    if "workers" in server:
        click.echo("\n" + shown_result([_worker_row(each) for each in server["workers"]], output))
    click.echo("\n" + shown_result(found["listeners"], output))
    click.echo("\n" + shown_result([_use_row(name, use) for name, use in used.items()], output))
    click.echo("\n" + shown_result(server["counters"] or {"counters": "none yet"}, output))


def _search(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--search", default="", help="Only those with this text in them.")(command)


def _limit(default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--limit", type=click.IntRange(1, 1000), default=default, show_default=True, help="How many.")


def _sort(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--sort",
        type=click.Choice([*SORTS, *(f"-{name}" for name in SORTS)]),
        default=default,
        show_default=True,
        metavar="FIELD",
        help=f"The order: {', '.join(SORTS)}; with - in front the highest, or slowest, first.",
    )


@_admin("veltix sessions 127.0.0.1:9100 --sort=-queued --limit 10", "veltix sessions 127.0.0.1:9100 --state slow -o json")
@_search
@click.option("--state", type=click.Choice(STATES), help="Only those in this state; slow are all that have a reason in WHY.")
@_sort("id")
@_limit(100)
@click.option("--offset", type=click.IntRange(0), default=0, help="How many are passed over.")
@output_option
def sessions(admin: AdminClient, search: str, state: str | None, sort: str, limit: int, offset: int, output: str) -> None:
    """List the sessions of ADMIN's server.

    STATE is blocked, its peer takes nothing; paused, nothing is read from it; closing, or open. WHY says why one is slow, as far as
    the line of a terminal has room. ADMIN is HOST:PORT or unix:PATH.
    """
    found = admin.get("sessions", search=search, state=state, sort=sort, limit=limit, offset=offset)
    click.echo(shown_result(found, output) if output == "json" else _sessions_table(found))


@_admin("veltix show 127.0.0.1:9100 4711-12", "veltix show 127.0.0.1:9100 4711-12 -o json")
@click.argument("session_id", metavar="ID")
@output_option
def show(admin: AdminClient, session_id: str, output: str) -> None:
    """Show all that is known of a session of ADMIN's server, and the last lines of the log about it.

    ID is that of the list, and of every line of the log about the connection. ADMIN is HOST:PORT or unix:PATH.
    """
    found = admin.get(f"sessions/{_checked_id(session_id)}")
    lines = admin.get("events", connection=session_id, limit=20)
    if output == "json":
        click.echo(shown_result(found | {"events": lines}, output))
        return
    click.echo(shown_result(found, output))
    for event in lines:
        click.echo(_event_line(event))


@_admin("veltix kick 127.0.0.1:9100 4711-12", "veltix kick 127.0.0.1:9100 4711-12 4711-13 --token-file ops.token")
@click.argument("session_ids", metavar="ID...", nargs=-1, required=True)
@output_option
def kick(admin: AdminClient, session_ids: tuple[str, ...], output: str) -> None:
    """Disconnect sessions of ADMIN's server, politely: what is queued for them is written first.

    ADMIN is HOST:PORT or unix:PATH.
    """
    done = [admin.post(f"sessions/{_checked_id(each)}/disconnect") for each in session_ids]
    click.echo(shown_result(done, output))


@_admin("veltix events 127.0.0.1:9100 --limit 20", "veltix events 127.0.0.1:9100 --follow --search 4711-12")
@_search
@_limit(100)
@click.option("--follow", is_flag=True, help="Go on with what comes, until interrupted.")
@output_option
def events(admin: AdminClient, search: str, limit: int, follow: bool, output: str) -> None:
    """Show the last lines of the log of ADMIN's server.

    With --follow and -o json each event is a line. ADMIN is HOST:PORT or unix:PATH.
    """
    found = admin.get("events", search=search, limit=limit)
    if output == "json" and not follow:
        click.echo(shown_result(found, output))
        return
    last = 0
    while True:
        for event in found:
            last = event["number"]
            click.echo(json_line(event) if output == "json" else _event_line(event))
        if not follow:
            return
        time.sleep(_INTERVAL)
        found = admin.get("events", search=search, after=last, limit=500)


@_admin("veltix trace 127.0.0.1:9100 4711-12", "veltix trace 127.0.0.1:9100 4711-12 --seconds 5 --contents -o json")
@click.argument("session_id", metavar="ID")
@click.option("--seconds", type=click.FloatRange(0, 3600, min_open=True), default=30.0, show_default=True, help="How long.")
@click.option("--contents", is_flag=True, help="Show the begin of each content, too; credentials are never shown.")
@click.option("--log", is_flag=True, help="Have the server log each frame, too, as far as its limits of lines let it.")
@output_option
def trace(admin: AdminClient, session_id: str, seconds: float, contents: bool, log: bool, output: str) -> None:
    """Show the frames of a session of ADMIN's server as they come and go: direction, type, id and size.

    It ends after --seconds, with the session, or when interrupted. With -o json each frame is a line. ADMIN is HOST:PORT or
    unix:PATH.
    """
    path, last, waits = f"sessions/{_checked_id(session_id)}/trace", 0, True
    found = admin.post(path, seconds=seconds, contents=contents, log=log)
    try:
        while waits:
            waits = found["remaining"] > 0
            missed = found["last"] - last - len(found["frames"])
            if missed > 0:
                click.echo(f"veltix: {missed} frames came too fast to be shown", err=True)
            for frame in found["frames"]:
                click.echo(json_line(frame) if output == "json" else _frame_line(frame))
            last = found["last"]
            if waits:
                time.sleep(min(_INTERVAL / 2, found["remaining"] + _LATER))
                found = admin.get(path, after=last)
    finally:
        if waits:  # nobody looks any more
            admin.post(path, seconds=0)


@_admin("veltix log-level 127.0.0.1:9100", "veltix log-level 127.0.0.1:9100 veltix_tx.net debug")
@click.argument(
    "words",
    nargs=-1,
    metavar="[[NAMESPACE] LEVEL]",
    shell_complete=lambda ctx, param, begun: [level for level in LEVELS if level.startswith(begun)],
)
@output_option
def log_level(admin: AdminClient, words: tuple[str, ...], output: str) -> None:
    """Set the level of the log of ADMIN's server, until its next reload, and show the levels.

    LEVEL is debug, info, warn, error or critical. It holds for NAMESPACE and what is below it; without one, for all that have none
    of their own. Without LEVEL nothing is changed. ADMIN is HOST:PORT or unix:PATH.
    """
    if len(words) > 2:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(words[2:])})")
    namespace = words[0] if len(words) == 2 else ""
    levels = admin.post("log", namespace=namespace, level=words[-1]) if words else admin.get("log")
    shown = [{"namespace": name or "(all others)", "level": level} for name, level in levels.items()]
    click.echo(shown_result(levels if output == "json" else shown, output))


@_admin("veltix routes 127.0.0.1:9100", "veltix routes 127.0.0.1:9100 --search order -o json")
@_search
@_limit(1000)
@output_option
def routes(admin: AdminClient, search: str, limit: int, output: str) -> None:
    """List the routes and methods of ADMIN's server: what came, how often each failed, and the mean of a sample of its times.

    ADMIN is HOST:PORT or unix:PATH.
    """
    found = admin.get("routes", search=search, limit=limit)
    if output == "json":
        click.echo(shown_result(found, output))
        return
    rows = [
        {"kind": kind, "name": each["name"], **{name: each.get(name, "-") for name in _HANDLER_COLUMNS}}
        for kind, handlers in (("route", found["routes"]), ("method", found["methods"]))
        for each in handlers
    ]
    click.echo(shown_result(rows, output) if rows else "no routes and no methods")


@_admin("veltix top 127.0.0.1:9100", "veltix top 127.0.0.1:9100 --count 1 --sort=-waiting")
@_sort("-slow")
@_limit(20)
@click.option("--interval", type=click.FloatRange(0.2), default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--count", type=click.IntRange(1), default=None, help="How many looks; without end by default.")
@output_option
def top(admin: AdminClient, sort: str, limit: int, interval: float, count: int | None, output: str) -> None:
    """Show rates, and the sessions of ADMIN's server with the slow ones first, again and again, until interrupted.

    With -o json each look is a line. ADMIN is HOST:PORT or unix:PATH.
    """
    number, before = 0, None
    while True:
        now = {"server": admin.get("server"), "listeners": admin.get("listeners")} | admin.get("sessions", sort=sort, limit=limit)
        if output == "json":
            click.echo(json_line(now))
        else:
            click.clear()
            click.echo(_summary(now, before))
            click.echo(_sessions_table(now))
        number, before = number + 1, now
        if number >= (count or math.inf):
            return
        time.sleep(interval)


@click.group(short_help="Look at recorded bytes.")
def wire() -> None:
    """Look at recorded bytes of a wire."""


@wire.command(
    epilog=epilog(
        "veltix wire decode --hex 565800000000000000000000000007", "veltix wire decode stream.bin --wire netconduit -o json"
    )
)
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--hex", "digits", metavar="DIGITS", help="The bytes that hexadecimal digits say, in place of FILE.")
@click.option("--wire", "name", default="auto", show_default=True, help="What is spoken; with auto Veltix's layout is found out.")
@output_option
def decode(file: BinaryIO | None, digits: str | None, name: str, output: str) -> None:
    """Show the frames in FILE, or in hexadecimal digits: one direction of a connection, from its begin or that of a frame.

    FILE may be - for standard input. The credentials of a handshake are not shown. The status is 1 where something in it is not of
    the wire, or incomplete.
    """
    if (file is None) is (digits is None):
        raise click.UsageError("What is to be decoded? Give one of FILE, - (standard input) and --hex.")
    try:
        data = bytes.fromhex(digits) if digits is not None else _read(file)
        pieces = annotate_stream(name, data)
    except ValueError as error:
        rule = error.rule if isinstance(error, SettingsError) else "hexadecimal digits in pairs, such as 00ff"
        option = "--wire" if isinstance(error, SettingsError) else "--hex"
        raise click.UsageError(f"{option}: it must be {rule}") from None
    if output == "json":
        shown = [
            {"offset": each.offset, "title": each.title, **each.fields, "hex": HIDDEN if each.secret else each.data.hex()}
            | {"sound": each.sound, "complete": each.complete}
            for each in pieces
        ]
        click.echo(shown_result(shown, output))
    else:
        for each in pieces:
            click.echo(_piece(each))
    if not all(each.sound for each in pieces):
        raise click.exceptions.Exit(1)


def _read(file: BinaryIO | None) -> bytes:
    assert file is not None
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise click.UsageError(f"FILE: it must have at most {_MOST_BYTES} bytes")
    return data


_MOST_BYTES = 1024 * 1024

_MOST_SHOWN = 64
"""Bytes of a part that are shown."""


def _piece(piece: Piece) -> str:
    facts = "".join(f", {name} {value}" for name, value in piece.fields.items())
    mark = "" if piece.sound else "  <-- not of this wire" if piece.complete else "  <-- incomplete"
    said = f"{piece.offset:08x}  {readable_text(piece.title + facts)[:2000]}{mark}\n          "
    if piece.secret:
        return f"{said}{HIDDEN}, {len(piece.data)} bytes"
    shown = piece.data[:_MOST_SHOWN]
    more = f" ... {len(piece.data)} bytes" if len(piece.data) > _MOST_SHOWN else ""
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
    return f"{said}{shown.hex(' ')}{more}  |{text}|"


COMMANDS = (top, sessions, show, trace, kick, routes, events, stats, log_level, wire)
"""The commands, in the order of their use."""

_INTERVAL = 1.0
"""Seconds between two looks at events."""

_LATER = 0.05
"""Seconds behind the end of a trace at which its last frames are asked for."""


def _checked_id(session_id: str) -> str:
    if not node_of(session_id) or "/" in session_id:
        raise click.UsageError(f"ID {readable_text(session_id)}: it must be that of a session, such as 4711-12")
    return session_id


def _sessions_table(found: dict[str, Any]) -> str:
    rows = [{name: row[name] for name in (*_COLUMNS, *_of_worker(row))} for row in found["sessions"]]
    said = f"{len(rows)} of {found['total']} sessions"
    if not rows:
        return said
    table, reasons = shown_result(rows, "table").split("\n"), [row["why"] for row in found["sessions"]]
    width = max(map(len, table))
    room = shutil.get_terminal_size().columns - width - 2 if sys.stdout.isatty() else _LONGEST_REASON
    if any(reasons) and room >= _NARROWEST:
        pairs = zip(table, ["why", *map(readable_text, reasons)], strict=True)
        table = [f"{line:{width}}  {why[:room]}".rstrip() for line, why in pairs]
    return "\n".join([*table, said])


def _of_worker(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the column of the worker, which only a server with workers has."""
    return ("worker",) if "worker" in row else ()


def _event_line(event: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(event["time"] or 0, timezone.utc).strftime("%H:%M:%S")
    worker = f"worker {event['worker']}: " if "worker" in event else ""
    return readable_text(f"{when} {event['level']:<8} {worker}{event['text']}")


def _frame_line(frame: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(frame["time"], timezone.utc).strftime("%H:%M:%S.%f")[:-3]
    said = "".join(f", {name} {frame[name]}" for name in ("type", "id") if name in frame)
    content = f": {frame['content']}" if frame.get("content") else ""
    return readable_text(f"{when} {frame['direction']:<3} {frame['name']}{said}, {frame['size']} bytes{content}")


def _summary(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Return lines about a server: how long it serves, whom, and what went through since the look before."""
    server = now["server"]
    where = ", ".join(server["addresses"])
    said = f"veltix_tx {server['version']} on {where}, up {server['uptime']:.0f} s, {server['sessions']} sessions"
    if not server["ready"]:
        said += ", STOPPING"
    lines = [readable_text(said), *map(_worker_line, filter(_is_unwell, server.get("workers", ())))]
    failed, rates = _failed(now), []
    if before is not None:
        seconds = max(0.001, server["uptime"] - before["server"]["uptime"])
        earlier, later = before["server"].get("traffic"), server.get("traffic")
        if earlier and later:
            rate = {name: (later[name] - earlier[name]) / seconds for name in later}
            rates.append(f"{rate['messages_in']:.1f} messages/s in, {rate['buffers_out']:.1f} out")
            rates.append(f"{rate['bytes_in'] / 1024:.1f} KiB/s in, {rate['bytes_out'] / 1024:.1f} out")
        rates.append(f"{(failed - _failed(before)) / seconds:.1f} failures/s")
    which = " (veltix routes tells which)" if failed else ""
    return "\n".join([*lines, ", ".join([*rates, f"{failed} handlers failed{which}"])])


def _is_unwell(worker: dict[str, Any]) -> bool:
    return not (worker["state"] == "ready" and worker["answers"])


def _worker_line(worker: dict[str, Any]) -> str:
    return readable_text(f"worker {worker['worker']}, process {worker['pid']}: {_state_of(worker)}")


def _state_of(worker: dict[str, Any]) -> str:
    """Return the state of a worker, and that it does not answer where it should."""
    state: str = worker["state"]
    return state if worker["answers"] or state == "starting" else f"{state}, does not answer"


def _worker_row(worker: dict[str, Any]) -> dict[str, Any]:
    known = {name: worker.get(name, "-") for name in ("uptime", "sessions")}
    return {"worker": worker["worker"], "pid": worker["pid"], "state": _state_of(worker), **known}


def _use_row(name: str, use: dict[str, Any]) -> dict[str, Any]:
    """Return the use of a limit; where each worker has it for itself, with that of the fullest."""
    row, fullest = {"of": name, "used": use["used"], "limit": use["limit"]}, use.get("fullest")
    return row if fullest is None else row | {"fullest": f"worker {fullest['worker']}: {fullest['used']}"}


def _failed(look: dict[str, Any]) -> int:
    """Return how many handlers have failed."""
    failed: int = look["server"]["counters"].get("handlers_failed", 0)
    return failed
