from veltix import Client, ClientConfig, MessageType, Request

CHAT = MessageType(code=200, name="chat")

# Configure client
config = ClientConfig(server_addr="127.0.0.1", port=8080)
client = Client(config)

# Handle server responses
def on_message(response):
    print(f"Server: {response.content.decode()}")

client.bind("on_recv", on_message)
client.connect()

# Send a message
msg = Request(CHAT, b"Hello, Server!")
client.send(msg.compile())

input("Press Enter to disconnect...")
client.disconnect()
