from veltix import Server, ServerConfig, MessageType

CHAT = MessageType(code=200, name="chat")

server = Server(ServerConfig(port=8080))

def broadcast_message(sender_client, response):
    username = sender_client.addr[0]
    message = response.content.decode()
    
    print(f"[{username}] {message}")
    
    # Broadcast to all clients except sender
    for client in server.clients:
        if client != sender_client:
            server.send_to(client, response.compile())

server.bind("on_recv", broadcast_message)
server.start()

print("Chat server running on port 8080...")
input("Press Enter to stop...")
server.close_all()
