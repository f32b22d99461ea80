"""A server with a handler that blocks, in a thread, beside one that does not.

    python 09_blocking.py [PORT] [ROUNDS]

PORT is 8080 by default; 0 lets the system choose. ROUNDS is how hard it works. Ask it from a shell; while
it stretches a password it still tells how many are being stretched::

    veltix send 127.0.0.1:8080 200 "my password" --wait
    veltix send 127.0.0.1:8080 201 "how many?" --wait
"""

import hashlib
import sys
import threading

from veltix_tx import MessageType, Server

STRETCH = MessageType(200, "stretch")
COUNT = MessageType(201, "count")

server = Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080, max_workers=2)
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
working = set()


@server.route(STRETCH, thread=True)
def on_stretch(client, message):
    """Take a while. Up to max_workers of these run at once; one client's messages stay in order all the same."""
    working.add(threading.get_ident())
    key = hashlib.pbkdf2_hmac("sha256", message.content, b"salt", rounds)
    working.discard(threading.get_ident())
    client.add_tag("stretched")  # what belongs to the reactor's thread can be used from here as well
    return key.hex().encode()


@server.route(COUNT)
def on_count(client, message):
    """Answer at once, also while others are being stretched."""
    return b"%d in work" % len(working)


server.run()
