"""A Veltix endpoint in an existing twisted.web application: one process, one reactor.

    python 04_twisted_web.py [WEB_PORT [VELTIX_PORT]]

The ports are 8000 and 8080 by default; 0 lets the system choose. The page shows what Veltix clients
have sent; what is typed into its form is sent to all of them.
"""

import sys
from collections import deque
from html import escape

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from veltix_tx import MessageType, Server

NOTE = MessageType(200, "note")

PAGE = """<!DOCTYPE html>
<title>Notes</title>
<ul>{notes}</ul>
<form method="post"><input name="note"> <button>send to {clients} clients</button></form>
"""


class Notes(Resource):
    """The page."""

    isLeaf = True  # noqa: N815

    def __init__(self, veltix):
        super().__init__()
        self.veltix = veltix
        self.seen = deque(maxlen=100)
        veltix.route(NOTE)(self.on_note)

    def on_note(self, client, message):
        """Keep what a Veltix client sent, and answer it."""
        self.seen.append(message.content.decode("utf-8", "replace"))
        return b"noted"

    def render_GET(self, request):  # noqa: N802
        """Show what was sent."""
        request.setHeader("content-type", "text/html; charset=utf-8")
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.seen)
        return PAGE.format(notes=notes, clients=len(self.veltix.clients)).encode()

    def render_POST(self, request):  # noqa: N802
        """Send what was typed to every Veltix client."""
        note = request.args.get(b"note", [b""])[0]
        self.veltix.broadcast(NOTE, note)
        request.redirect(b"/")
        return b""


web_port = sys.argv[1] if len(sys.argv) > 1 else "8000"
veltix_port = sys.argv[2] if len(sys.argv) > 2 else "8080"

veltix = Server(host="127.0.0.1", port=int(veltix_port))
site = Site(Notes(veltix))  # the application as it was, and its port:
web = serverFromString(reactor, f"tcp:{web_port}:interface=127.0.0.1").listen(site)
web.addCallback(lambda port: print(f"the page is http://127.0.0.1:{port.getHost().port}/", flush=True))

veltix.startService()  # and the endpoint added to it
reactor.addSystemEventTrigger("before", "shutdown", veltix.stopService)
print(f"listening on 127.0.0.1:{veltix.port}", flush=True)
reactor.run()
