import asyncio
from conduit import Client, ClientDescriptor, data

client = Client(ClientDescriptor(
    server_host="localhost",
    server_port=8080,
    password="your_secret_password",
    name="MyClient",
    reconnect_enabled=True,
))

# Handle server messages
@client.on("broadcast")
async def handle_broadcast(message):
    print(f"Broadcast received: {message}")

@client.on_connect
async def connected(cli):
    print("Connected to server!")

async def main():
    await client.connect()
    
    # Send a message
    await client.send("greeting", {"name": "World"})
    
    # RPC calls
    result = await client.rpc.call("add", args=data(a=10, b=20))
    print(f"10 + 20 = {result}")
    
    result = await client.rpc.call("multiply", args=data(x=3.5, y=2.0))
    print(f"3.5 * 2.0 = {result}")
    
    # Discover available RPC methods
    methods = await client.rpc.discover()
    print(f"Available methods: {[m['name'] for m in methods]}")
    
    await client.disconnect()

if __name__ == "__main__":
    asyncio.run(main())
