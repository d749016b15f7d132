"""The adapter of the public client cases: one JSON command per line on stdin, one JSON result per line on stdout.

    python -m tests.sdk.adapter [--async]

Without `--async` it drives the blocking client, with it the asynchronous one. What the commands mean is described in
the README beside the cases; the numbers of its sections are given here.
"""

import argparse
import asyncio
import base64
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from durable_streams_client import (
    AmbiguousWrite,
    BadAnswer,
    Batch,
    Conflict,
    ConnectionFailed,
    DurableStreamError,
    InvalidOffset,
    Limits,
    NotFound,
    Retry,
    SequenceConflict,
    StreamClosed,
    TimedOut,
    __version__,
)

from tests.sdk.benchmarks import run_benchmark
from tests.sdk.shells import open_client

Command = dict[str, Any]
Result = dict[str, Any]

DEFAULT_TYPE = "application/octet-stream"
DEFAULT_READ_SECONDS = 5.0
DEFAULT_MAX_CHUNKS = 100

FEATURES = dict.fromkeys(
    (
        "batching",
        "sse",
        "longPoll",
        "auto",
        "streaming",
        "dynamicHeaders",
        "retryOptions",
        "batchItems",
        "strictZeroValidation",
    ),
    True,
)

# Section 4. The first class that fits decides: StreamClosed before Conflict, a subclass before its base.
ERROR_CODES: list[tuple[type[Exception], str]] = [
    (NotFound, "NOT_FOUND"),
    (StreamClosed, "STREAM_CLOSED"),
    (SequenceConflict, "SEQUENCE_CONFLICT"),
    (Conflict, "CONFLICT"),
    (InvalidOffset, "INVALID_OFFSET"),
    (BadAnswer, "PARSE_ERROR"),
    (TimedOut, "TIMEOUT"),
    (ConnectionFailed, "NETWORK_ERROR"),
    (AmbiguousWrite, "NETWORK_ERROR"),
    (DurableStreamError, "UNEXPECTED_STATUS"),
    (NotImplementedError, "NOT_SUPPORTED"),
    (ValueError, "INVALID_ARGUMENT"),
    (TypeError, "INVALID_ARGUMENT"),
]

# Section 8: the client's names for options, and those that the cases look for in messages.
RETRY_OPTIONS: dict[str, tuple[str, float]] = {
    "maxRetries": ("max_retries", 1),
    "initialDelayMs": ("initial_delay_seconds", 0.001),
    "maxDelayMs": ("max_delay_seconds", 0.001),
    "multiplier": ("multiplier", 1),
}
LIMIT_OPTIONS = {"maxBatchBytes": "max_batch_bytes", "maxBatchItems": "max_batch_items"}
CAMEL_CASE = {ours: theirs for theirs, (ours, _) in RETRY_OPTIONS.items()} | {
    ours: theirs for theirs, ours in LIMIT_OPTIONS.items()
}


class Adapter:
    """The state between commands, and a method per command."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        self._client: Any = None
        self._content_types: dict[str, str] = {}
        self._producers: dict[tuple[str, str, int], Any] = {}
        self._dynamic: dict[str, dict[str, Callable[[], str]]] = {"headers": {}, "params": {}}

    async def answer(self, command: Command) -> Result:
        """Carry out one command, whatever happens."""
        kind = command.get("type", "")
        handler: Callable[[Command], Awaitable[Result]] | None = getattr(self, "do_" + kind.replace("-", "_"), None)
        try:
            if handler is None:
                raise NotImplementedError(f"no such command: {kind}")
            return {"type": kind, "success": True, **await handler(command)}
        except Exception as error:
            return describe_error(kind, error)

    async def do_init(self, command: Command) -> Result:
        if self._client is not None:
            await self._client.aclose()
        self.__init__(asynchronous=self._asynchronous)  # type: ignore[misc]  # "drop all adapter state"
        self._client = open_client(command["serverUrl"], asynchronous=self._asynchronous)
        name = "durable-streams-client" + (" (asyncio)" if self._asynchronous else "")
        return {"clientName": name, "clientVersion": __version__, "features": FEATURES}

    async def do_create(self, command: Command) -> Result:
        stream = self._stream(command)
        created = await stream.create(
            command.get("contentType", DEFAULT_TYPE),
            data=command.get("data"),
            ttl_seconds=command.get("ttlSeconds"),
            expires_at=command.get("expiresAt"),
            closed=command.get("closed", False),
        )
        self._content_types[command["path"]] = created.content_type or command.get("contentType", DEFAULT_TYPE)
        return {"status": created.status, "headers": dict(created.headers), **given("offset", created.offset)}

    async def do_connect(self, command: Command) -> Result:
        head = await self._stream(command).head()
        self._content_types[command["path"]] = head.content_type
        return {"status": 200, "offset": head.offset, "headers": dict(head.headers)}

    async def do_head(self, command: Command) -> Result:
        head = await self._stream(command).head()
        self._content_types[command["path"]] = head.content_type
        return {
            "status": 200,
            "offset": head.offset,
            "contentType": head.content_type,
            "streamClosed": head.closed,
            "headers": dict(head.headers),
            **given("ttlSeconds", head.ttl_seconds),
            **given("expiresAt", head.expires_at),
        }

    async def do_append(self, command: Command) -> Result:
        stream, sent = self._stream_with_dynamic_values(command)
        data = base64.b64decode(command["data"]) if command.get("binary") else command["data"]
        seq = str(command["seq"]) if "seq" in command else None
        appended = await stream.append(data, seq=seq, content_type=self._content_type(command))
        return {"status": 200, "offset": appended.offset or "", "headers": dict(appended.headers), **sent}

    async def do_close(self, command: Command) -> Result:
        messages = [command["data"]] if command.get("data") else []
        content_type = command.get("contentType") or self._content_type(command)
        closed = await self._stream(command).close(*messages, content_type=content_type)
        return {"finalOffset": closed.offset or ""}

    async def do_delete(self, command: Command) -> Result:
        await self._stream(command).delete()
        self._content_types.pop(command["path"], None)
        return {"status": 200}

    async def do_read(self, command: Command) -> Result:
        stream, sent = self._stream_with_dynamic_values(command)
        start, live = command.get("offset", "-1"), command.get("live", False)
        seconds = command.get("timeoutMs", DEFAULT_READ_SECONDS * 1000) / 1000
        reader = stream.read(start, live=live, total_seconds=seconds if live else None)
        try:
            batches, timed_out = await collect(
                reader,
                max_chunks=command.get("maxChunks", DEFAULT_MAX_CHUNKS) if live else None,
                until_up_to_date=bool(live and command.get("waitForUpToDate")),
            )
        finally:
            await reader.aclose()
        chunks = [{"data": render([batch]), "offset": str(batch.end)} for batch in batches]
        if not live and batches:
            chunks = [{"data": render(batches), "offset": str(batches[-1].end)}]
        return {
            "status": reader.status or 200,
            "chunks": chunks,
            "offset": str(reader.position),
            "upToDate": reader.up_to_date or reader.closed or timed_out,
            "streamClosed": reader.closed,
            "headers": dict(reader.headers),
            **given("cursor", reader.cursor),
            **sent,
        }

    async def do_idempotent_append(self, command: Command) -> Result:
        producer = await self._producer(command)
        await self._carefully(command, producer.append(command["data"]))
        await self._carefully(command, producer.flush())
        return {"status": 200, **given("offset", producer.last.offset), "duplicate": producer.last.duplicate}

    async def do_idempotent_append_batch(self, command: Command) -> Result:
        in_flight = command.get("maxInFlight", 1)
        # Pipelining shows only with several requests: one item each.
        items = 1 if in_flight > 1 else Limits().max_batch_items
        limits = Limits(linger_seconds=None, max_in_flight=in_flight, max_batch_items=items)
        producer = self._make_producer(command, limits)
        try:
            for item in command["items"]:
                await producer.append(item)
            await producer.flush()
        finally:
            await producer.abandon()
        return {"status": 200}

    async def do_idempotent_close(self, command: Command) -> Result:
        producer = await self._producer(command)
        closed = await self._carefully(command, producer.close(command.get("data")))
        return {"status": 200, **given("finalOffset", closed.offset)}

    async def do_idempotent_detach(self, command: Command) -> Result:
        producer = self._producers.pop(self._producer_key(command), None)
        if producer is not None:
            await producer.detach()
        return {"status": 200}

    async def do_set_dynamic_header(self, command: Command) -> Result:
        self._dynamic["headers"][command["name"]] = make_value(command)
        return {}

    async def do_set_dynamic_param(self, command: Command) -> Result:
        self._dynamic["params"][command["name"]] = make_value(command)
        return {}

    async def do_clear_dynamic(self, command: Command) -> Result:
        self._dynamic = {"headers": {}, "params": {}}
        return {}

    async def do_validate(self, command: Command) -> Result:
        target = dict(command["target"])
        kind = target.pop("target")
        if kind == "retry-options":
            Retry(**{RETRY_OPTIONS[name][0]: value * RETRY_OPTIONS[name][1] for name, value in target.items()})
        elif kind == "idempotent-producer":
            limits = Limits(**{ours: target[name] for name, ours in LIMIT_OPTIONS.items() if name in target})
            stream = self._client.stream("/never-asked-for")
            stream.producer(target.get("producerId", "any"), epoch=target.get("epoch", 0), limits=limits)
        else:
            raise NotImplementedError(f"nothing to validate: {kind}")
        return {}

    async def do_benchmark(self, command: Command) -> Result:
        duration_ns, metrics = await run_benchmark(self._client, command["operation"])
        return {
            "iterationId": command["iterationId"],
            "durationNs": str(duration_ns),
            **given("metrics", metrics or None),
        }

    async def do_shutdown(self, command: Command) -> Result:
        for producer in self._producers.values():
            await producer.abandon()
        if self._client is not None:
            await self._client.aclose()
        return {}

    def _stream(self, command: Command, params: dict[str, Any] | None = None, **headers: Any) -> Any:
        return self._client.stream(command["path"], headers={**headers, **command.get("headers", {})}, params=params)

    def _stream_with_dynamic_values(self, command: Command) -> tuple[Any, Result]:
        """Section 7: a value advances once per command, so it is fixed here, and still handed over as a function."""
        fixed = {kind: {name: make() for name, make in values.items()} for kind, values in self._dynamic.items()}
        functions = {kind: {name: constant(value) for name, value in fixed[kind].items()} for kind in fixed}
        stream = self._stream(command, functions["params"], **functions["headers"])
        return stream, {f"{kind}Sent": values for kind, values in fixed.items() if values}

    def _content_type(self, command: Command) -> str:
        return self._content_types.get(command["path"], DEFAULT_TYPE)

    @staticmethod
    def _producer_key(command: Command) -> tuple[str, str, int]:
        return command["path"], command["producerId"], command.get("epoch", 0)

    async def _producer(self, command: Command) -> Any:
        key = self._producer_key(command)
        if key not in self._producers:
            self._producers[key] = self._make_producer(command, Limits(linger_seconds=0))
        return self._producers[key]

    def _make_producer(self, command: Command, limits: Limits) -> Any:
        return self._stream(command).producer(
            command["producerId"],
            epoch=command.get("epoch", 0),
            auto_claim=command.get("autoClaim", False),
            limits=limits,
            content_type=self._content_type(command),
        )

    async def _carefully(self, command: Command, call: Awaitable[Any]) -> Any:
        """Forget a producer that failed: the next command with its name gets another one."""
        try:
            return await call
        except DurableStreamError:
            producer = self._producers.pop(self._producer_key(command), None)
            if producer is not None:
                await producer.abandon()
            raise


async def collect(reader: Any, *, max_chunks: int | None, until_up_to_date: bool) -> tuple[list[Batch], bool]:
    """Section 6: gather batches until there are enough, or the tail or end is reached, or the time is up."""
    batches: list[Batch] = []
    try:
        async for batch in reader.batches():
            if batch.data:
                batches.append(batch)
            enough = max_chunks is not None and len(batches) >= max_chunks
            if enough or (until_up_to_date and batch.up_to_date):
                break
    except TimedOut:
        return batches, True
    return batches, False


def render(batches: list[Batch]) -> str:
    """Return data as the cases compare it: text, or the array of messages as compact JSON."""
    if batches[0].content_type.partition(";")[0].strip().lower() == "application/json":
        messages = [message for batch in batches for message in batch.json()]
        return json.dumps(messages, separators=(",", ":"), ensure_ascii=False)
    return b"".join(batch.data for batch in batches).decode("utf-8", "replace")


def make_value(command: Command) -> Callable[[], str]:
    """Return the function behind a dynamic header or parameter. Section 7."""
    kind = command["valueType"]
    count = 0

    def next_count() -> str:
        nonlocal count
        count += 1
        return str(count)

    if kind == "counter":
        return next_count
    if kind == "timestamp":
        return lambda: str(time.time_ns() // 1_000_000)
    if kind == "token":
        return constant(command.get("initialValue", ""))
    raise ValueError(f"no such kind of value: {kind}")


def constant(value: str) -> Callable[[], str]:
    """Return a function that returns always the same."""
    return lambda: value


def given(name: str, value: Any) -> Result:
    """Return a field, or nothing where there is no value: absent and null are different things to the cases."""
    return {} if value is None else {name: value}


def describe_error(kind: str, error: Exception) -> Result:
    """Return the result that an error is."""
    code = next((code for fitting, code in ERROR_CODES if isinstance(error, fitting)), "INTERNAL_ERROR")
    message = re.sub("|".join(CAMEL_CASE), lambda match: CAMEL_CASE[match.group()], str(error))
    status = error.status if isinstance(error, DurableStreamError) and code != "PARSE_ERROR" else None
    return {
        "type": "error",
        "success": False,
        "commandType": kind,
        "errorCode": code,
        "message": message or type(error).__name__,
        **given("status", status),
    }


async def serve(*, asynchronous: bool) -> None:
    """Answer commands until `shutdown` or the end of the input."""
    adapter = Adapter(asynchronous=asynchronous)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        if not line.strip():
            continue
        try:
            command = json.loads(line.decode())
            assert isinstance(command, dict)
        except (ValueError, AssertionError):
            result = describe_error("init", ValueError("not a JSON object")) | {"errorCode": "PARSE_ERROR"}
        else:
            result = await adapter.answer(command)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        if result["type"] == "shutdown":
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="Drive the client by the public client cases' line protocol.")
    parser.add_argument("--async", dest="asynchronous", action="store_true", help="the asynchronous client")
    asyncio.run(serve(asynchronous=parser.parse_args().asynchronous))


if __name__ == "__main__":
    main()
