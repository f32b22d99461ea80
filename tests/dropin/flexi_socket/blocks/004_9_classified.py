@socket.on_message(ClientTypes.client_types[0])
async def handle_client_001(client: Connection, message: str):
    if client.is_first_message_from_client:
        print("First message from client")
    print(f"Client {client} sent {message}")
    await client.send("Hello from server! You are type 001")
