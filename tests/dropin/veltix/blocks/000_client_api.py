from veltix import Client, ClientConfig

# Configure
config = ClientConfig(
    server_addr="127.0.0.1",  # Server IP
    port=8080,                # Server port
    buffer_size=4096,         # Receive buffer size
    timeout=30.0              # Connection timeout
)

client = Client(config)

# Callbacks
client.bind("on_recv", lambda response: ...)       # Message received
client.bind("on_connect", lambda: ...)             # Connected to server
client.bind("on_disconnect", lambda: ...)          # Disconnected

# Control
client.connect()                # Connect to server
client.send(data)               # Send message
client.disconnect()             # Close connection
