"""Tests of 06_chatserver.py, in memory: no port, no reactor, no waiting.

    pytest 07_testing_yours.py
    trial ./07_testing_yours.py

pytest runs all of it, trial the TestCase.
"""

# ruff: noqa: PT009

from importlib import util
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from veltix_tx import Client, RequestTimeout
from veltix_tx.testing import MemoryNetwork

_spec = util.spec_from_file_location("chatserver", Path(__file__).with_name("06_chatserver.py"))
chatserver = util.module_from_spec(_spec)
_spec.loader.exec_module(chatserver)
CHAT = chatserver.CHAT


def start(*clients):
    """Return a network with the chat server and clients connected to it."""
    network = MemoryNetwork()
    network.serve(chatserver.make_server())
    for client in clients:
        network.connect(client)
    return network


def new_client():
    return Client(types=chatserver.TYPES)


def test_the_sender_gets_an_answer():
    """A message is answered."""
    client = new_client()
    with start(client) as network:
        reply = network.result(client.send_and_wait(CHAT, b"hello"))

    assert reply.content == b"delivered"


def test_a_request_times_out_on_the_network_clock():
    """A server that says nothing costs a test no time: the clock is moved by hand."""
    client = new_client()
    silent = chatserver.Server(types=chatserver.TYPES)
    silent.route(CHAT)(lambda session, message: None)
    outcome = []
    with MemoryNetwork() as network:
        network.serve(silent)
        network.connect(client)
        client.send_and_wait(CHAT, b"hello?", timeout=3).addErrback(lambda reason: outcome.append(reason.value))

        network.advance(2.9)
        assert not outcome
        network.advance(0.2)

    assert isinstance(outcome[0], RequestTimeout)


class ChatTest(SynchronousTestCase):
    """The same kind of test for trial."""

    def test_others_hear_it(self):
        """A message reaches every other client, and not its sender."""
        ann, bob = new_client(), new_client()
        heard = {"ann": [], "bob": []}
        ann.set_callback("on_recv", lambda message: heard["ann"].append(message.content))
        bob.set_callback("on_recv", lambda message: heard["bob"].append(message.content))
        network = start(ann, bob)
        self.addCleanup(network.stop)

        network.result(ann.send_and_wait(CHAT, b"hello, bob"))

        self.assertEqual(heard, {"ann": [], "bob": [b"hello, bob"]})

    def test_garbage_is_refused(self):
        """Bytes that are no handshake close their connection, and nobody else's."""
        client = new_client()
        network = start(client)
        self.addCleanup(network.stop)
        stranger = network.dial()

        stranger.send(b"GET / HTTP/1.1\r\n\r\n")

        self.assertTrue(stranger.closed)
        self.assertTrue(client.is_connected)
