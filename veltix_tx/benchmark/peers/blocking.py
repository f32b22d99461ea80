"""Upstream's API, which blocks, in the spellings of its releases: a real release, or this package's drop-in."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import cycle, islice
from time import sleep
from typing import Any

from veltix_tx.benchmark.peers.delivery import Tally, contents, numbered
from veltix_tx.benchmark.peers.program import CODE, begin, clock, clock_ns, obey, ready, usage
from veltix_tx.benchmark.peers.working import MOVE, SHOT, from_each, shares, timed

_LOST_AFTER = 5.0
_TRIES = 10


class Upstream:
    """A module with upstream's API.

    Args:
        name: the module's.
        task: what to be.
    """

    def __init__(self, name: str, task: dict[str, Any]) -> None:
        self.module = module = import_module(name)
        with suppress(AttributeError):
            module.Logger.get_instance().set_level(module.LogLevel.ERROR)
        self.type = module.MessageType(CODE, "benchmark")
        self.task = task
        self.sizes = {"max_message_size": task["most"]} if task.get("most") else {}

    def request(self, content: bytes, request_id: Any = None) -> Any:
        """Make a message."""
        return self.module.Request(self.type, content, request_id=request_id)

    def serve(self) -> tuple[int, dict[str, Any]]:
        """Listen, and do what the task says with messages."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        config = self.module.ServerConfig(host="127.0.0.1", port=port, **self.sizes)
        server, tally = self.module.Server(config), Tally()
        sender = None if hasattr(server, "broadcast") else server.get_sender()

        def echo(client: Any, message: Any) -> None:
            answer = self.request(message.content, message.request_id)
            if sender is None:
                server.send(answer, client)
            else:
                sender.send(answer, client=client.conn)

        def broadcast(client: Any, message: Any) -> None:
            note = self.request(message.content)
            for _ in range(self.task["in_a_row"]):
                if sender is None:
                    server.broadcast(note)
                else:
                    sender.broadcast(note, server.get_all_clients_sockets())

        handlers = {"sink": tally.take, "streams": tally.take_stream, "echo": echo, "broadcast": broadcast}
        handle = handlers[self.task["mode"]]
        if hasattr(server, "set_callback"):
            server.set_callback(self.module.Events.ON_RECV, handle)
        else:
            server.on_recv(handle)
        server.start()
        return port, tally.commands


class Clients:
    """Connections to one server, and what is done on them; one thread for each thing that waits.

    Args:
        upstream: whose clients.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._clients: list[Any] = []

    @property
    def commands(self) -> dict[str, Any]:
        """Commands that the benchmark gives a client."""
        names = ("connect", "oneway", "ask", "ping", "stress", "fps")
        return {name: getattr(self, name) for name in names}

    def connect(self, port: int, number: int) -> None:
        """Make so many more connections, one after another."""
        upstream = self._upstream
        for _ in range(number):
            config = upstream.module.ClientConfig(server_addr="127.0.0.1", port=port, **upstream.sizes)
            client = upstream.module.Client(config)
            for _ in range(_TRIES):  # some servers say that they have started before they listen
                with suppress(ConnectionError):
                    if client.connect():
                        break
                sleep(0.1)
                client = upstream.module.Client(config)
            else:
                raise ConnectionError("connect() returned False")
            self._clients.append(client)
        sleep(0.2)  # some servers take a client in a moment after the client thinks so

    def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection; return when the first was sent, and the seconds until the last was."""
        requests = list(map(self._upstream.request, contents(size)))
        used, begun = usage(), clock()
        self._send(self._clients[0], requests, number)
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    def stress(self, each: int, size: int) -> dict[str, float]:
        """Send so many messages on every connection at once."""
        request = self._upstream.request
        calls = [
            partial(self._send, client, [request(numbered(stream, number, size)) for number in range(each)], each)
            for stream, client in enumerate(self._clients)
        ]
        used, begun = usage(), clock()
        self._together(calls)
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    def ask(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once; return the seconds and the times."""
        upstream, client, messages = self._upstream, self._clients[0], contents(size)
        times, wrong = array("Q"), list[int]()

        def worker(first: int, each: int) -> None:
            for content in from_each(messages, first, each):
                begun = clock_ns()
                reply = client.send_and_wait(upstream.request(content), timeout=_LOST_AFTER)
                if reply is None:
                    return
                times.append(clock_ns() - begun)
                if reply.content != content:
                    wrong.append(first)

        used, begun = usage(), clock()
        self._together([partial(worker, *share) for share in enumerate(shares(number, in_flight))])
        return timed(clock() - begun, usage() - used, number, times, len(wrong))

    def ping(self, number: int) -> dict[str, Any]:
        """Ping so many times, one after another."""
        ping, times = self._clients[0].ping_server, array("Q")
        used, begun = usage(), clock()
        for _ in range(number):
            sent_at = clock_ns()
            if ping(timeout=_LOST_AFTER) is None:
                break
            times.append(clock_ns() - sent_at)
        return timed(clock() - begun, usage() - used, number, times)

    def fps(self, rate: int, seconds: float) -> dict[str, float]:
        """Play: every connection is a player that sends in every tick."""
        request = self._upstream.request
        sends = [self._sending(client) for client in self._clients]
        sent = [0] * len(sends)
        ticks = late = 0
        used, begun = usage(), clock()
        while (now := clock()) - begun < seconds:
            shooting = int(now * 10) % 10
            for player, send in enumerate(sends):
                for size in (MOVE, SHOT)[: 1 + (player % 10 == shooting)]:
                    send(request(numbered(player, sent[player], size)))
                    sent[player] += 1
            ticks += 1
            left = begun + ticks / rate - clock()
            late += left < 0
            sleep(max(0.0, left))
        taken = clock() - begun
        return {"sent": sum(sent), "ticks": ticks, "late": late, "begun": begun, "seconds": taken, "cpu": usage() - used}

    def _send(self, client: Any, requests: Sequence[Any], number: int) -> None:
        send = self._sending(client)
        for request in islice(cycle(requests), number):
            send(request)

    def _sending(self, client: Any) -> Callable[[Any], object]:
        send: Callable[[Any], object] = client.send if hasattr(client, "send") else client.get_sender().send
        return send

    def _together(self, calls: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(len(calls)) as pool:
            for running in [pool.submit(call) for call in calls]:
                running.result()


def main() -> None:
    """Be the server or the client that the task asks for."""
    task = begin()
    upstream = Upstream(task["module"], task)
    if task["role"] == "server":
        port, commands = upstream.serve()
        ready(port)
        obey(commands)
    else:
        ready()
        obey(Clients(upstream).commands)


if __name__ == "__main__":
    main()
