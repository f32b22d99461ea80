"""Logging: raw data on demand, and the package's own lines in Python's logging."""

from __future__ import annotations

import logging
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.support.dropin.conduit_ends import Run, connected, make_server


def test_raw_data_is_logged_on_demand_without_the_password(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """With DEBUG for ``conduit.raw`` both sides' bytes are in the log, those of the authentication only as headers."""
    caplog.set_level(logging.DEBUG, "conduit.raw")
    server = make_server()

    async def main() -> None:
        async with connected(server) as client:
            await client.send("note", "swordfish" + "x" * 1000)
            await client.rpc.discover()

    run(main())
    said = [record.getMessage().replace(" ", "") for record in caplog.records if record.name == "conduit.raw"]
    assert len([line for line in said if b"swordfish".hex() in line]) == 2  # sent and received
    assert any("bytesmore" in line for line in said)
    assert said[0].startswith("clientsent")
    assert b"CNDT".hex() in said[0]
    assert sha256(b"secret").hexdigest().encode().hex()[:32] not in "".join(said)


def test_raw_data_costs_nothing_where_it_is_not_wanted(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Without DEBUG nothing is logged, and connections have no proxy for it."""
    server = make_server()

    async def main() -> None:
        async with connected(server) as client:
            native = client._present()._native._connection
            assert type(native).__name__ == "NetconduitConnection"

    run(main())
    assert [record for record in caplog.records if record.name == "conduit.raw"] == []


PROGRAM = """
import asyncio, logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
from veltix_tx.dropin.conduit import Client, ClientDescriptor, Server, ServerDescriptor

server = Server(ServerDescriptor(host="127.0.0.1", port={port}, password="secret"))
client = Client(ClientDescriptor(server_host="127.0.0.1", server_port={port}, password="secret"))

@server.rpc
async def broken():
    raise RuntimeError("not today")

async def main():
    await server.start()
    await client.connect()
    try:
        await client.rpc.call("broken")
    except Exception as error:
        print(type(error).__name__, error)
    await client.disconnect()
    await server.stop()

asyncio.run(main())
"""


def test_what_goes_wrong_reaches_pythons_logging() -> None:
    """In a program without Twisted of its own a handler's exception is a record of ``conduit``, with its traceback, once."""
    from tests.support.ports import free_port

    code = PROGRAM.format(port=free_port())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert done.stdout.count("RuntimeError: not today") == 1
    assert "CRITICAL conduit" in done.stdout
    assert "RPCError [1001] the handler failed" in done.stdout
