from veltix import Server, ServerConfig, MessageType, Request

ECHO = MessageType(code=200, name="echo")

server = Server(ServerConfig(port=8080))

def echo_handler(client, response):
    # Echo the message back
    reply = Request(ECHO, response.content)
    server.send_to(client, reply.compile())

server.bind("on_recv", echo_handler)
server.start()

input("Server running. Press Enter to stop...")
server.close_all()
