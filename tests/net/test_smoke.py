"""Placeholder run of the harness: replaced by the net floor's tests."""

from veltix_tx import Client, MessageRegistry, MessageType, Server


async def test_round_trip_over_loopback() -> None:
    """A server answers a request over a real socket."""
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server = Server(port=0, host="127.0.0.1", types=types)
    server.route(chat)(lambda client, message: message.content)
    await server.listen()
    client = Client("127.0.0.1", server.port, types=types)
    await client.connect()
    assert (await client.send_and_wait(chat, b"hello")).content == b"hello"
    await client.disconnect()
    await server.stopService()
