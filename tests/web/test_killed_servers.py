"""Servers killed with -9 while a large file is appended by four producers: every byte comes back once, in order.

The size is 200 MB; DURABLE_STREAMS_KILL_MB makes it smaller for a quick look.
"""

import asyncio
import os
from pathlib import Path

import httpx

from tests.bucket.servers import S3Server
from tests.web.killing import Account, Content, kill_on_the_way, read_back, write
from tests.web.nginx import free_port
from tests.web.processes import ServerProcess

MEGABYTES = int(os.environ.get("DURABLE_STREAMS_KILL_MB", "200"))
KILLS = 10
WRITERS = 4


class Server:
    """A server on a port of its own that can be killed and started again."""

    def __init__(self, store: str, *options: str) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self._arguments = (store, "--port", str(port), *options)
        self._process: ServerProcess | None = None

    async def start(self) -> None:
        """Run until it says where it listens."""
        self._process = ServerProcess(*self._arguments)
        assert await asyncio.to_thread(self._process.url) == self.base

    async def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        if self._process is not None:
            await asyncio.to_thread(self._process.close)


async def append_and_kill(servers: list[Server], url: str) -> None:
    """Append the file through the servers, kill one of them ten times on the way, and check what is there."""
    content, account = Content(seed=4437, size=MEGABYTES * 1_000_000, writers=WRITERS), Account()

    async def kill(turn: int) -> None:
        server = servers[turn % len(servers)]
        await server.kill()
        await server.start()

    for server in servers:
        await server.start()
    try:
        async with httpx.AsyncClient(timeout=60) as client:
            created = await client.put(servers[0].base + url, headers={"Content-Type": "application/octet-stream"})
            assert created.status_code == 201, created.text
            bases = [server.base + url for server in servers]
            async with asyncio.TaskGroup() as group:
                group.create_task(kill_on_the_way(content, account, KILLS, kill))
                for writer in range(WRITERS):
                    group.create_task(write(client, bases, content, writer, account))
            assert account.failed >= KILLS, "the kills hit nobody"
            await read_back(client, bases[-1], content)
    finally:
        for server in servers:
            await server.kill()


async def test_a_file_survives_ten_kills_of_a_server_on_sqlite(tmp_path: Path) -> None:
    await append_and_kill([Server(f"sqlite://{tmp_path}/streams.db")], "/files/sqlite")


async def test_a_file_survives_ten_kills_of_two_servers_on_one_bucket(minio: S3Server, minio_bucket: str) -> None:
    options = ("--endpoint-url", minio.endpoint_url)
    await append_and_kill([Server(minio_bucket, *options), Server(minio_bucket, *options)], "/files/minio")
