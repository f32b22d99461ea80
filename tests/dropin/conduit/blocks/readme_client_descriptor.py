ClientDescriptor(
    # Required
    server_host="localhost",
    server_port=8080,
    password="secret",
    
    # Optional
    name="my_client",
    version="1.0.0",
    use_ipv6=False,
    reconnect_enabled=True,
    reconnect_attempts=5,
    reconnect_delay=1.0,
    rpc_timeout=30.0,
)
