"""Measure what an append costs beside the bare conditional PUT that it cannot do without, on the same store.

    python -m bench.put URL [--endpoint-url URL] [--rounds N]

Both go through the same driver, in turn, so that whatever else the machine does falls on both.
"""

import argparse
import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable

from storage.core.root import Config
from storage.log import Append, Creation, Log
from storage.objects import IfAbsent, Objects
from storage.opening import StoreOptions, open_objects

BODY = b"x" * 1024
MEDIA_TYPE = "application/octet-stream"
METADATA = {  # as much as a chunk of one producer's has
    "next": "1795547101830000_0000000000001024",
    "kind": "data",
    "write-id": "841edd35125f05a9026e6ce1",
    "index": "1000",
    "at": "1795547101830",
}


async def _timed(request: Awaitable[object]) -> float:
    began = time.perf_counter()
    await request
    return (time.perf_counter() - began) * 1000


async def latency(objects: Objects, log: Log, path: str, prefix: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of bare PUTs and of appends, one after the other in turn."""
    bare, appends = [], []
    for n in range(rounds):
        put = objects.put(f"{prefix}/{n:08d}", BODY, IfAbsent(), content_type=MEDIA_TYPE, metadata=METADATA)
        bare.append(await _timed(put))
        appends.append(await _timed(log.append(path, Append(BODY, media_type=MEDIA_TYPE))))
    return bare, appends


async def rate(log: Log, path: str, writers: int, seconds: float) -> float:
    """Return appends per second of so many writers on one stream."""
    count = 0
    deadline = time.perf_counter() + seconds

    async def write() -> None:
        nonlocal count
        while time.perf_counter() < deadline:
            await log.append(path, Append(BODY, media_type=MEDIA_TYPE))
            count += 1

    await asyncio.gather(*(write() for _ in range(writers)))
    return count / seconds


async def measure(url: str, options: StoreOptions, rounds: int) -> None:
    """Measure and print."""
    run = uuid.uuid4().hex
    objects = await open_objects(url, options)
    try:
        log = Log(objects)
        path = f"bench/{run}"
        await log.create(path, Creation(Config(MEDIA_TYPE)))
        await latency(objects, log, path, f"bench/{run}/warm", 20)
        bare, appends = await latency(objects, log, path, f"bench/{run}/bare", rounds)
        print(f"{objects.name}, {rounds} of each, 1 KB, milliseconds")
        for name, times in (("bare conditional PUT", bare), ("append", appends)):
            quantiles = statistics.quantiles(times, n=100)
            print(f"  {name:22} median {quantiles[49]:7.2f}   p90 {quantiles[89]:7.2f}   p99 {quantiles[98]:7.2f}")
        ratio = statistics.median(appends) / statistics.median(bare)
        print(f"  append / bare PUT      median {ratio:7.2f} x")
        print(f"  64 writers on one stream: {await rate(log, path, 64, 5.0):,.0f} appends per second")
        await log.aclose()
    finally:
        await objects.aclose()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.put", description=__doc__)
    parser.add_argument("store", help="URL of the store")
    parser.add_argument("--endpoint-url", help="of an S3 store that is not Amazon's")
    parser.add_argument("--rounds", type=int, default=300, help="PUTs and appends (default 300)")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.store, StoreOptions(endpoint_url=arguments.endpoint_url), arguments.rounds))


if __name__ == "__main__":
    main()
