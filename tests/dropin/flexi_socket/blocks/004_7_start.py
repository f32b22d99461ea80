socket.start()
# or 
await socket.start_async()
