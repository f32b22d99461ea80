@socket.after_receive()
async def after_receive(connection: Connection, message: str):
    print(f"Received message from {connection}: {message}")
    # Additional logic


@socket.before_send()
async def before_send(connection: Connection, message: str):
    print(f"Sending message to {connection}: {message}")
    # Additional logic
