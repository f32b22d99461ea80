@socket.on_connect()
async def on_connect(connection: Connection):
    print(f"Connected to {connection}")
    # Additional logic
