def on_message(response):
    print(f"Type: {response.type.name}")           # Message type
    print(f"Content: {response.content.decode()}") # Message data
    print(f"Timestamp: {response.timestamp}")      # When sent
    print(f"Hash: {response.hash.hex()}")          # SHA256 hash
    print(f"Latency: {response.latency}ms")        # Round-trip time
