"""History as objects through a CDN, with no server in between: the same bytes, and a server where there are none."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from durable_streams_client import AsyncClient, Client

from tests.bucket.servers import CREDENTIALS, S3Server
from tests.web.edge import edge
from tests.web.processes import ServerProcess, server

MESSAGES = 150
PATIENCE_SECONDS = 10.0
PAGE = "8KiB"  # a bit more than 64 of these messages, which are what a superset holds


class Place:
    """A server over a bucket whose chunks everybody may read through an edge."""

    def __init__(self, process: ServerProcess, edge_url: str) -> None:
        self.url = process.url()
        self.edge_url = edge_url
        self._process = process
        self._seen = 0
        self._markers = 0

    def reads(self) -> int:
        """Return how many reads the server has answered since this was asked last."""
        # Lines come in order, but late: once there is one of a request that came after all others, so are theirs.
        self._markers += 1
        marker = f"/marker-{self._markers}"
        httpx.head(self.url + marker)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(marker in line for line in self._process.complained):
            assert time.monotonic() < deadline, "the access log does not come"
            time.sleep(0.01)
        seen = sum(" GET " in line for line in self._process.complained)
        since, self._seen = seen - self._seen, seen
        return since

    def counts(self) -> dict[str, int]:
        """Return how often the edge had an object, and how often it asked the store."""
        counts = httpx.get(f"{self.edge_url}/counts").json()
        assert isinstance(counts, dict)
        return counts


def publish_chunks(minio: S3Server, bucket: str) -> None:
    """Let everybody read chunks and nothing else, as the template lets CloudFront."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=minio.endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_REGION"],
        config=Config(s3={"addressing_style": "path"}),
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/chunk/*"],
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    client.close()


@contextmanager
def published(minio: S3Server, bucket_url: str, *options: str) -> Iterator[Place]:
    bucket = bucket_url.removeprefix("s3://")
    publish_chunks(minio, bucket)
    with edge() as process:
        edge_url = process.serve(f"{minio.endpoint_url}/{bucket}")
        flags = ("--endpoint-url", minio.endpoint_url, "--chunks-url", f"{edge_url}/__ds/chunk", "--page-size", PAGE)
        with server(bucket_url, *flags, "--access-log", *options) as running:
            yield Place(running, edge_url)


@pytest.fixture
def place(minio: S3Server, minio_bucket: str) -> Iterator[Place]:
    with published(minio, minio_bucket) as found:
        yield found


def history(stream: Any, **how: Any) -> bytes:
    with stream.read(**how) as reader:
        return b"".join(bytes(piece) for piece in reader.bytes())


def write(place: Place, path: str, content_type: str, messages: int = MESSAGES) -> bytes:
    """Append messages one by one; return what a reader is to find."""
    with Client(place.url) as client:
        stream = client.stream(path)
        stream.create(content_type)
        sent = []
        for number in range(messages):
            message = json.dumps({"n": number, "pad": "x" * 100}).encode()
            stream.append(message)
            sent.append(message)
    place.reads()
    return b"".join(sent)


@pytest.mark.parametrize("path", ["plain", "v1/a%2Fb c/%C3%BC"])
def test_history_comes_from_objects_and_is_the_same_bytes(place: Place, path: str) -> None:
    sent = write(place, path, "application/octet-stream")
    with Client(place.url) as client:
        assert history(client.stream(path)) == sent
    # The beginning, which says where objects are, and the tail, which no object knows to be one.
    assert place.reads() <= 3
    first = place.counts()
    assert first["misses"] > 3
    with Client(place.url) as client:
        assert history(client.stream(path)) == sent
    assert place.reads() <= 3
    second = place.counts()
    assert second["misses"] - first["misses"] <= 1, "the second reader's history was asked of the store again"
    assert second["hits"] - first["hits"] > 3


async def test_the_asynchronous_client_reads_objects_too(place: Place) -> None:
    sent = write(place, "a", "application/octet-stream")
    async with AsyncClient(place.url) as client, client.stream("a").read() as reader:
        found = b"".join([bytes(piece) async for piece in reader.bytes()])
    assert found == sent
    assert place.reads() <= 3


def test_json_messages_are_the_same(place: Place) -> None:
    write(place, "j", "application/json")
    with Client(place.url) as client, client.stream("j").read() as reader:
        assert [message["n"] for message in reader.json()] == list(range(MESSAGES))
    assert place.reads() <= 3


def test_an_offset_within_an_object_and_the_end_of_a_stream_are_read_from_the_server(place: Place) -> None:
    sent = write(place, "a", "text/plain")
    with Client(place.url) as client:
        stream = client.stream("a")
        closed = stream.close(b"the end")
        head = stream.head()
        assert head.closed
        with stream.read() as reader:
            batches = list(reader.batches())
        assert b"".join(batch.data for batch in batches) == sent + b"the end"
        assert batches[-1].closed
        generation = str(closed.offset).partition("_")[0]
        within = f"{generation}_{7:016}"  # in the first message
        answer = httpx.get(f"{place.url}/a", params={"offset": within})
        assert answer.status_code == 200
        assert history(stream, start=within) == (sent + b"the end")[7:]


def test_a_fork_reads_what_it_inherited_from_the_server_and_its_own_from_objects(place: Place) -> None:
    sent = write(place, "source", "text/plain", 60)
    with Client(place.url) as client:
        client.stream("source").fork("fork")
        fork = client.stream("fork")
        client.stream("source").append(b"not the fork's")
        own = []
        for number in range(60):
            own.append(f"{number:0100}".encode())
            fork.append(own[-1])
        before = place.counts()
        assert history(fork) == sent + b"".join(own)
        assert place.counts()["misses"] > before["misses"]


def test_a_deleted_and_recreated_stream_shows_nothing_of_the_old_one(place: Place) -> None:
    write(place, "a", "text/plain")
    with Client(place.url) as client:
        stream = client.stream("a")
        old = history(stream)
        stream.delete()
    new = write(place, "a", "text/plain", 40)
    assert new != old
    with Client(place.url) as client:
        assert history(client.stream("a")) == new


def test_nothing_is_told_of_objects_where_that_would_not_be_the_same(minio: S3Server, minio_bucket: str) -> None:
    def told(url: str, path: str, **headers: str) -> str | None:
        answer = httpx.get(f"{url}/{path}", params={"offset": "-1"}, headers=headers)
        assert answer.status_code == 200
        assert "stream-up-to-date" not in answer.headers
        found: str | None = answer.headers.get("stream-chunks")
        return found

    with published(minio, minio_bucket) as place:
        for path, extra in {"plain": {}, "dying": {"Stream-TTL": "3600"}}.items():
            httpx.put(f"{place.url}/{path}", headers={"Content-Type": "text/plain", **extra}, content=b"x" * 20_000)
        assert told(place.url, "plain") == f"{place.edge_url}/__ds/chunk/plain"
        assert told(place.url, "dying") is None
    with published(minio, minio_bucket, "--bearer-token", "secret") as place:
        assert told(place.url, "plain", Authorization="Bearer secret") is None


def test_a_client_sends_its_token_to_the_server_and_to_nobody_else(place: Place) -> None:
    sent = write(place, "a", "text/plain")
    asked: list[httpx.Request] = []
    http = httpx.Client(event_hooks={"request": [asked.append]})
    with Client(place.url, headers={"Authorization": "Bearer mine"}, params={"who": "me"}, http_client=http) as client:
        assert history(client.stream("a")) == sent
    http.close()
    at_the_edge = [request for request in asked if str(request.url).startswith(place.edge_url)]
    at_the_server = [request for request in asked if request not in at_the_edge]
    assert at_the_edge
    assert all("authorization" not in request.headers and "who" not in request.url.params for request in at_the_edge)
    assert all("authorization" in request.headers and "who" in request.url.params for request in at_the_server)


def test_objects_that_cannot_be_had_are_read_from_the_server(minio: S3Server, minio_bucket: str) -> None:
    flags = ("--endpoint-url", minio.endpoint_url, "--page-size", "2KiB", "--access-log")
    with server(minio_bucket, *flags, "--chunks-url", "http://127.0.0.1:1/__ds/chunk") as running:
        place = Place(running, "")
        sent = write(place, "a", "text/plain", 60)
        with Client(place.url) as client:
            assert history(client.stream("a")) == sent
        assert place.reads() > 3
