@socket.on_disconnect()
async def on_disconnect(connection: Connection):
    print(f"Disconnected from {connection}")
    # Additional logic
