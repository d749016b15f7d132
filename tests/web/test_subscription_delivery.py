"""Webhooks between real processes that are killed: nothing is missed, and nothing is done twice without need."""

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.web.processes import REPOSITORY, server
from tests.web.receiver import lines_of

ROOT = "v1/stream"
JSON = {"Content-Type": "application/json"}
PATIENCE_SECONDS = 90.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def receiver(port: int, base: str, file: Path, delay: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run a receiver; it is killed at the end, as hard as in the middle."""
    command = [sys.executable, "-m", "tests.web.receiver", str(port), base, str(file), str(delay)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until(what: Callable[[], Any], client: httpx.AsyncClient | None = None) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                held = what()
                if asyncio.iscoroutine(held):
                    held = await held
            except httpx.TransportError:
                held = False
            if held:
                return
            await asyncio.sleep(0.1)


async def insist(client: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Response:
    """Send a request until a server has answered it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                answer = await client.request(method, url, **options)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code < 500:
                return answer
            await asyncio.sleep(0.1)


async def subscribe(client: httpx.AsyncClient, base: str, port: int, lease_ms: int = 5_000) -> str:
    url = f"{base}/__ds/subscriptions/s"
    config = {
        "type": "webhook",
        "pattern": "events/*",
        "webhook": {"url": f"http://127.0.0.1:{port}/hook"},
        "lease_ttl_ms": lease_ms,
    }
    answer = await client.put(url, json=config)
    assert answer.status_code == 201, answer.text
    return url


async def is_settled(client: httpx.AsyncClient, base: str, url: str, paths: list[str]) -> bool:
    """Say whether every stream is acknowledged up to its tail."""
    there = (await client.get(url)).json()
    acked = {line["path"]: line["acked_offset"] for line in there["streams"]}
    for path in paths:
        tail = (await client.head(f"{base}/{path}")).headers["stream-next-offset"]
        if acked.get(path) != tail:
            return False
    return True


async def test_a_receiver_and_a_server_that_are_killed_mid_delivery_miss_nothing(
    sqlite_path: Path, tmp_path: Path
) -> None:
    port, own, file = free_port(), free_port(), tmp_path / "received"
    paths = [f"events/{name}" for name in "abc"]
    store, base = f"sqlite://{sqlite_path}", f"http://127.0.0.1:{own}/{ROOT}"
    sent: list[str] = []

    async with httpx.AsyncClient(timeout=30.0) as client:

        async def append(count: int) -> None:
            for _ in range(count):
                message = f"message {len(sent)}"
                path = paths[len(sent) % 3]
                producer = {"Producer-Id": path[-1], "Producer-Epoch": "0", "Producer-Seq": str(len(sent) // 3)}
                answer = await insist(client, "POST", f"{base}/{path}", json=message, headers=producer)
                assert answer.status_code in (200, 204), answer.text
                sent.append(message)
                await asyncio.sleep(0.02)

        with server(store, "--port", str(own)) as first:
            first.url()
            with receiver(port, base, file, 0.3) as hooked:
                url = await subscribe(client, base, port)
                for path in paths:
                    await client.put(f"{base}/{path}", headers=JSON)
                await append(15)
                await until(lambda: lines_of(file))
                await append(3)
                hooked.kill()  # somewhere between a request and its answer
                await append(12)
            with receiver(port, base, file, 0.3):
                await append(9)
                first.close()  # kill -9
                with server(store, "--port", str(own)) as second:
                    second.url()
                    await append(21)
                    await until(lambda: is_settled(client, base, url, paths))
    received = {message for line in lines_of(file) for message in line.messages}
    assert received == set(sent)


async def test_a_server_killed_between_two_tries_carries_on_when_it_is_started_again(
    sqlite_path: Path, tmp_path: Path
) -> None:
    port, own, file = free_port(), free_port(), tmp_path / "received"
    store, base = f"sqlite://{sqlite_path}", f"http://127.0.0.1:{own}/{ROOT}"
    async with httpx.AsyncClient(timeout=30.0) as client:
        with server(store, "--port", str(own)) as first:
            first.url()
            url = await subscribe(client, base, port, lease_ms=60_000)
            await client.put(f"{base}/events/a", json=["one"], headers=JSON)

            async def has_failed() -> bool:
                return bool((await client.get(url)).json()["status"] == "failed")

            await until(has_failed)
            first.close()
        with receiver(port, base, file, 0.0), server(store, "--port", str(own)) as second:
            second.url()
            await until(lambda: is_settled(client, base, url, ["events/a"]))
            assert (await client.get(url)).json()["status"] == "active"
    lines = lines_of(file)
    assert [(line.generation, line.messages) for line in lines] == [(1, ["one"])]


async def test_two_servers_on_one_store_deliver_each_generation_once(sqlite_path: Path, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "received"
    store = f"sqlite://{sqlite_path}"
    paths = [f"events/{name}" for name in "ab"]
    async with httpx.AsyncClient(timeout=30.0) as client:
        with server(store) as one, server(store) as other:
            bases = [f"{process.url()}/{ROOT}" for process in (one, other)]
            with receiver(port, bases[0], file, 0.05):
                url = await subscribe(client, bases[0], port, lease_ms=30_000)
                for path in paths:
                    await client.put(f"{bases[1]}/{path}", headers=JSON)
                for number in range(40):
                    base = bases[number % 2]
                    answer = await client.post(f"{base}/{paths[number // 2 % 2]}", json=number, headers=JSON)
                    assert answer.status_code < 300
                await until(lambda: is_settled(client, bases[1], url, paths))
    lines = lines_of(file)
    assert max(Counter(line.generation for line in lines).values()) == 1
    assert len({line.wake_id for line in lines}) == len(lines)
    assert {message for line in lines for message in line.messages} == set(range(40))
