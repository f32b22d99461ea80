"""One server, several ports, each speaking to other releases of Veltix.

    python 08_old_releases.py [FIRST_PORT]

FIRST_PORT finds out what each client speaks: 1.4 to 1.7 and 2.0 to 3.3. The three ports after it are for
the releases that cannot share one: 1.8.0, 1.8.1 and 1.9.0; the one after those is for 1.6.3 alone, whose
clients then need not wait for their turn. FIRST_PORT is 8080 by default; 0 lets the system choose all five.
"""

import sys

from twisted.internet import reactor

from veltix_tx import Server
from veltix_tx.app.applications import Echo

WIRES = ["auto", "1.8.0", "1.8.1", "1.9.0", "1.6.3"]

first = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
ports = [first + number if first else 0 for number in range(len(WIRES))]

server = Server(
    application=Echo(),
    endpoints=tuple(f"{wire}@tcp:{port}:interface=127.0.0.1" for wire, port in zip(WIRES, ports, strict=True)),
)
server.startService()
reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
for wire, address in zip(WIRES, server.addresses, strict=True):
    print(f"{wire}: listening on {address.host}:{address.port}", flush=True)
reactor.run()
