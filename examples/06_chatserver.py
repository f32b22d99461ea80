"""A module for ``twistd veltix --app``: twistd listens, logs, daemonizes and stops.

    twistd -n veltix --port 8080 --app 06_chatserver:server

Run it in this folder, or put the folder on PYTHONPATH. ``--app 06_chatserver:make_server`` does the
same with a function that returns the server, which is what tests want (07_testing_yours.py).
"""

from veltix_tx import MessageRegistry, MessageType, Server

TYPES = MessageRegistry()  # this module's own, so that other code in the process may use code 200, too
CHAT = MessageType(200, "chat", registry=TYPES)


def make_server(**settings):
    server = Server(types=TYPES, **settings)

    @server.route(CHAT)
    def on_chat(client, message):
        server.broadcast(CHAT, message.content, exclude=[client])
        return b"delivered"

    return server


server = make_server()
