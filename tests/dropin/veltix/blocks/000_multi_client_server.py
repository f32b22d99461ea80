from veltix import Server, ServerConfig
import threading

server = Server(ServerConfig(port=8080))

# Track clients
clients_lock = threading.Lock()
active_clients = set()

def on_connect(client):
    with clients_lock:
        active_clients.add(client)
    print(f"Client connected: {client.addr}")

def on_disconnect(client):
    with clients_lock:
        active_clients.discard(client)
    print(f"Client disconnected: {client.addr}")

server.bind("on_connect", on_connect)
server.bind("on_disconnect", on_disconnect)
server.start()
