from veltix import Server, ServerConfig

# Configure
config = ServerConfig(
    host="0.0.0.0",         # Bind address
    port=8080,              # Port
    max_clients=100,        # Max simultaneous clients
    buffer_size=4096        # Receive buffer size
)

server = Server(config)

# Callbacks
server.bind("on_recv", lambda client, response: ...)     # Message received
server.bind("on_connect", lambda client: ...)            # Client connected
server.bind("on_disconnect", lambda client: ...)         # Client disconnected

# Control
server.start()                           # Start listening
server.send_to(client, data)             # Send to specific client
server.send_all(data)                    # Broadcast to all clients
server.close_client(client)              # Disconnect a client
server.close_all()                       # Stop server, disconnect all
