"""The public suite through the Lambda function: a Function URL in front, frozen sandboxes behind, MinIO below them.

Nothing runs between two events of a sandbox, and one that is busy is not asked: the host makes another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bucket.servers import CREDENTIALS, S3Server
from tests.web.edge import edge
from tests.web.lambda_host import FunctionUrl, LambdaApi, LambdaHost, every
from tests.web.streaming_host import Routing, StreamingHost, StreamingUrl, variables_of
from tests.web.test_conformance import run_suite

# What needs a connection that is open while it is read; here an answer is passed on when it is complete.
NEEDS_AN_OPEN_CONNECTION = frozenset(
    {
        # It asks that there is no Content-Length, which a complete answer has.
        "SSE Mode should have correct SSE headers (no Content-Length, proper Cache-Control)",
    }
)


@asynccontextmanager
async def deployed(endpoint_url: str, bucket: str) -> AsyncIterator[tuple[FunctionUrl, LambdaHost, LambdaApi]]:
    """Deploy the function and its sweeper; yield where it answers, its sandboxes, and Lambda's own API."""
    environment = {
        **CREDENTIALS,
        "DURABLE_STREAMS_STORE": bucket,
        "DURABLE_STREAMS_ENDPOINT_URL": endpoint_url,
        "DURABLE_STREAMS_LONG_POLL_TIMEOUT": "2s",
        "DURABLE_STREAMS_SSE_TIMEOUT": "1500ms",
        "DURABLE_STREAMS_LOOPBACK_WEBHOOKS": "yes",
    }
    sweepers = LambdaHost(environment)
    api = LambdaApi(sweepers, "sweep")
    await api.start()
    functions = LambdaHost({**environment, "DURABLE_STREAMS_SWEEPER": "sweeper", "AWS_ENDPOINT_URL_LAMBDA": api.url})
    front = FunctionUrl(functions)
    await front.start()
    # The suite gives a lease a second, so the schedule is faster than Lambda's, whose shortest is a minute.
    schedule = asyncio.create_task(every(1.0, sweepers, "sweep"))
    try:
        await asyncio.gather(functions.warm(2), sweepers.warm(2))
        yield front, functions, api
        assert functions.failures + sweepers.failures == []
    finally:
        schedule.cancel()
        for part in (front, functions, api, sweepers):
            await part.aclose()


async def test_the_public_suite_passes_but_for_what_needs_an_open_connection(
    minio: S3Server, minio_bucket: str, tmp_path: Path
) -> None:
    async with deployed(minio.endpoint_url, minio_bucket) as (front, functions, api):
        await asyncio.to_thread(run_suite, front.url, tmp_path, NEEDS_AN_OPEN_CONNECTION)
        used = [sandbox for sandbox in functions.sandboxes if sandbox.invocations]
        assert len(used) > 1, "nothing ever waited while something else was asked"
        assert api.invocations > 0, "no webhook was left to the sweeper"


async def test_the_whole_public_suite_passes_where_events_are_streamed(
    minio: S3Server, minio_bucket: str, web_adapter: Path, streaming_bundle: Path, tmp_path: Path
) -> None:
    secret = "only CloudFront knows"
    variables = variables_of("Streaming", {"Bucket": minio_bucket.removeprefix("s3://"), "OriginSecret": secret})
    environment = {
        **variables,
        **CREDENTIALS,
        "DURABLE_STREAMS_ENDPOINT_URL": minio.endpoint_url,
        "DURABLE_STREAMS_SSE_TIMEOUT": "2s",
    }
    host = StreamingHost(web_adapter, streaming_bundle, environment, tmp_path)
    streaming = StreamingUrl(host, secret)
    with edge(streaming=True) as deciding:
        async with deployed(minio.endpoint_url, minio_bucket) as (front, _, _):
            routing = Routing(deciding, front, streaming)
            await routing.start()
            try:
                await asyncio.gather(host.warm(2), asyncio.to_thread(run_suite, routing.url, tmp_path))
                await host.settle()
                assert host.failures == []
                assert host.queries, "no event stream was asked of the function that streams"
                assert all("live=sse" in query for query in host.queries)
            finally:
                await routing.aclose()
                await host.aclose()
