"""Write a line for every request, to be read by people. A server that does not want it does not pass through here."""

import sys
import time
from datetime import datetime
from typing import TextIO

from handler.body import AsgiApp, Message, Receive, Scope, Send


class AccessLog:
    """An ASGI application around another one."""

    def __init__(self, app: AsgiApp, out: TextIO = sys.stderr) -> None:
        self._app = app
        self._out = out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and say how it went when its answer is complete."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, size = 0, 0

        async def counting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            client = scope.get("client")
            query = scope["query_string"]
            target = scope["raw_path"] + (b"?" + query if query else b"")
            spent_ms = (time.perf_counter() - began) * 1000
            self._out.write(
                f"{datetime.now():%H:%M:%S} {client[0] if client else '-'} {scope['method']:<6} "
                f"{target.decode('latin-1')} {status or 'gone'} {size} B {spent_ms:.1f} ms\n"
            )
