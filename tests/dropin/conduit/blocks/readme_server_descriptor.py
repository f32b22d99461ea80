ServerDescriptor(
    # Required
    password="secret",
    
    # Optional
    name="my_server",
    version="1.0.0",
    host="0.0.0.0",
    port=8080,
    ipv6=False,
    max_connections=100,
    heartbeat_interval=30.0,
    heartbeat_timeout=90.0,
    enable_compression=False,
    enable_backpressure=True,
)
