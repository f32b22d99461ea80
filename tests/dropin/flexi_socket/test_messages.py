"""Messages: how strategies tell them apart, text and bytes, hooks and types of peers, the history."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aio.ends import Run
from tests.support.dropin.sockets import Seen, client_of, dial, make_server, running, until
from veltix_tx.dropin.flexi_socket import (
    ClientClassifier,
    EOFStrategy,
    FixedLengthStrategy,
    Message,
    MessageStrategy,
    RawStrategy,
    SeparatorStrategy,
)
from veltix_tx.errors import MessageTooLarge, SettingsError
from veltix_tx.wire.plain.options import Prefixed

STRATEGIES: dict[str, tuple[Any, bytes, list[str]]] = {
    "lines": (SeparatorStrategy(), "hé\n\nthere\n".encode(), ["hé\n", "\n", "there\n"]),
    "another separator": (SeparatorStrategy("|#"), "hé|there|#\n|#".encode(), ["hé|there|#", "\n|#"]),
    "blocks": (FixedLengthStrategy(8), "hé     there   ".encode(), ["hé     ", "there   "]),
    "the end of the stream": (EOFStrategy(), "hé\nthere".encode(), ["hé\nthere"]),
}
"""A strategy, what a peer sends, and the messages in that."""


class ByFirstLetter(ClientClassifier):
    """Classifier that takes the first letter of a message for its sender's type."""

    client_types = ("a", "b", "c")

    def classify(self, first_message: str) -> str:
        """Return the letter."""
        return first_message[0]


# Strategies.


@pytest.mark.parametrize("trickles", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_messages_are_told_apart(name: str, trickles: bool, run: Run) -> None:
    """A strategy's arguments count, and messages are the same however the network cuts what a peer sends."""
    strategy, sent, messages = STRATEGIES[name]

    async def main() -> None:
        server = make_server(message_strategy=strategy)
        seen = Seen(server)
        async with running(server), dial(server) as peer:
            if trickles:
                await peer.trickle(sent)
            else:
                peer.send(sent)
            if name == "the end of the stream":
                peer.writer.write_eof()
            await until(lambda: len(seen.messages) == len(messages))
        assert seen.messages == messages

    run(main())


@pytest.mark.parametrize(
    ("strategy", "said", "sent"),
    [
        (SeparatorStrategy(), "hé", "hé\n"),
        (SeparatorStrategy(), "hé\n", "hé\n"),
        (SeparatorStrategy(), "one\ntwo", "one\ntwo\n"),
        (SeparatorStrategy("|"), "", "|"),
        (FixedLengthStrategy(8), "hé", "hé     "),
        (EOFStrategy(), "hé\n", "hé\n"),
        (RawStrategy(128), "hé" * 500, "hé" * 500),
        (RawStrategy(128), "", ""),
    ],
    ids=["line", "separator not doubled", "two lines", "empty line", "block", "stream", "many reads", "nothing"],
)
def test_messages_are_sent_as_the_strategy_says(strategy: MessageStrategy, said: str, sent: str, run: Run) -> None:
    """A separator stands behind a message, and is not doubled; blocks are filled up; a read's size does not bound what is sent."""

    async def main() -> None:
        server = make_server(message_strategy=strategy)
        async with running(server), dial(server) as peer:
            await until(lambda: server.connections)
            await server.send(said)
            server.stop()
            assert (await peer.hears_rest()).decode() == sent

    run(main())


def test_a_block_that_is_too_long_is_refused(run: Run) -> None:
    """What does not fit into a block is not sent: it would put every later block out of step."""

    async def main() -> None:
        server = make_server(message_strategy=FixedLengthStrategy(8))
        async with running(server), dial(server) as peer:
            await until(lambda: server.connections)
            with pytest.raises(MessageTooLarge):
                await server.send("123456789")
            await server.send("12345678")
            assert await peer.hears(8) == b"12345678"

    run(main())


def test_reads_are_messages(run: Run) -> None:
    """With ``read_buffer_size`` each read is a message of so many bytes at most, but a character is never cut; each is answered."""

    async def main() -> None:
        server = make_server(read_buffer_size=128)
        seen = Seen(server)

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            seen.messages.append(message)
            await connection.send("ok")

        async with running(server), dial(server) as peer:
            await peer.trickle("é✓".encode())
            await until(lambda: "".join(seen.messages) == "é✓")
            answers = b"ok" * len(seen.messages)
            assert await peer.hears(len(answers)) == answers
            seen.messages.clear()
            peer.send("é".encode() * 500)
            await until(lambda: len("".join(seen.messages)) == 500)
            assert max(len(each.encode()) for each in seen.messages) <= 128

    run(main())


@pytest.mark.parametrize(
    "make",
    [
        lambda: SeparatorStrategy(""),
        lambda: SeparatorStrategy(b"|"),  # type: ignore[arg-type]
        lambda: FixedLengthStrategy(0),
        lambda: RawStrategy(1),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(make: Any) -> None:
    """An argument that no strategy can have is refused by name when the strategy is made."""
    with pytest.raises(SettingsError):
        make()


def test_a_strategy_of_ones_own(run: Run) -> None:
    """Any plain wire is a strategy, for both modes."""

    class Lengths(MessageStrategy):
        def wire(self, as_bytes: bool) -> Prefixed:
            return Prefixed(2, text=False)

    async def main() -> None:
        server = make_server(message_strategy=Lengths())
        seen = Seen(server)
        async with running(server):
            client = client_of(server)
            async with running(client):
                await client.send("hé\n")
                await until(lambda: seen.messages)
        assert seen.messages == ["hé\n"]

    run(main())


# Text and bytes.


def test_bytes_both_ways(run: Run) -> None:
    """With ``as_bytes`` handlers, hooks and the classifier get bytes, and what is no text is a message as any other."""

    async def main() -> None:
        server, first = make_server(message_strategy=SeparatorStrategy(), as_bytes=True), list[object]()

        class Classifier(ClientClassifier):
            def classify(self, first_message: bytes) -> str:
                first.append(first_message)
                return self.DEFAULT

        server.classifier = Classifier()
        server.after_receive()(lambda connection, message: message.removesuffix(b"\n"))

        @server.on_message()
        async def on_message(connection: Any, message: bytes) -> None:
            await connection.send(message + b"\xff")

        async with running(server), dial(server) as peer:
            peer.send(b"\x00\xff\n")
            assert await peer.hears(4) == b"\x00\xff\xff\n"
        assert first == [b"\x00\xff\n"]

    run(main())


def test_bytes_can_be_sent_where_messages_are_text(run: Run) -> None:
    """``send`` takes bytes that are no text in any case."""

    async def main() -> None:
        for strategy in (SeparatorStrategy(), RawStrategy(), EOFStrategy(), FixedLengthStrategy(2)):
            server = make_server(message_strategy=strategy)
            async with running(server), dial(server) as peer:
                await until(lambda server=server: server.connections)  # type: ignore[misc]
                await server.send(bytearray(b"\x00\xff"))  # type: ignore[arg-type]
                assert await peer.hears(2) == b"\x00\xff"

    run(main())


def test_what_is_no_text_is_dropped(run: Run) -> None:
    """A message that is no UTF-8 reaches no handler, nor the classifier, and the connection goes on."""

    async def main() -> None:
        server = make_server(message_strategy=SeparatorStrategy(), classifier=ByFirstLetter())
        seen = Seen(server)
        async with running(server), dial(server) as peer:
            peer.send(b"\xff\xfe\nh\xc3\xa9\n")
            await until(lambda: seen.messages)
            assert [each.message for each in seen.connected[0].history] == ["hé\n"]
            assert seen.connected[0].selected_classifier == "h"
        assert seen.messages == ["hé\n"]

    run(main())


# Hooks.


def test_what_a_hook_returns_takes_the_messages_place(run: Run) -> None:
    """``on_message`` gets what ``after_receive`` returns, a peer what ``before_send`` returns, text or bytes, from the first on."""

    async def main() -> None:
        server = make_server(message_strategy=SeparatorStrategy())
        seen = Seen(server)
        server.on_connect()(lambda connection: connection.send("welcome"))

        @server.after_receive()
        async def after_receive(connection: Any, message: str) -> str:
            return message.strip()

        @server.before_send()
        async def before_send(connection: Any, message: str) -> object:
            return f"<{message}>".encode() if message == "bytes" else f"<{message}>"

        async with running(server), dial(server) as peer:
            assert await peer.hears(10) == b"<welcome>\n"
            peer.send(b"  hello \n")
            await until(lambda: seen.messages)
            await server.send("bytes")
            assert await peer.hears(8) == b"<bytes>\n"
            (connection,) = server.connections
            assert [(each.message, each.processed_message, each.incoming) for each in connection.history] == [
                ("welcome", "<welcome>", False),
                ("  hello \n", "hello", True),
                ("bytes", b"<bytes>", False),
            ]
        assert seen.messages == ["hello"]

    run(main())


# Types of peers.


@pytest.mark.parametrize("speaks_first", [False, True])
def test_each_type_has_its_handlers(speaks_first: bool, run: Run) -> None:
    """The first message names the type for good, also where the server has spoken before; then that type's handlers serve it.

    A type with some handlers, but none of messages, has the default type's for these; one with none at all has all of the
    default type's.
    """

    async def main() -> None:
        server = make_server(message_strategy=SeparatorStrategy(), classifier=ByFirstLetter())
        handled = list[tuple[str, str]]()
        if speaks_first:
            server.on_connect()(lambda connection: connection.send("welcome"))

        @server.on_message("a")
        async def on_a(connection: Any, message: str) -> None:
            handled.append(("a", message))

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            handled.append(("default", message))

        @server.after_receive("b")
        async def after_b(connection: Any, message: str) -> str:
            return f"after b: {message}"

        @server.after_receive()
        async def after_receive(connection: Any, message: str) -> str:
            return f"after: {message}"

        async with running(server):
            for said in ("a", "b", "c"):
                async with dial(server) as peer:
                    peer.send(f"{said}\nd\n".encode())
                    await until(lambda: len(handled) % 2 == 0 and handled and handled[-1][1].endswith("d\n"))
                    (connection,) = [each for each in server.connections if each.is_connected]
                    assert connection.selected_classifier == said
                handled.append(("", said))
                handled.append(("", said))
                await until(lambda: not server.connections)
        assert [each for each in handled if each[0]] == [
            ("a", "a\n"),
            ("a", "d\n"),
            ("default", "after b: b\n"),
            ("default", "after b: d\n"),
            ("default", "after: c\n"),
            ("default", "after: d\n"),
        ]

    run(main())


# History.


def test_the_history_is_bounded(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection keeps its last 100 messages, and 64 KiB of them; of larger ones the last."""

    async def main() -> None:
        server = make_server(message_strategy=SeparatorStrategy())
        seen = Seen(server)
        async with running(server), dial(server) as peer:
            peer.send(b"".join(b"%d\n" % number for number in range(250)))
            await until(lambda: len(seen.messages) == 250)
            (connection,) = seen.connected
            assert [each.message for each in connection.history] == [f"{number}\n" for number in range(150, 250)]
            await connection.send("last")
            assert connection.messages_from_server == connection.history[-1:]
            assert len(connection.messages_from_client) == 99
            connection.print_history()
            for _ in range(3):
                peer.send(b"x" * 60_000 + b"\n")
            await until(lambda: len(seen.messages) == 253)
            assert len(connection.history) == 1
            assert not connection.is_first_message_from_client

    run(main())
    assert capsys.readouterr().out.splitlines()[-3:-1] == ["Outgoing message: 'last'", "\t processed: 'last'"]


def test_messages_have_the_attributes_of_both_ages() -> None:
    """A message tells where it came from in the words of 0.0.10 and of 0.0.6."""
    came, sent = Message("in", incoming=True), Message("out", "changed")
    assert (came.message, came.processed_message, came.incoming, came.from_client, came.from_server) == (
        "in",
        "in",
        True,
        True,
        False,
    )
    assert (sent.processed_message, sent.incoming, sent.from_client, sent.from_server) == ("changed", False, False, True)
