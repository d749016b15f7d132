"""The operations that the public client benchmarks time. Section 9 of the README beside the cases."""

import json
import time
import uuid
from typing import Any

from durable_streams_client import Limits

from tests.sdk.shells import begin

Metrics = dict[str, float]


async def run_benchmark(client: Any, operation: dict[str, Any]) -> tuple[int, Metrics]:
    """Carry out one operation; return its nanoseconds and what it moved.

    Raise NotImplementedError for an unknown one.
    """
    stream = client.stream(operation["path"])
    match operation["op"]:
        case "append":
            payload = b"x" * operation["size"]
            await stream.head()  # learns the content type, outside of the measurement
            started = time.perf_counter_ns()
            await stream.append(payload)
            return time.perf_counter_ns() - started, {"bytesTransferred": len(payload)}
        case "read":
            started = time.perf_counter_ns()
            size = 0
            async for piece in stream.read(operation.get("offset", "-1")).bytes():
                size += len(piece)
            return time.perf_counter_ns() - started, {"bytesTransferred": size}
        case "create":
            started = time.perf_counter_ns()
            await stream.create(operation.get("contentType", "application/octet-stream"))
            return time.perf_counter_ns() - started, {}
        case "roundtrip":
            return await _roundtrip(stream, operation)
        case "throughput_append":
            return await _throughput_append(stream, operation)
        case "throughput_read":
            started = time.perf_counter_ns()
            count = size = 0
            async for batch in stream.read().batches():
                count += len(batch.json())
                size += len(batch.data)
            return time.perf_counter_ns() - started, {"bytesTransferred": size, "messagesProcessed": count}
        case unknown:
            raise NotImplementedError(f"no such benchmark: {unknown}")


async def _roundtrip(stream: Any, operation: dict[str, Any]) -> tuple[int, Metrics]:
    content_type = operation.get("contentType", "application/octet-stream")
    payload = b"x" * operation["size"]
    if content_type.startswith("application/json"):
        payload = json.dumps({"data": payload.decode()}).encode()
    started = time.perf_counter_ns()
    await stream.create(content_type)
    received = begin(stream, _receive_first(stream, operation.get("live", "long-poll")))
    await stream.append(payload)
    size = await received
    return time.perf_counter_ns() - started, {"bytesTransferred": len(payload) + size}


async def _receive_first(stream: Any, live: Any) -> int:
    reader = stream.read("-1", live=live, total_seconds=30)
    try:
        async for batch in reader.batches():
            if batch.data:
                return len(batch.data)
    finally:
        await reader.aclose()
    raise AssertionError("a live read of an open stream ended")


async def _throughput_append(stream: Any, operation: dict[str, Any]) -> tuple[int, Metrics]:
    created = await stream.create(operation.get("contentType", "application/octet-stream"))
    count, size = operation["count"], operation["size"]
    payload = b"x" * size
    if (created.content_type or "").startswith("application/json"):
        payload = json.dumps("x" * max(0, size - 2)).encode()
    # Iterations share the path: with one id, all but the first would be duplicates.
    producer = stream.producer(uuid.uuid4().hex, limits=Limits(max_batch_bytes=4 * 1024 * 1024))
    started = time.perf_counter_ns()
    for _ in range(count):
        await producer.append(payload)
    await producer.flush()
    duration = time.perf_counter_ns() - started
    await producer.detach()
    return duration, {"bytesTransferred": count * size, "messagesProcessed": count}
