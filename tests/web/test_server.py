"""The server as its operator meets it: started, stopped, killed, told nonsense."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from handler.local import CannotStart, check_store
from storage.opening import open_objects
from tests.bucket.servers import S3Server
from tests.bucket.stand_ins import IgnoresIfNoneMatch
from tests.web.harness import NEXT_OFFSET, PATIENCE_SECONDS, TEXT
from tests.web.processes import STOP_SECONDS, ServerProcess, server


@asynccontextmanager
async def client_of(process: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a server that has started."""
    url = await asyncio.to_thread(process.url)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
        yield client


async def test_a_restart_keeps_everything(sqlite_path: Path) -> None:
    store = f"sqlite://{sqlite_path}"
    producer = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
    with server(store) as process:
        async with client_of(process) as client:
            await client.put("/open", headers={**TEXT, "Stream-TTL": "3600"}, content=b"one")
            await client.post("/open", headers={**TEXT, **producer, "Stream-Seq": "5"}, content=b"two")
            await client.put("/closed", headers={**TEXT, "Stream-Closed": "true"}, content=b"all")
            before = [(await client.get(path)).headers for path in ("/open", "/closed")]
        assert process.stop() == 0
    with server(store) as process:
        async with client_of(process) as client:
            after = [await client.get(path) for path in ("/open", "/closed")]
            assert [answer.text for answer in after] == ["onetwo", "all"]
            for name in (NEXT_OFFSET, "etag", "stream-closed", "content-type"):
                assert [answer.headers.get(name) for answer in after] == [headers.get(name) for headers in before]
            assert (await client.head("/open")).headers["stream-ttl"] == "3600"
            again = await client.post("/open", headers={**TEXT, **producer}, content=b"two")
            assert again.status_code == 204
            behind = await client.post("/open", headers={**TEXT, "Stream-Seq": "5"}, content=b"x")
            assert behind.json()["code"] == "sequence-regression"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_who_waits_and_finishes_what_is_under_way(sqlite_path: Path, number: int) -> None:
    with server(f"sqlite://{sqlite_path}") as process:
        async with client_of(process) as client:
            await client.put("/s", headers=TEXT, content=b"x")
            await client.put("/busy", headers=TEXT)
            tail = (await client.head("/s")).headers[NEXT_OFFSET]
            poll = asyncio.create_task(client.get(f"/s?offset={tail}&live=long-poll"))
            events = asyncio.create_task(client.get(f"/s?offset={tail}&live=sse"))
            acknowledged = 0

            async def append_until_refused() -> None:
                nonlocal acknowledged
                while True:
                    try:
                        answer = await client.post("/busy", headers=TEXT, content=b"0123456789")
                    except httpx.TransportError:
                        return
                    assert answer.status_code == 204
                    acknowledged += 1

            writers = [asyncio.create_task(append_until_refused()) for _ in range(8)]
            while acknowledged < 50:  # noqa: ASYNC110  # the writers have more to do than to tell
                await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            assert await asyncio.to_thread(process.stop, number) == 0
            assert asyncio.get_running_loop().time() - began < PATIENCE_SECONDS
            await asyncio.gather(*writers)
            assert (await poll).status_code == 204
            assert (await poll).headers[NEXT_OFFSET] == tail
            assert (await events).text.startswith("event: control")
            assert process.complained == []
    with server(f"sqlite://{sqlite_path}") as process:
        async with client_of(process) as client:
            kept = len((await client.get("/busy")).content)
            assert kept >= acknowledged * 10
            assert kept % 10 == 0


async def test_two_servers_share_one_file(sqlite_path: Path) -> None:
    store = f"sqlite://{sqlite_path}"
    with server(store) as one, server(store) as other:
        async with client_of(one) as first, client_of(other) as second:
            await first.put("/s", headers=TEXT)
            poll = asyncio.create_task(second.get("/s?offset=-1&live=long-poll"))
            await asyncio.sleep(0)
            appends = [client.post("/s", headers=TEXT, content=b"ab") for client in (first, second) * 20]
            assert {answer.status_code for answer in await asyncio.gather(*appends)} == {204}
            assert (await poll).status_code == 200
            texts = {(await client.get("/s")).text for client in (first, second)}
            assert texts == {"ab" * 40}


# -- several processes on one port


def children_of(pid: int) -> set[int]:
    """Return the processes that a process has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.add(int(stat.parent.name))
    return found


async def pids_that_answer(url: str, client_count: int = 24) -> int:
    """Return how many of many fresh connections got an answer."""
    answered = 0
    for _ in range(client_count):
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
            answered += (await client.get("/__ds/health")).status_code == 200
    return answered


async def until_gone(pids: set[int]) -> None:
    """Wait until none of the processes runs any more."""
    async with asyncio.timeout(STOP_SECONDS):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):  # noqa: ASYNC110  # they are no children of ours
            await asyncio.sleep(0.05)


async def test_two_workers_share_a_port_and_a_file_and_one_that_dies_is_replaced(sqlite_path: Path) -> None:
    with server(f"sqlite://{sqlite_path}", "--workers", "2") as process:
        async with client_of(process) as client:
            assert "2 processes" in process.said[0]
            await client.put("/s", headers=TEXT)
            urls = [str(client.base_url)] * 16

            async def append(url: str) -> int:
                async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as own:
                    return (await own.post("/s", headers=TEXT, content=b"ab")).status_code

            assert set(await asyncio.gather(*map(append, urls))) == {204}
            assert (await client.get("/s")).text == "ab" * 16
        workers = [pid for pid in children_of(process.pid) if b"spawn_main" in _command_of(pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        await until_gone({workers[0]})
        assert await pids_that_answer(urls[0]) == 24
        async with asyncio.timeout(STOP_SECONDS):
            while not any("another one takes its place" in line for line in process.complained):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while len(children_of(process.pid) - set(workers)) < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        everything = children_of(process.pid)
        assert await asyncio.to_thread(process.stop) == 0
        await until_gone(everything)


async def test_no_worker_outlives_the_process_that_started_it(sqlite_path: Path) -> None:
    with server(f"sqlite://{sqlite_path}", "--workers", "2") as process:
        await asyncio.to_thread(process.url)
        workers = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        await until_gone(workers)


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# -- what is said


async def test_the_banner_says_where_it_listens_what_it_uses_and_what_to_try(sqlite_path: Path) -> None:
    store = f"sqlite://{sqlite_path}"
    with server(store) as process:
        url = await asyncio.to_thread(process.url)
        assert url.startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            assert (await client.get(f"{url}/__ds/health")).json()["store"] == "reachable"
        process.stop()
        said = "".join(process.said)
        assert store in said
        assert f"curl -i -X PUT {url}/hello" in said
        assert f"{url}/__ds/health" in said
        assert process.complained == []


async def test_the_environment_sets_what_the_command_line_does_not(sqlite_path: Path) -> None:
    environment = {**os.environ, "DURABLE_STREAMS_LONG_POLL_TIMEOUT": "50ms", "DURABLE_STREAMS_BEARER_TOKEN": "t"}
    with server(f"sqlite://{sqlite_path}", environment=environment) as process:
        async with client_of(process) as client:
            assert (await client.put("/s", headers=TEXT)).status_code == 401
            client.headers["Authorization"] = "Bearer t"
            await client.put("/s", headers=TEXT)
            assert (await client.get("/s?offset=now&live=long-poll")).status_code == 204


async def test_an_access_log_has_a_line_for_every_request_and_is_off_by_itself(sqlite_path: Path) -> None:
    with server(f"sqlite://{sqlite_path}", "--access-log") as process:
        async with client_of(process) as client:
            await client.put("/a%20b", headers=TEXT, content=b"hello")
            await client.get("/a%20b?offset=-1")
            await client.get("/nowhere")
        process.stop()
        shown = [line.split()[1:6] for line in process.complained]
        assert shown == [
            ["127.0.0.1", "PUT", "/a%20b", "201", "0"],
            ["127.0.0.1", "GET", "/a%20b?offset=-1", "200", "5"],
            ["127.0.0.1", "GET", "/nowhere", "404", shown[2][4]],
        ]


async def test_a_server_that_others_can_reach_warns_where_it_asks_for_no_token(sqlite_path: Path) -> None:
    store = f"sqlite://{sqlite_path}"
    with server(store, "--host", "0.0.0.0") as process:
        await asyncio.to_thread(process.url)
        process.stop()
        (warning,) = process.complained
        assert "warning: 0.0.0.0 can be reached from other machines" in warning
        assert "DURABLE_STREAMS_BEARER_TOKEN" in warning
    with server(store, "--host", "0.0.0.0", "--bearer-token", "t") as process:
        await asyncio.to_thread(process.url)
        process.stop()
        assert process.complained == []


# -- what cannot be started


def complaint_of(store: str, *options: str, environment: dict[str, str] | None = None) -> str:
    """Return the one line that a server which cannot start leaves."""
    with server(store, *options, environment=environment) as process:
        assert process.wait() == 1
        assert process.said == []
        (line,) = process.complained
        assert line.startswith("durable-streams-server: ")
        return line


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = complaint_of("memory:", "--port", str(port))
    assert f"port {port} on 127.0.0.1 is in use" in line
    assert "--port" in line


def test_an_address_that_is_none_is_said_in_one_line() -> None:
    assert "--host 'no.such.host.invalid' is no address" in complaint_of("memory:", "--host", "no.such.host.invalid")


def test_a_store_that_no_url_names_is_said_in_one_line() -> None:
    assert "--store 'ftp://x' names no store" in complaint_of("ftp://x")


def test_a_file_that_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"no database at all, but a text that goes on for a while" * 100)
    assert "not an SQLite database" in complaint_of(f"sqlite://{tmp_path}/other")
    assert "sqlite:" in complaint_of(f"sqlite://{tmp_path}/no/folder/streams.db")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_missing_bucket_is_said_in_one_line(moto: S3Server, workers: str) -> None:
    options = ("--endpoint-url", moto.endpoint_url, "--workers", workers)
    assert "the bucket does not exist" in complaint_of("s3://no-such-bucket", *options)


def test_refused_credentials_are_said_in_one_line(minio: S3Server, minio_bucket: str) -> None:
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "wrong"}
    line = complaint_of(minio_bucket, "--endpoint-url", minio.endpoint_url, environment=environment)
    assert "the secret key is wrong" in line


def test_a_store_that_nobody_answers_for_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "s3://bucket" in complaint_of("s3://bucket", "--endpoint-url", f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_that_keeps_no_house_does_not_try_its_store(moto: S3Server, workers: str) -> None:
    options = ("--endpoint-url", moto.endpoint_url, "--no-housekeeping", "--workers", workers)
    with server("s3://no-such-bucket", *options) as process:
        async with client_of(process) as client:
            assert (await client.get("/a")).status_code == 503


async def test_a_path_that_the_store_has_no_name_for_is_the_clients_mistake(minio: S3Server, minio_bucket: str) -> None:
    """MinIO keeps objects in files, whose names have 255 bytes at most; S3 does not."""
    with server(minio_bucket, "--endpoint-url", minio.endpoint_url) as process:
        async with client_of(process) as client:
            for method in ("PUT", "POST", "GET", "HEAD", "DELETE"):
                content = b"x" if method == "POST" else None
                answer = await client.request(
                    method, "/" + "a" * 256, content=content, headers={"Content-Type": "text/plain"}
                )
                assert answer.status_code == 400, method
                if method != "HEAD":
                    assert (answer.json()["code"], answer.json()["field"]) == ("path-too-long", "path")
            assert (await client.put("/" + "a" * 255)).status_code == 201


async def test_a_store_that_lets_two_writers_win_is_refused_by_name() -> None:
    store = IgnoresIfNoneMatch(await open_objects("memory:"))
    with pytest.raises(CannotStart, match="this store is unfit: stand-in: does not keep If-None-Match"):
        await check_store(store)
    await store.aclose()
