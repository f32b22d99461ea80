from veltix import MessageType

# User types (200-499)
CHAT = MessageType(code=200, name="chat", description="Chat messages")
FILE_TRANSFER = MessageType(code=201, name="file", description="File data")
HEARTBEAT = MessageType(code=202, name="ping", description="Keep-alive ping")

# System types (0-199) - Reserved for Veltix internal use
# Plugin types (500-65535) - Auto-assigned for plugins
