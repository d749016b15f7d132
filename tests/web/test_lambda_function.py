"""The function as it is deployed, but for this machine: loaded with nothing else around, asked by every event."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bucket.servers import CREDENTIALS, S3Server
from tests.web.lambda_host import LambdaHost
from tests.web.lambda_payloads import KINDS, Make, headers_of
from tests.web.processes import REPOSITORY

TEXT = {"content-type": "text/plain"}
WEIGHT_MB = 60.0  # unpacked; Lambda's limit is 250, and what is loaded at a start is a small part


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A function's folder, built as `sam build` does but for this Python and this processor."""
    folder = tmp_path_factory.mktemp("function")
    subprocess.run([sys.executable, str(REPOSITORY / "handler" / "bundle.py"), "--host", str(folder)], check=True)
    return folder


def environment_of(minio: S3Server, bucket: str, **more: str) -> dict[str, str]:
    return {
        **CREDENTIALS,
        "DURABLE_STREAMS_STORE": bucket,
        "DURABLE_STREAMS_ENDPOINT_URL": minio.endpoint_url,
        "DURABLE_STREAMS_LONG_POLL_TIMEOUT": "1s",
        "DURABLE_STREAMS_SSE_TIMEOUT": "2s",
        **more,
    }


@pytest.fixture
async def function(bundle: Path, minio: S3Server, minio_bucket: str) -> AsyncIterator[LambdaHost]:
    host = LambdaHost(environment_of(minio, minio_bucket), folder=bundle)
    yield host
    await host.aclose()


class Asking:
    """A front end of one kind."""

    def __init__(self, function: LambdaHost, make: Make) -> None:
        self._function = function
        self._make = make

    async def __call__(
        self, method: str, path: str, query: str = "", body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self._function.invoke(self._make(method, path, query, named, body))
        text = answer.get("body") or ""
        raw = b64decode(text) if answer["isBase64Encoded"] else text.encode()
        return answer["statusCode"], headers_of(answer), raw


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_event_is_answered(function: LambdaHost, kind: str) -> None:
    ask = Asking(function, KINDS[kind])
    status, headers, _ = await ask("PUT", "/v1/a%2Fb", body=b"first\n", content_type="text/plain")
    assert status == 201
    assert headers["location"].startswith("https://")
    assert headers["location"].endswith("/v1/a%2Fb")
    status, headers, _ = await ask("POST", "/v1/a%2Fb", body=b"second \x22\n", content_type="text/plain")
    assert status == 204
    assert "content-type" not in headers
    tail = headers["stream-next-offset"]
    # `%2F` is not `/`.
    assert (await ask("GET", "/v1/a/b", "offset=-1"))[0] == 404
    status, headers, body = await ask("GET", "/v1/a%2Fb", "offset=-1")
    assert (status, body) == (200, b"first\nsecond \x22\n")
    assert headers["stream-next-offset"] == tail
    assert headers["content-type"] == "text/plain"
    status, headers, body = await ask("GET", "/v1/a%2Fb", f"offset={tail}&live=long-poll")
    assert (status, body) == (204, b"")
    assert headers["stream-up-to-date"] == "true"
    status, headers, body = await ask("GET", "/v1/a%2Fb", "offset=-1&live=sse")
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert b"data:first\n" in body
    assert (await ask("HEAD", "/v1/a%2Fb"))[1]["stream-next-offset"] == tail
    assert (await ask("DELETE", "/v1/a%2Fb"))[0] == 204
    assert (await ask("HEAD", "/v1/a%2Fb"))[0] == 404
    assert (await ask("GET", "/__ds/health"))[0] == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_bytes_are_passed_on_as_they_are(function: LambdaHost, kind: str) -> None:
    ask = Asking(function, KINDS[kind])
    every_byte = bytes(range(256)) * 20
    await ask("PUT", "/bytes", content_type="application/octet-stream")
    assert (await ask("POST", "/bytes", body=every_byte, content_type="application/octet-stream"))[0] == 204
    assert (await ask("GET", "/bytes", "offset=-1"))[2] == every_byte


async def test_a_long_history_comes_in_pages_that_lambda_passes_on(function: LambdaHost) -> None:
    ask = Asking(function, KINDS["Function URL"])
    await ask("PUT", "/long", content_type="text/plain")
    sent = b""
    for number in range(4):
        piece = (f'{number} "\\\n\t' * 400_000).encode()[:2_000_000]
        sent += piece
        assert (await ask("POST", "/long", body=piece, content_type="text/plain"))[0] == 204
    offset, found, pages = "-1", b"", 0
    while True:
        status, headers, body = await ask("GET", "/long", f"offset={offset}")
        assert status == 200
        found, offset, pages = found + body, headers["stream-next-offset"], pages + 1
        if headers.get("stream-up-to-date"):
            break
    assert found == sent
    assert pages > 1


async def test_a_body_that_no_answer_could_carry_is_413(function: LambdaHost) -> None:
    ask = Asking(function, KINDS["Function URL"])
    await ask("PUT", "/large", content_type="text/plain")
    status, _, body = await ask("POST", "/large", body=b"x" * 4_500_000, content_type="text/plain")
    assert status == 413
    assert json.loads(body)["code"] == "body-too-large"


async def test_no_wait_outlives_its_invocation(bundle: Path, minio: S3Server, minio_bucket: str) -> None:
    environment = environment_of(
        minio, minio_bucket, DURABLE_STREAMS_LONG_POLL_TIMEOUT="60s", DURABLE_STREAMS_SSE_TIMEOUT="60s"
    )
    host = LambdaHost(environment, folder=bundle, milliseconds=6_000)
    try:
        ask = Asking(host, KINDS["Function URL"])
        await ask("PUT", "/a", content_type="text/plain")
        assert (await ask("GET", "/a", "offset=now&live=long-poll"))[0] == 204
        status, _, body = await ask("GET", "/a", "offset=now&live=sse")
        assert status == 200
        assert b'"upToDate":true' in body
        assert host.failures == []
    finally:
        await host.aclose()


async def test_only_the_cdn_is_let_in_where_there_is_a_secret(bundle: Path, minio: S3Server, minio_bucket: str) -> None:
    host = LambdaHost(
        environment_of(minio, minio_bucket, DURABLE_STREAMS_ORIGIN_SECRET="only CloudFront knows"), folder=bundle
    )
    try:
        ask = Asking(host, KINDS["Function URL"])
        assert (await ask("PUT", "/a", content_type="text/plain"))[0] == 403
        assert (await ask("PUT", "/a", content_type="text/plain", x_origin_secret="another"))[0] == 403
        assert (await ask("PUT", "/a", content_type="text/plain", x_origin_secret="only CloudFront knows"))[0] == 201
        assert (await ask("GET", "/__ds/health"))[0] == 200
    finally:
        await host.aclose()


async def test_the_sweeper_tries_the_store_and_has_nothing_to_do(function: LambdaHost) -> None:
    assert await function.invoke({}, "sweep") is None
    assert await function.invoke({}, "sweep") is None
    assert function.failures == []


def test_the_artifact_weighs_what_the_documentation_says(bundle: Path) -> None:
    weight = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    assert weight / 1e6 < WEIGHT_MB
    assert not (bundle / "uvicorn").exists()
    assert not (bundle / "botocore" / "data" / "ec2").exists()
    assert any((bundle / "storage").rglob("*.pyc")), "the first start of every sandbox would compile the modules"


def test_a_function_without_a_bucket_says_what_is_missing() -> None:
    from handler.aws import read_function_settings
    from handler.settings import BadSetting

    with pytest.raises(BadSetting, match="DURABLE_STREAMS_STORE"):
        read_function_settings({})


def test_the_settings_are_the_local_servers_but_for_what_lambda_bounds() -> None:
    from handler.aws import read_function_settings

    settings: Any = read_function_settings({"DURABLE_STREAMS_STORE": "s3://abc", "DURABLE_STREAMS_CACHE_SIZE": "1MiB"})
    assert settings.page_size == settings.max_body == 4 * 1024 * 1024
    assert settings.long_poll_timeout < 29
    assert settings.cache_size == 1024 * 1024
