"""Subscriptions over one connection after another."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from tests.support.deferreds import outcome
from veltix_tx.backplane.redis.subscriptions import Subscriptions
from veltix_tx.errors import BackplaneError, BackplaneUnavailable


class Connection:
    """A connection that writes down what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, ...]] = []

    def push(self, *command: bytes) -> None:
        """Send a command."""
        self.sent.append(command)


class Listening:
    """Subscriptions on a clock, and what they tell."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.messages: list[tuple[bytes, bytes]] = []
        self.restored = 0
        self.subscriptions = Subscriptions(self.clock, lambda *message: self.messages.append(message), self._restored)

    def _restored(self) -> None:
        self.restored += 1

    def connect(self) -> Connection:
        """Give it a connection."""
        connection: Any = Connection()
        self.subscriptions.attach(connection)
        return connection

    def confirm(self, *channels: bytes, kind: bytes = b"subscribe") -> None:
        """Have Redis confirm channels."""
        for channel in channels:
            self.subscriptions.pushed([kind, channel, 1])


def test_a_turn_subscribes_in_one_command() -> None:
    """Channels of one turn go out together, and each waits for its own confirmation; again sends nothing."""
    listening = Listening()
    connection = listening.connect()
    first, second = outcome(listening.subscriptions.add(b"a")), outcome(listening.subscriptions.add(b"b"))
    listening.clock.advance(0)
    assert connection.sent == [(b"SUBSCRIBE", b"a", b"b")]

    listening.confirm(b"a")
    assert (first, second) == ([None], [])
    listening.confirm(b"b")
    assert second == [None]
    assert outcome(listening.subscriptions.add(b"a")) == [None]
    listening.clock.advance(0)
    assert len(connection.sent) == 1


def test_a_new_connection_has_every_channel_and_says_when() -> None:
    """All channels are subscribed at once on a new connection, a thousand to a command; ``restored`` follows the last."""
    listening = Listening()
    channels = [b"%d" % number for number in range(1500)]
    failed = [outcome(listening.subscriptions.add(channel)) for channel in channels]
    assert all(isinstance(error, BackplaneUnavailable) for [error] in failed)

    connection = listening.connect()

    assert [len(command) for command in connection.sent] == [1001, 501]
    listening.confirm(*channels[:-1])
    assert (listening.restored, listening.subscriptions.complete) == (0, False)
    listening.confirm(channels[-1])
    assert (listening.restored, listening.subscriptions.complete) == (1, True)


def test_who_waits_fails_when_the_connection_is_lost_and_the_channel_stays() -> None:
    """A subscription that is not confirmed errbacks at the loss; the next connection has it all the same."""
    listening = Listening()
    listening.connect()
    waiting = outcome(listening.subscriptions.add(b"a"))
    listening.clock.advance(0)

    listening.subscriptions.detach()
    connection = listening.connect()

    assert isinstance(waiting[0], BackplaneUnavailable)
    assert connection.sent == [(b"SUBSCRIBE", b"a")]


def test_only_the_last_of_changing_wishes_counts() -> None:
    """A channel that is given up and taken again while its first confirmation is under way waits for the last one."""
    listening = Listening()
    connection = listening.connect()
    listening.subscriptions.add(b"a").addErrback(lambda _: None)
    listening.clock.advance(0)
    listening.subscriptions.discard(b"a")
    listening.clock.advance(0)
    again = outcome(listening.subscriptions.add(b"a"))
    listening.clock.advance(0)
    assert [command for command, *_ in connection.sent] == [b"SUBSCRIBE", b"UNSUBSCRIBE", b"SUBSCRIBE"]

    listening.confirm(b"a")
    listening.confirm(b"a", kind=b"unsubscribe")
    assert again == []
    listening.confirm(b"a")
    assert again == [None]


def test_messages_of_channels_given_up_are_dropped() -> None:
    """What comes on a channel that is wanted no more is not passed on."""
    listening = Listening()
    listening.connect()
    listening.subscriptions.add(b"a").addErrback(lambda _: None)
    listening.subscriptions.pushed([b"message", b"a", b"1"])
    listening.subscriptions.discard(b"a")
    listening.subscriptions.pushed([b"message", b"a", b"2"])
    listening.subscriptions.pushed([b"pong", b""])

    assert listening.messages == [(b"a", b"1")]


def test_a_refusal_fails_those_of_its_command() -> None:
    """Channels of a command that Redis refuses errback with its words; those of the next are not mixed up with them."""
    listening = Listening()
    listening.connect()
    refused = outcome(listening.subscriptions.add(b"a"))
    listening.clock.advance(0)
    taken = outcome(listening.subscriptions.add(b"b"))
    listening.clock.advance(0)

    listening.subscriptions.pushed(Exception("NOPERM"))
    listening.confirm(b"b")

    assert isinstance(refused[0], BackplaneError)
    assert "NOPERM" in str(refused[0])
    assert taken == [None]
