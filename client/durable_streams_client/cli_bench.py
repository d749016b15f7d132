"""Measure a server through this client, and through the official one beside it.

Each writes and reads by its fastest means.
"""

import argparse
import asyncio
import importlib
import json
import time
import uuid
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from durable_streams_client.core import names
from durable_streams_client.sync import Client

Message = dict[str, Any]
Measure = Callable[[str, dict[str, str], list[Message]], float]


def bench(client: Client, arguments: argparse.Namespace) -> int:
    """Write and read back `--messages` small JSON messages and print messages per second, the best of `--rounds`."""
    server = arguments.server or arguments.url
    if not server:
        raise ValueError("which server? Give its URL")
    if arguments.messages < 1 or arguments.rounds < 1:
        raise ValueError("--messages and --rounds must be positive")
    messages = [{"n": number, "user": "alice", "text": "hello world"} for number in range(arguments.messages)]
    client.base_url = server
    headers = {name: value for name, value in client.headers.items() if isinstance(value, str)}
    figures = {
        "this client": measure(client, headers, messages, arguments.rounds, write_ours(client), read_ours(client))
    }
    if arguments.compare:
        try:
            official = f"durable-streams {version('durable-streams')}"
        except PackageNotFoundError:
            raise ValueError("the official client is not installed: pip install durable-streams") from None
        figures[official] = measure(client, headers, messages, arguments.rounds, write_official, read_official)
    if arguments.json:
        print(json.dumps({"messages": len(messages), "per_second": figures}))
        return 0
    for name, figure in figures.items():
        print(f"{name:24} write {figure['write']:>12,.0f}/s   read {figure['read']:>12,.0f}/s")
    if len(figures) == 2:
        ours, theirs = figures.values()
        ratios = {name: ours[name] / theirs[name] for name in ours}
        print(f"{'ratio':24} write {ratios['write']:>12.1f}     read {ratios['read']:>12.1f}")
    return 0


def measure(
    client: Client, headers: dict[str, str], messages: list[Message], rounds: int, write: Measure, read: Measure
) -> dict[str, float]:
    """Return messages per second of the best round, each with a stream of its own."""
    best = {"write": 0.0, "read": 0.0}
    for _ in range(rounds):
        stream = client.stream(f"/bench/{uuid.uuid4().hex}")
        stream.create(names.JSON_TYPE)
        try:
            for name, act in (("write", write), ("read", read)):
                best[name] = max(best[name], len(messages) / act(stream.url, headers, messages))
        finally:
            stream.delete()
    return best


def write_ours(client: Client) -> Measure:
    """Return what writes through a producer and gives the seconds until everything is acknowledged."""

    def write(url: str, headers: dict[str, str], messages: list[Message]) -> float:
        started = time.perf_counter()
        with client.stream(url).producer(content_type=names.JSON_TYPE) as producer:
            for message in messages:
                producer.append_json(message)
        return time.perf_counter() - started

    return write


def read_ours(client: Client) -> Measure:
    """Return what reads and parses every message and gives the seconds."""

    def read(url: str, headers: dict[str, str], messages: list[Message]) -> float:
        started = time.perf_counter()
        count = sum(1 for _ in client.stream(url).read().json())
        seconds = time.perf_counter() - started
        check(count, messages)
        return seconds

    return read


def write_official(url: str, headers: dict[str, str], messages: list[Message]) -> float:
    """Write by concurrent appends, which that client batches; give the seconds until everything is acknowledged."""
    library = importlib.import_module("durable_streams")

    async def write() -> float:
        async with library.AsyncDurableStream(url, headers=headers, content_type=names.JSON_TYPE) as stream:
            started = time.perf_counter()
            await asyncio.gather(*(stream.append(message) for message in messages))
            return time.perf_counter() - started

    return asyncio.run(write())


def read_official(url: str, headers: dict[str, str], messages: list[Message]) -> float:
    """Read and parse every message; give the seconds."""
    library = importlib.import_module("durable_streams")
    started = time.perf_counter()
    with library.stream(url, headers=headers, live=False) as response:
        count = sum(1 for _ in response.iter_json())
    seconds = time.perf_counter() - started
    check(count, messages)
    return seconds


def check(count: int, messages: list[Message]) -> None:
    """Raise if what was read is not as much as was written: a fast answer that is wrong is no figure."""
    if count != len(messages):
        raise RuntimeError(f"read {count} messages of {len(messages)}")
