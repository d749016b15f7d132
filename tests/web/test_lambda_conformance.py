"""The public suite through the Lambda function: a Function URL in front, frozen sandboxes behind, MinIO below them.

Nothing runs between two events of a sandbox, and one that is busy is not asked: the host makes another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bucket.servers import CREDENTIALS, S3Server
from tests.web.lambda_host import FunctionUrl, LambdaApi, LambdaHost, every
from tests.web.test_conformance import run_suite

# What needs a connection that is open while it is read; here an answer is passed on when it is complete.
NEEDS_AN_OPEN_CONNECTION = frozenset(
    {
        # It asks that there is no Content-Length, which a complete answer has.
        "SSE Mode should have correct SSE headers (no Content-Length, proper Cache-Control)",
    }
)


@asynccontextmanager
async def deployed(endpoint_url: str, bucket: str) -> AsyncIterator[tuple[str, LambdaHost, LambdaApi]]:
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
        yield front.url, functions, api
        assert functions.failures + sweepers.failures == []
    finally:
        schedule.cancel()
        for part in (front, functions, api, sweepers):
            await part.aclose()


async def test_the_public_suite_passes_but_for_what_needs_an_open_connection(
    minio: S3Server, minio_bucket: str, tmp_path: Path
) -> None:
    async with deployed(minio.endpoint_url, minio_bucket) as (url, functions, api):
        await asyncio.to_thread(run_suite, url, tmp_path, NEEDS_AN_OPEN_CONNECTION)
        used = [sandbox for sandbox in functions.sandboxes if sandbox.invocations]
        assert len(used) > 1, "nothing ever waited while something else was asked"
        assert api.invocations > 0, "no webhook was left to the sweeper"
