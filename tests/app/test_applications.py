"""Echo and relay: what twistd serves without any code."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from veltix_tx import Client, MessageRegistry
from veltix_tx.app.applications import Echo, Relay
from veltix_tx.interfaces import IVeltixApplication


def test_both_are_applications() -> None:
    """Echo and Relay provide IVeltixApplication and know every type."""
    for application in (Echo(), Relay()):
        assert verifyObject(IVeltixApplication, application)
        assert application.types.get(65535) is not None


def test_echo_answers_with_the_same(town: Any) -> None:
    """Echo answers each message of any type with its content, the request id kept."""
    place = town(application=Echo())
    types = MessageRegistry(open=True)
    client = Client(types=types)
    place.network.connect(client)
    for code, content in ((200, b"hello"), (499, b""), (65535, b"\0" * 1000)):
        message_type = types.get(code)
        assert message_type is not None
        reply = place.network.result(client.send_and_wait(message_type, content))
        assert (reply.type, reply.content) == (message_type, content)


def test_relay_sends_to_all_others(town: Any) -> None:
    """Relay passes each message on to every other client, and to none that is gone."""
    place = town(application=Relay())
    a, _ = place.client("a")
    b, _ = place.client("b")
    place.client("c")
    a.send(place.news, b"1")
    place.network.pump()
    assert place.heard == {"a": [], "b": [b"1"], "c": [b"1"]}
    place.network.result(b.disconnect())
    a.send(place.chat, b"2")
    place.network.pump()
    assert place.heard == {"a": [], "b": [b"1"], "c": [b"1", b"2"]}
