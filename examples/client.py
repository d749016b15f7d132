"""Write numbered messages to a stream, read them back, or both at once. Short enough to read as documentation.

    pip install ./client
    python examples/client.py http://127.0.0.1:4437/numbers --mode both --count 10

`--offset` is where reading begins: -1 (the beginning), now, or a position that an earlier run printed.
"""

import argparse
import asyncio
import json
import time

from durable_streams_client import AsyncClient, AsyncStream


async def produce(stream: AsyncStream, count: int) -> None:
    """Append `count` messages; each arrives once, whatever breaks on the way."""
    async with stream.producer() as producer:
        for number in range(count):
            await producer.append_json({"n": number, "at": time.time()})


async def consume(stream: AsyncStream, count: int, offset: str) -> None:
    """Print `count` messages, those that are there and those that come, each with the position after it."""
    async with stream.read(offset, live=True) as reader:
        seen = 0
        async for message in reader.json():
            print(json.dumps({"position": str(reader.position), "message": message}))
            seen += 1
            if seen == count:
                break


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the stream; it is created if it is not there")
    parser.add_argument("--mode", choices=("produce", "consume", "both"), default="both")
    parser.add_argument("--count", type=int, default=10, metavar="N")
    parser.add_argument("--offset", default="-1", metavar="-1|now|TOKEN")
    arguments = parser.parse_args()

    async with AsyncClient() as client, asyncio.TaskGroup() as tasks:
        stream = client.stream(arguments.url)
        await stream.create("application/json")
        if arguments.mode != "produce":
            tasks.create_task(consume(stream, arguments.count, arguments.offset))
        if arguments.mode != "consume":
            tasks.create_task(produce(stream, arguments.count))


asyncio.run(main())
