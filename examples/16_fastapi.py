"""A web page that speaks to the clients of a Veltix server: FastAPI and Veltix in one loop of asyncio's.

    python 16_fastapi.py [WEB_PORT VELTIX_PORT]

The ports are 8000 and 8080 by default; 0 lets the system choose. It needs FastAPI and uvicorn, which are in the extra
``test``. Let somebody listen, and speak to them on the page http://127.0.0.1:8000/docs, which FastAPI makes::

    veltix listen 127.0.0.1:8080
"""

import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from veltix_tx import MessageType
from veltix_tx.aio import Server

CHAT = MessageType(200, "chat")
web_port, veltix_port = map(int, sys.argv[1:] or (8000, 8080))

server = Server("127.0.0.1", veltix_port)


@server.route(CHAT)
async def on_chat(client, message):
    """Pass on what a client says; answer with how many have heard it."""
    return b"%d" % server.broadcast(CHAT, message.content, exclude=[client])


@asynccontextmanager
async def lifespan(app):
    """Serve Veltix for as long as the web server runs."""
    async with server:
        print(f"Veltix is listening on 127.0.0.1:{server.port}", flush=True)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/say")
async def say(text: str) -> dict[str, int]:
    """Say something to all clients."""
    return {"heard": server.broadcast(CHAT, text.encode())}


@app.get("/clients")
async def clients() -> list[dict[str, object]]:
    """Return who is connected, and how far away in milliseconds."""
    return [{"ip": client.ip, "ms": await client.ping()} for client in server.clients]


uvicorn.run(app, host="127.0.0.1", port=web_port)
