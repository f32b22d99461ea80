import asyncio
from conduit import Server, ServerDescriptor, Response, data

server = Server(ServerDescriptor(
    host="0.0.0.0",
    port=8080,
    password="your_secret_password",
    name="MyServer",
))

# Handle messages with decorators
@server.on("greeting")
async def handle_greeting(client, message):
    name = message.get("name", "stranger")
    return {"reply": f"Hello, {name}!"}

# Register RPC methods
@server.rpc
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

@server.rpc
async def multiply(x: float, y: float) -> float:
    """Multiply two numbers."""
    return x * y

# Lifecycle hooks
@server.on_startup
async def startup(srv):
    print(f"Server starting on {srv.address}")

@server.on_client_connect
async def client_connected(connection):
    print(f"Client connected: {connection.id}")

async def main():
    await server.run()

if __name__ == "__main__":
    asyncio.run(main())
