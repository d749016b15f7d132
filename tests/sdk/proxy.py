"""A TCP proxy that misbehaves on demand: refuses, cuts in the middle of a response, dribbles.

It runs in a thread of its own.
"""

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

DRIBBLE_BYTES = 48
DRIBBLE_SECONDS = 0.02


class Proxy:
    """Forward to a port of this machine.

    Change its attributes to break things; a connection looks at them as it goes.
    """

    def __init__(self, target_port: int, *, seed: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.refusing = False
        self.dribbling = False
        self.cut_after_bytes: int | None = None  # of what the server says on one connection, half of it at least
        self.cuts = 0
        self._random = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_everything()
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_everything(self) -> None:
        """Reset every connection there is."""
        self._call(self._cut_everything())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut_everything(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        self.cuts += len(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(server_writer)
        pumps = [
            asyncio.ensure_future(self._pump(reader, server_writer, answering=False)),
            asyncio.ensure_future(self._pump(server_reader, writer, answering=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for end in (writer, server_writer):
                self._writers.discard(end)
                end.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answering: bool) -> None:
        budget = None
        if answering and self.cut_after_bytes is not None:
            budget = self._random.randint(self.cut_after_bytes // 2, self.cut_after_bytes)
        with suppress(OSError):
            while piece := await reader.read(DRIBBLE_BYTES if self.dribbling else 65536):
                if budget is not None:
                    piece, budget = piece[:budget], budget - len(piece)
                writer.write(piece)
                await writer.drain()
                if budget is not None and budget <= 0:
                    self.cuts += 1
                    return
                if self.dribbling:
                    await asyncio.sleep(DRIBBLE_SECONDS)
