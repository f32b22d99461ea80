from veltix import Client, ClientConfig
from veltix.exceptions import ConnectionError, MessageError

client = Client(ClientConfig(server_addr="127.0.0.1", port=8080))

try:
    client.connect()
except ConnectionError as e:
    print(f"Failed to connect: {e}")

try:
    client.send(invalid_data)
except MessageError as e:
    print(f"Invalid message: {e}")
