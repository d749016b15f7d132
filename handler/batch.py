"""Make an event stream one batch per connection, for a host that passes answers on only when they are complete.

What was to be told at once is told when the batch ends: when it has news and a second has gone by, when it is full, or
when its time is over. Not sooner than after that second: clients that meet three shorter connections in a row give
event streams up for good. Knows ASGI; nothing of the host.
"""

import asyncio

from handler.body import AsgiApp, Message, Receive, Scope, Send
from handler.core import names

HOLD_SECONDS = 1.2  # clients count what is shorter than one second
BATCH_BYTES = 3 * 1024 * 1024

_DATA = f"event: {names.EVENT_DATA}\n".encode()
_CAUGHT_UP = f'"{names.SSE_UP_TO_DATE}":true'.encode()
_CLOSED = f'"{names.SSE_CLOSED}":true'.encode()


class Batch:
    """One connection's events."""

    def __init__(self, receive: Receive, send: Send, wait_seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._hold_until = self._loop.time() + min(HOLD_SECONDS, wait_seconds)
        self._over = asyncio.Event()
        self._loop.call_later(wait_seconds, self._over.set)
        self._has_request = False
        self._has_data = False
        self._is_held = False
        self._size = 0

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Let the application tell, and end it when the batch does."""
        await app(scope, self._next, self._pass_on)
        if self._is_held:
            await asyncio.sleep(self._hold_until - self._loop.time())

    async def _next(self) -> Message:
        if not self._has_request:
            self._has_request = True
            return await self._receive()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_held = message["status"] == 200
        else:
            self._judge(message.get("body", b""))
        await self._send(message)

    def _judge(self, events: bytes) -> None:
        self._size += len(events)
        self._has_data = self._has_data or events.startswith(_DATA)
        if _CLOSED in events:
            self._is_held = False  # nobody comes back
        if self._size >= BATCH_BYTES:
            self._over.set()
        elif self._has_data and _CAUGHT_UP in events:
            self._loop.call_at(self._hold_until, self._over.set)
