"""S3 through obstore: the suite on moto and on MinIO, and what its failures are to the caller."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from storage.objects import (
    Always,
    Condition,
    IfAbsent,
    IfMatch,
    Objects,
    OutcomeUnknown,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from storage.opening import StoreOptions, open_objects
from storage.probe import probe
from storage.s3_refusals import READ_ATTEMPTS
from tests.bucket.servers import S3Server
from tests.bucket.suite import ObjectsSuite


def _options(server: S3Server) -> StoreOptions:
    return StoreOptions(driver="obstore", endpoint_url=server.endpoint_url)


class TestMoto(ObjectsSuite):
    @pytest.fixture
    async def objects(self, moto: S3Server, moto_bucket: str) -> AsyncIterator[Objects]:
        store = await open_objects(moto_bucket, _options(moto))
        yield store
        await store.aclose()


class TestMinio(ObjectsSuite):
    @pytest.fixture
    async def objects(self, minio: S3Server, minio_bucket: str) -> AsyncIterator[Objects]:
        store = await open_objects(f"{minio_bucket}/some/prefix", _options(minio))
        yield store
        await store.aclose()


class _Scripted:
    """A server that answers every request with the same bytes, or breaks the connection, and counts them."""

    def __init__(self, answer: bytes | None) -> None:
        self.requests = 0
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listening.accept()
                with connection, connection.makefile("rb") as request:
                    while request.readline().strip():
                        pass
                    self.requests += 1
                    if self._answer is not None:
                        connection.sendall(self._answer)
                        connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def _scripted(status: int, code: str) -> Iterator[_Scripted]:
    body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>" if code else ""
    answer = f"HTTP/1.1 {status} So\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    with closing(_Scripted(answer if status else None)) as server:
        yield server


REFUSALS = [
    (0, "", OutcomeUnknown, StoreUnavailable),  # the connection breaks
    (301, "", StoreRefused, StoreRefused),
    (400, "RequestTimeout", OutcomeUnknown, StoreUnavailable),
    (400, "InvalidArgument", StoreRefused, StoreRefused),
    (403, "SignatureDoesNotMatch", StoreRefused, StoreRefused),
    (404, "NoSuchBucket", StoreRefused, StoreRefused),
    (409, "ConditionalRequestConflict", OutcomeUnknown, StoreUnavailable),
    (429, "SlowDown", StoreUnavailable, StoreUnavailable),
    (500, "InternalError", OutcomeUnknown, StoreUnavailable),
    (501, "NotImplemented", StoreRefused, StoreRefused),
    (503, "SlowDown", OutcomeUnknown, StoreUnavailable),
]


@pytest.mark.parametrize("condition", [IfAbsent(), IfMatch('"0"'), Always()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(("status", "code", "of_a_write", "of_a_read"), REFUSALS)
async def test_a_write_is_sent_once_and_a_failure_says_whether_it_may_have_happened(
    status: int, code: str, of_a_write: type[StoreError], of_a_read: type[StoreError], condition: Condition
) -> None:
    with _scripted(status, code) as server:
        store = await open_objects("s3://bucket", StoreOptions(driver="obstore", endpoint_url=server.endpoint_url))
        with pytest.raises(of_a_write, match=code or "s3://bucket"):
            await store.put("key", b"body", condition)
        assert server.requests == 1
        with pytest.raises(of_a_write, match=code or "s3://bucket"):
            await store.delete("key")
        assert server.requests == 2


@pytest.mark.parametrize(("status", "code", "of_a_write", "of_a_read"), REFUSALS)
async def test_a_read_is_tried_again_where_that_may_help(
    status: int, code: str, of_a_write: type[StoreError], of_a_read: type[StoreError]
) -> None:
    with _scripted(status, code) as server:
        store = await open_objects("s3://bucket", StoreOptions(driver="obstore", endpoint_url=server.endpoint_url))
        with pytest.raises(of_a_read, match=code or "s3://bucket"):
            await store.get("key")
        assert server.requests == (READ_ATTEMPTS if of_a_read is StoreUnavailable else 1)
        with pytest.raises(of_a_read, match=code or "s3://bucket"):
            await store.list("key")


async def test_a_write_to_a_port_where_nobody_listens_was_never_sent() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    store = await open_objects("s3://bucket", StoreOptions(driver="obstore", endpoint_url=url))
    with pytest.raises(StoreUnavailable):
        await store.put("key", b"body", IfAbsent())


async def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_open() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        options = StoreOptions(
            driver="obstore", endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout=0.1
        )
        store = await open_objects("s3://bucket", options)
        with pytest.raises(OutcomeUnknown):
            await store.put("key", b"body", IfAbsent())


async def test_a_chain_without_credentials_is_refused_and_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    store = await open_objects("s3://bucket", StoreOptions(driver="obstore", endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(StoreRefused, match="set AWS_ACCESS_KEY_ID"):
        await store.put("key", b"body", IfAbsent())


async def test_credentials_of_a_profile_are_good(
    minio: S3Server, minio_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = tmp_path / "credentials"
    profiles.write_text("[other]\naws_access_key_id = minioadmin\naws_secret_access_key = minioadmin\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    monkeypatch.setenv("AWS_PROFILE", "other")
    store = await open_objects(minio_bucket, _options(minio))
    assert await store.put("key", b"body", IfAbsent()) is not None


async def test_a_driver_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'boto'"):
        await open_objects("s3://bucket", StoreOptions(driver="boto"))


async def test_a_store_on_obstore_is_fit(minio: S3Server, minio_bucket: str) -> None:
    await probe(await open_objects(minio_bucket, _options(minio)), "one")
