server.request_handler.register_route(CHAT, on_chat)
server.request_handler.unregister_route(CHAT)
