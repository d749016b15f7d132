"""Measure the two S3 drivers side by side: conditional writes and reads of one kilobyte, 1, 8 and 32 at once.

    python -m bench.drivers [--seconds 2]                        on a MinIO of its own
    python -m bench.drivers --store s3://bucket --endpoint-url http://host:9000

The drivers take turns within each line, on one machine with the store, so only the ratio of a line counts.
"""

import argparse
import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

from bench.cold_start import store_of
from storage.objects import IfAbsent, Objects
from storage.opening import StoreOptions, open_objects

DRIVERS = ("aioboto3", "obstore")
BODY = b"x" * 1024
TURNS = 3


async def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Measure the two S3 drivers side by side.")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--store", default="")
    parser.add_argument("--endpoint-url", default="")
    given = parser.parse_args()
    with store_of(given.store, given.endpoint_url) as (store, endpoint_url):
        url = f"{store}/drivers-{uuid.uuid4().hex[:8]}"
        stores = {
            driver: await open_objects(url, StoreOptions(driver=driver, endpoint_url=endpoint_url or None))
            for driver in DRIVERS
        }
        print(f"{'1 KiB, requests per second':28}{DRIVERS[0]:>10}{DRIVERS[1]:>10}{'ratio':>8}   CPU per request")
        for at_once in (1, 8, 32):
            await _line(f"conditional PUT, {at_once} at once", stores, _put, at_once, given.seconds / TURNS)
        for at_once in (1, 8, 32):
            await _line(f"GET, {at_once} at once", stores, _get, at_once, given.seconds / TURNS)
        for objects in stores.values():
            await objects.aclose()


async def _put(objects: Objects, number: int) -> None:
    assert await objects.put(f"put/{uuid.uuid4().hex}", BODY, IfAbsent()) is not None


async def _get(objects: Objects, number: int) -> None:
    found = await objects.get("get/one")
    assert found is not None


async def _line(
    name: str, stores: dict[str, Objects], ask: Callable[[Objects, int], Awaitable[None]], at_once: int, seconds: float
) -> None:
    rates = dict.fromkeys(DRIVERS, 0.0)
    cpu = dict.fromkeys(DRIVERS, 0.0)
    await stores[DRIVERS[0]].put("get/one", BODY, IfAbsent())
    for _ in range(TURNS):
        for driver in DRIVERS:
            rate, spent = await _rate(stores[driver], ask, at_once, seconds)
            rates[driver] += rate / TURNS
            cpu[driver] += spent / TURNS
    first, second = (rates[driver] for driver in DRIVERS)
    costs = " and ".join(f"{cpu[driver] * 1000:.2f} ms" for driver in DRIVERS)
    print(f"{name:28}{first:10.0f}{second:10.0f}{second / first:8.1f}   {costs}")


async def _rate(
    objects: Objects, ask: Callable[[Objects, int], Awaitable[None]], at_once: int, seconds: float
) -> tuple[float, float]:
    """Return requests per second, and this process's CPU seconds per request."""
    done = 0
    ends_at = time.monotonic() + seconds

    async def work(number: int) -> None:
        nonlocal done
        while time.monotonic() < ends_at:
            await ask(objects, number)
            done += 1

    began, used = time.monotonic(), time.process_time()
    await asyncio.gather(*map(work, range(at_once)))
    return done / (time.monotonic() - began), (time.process_time() - used) / done


if __name__ == "__main__":
    asyncio.run(main())
