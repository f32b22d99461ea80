from veltix import Client, ClientConfig, MessageType, Request
import time

PING = MessageType(code=202, name="ping")

client = Client(ClientConfig(server_addr="127.0.0.1", port=8080))

def check_latency(response):
    print(f"Latency: {response.latency}ms")

client.bind("on_recv", check_latency)
client.connect()

# Send ping every second
while True:
    ping = Request(PING, b"ping")
    client.send(ping.compile())
    time.sleep(1)
