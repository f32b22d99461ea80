from veltix import Server, ServerConfig, MessageType, Request

# Define a message type
CHAT = MessageType(code=200, name="chat", description="Chat message")

# Configure server
config = ServerConfig(host="0.0.0.0", port=8080)
server = Server(config)

# Handle incoming messages
def on_message(client, response):
    print(f"[{client.addr}] {response.content.decode()}")
    
    # Echo back to client
    reply = Request(CHAT, b"Message received!")
    server.send_to(client, reply.compile())

server.bind("on_recv", on_message)
server.start()

print("Server running on port 8080...")
input("Press Enter to stop...")
server.close_all()
