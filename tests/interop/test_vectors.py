"""Conversations captured between two real ends of one release, with ours in the place of one of them.

Releases 1.2 to 1.5 do not import on the Pythons we support: for them this is the proof.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from veltix_tx import Client, MessageRegistry, MessageType, Server, Session
from veltix_tx.testing import MemoryNetwork, ScriptedPeer

Frame = dict[str, Any]

_CAPTURES: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
_RELEASES = {"1.2.0": "1.2.1", **{release: release for release in _CAPTURES}}
"""Release -> the capture for it."""

_TYPES = MessageRegistry()
_BY_CODE = {code: MessageType(code, registry=_TYPES) for code in (200, 201, 202)}


class Replay:
    """One captured conversation: the capture is one side, ours the other.

    What ours says must be the captured bytes, but for the clock and for the request ids that ours
    draws itself; the captured answers to these are played with ours's id.

    Args:
        release: whose capture.
        role: ours, ``server`` or ``client``.
    """

    def __init__(self, release: str, role: str) -> None:
        capture = _CAPTURES[_RELEASES[release]]
        frames: list[Frame] = capture["frames"]
        self.handshake = [each for each in frames if each["kind"] in ("hello", "ack", "json")]
        self.messages = frames[len(self.handshake) :]
        self.network = MemoryNetwork()
        self.session: Session | None = None
        self.peer: ScriptedPeer | None = None
        self._role = role
        self._clock, self._id = slice(*capture["clock"]), slice(*capture["id"])
        self._answers = {each["code"]: bytes.fromhex(each["content"]) for each in frames if each["kind"] == "answer"}
        self._drawn = b""
        self._noted: list[bytes] = []
        self._results: list[Any] = []

    def handle(self, *arguments: Any) -> bytes | None:
        """Do what the captured ends did on a message: answer a request, keep a note."""
        message = arguments[-1]
        if message.type.code not in self._answers:
            self._noted.append(message.content)
        return self._answers.get(message.type.code)

    def play(self, frames: list[Frame]) -> None:
        """Play frames; nothing more may have been said."""
        for frame in frames:
            self._ours(frame) if frame["sender"] == self._role else self._theirs(frame)
        assert self.peer is not None
        assert self.peer.received == b""
        assert not self.peer.closed

    def hear(self, captured: Frame) -> None:
        """Take a frame that ours has begun an exchange with: the captured one, but for clock and id."""
        self._drawn = self._hear(captured, own_id=True)[self._id]

    def _hear(self, captured: Frame, *, own_id: bool) -> bytes:
        assert self.peer is not None
        expected = bytearray.fromhex(captured["frame"])
        said = bytes(self.peer.received[: len(expected)])
        del self.peer.received[: len(expected)]
        if captured["kind"] != "json":
            expected[self._clock] = said[self._clock]
        if own_id:
            expected[self._id] = said[self._id]
        assert said == expected
        return said

    def _ours(self, frame: Frame) -> None:
        kind, content = frame["kind"], bytes.fromhex(frame["content"])
        if kind in ("ping", "ask", "note"):
            assert self.session is not None
            if kind == "ping":
                self.session.ping().addBoth(self._results.append)
            elif kind == "ask":
                self.session.send_and_wait(_BY_CODE[frame["code"]], content).addBoth(self._results.append)
            else:
                self.session.send(_BY_CODE[frame["code"]], content)
            self.network.pump()
        if kind in ("hello", "ping", "ask", "note"):
            self.hear(frame)
        else:
            self._hear(frame, own_id=False)

    def _theirs(self, frame: Frame) -> None:
        assert self.peer is not None
        kind, content = frame["kind"], bytes.fromhex(frame["content"])
        data = bytearray.fromhex(frame["frame"])
        if kind in ("ack", "pong", "answer"):
            data[self._id] = self._drawn
        self.peer.send(bytes(data))
        if kind == "note":
            assert self._noted.pop(0) == content
        elif kind == "pong":
            assert self._results.pop(0) >= 0
        elif kind == "answer":
            reply = self._results.pop(0)
            assert (reply.type.code, reply.content) == (frame["code"], content)

    def serve(self, wire: str) -> None:
        """Let our server listen and the captured client dial."""
        server = Server(wire=wire, types=_TYPES)
        server.set_callback("on_connect", lambda session: setattr(self, "session", session))
        server.set_callback("on_recv", self.handle)
        self.network.serve(server)
        self.peer = self.network.dial()
        self.network.pump()

    def play_to_client(self, wire: str) -> None:
        """Let our client connect to the captured server and play all."""
        client = Client(wire=wire, types=_TYPES)
        client.set_callback("on_recv", self.handle)
        self.peer, connecting = self.network.answer(client)
        if wire == "auto" and not self.handshake:
            self._answer_silence()
        self.play(self.handshake)
        self.session = self.network.result(connecting)
        self.play(self.messages)

    def _answer_silence(self) -> None:
        """Say nothing until ours asks with a PING, then answer that."""
        self.network.advance(1.5)
        pings = [each for each in self.messages if (each["kind"], each["sender"]) == ("ping", "client")]
        pongs = [each for each in self.messages if (each["kind"], each["sender"]) == ("pong", "server")]
        assert self.peer is not None
        self.hear(pings[0])
        pong = bytearray.fromhex(pongs[0]["frame"])
        pong[self._id] = self._drawn
        self.peer.send(bytes(pong))


@pytest.mark.parametrize("release", _RELEASES)
def test_pinned_server_holds_the_captured_conversation(release: str) -> None:
    """To a captured client our server is byte for byte the server it was captured with."""
    replay = Replay(release, "server")
    replay.serve(wire=release)
    replay.play(replay.handshake)
    assert replay.session is not None
    replay.play(replay.messages)


@pytest.mark.parametrize("wire", ["pinned", "auto"])
@pytest.mark.parametrize("release", _RELEASES)
def test_client_holds_the_captured_conversation(release: str, wire: str) -> None:
    """To a captured server our client is byte for byte the client it was captured with, told the release or finding out."""
    Replay(release, "client").play_to_client(release if wire == "pinned" else wire)


@pytest.mark.parametrize("release", ["1.4.0", "1.5.0"])
def test_auto_server_holds_the_captured_conversation(release: str) -> None:
    """A server that finds out serves the oldest clients that have a handshake, which no test can run."""
    replay = Replay(release, "server")
    replay.serve(wire="auto")
    assert replay.peer is not None
    hello, *rest = replay.handshake
    content = bytes.fromhex(hello["content"])
    size = len(hello["frame"]) // 2 - len(content)
    while content not in replay.peer.received and not replay.peer.closed:
        replay.network.advance(0.01)
    assert content in replay.peer.received
    del replay.peer.received[: replay.peer.received.index(content) - size]
    replay.hear(hello)
    replay.peer.received.clear()
    replay.play(rest)
    assert replay.session is not None
    replay.play(replay.messages)
