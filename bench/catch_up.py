"""Read a history of a million messages from its start: through the server, and straight from the store, in turns.

    python -m bench.catch_up [--messages 1000000] [--rounds 5] [--json]            on a MinIO of its own
    python -m bench.catch_up --store s3://bucket --endpoint-url http://host:9000   on that one

The stream is written once as the objects that compaction leaves (made by the compactor's own functions, one message of
a hundred bytes a chunk). Then the same bytes are fetched by the S3 driver alone, one whole object after the other, and
from a server that has the same driver by an HTTP client, one page after the other, the next one asked for while one
arrives. Store, server and client share the machine, so only the ratio of one run counts. Both ways take turns at being
first, and both have fetched another stream before: nothing of the history is cached anywhere, but connections and the
SDK are warm.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from storage.bucket import IMMUTABLE
from storage.core import keys
from storage.core.checking import checksum
from storage.core.chunk import Chunk, Kind, encode_chunk
from storage.core.compaction import Grouping, Trail, link_of, merge
from storage.core.root import Config
from storage.creation import Created, Creation
from storage.log import Log
from storage.objects import Always, Objects
from storage.opening import StoreOptions, open_objects
from tests.bucket.servers import CREDENTIALS, run_minio
from tests.install_minio import find_minio

BYTES = "application/octet-stream"
JSON = "application/json"
MESSAGE = b"m" * 99 + b"\n"
# Its comma makes it a hundred.
JSON_MESSAGE = b'{"kind":"order","tags":["a","b"],"at":1764028800,"text":"%s"}' % (b"t" * 40)


async def make(objects: Objects, path: str, messages: int, kind: str) -> list[tuple[str, int]]:
    """Write the stream as it is after compaction; return the keys of its objects in order, and their sizes."""
    log = Log(objects)
    created = await log.create(path, Creation(Config(kind)))
    assert isinstance(created, Created)
    generation = created.stream.root.generation
    prefix = keys.chunks_of_generation(path, generation)
    held: dict[int, tuple[Chunk, bytes]] = {}
    trail = Trail(Grouping())
    is_json = kind == JSON
    body = b"[" + JSON_MESSAGE + b"]" if is_json else MESSAGE
    size = len(body) - is_json
    for n in range(messages):
        chunk = Chunk(n * size, n * size + size, Kind.DATA, f"{n:024d}", n, 0, False, None, None, {}, "")
        held[chunk.position] = chunk, body
        trail.add(link_of(chunk, len(body), "e", kind))
        while due := trail.due():
            superset, merged = merge(
                [held.pop(link.position) for link in due], is_json=is_json, cut_bytes=Grouping().cut_bytes
            )
            held[superset.position] = superset, merged
            trail.replace(len(due), link_of(superset, len(merged), "e", kind))
    written = []
    for position, (chunk, body) in sorted(held.items()):
        key = prefix + keys.complement(position)
        metadata = {**encode_chunk(chunk, generation), "crc": checksum(body)}
        await objects.put(key, body, Always(), content_type=kind, cache_control=IMMUTABLE, metadata=metadata)
        written.append((key, len(body)))
    await log.aclose()
    return written


async def bare(objects: Objects, written: list[tuple[str, int]]) -> tuple[int, float]:
    """Fetch the objects, one after the other, with the driver that the server has."""
    began, size = time.perf_counter(), 0
    for key, _ in written:
        found = await objects.get(key)
        assert found is not None
        size += len(found.body)
    return size, time.perf_counter() - began


async def through(server: aiohttp.ClientSession, url: str) -> tuple[int, float, int]:
    """Read the stream page by page until it is up to date, asking for the next page while one arrives."""
    began, size, pages = time.perf_counter(), 0, 0
    asked: asyncio.Task[aiohttp.ClientResponse] | None = asyncio.create_task(_ask(server, url, "-1"))
    while asked is not None:
        response = await asked
        is_last = response.headers.get("Stream-Up-To-Date") == "true"
        asked = None if is_last else asyncio.create_task(_ask(server, url, response.headers["Stream-Next-Offset"]))
        async with response:
            async for part, _ in response.content.iter_chunks():
                size += len(part)
        pages += 1
    return size, time.perf_counter() - began, pages


async def _ask(server: aiohttp.ClientSession, url: str, offset: str) -> aiohttp.ClientResponse:
    return await server.get(url, params={"offset": offset}, raise_for_status=True)


class Server:
    """The server in a process of its own."""

    def __init__(self, store: str, endpoint: str, more: list[str]) -> None:
        command = [sys.executable, "-m", "handler", "serve", "--port", "0", "--store", store, *more]
        if endpoint:
            command += ["--endpoint-url", endpoint]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "http://" in line:
                self.url = "http://" + line.split("http://")[1].split()[0].rstrip("/")
                return
        raise SystemExit("the server did not start")

    def peak_bytes(self) -> int:
        """Return the most memory that was resident so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)


async def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="")
    parser.add_argument("--endpoint-url", default="")
    parser.add_argument("--s3-driver", default="aioboto3")
    parser.add_argument("--json", action="store_const", const=JSON, default=BYTES, dest="kind", help="JSON messages")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("server", nargs="*", help="more arguments for the server, after --")
    given = parser.parse_args()
    if not given.store:
        binary = find_minio()
        if binary is None:
            raise SystemExit("MinIO is not to be had: run `python tests/install_minio.py`, or name a --store")
        os.environ.update(CREDENTIALS)
        with tempfile.TemporaryDirectory() as folder, run_minio(binary, Path(folder)) as minio:
            given.store, given.endpoint_url = f"s3://{minio.new_bucket()}", minio.endpoint_url
            await measure(given)
    else:
        await measure(given)


async def measure(given: argparse.Namespace) -> None:
    """Make the history, and read it both ways."""
    options = StoreOptions(endpoint_url=given.endpoint_url or None, driver=given.s3_driver)
    objects = await open_objects(given.store, options)
    path = f"history-{time.time_ns()}"
    written = await make(objects, path, given.messages, given.kind)
    total = sum(size for _, size in written)
    print(f"{given.messages} messages of 100 bytes in {len(written)} objects, {total / 1e6:.1f} MB")
    other = f"other-{path}"
    warm = await make(objects, other, 64 * 4096, given.kind)
    ratios = []
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False, read_bufsize=2**20))
        for number in range(given.rounds):
            # A server per round, so that nothing is in its cache.
            server = Server(given.store, given.endpoint_url, ["--s3-driver", given.s3_driver, *given.server])
            try:
                await bare(objects, warm)
                await through(session, f"{server.url}/{other}")
                used = server.cpu_seconds()
                if number % 2:
                    size, seconds, pages = await through(session, f"{server.url}/{path}")
                    fetched, alone = await bare(objects, written)
                else:
                    fetched, alone = await bare(objects, written)
                    size, seconds, pages = await through(session, f"{server.url}/{path}")
                assert fetched == total
                # Of JSON, objects and pages have brackets and commas of their own.
                assert abs(size - total) <= 2 * (pages + len(written))
                ratios.append(alone / seconds)
                cpu = server.cpu_seconds() - used
                print(
                    f"bare GETs {total / alone / 1e6:6.1f} MB/s   through the server {total / seconds / 1e6:6.1f} MB/s"
                    f" in {pages} pages   {100 * ratios[-1]:5.1f} %   server: {cpu:.2f} s of CPU,"
                    f" {server.peak_bytes() / 2**20:.0f} MiB at most"
                )
            finally:
                server.stop()
    print(f"median {100 * statistics.median(ratios):.1f} %")
    await objects.aclose()


if __name__ == "__main__":
    uvloop.run(main())
