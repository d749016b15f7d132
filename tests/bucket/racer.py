"""A process that takes part in a race for a store. Run as `python -m tests.bucket.racer URL ENDPOINT NAME TASK`.

Says `ready` on its output, waits for a line on its input, does its task, and says what came of it:

    create   eight conditional creates of one key at once; how many of them won
    count    a counter raised ten times by compare-and-swap; how often another was faster
"""

import asyncio
import sys

from storage.objects import IfAbsent, IfMatch, Objects, OutcomeUnknown
from storage.opening import StoreOptions, open_objects

AT_ONCE = 8
ROUNDS = 10


async def create(objects: Objects, name: str) -> int:
    """Return how many of this process's creates won."""
    puts = [objects.put("race/%7Eone", f"{name} {racer}".encode(), IfAbsent()) for racer in range(AT_ONCE)]
    return sum(etag is not None for etag in await asyncio.gather(*puts))


async def count(objects: Objects, name: str) -> int:
    """Raise the number at the front of the object; return how many tries were lost to others."""
    lost = 0
    for turn in range(ROUNDS):
        while True:
            found = await objects.get("race/counter")
            assert found is not None
            number = int(found.body.split()[0]) + 1
            body = f"{number} {name} {turn} {lost}".encode()
            try:
                if await objects.put("race/counter", body, IfMatch(found.head.etag)) is not None:
                    break
            except OutcomeUnknown:
                again = await objects.get("race/counter")
                if again is not None and again.body == body:
                    break
            lost += 1
    return lost


async def main(url: str, endpoint_url: str, name: str, task: str) -> None:
    objects = await open_objects(url, StoreOptions(endpoint_url=endpoint_url or None))
    await objects.head("race/warm")  # so that connections and caches are there before the gun goes off
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(await (create if task == "create" else count)(objects, name), flush=True)
    await objects.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
