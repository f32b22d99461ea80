@socket.on_message()
async def on_message(connection: Connection, message: str):
    print(f"Received message from {connection}: {message}")
    # Additional logic
