from veltix.network.types import MessageTypeRegistry, MessageType

# Access the global registry
registry = MessageTypeRegistry()

# Register custom types
CUSTOM = MessageType(code=250, name="custom")
registry.register(CUSTOM)

# Retrieve by code
msg_type = registry.get(250)
print(msg_type.name)  # "custom"

# Check if registered
if registry.has(250):
    print("Type 250 is registered!")
