from veltix import Request, MessageType

CHAT = MessageType(code=200, name="chat")

# Create a request
msg = Request(CHAT, b"Hello, world!")

# Compile to bytes (ready to send)
data = msg.compile()

# Send it
client.send(data)
