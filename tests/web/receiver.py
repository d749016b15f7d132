"""A webhook receiver as a process of its own: verifies signatures with a library, reads what is pending, says done.

    python -m tests.web.receiver PORT BASE FILE DELAY

A line of FILE is a delivery, written before it is answered: what was read, and under which wake. BASE is the URL of
the root.
"""

import asyncio
import base64
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

REPLAY_SECONDS = 300


class Line(msgspec.Struct):
    """One delivery."""

    generation: int
    wake_id: str
    at: float
    messages: list[Any]


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def verify(client: httpx.AsyncClient, base: str, header: str, body: bytes) -> None:
    """Check a signature as section 7.1 asks. Raises InvalidSignature, AssertionError."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    assert abs(time.time() - int(parts["t"])) < REPLAY_SECONDS
    keys = (await client.get(f"{base}/__ds/jwks.json")).json()["keys"]
    [key] = [key for key in keys if key["kid"] == parts["kid"]]
    public = Ed25519PublicKey.from_public_bytes(decode(key["x"]))
    public.verify(decode(parts["ed25519"]), parts["t"].encode() + b"." + body)


async def read(client: httpx.AsyncClient, url: str, offset: str) -> list[Any]:
    """Read a JSON stream from an offset to its tail."""
    messages: list[Any] = []
    while True:
        answer = await client.get(url, params={"offset": offset})
        answer.raise_for_status()
        messages += answer.json()
        offset = answer.headers["stream-next-offset"]
        if "stream-up-to-date" in answer.headers:
            return messages


def application(base: str, file: Path, delay: float) -> web.Application:
    client = httpx.AsyncClient(timeout=10.0)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        await verify(client, base, request.headers["Webhook-Signature"], body)
        wake = msgspec.json.decode(body)
        messages: list[Any] = []
        for stream in wake["streams"]:
            if stream["has_pending"]:
                messages += await read(client, f"{base}/{stream['path']}", stream["acked_offset"])
        await asyncio.sleep(delay)
        with file.open("ab") as lines:
            lines.write(msgspec.json.encode(Line(wake["generation"], wake["wake_id"], time.time(), messages)) + b"\n")
        return web.json_response({"done": True})

    app = web.Application()
    app.router.add_post("/hook", receive)
    return app


def lines_of(file: Path) -> list[Line]:
    """Return the deliveries so far."""
    if not file.exists():
        return []
    whole = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [msgspec.json.decode(line, type=Line) for line in whole]


if __name__ == "__main__":
    port, base, file, delay = sys.argv[1:]
    app = application(base, Path(file), float(delay))
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, handle_signals=False)
