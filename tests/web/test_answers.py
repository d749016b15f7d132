"""What is the same for every stream: limits, methods, errors of the store, headers for browsers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from handler.app import AppSettings
from handler.core.caching import CacheRules
from storage.log import LogSettings
from storage.objects import Always, Objects
from storage.opening import open_objects
from tests.bucket.faulty import Fault, FaultyObjects
from tests.web.harness import JSON, NEXT_OFFSET, TEXT, Exchange, Site, site

LIMIT = 1000
IMPATIENT = LogSettings(tries=2, backoff_seconds=0.001)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(AppSettings(max_body_bytes=LIMIT)) as running:
        yield running


def problem(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    return str(body["code"])


# -- bodies


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_body_of_the_largest_size_is_accepted_and_a_byte_more_is_not(here: Site, method: str) -> None:
    await here.create("/s")
    path = "/s" if method == "POST" else "/t"
    large = await here.client.request(method, path, content=b"x" * (LIMIT + 1), headers=TEXT)
    assert (large.status_code, problem(large)) == (413, "body-too-large")
    assert str(LIMIT) in large.json()["detail"]
    fitting = await here.client.request(method, path, content=b"x" * LIMIT, headers=TEXT)
    assert fitting.is_success


async def test_a_body_whose_length_is_declared_is_refused_before_it_is_read(here: Site) -> None:
    exchange = Exchange(
        here.app, "POST", "/s", headers=[(b"content-type", b"text/plain"), (b"content-length", b"1001")], body=()
    )
    status, _ = await exchange.start()
    assert status == 413


async def test_a_body_that_grows_too_large_on_its_way_is_refused_then(here: Site) -> None:
    exchange = Exchange(
        here.app, "POST", "/s", headers=[(b"content-type", b"text/plain")], body=[b"x" * 600, b"x" * 600, b"x"]
    )
    status, _ = await exchange.start()
    assert status == 413


async def test_a_body_in_pieces_is_one_append(here: Site) -> None:
    await here.create("/s")
    exchange = Exchange(here.app, "POST", "/s", headers=[(b"content-type", b"text/plain")], body=[b"a", b"", b"b"])
    assert (await exchange.start())[0] == 204
    assert (await here.client.get("/s")).content == b"ab"


@pytest.mark.parametrize("body", [(), (b"half",)])
async def test_a_client_that_leaves_before_its_body_is_complete_appends_nothing(
    here: Site, body: tuple[bytes, ...]
) -> None:
    await here.create("/s")
    exchange = Exchange(here.app, "POST", "/s", headers=[(b"content-type", b"text/plain")], body=body, complete=False)
    exchange.leave()
    await exchange.end()
    assert exchange.is_silent
    assert (await here.client.get("/s")).content == b""


# -- methods and paths


@pytest.mark.parametrize("method", ["TRACE", "BREW", "get"])
async def test_a_method_that_streams_do_not_have_is_405(here: Site, method: str) -> None:
    exchange = Exchange(here.app, method, "/s")
    status, headers = await exchange.start()
    assert status == 405
    assert {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"} <= set(headers["allow"].split(", "))


async def test_a_path_whose_objects_could_not_be_named_is_refused(here: Site) -> None:
    answer = await here.client.put("/" + "x" * 1000, headers=TEXT)
    assert (answer.status_code, problem(answer)) == (400, "path-too-long")


async def test_paths_are_kept_apart_by_their_escapes(here: Site) -> None:
    await here.create("/a/b", b"slash")
    await here.create("/a%2Fb", b"escape")
    assert (await here.client.get("/a/b")).text == "slash"
    assert (await here.client.get("/a%2fb")).text == "escape"
    assert (await here.client.get("/%61/b")).text == "slash"


@pytest.mark.parametrize("method", ["PUT", "POST", "GET", "DELETE"])
async def test_nothing_below_the_reserved_segment_is_a_stream(here: Site, method: str) -> None:
    answer = await here.client.request(method, "/a/__ds/nothing", headers=TEXT, content=b"x")
    assert (answer.status_code, problem(answer)) == (404, "not-found")
    health = await here.client.put("/__ds/health", headers=TEXT)
    assert (health.status_code, problem(health)) == (405, "method-not-allowed")


async def test_the_root_itself_is_a_stream(here: Site) -> None:
    await here.create("/", b"root")
    assert (await here.client.get("/")).text == "root"


# -- what is said of a stream


async def test_a_location_is_absolute_and_on_the_base_that_the_client_used(here: Site) -> None:
    answer = await here.create("/a%2fb/c")
    assert answer.headers["location"] == "http://streams.example/a%2Fb/c"


async def test_a_location_is_on_the_public_url_where_one_is_set() -> None:
    async with site(AppSettings(public_url="https://public.example/base/")) as here:
        assert (await here.create("/a")).headers["location"] == "https://public.example/base/a"


async def test_a_proxy_is_believed_only_where_that_is_set() -> None:
    said = {"x_forwarded_host": "public.example, inner", "x_forwarded_proto": "https"}
    async with site() as here:
        assert (await here.create("/a", b"", **said)).headers["location"] == "http://streams.example/a"
    async with site(AppSettings(trust_proxy=True)) as here:
        assert (await here.create("/a", b"", **said)).headers["location"] == "https://public.example/a"
        assert (await here.create("/b")).headers["location"] == "http://streams.example/b"


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=latin1", "Application/JSON", "x/y"])
async def test_the_content_type_is_exactly_what_the_stream_was_created_with(here: Site, content_type: str) -> None:
    created = await here.create("/s", b"1", content_type=content_type)
    read = await here.client.get("/s")
    head = await here.client.head("/s")
    assert {answer.headers["content-type"] for answer in (created, read, head)} == {content_type}


async def test_a_stream_created_anew_with_another_configuration_names_what_differs(here: Site) -> None:
    await here.create("/s", stream_ttl="60")
    again = await here.client.put("/s", headers={**TEXT, "Stream-TTL": "60"})
    assert again.status_code == 200
    assert "location" not in again.headers
    other = await here.client.put("/s", headers={**TEXT, "Stream-TTL": "61"})
    assert (other.status_code, problem(other), other.json()["field"]) == (409, "stream-exists", "Stream-TTL")


# -- reads and caches


async def test_a_page_is_immutable_only_before_the_tail_and_under_its_generation() -> None:
    async with site(log_settings=LogSettings(page_bytes=4)) as here:
        first = (await here.create("/s")).headers[NEXT_OFFSET]
        await here.append("/s", b"abcd")
        middle = await here.tail("/s")
        await here.append("/s", b"efgh")
        await here.append("/s", b"ij")
        start = await here.client.get("/s")
        assert (start.text, start.headers["cache-control"]) == (
            "abcd",
            "public, max-age=60, stale-while-revalidate=300",
        )
        for offset, text in ((first, "abcd"), (middle, "efgh")):
            page = await here.client.get(f"/s?offset={offset}")
            assert (page.text, page.headers["cache-control"]) == (text, "public, max-age=31536000, immutable")
            assert "stream-up-to-date" not in page.headers
        tail = await here.client.get(f"/s?offset={page.headers[NEXT_OFFSET]}")
        assert (tail.text, tail.headers["cache-control"]) == ("ij", "no-cache")
        assert tail.headers["stream-up-to-date"] == "true"


async def test_a_fork_is_read_under_its_own_generation_only_after_its_fork_point() -> None:
    async with site(log_settings=LogSettings(page_bytes=4)) as here:
        await here.create("/source", b"abcd")
        await here.append("/source", b"efgh")
        await here.create("/fork", stream_forked_from="/source")
        await here.append("/fork", b"ijkl")
        await here.append("/fork", b"mnop")
        seen = []
        url = "/fork"
        while True:
            page = await here.client.get(url)
            seen.append((page.text, "immutable" in page.headers["cache-control"]))
            if "stream-up-to-date" in page.headers:
                break
            url = f"/fork?offset={page.headers[NEXT_OFFSET]}"
        assert seen == [("abcd", False), ("efgh", False), ("ijkl", False), ("mnop", False)]
        own = await here.client.get(f"/fork?offset={page.headers[NEXT_OFFSET]}")
        assert own.status_code == 200


async def test_a_page_is_not_sent_twice_to_who_has_it(here: Site) -> None:
    await here.create("/s", b"one")
    tag = (await here.client.get("/s")).headers["etag"]
    again = await here.client.get("/s", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers[NEXT_OFFSET] == await here.tail("/s")
    await here.append("/s", b"", stream_closed="true")
    closed = await here.client.get("/s", headers={"If-None-Match": tag})
    assert (closed.status_code, closed.headers["stream-closed"]) == (200, "true")


async def test_an_offset_of_a_stream_that_was_here_before_is_gone(here: Site) -> None:
    await here.create("/s", b"one")
    tail = await here.tail("/s")
    await here.client.delete("/s")
    await here.create("/s", b"one")
    answer = await here.client.get(f"/s?offset={tail}")
    assert (answer.status_code, problem(answer), answer.headers["cache-control"]) == (410, "offset-gone", "no-store")


async def test_an_offset_beyond_the_end_or_inside_a_message_is_invalid(here: Site) -> None:
    created = await here.create("/j", b"[1,22]", content_type="application/json")
    generation, _, position = created.headers[NEXT_OFFSET].partition("_")
    assert int(position) == 5
    for at in (1, 3, 4, 6):
        answer = await here.client.get(f"/j?offset={generation}_{at:016d}")
        assert (answer.status_code, problem(answer)) == (400, "invalid-offset")
    assert (await here.client.get(f"/j?offset={generation}_{2:016d}")).text == "[22]"


async def test_what_expires_soon_is_not_cached_for_longer() -> None:
    async with site(AppSettings(cache=CacheRules(tail_seconds=60))) as here:
        soon = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 30, UTC).isoformat()
        await here.create("/s", b"x", stream_expires_at=soon)
        control = (await here.client.get("/s")).headers["cache-control"]
        assert control.startswith("public, max-age=")
        assert int(control.removeprefix("public, max-age=")) <= 30


# -- browsers


async def test_a_script_of_another_origin_may_read_answers_and_errors_of_every_method(here: Site) -> None:
    await here.create("/s")
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "GET"):
        answer = await here.client.request(method, "/s", headers={**TEXT, "Origin": "https://app.example"}, content=b"")
        assert answer.headers["access-control-allow-origin"] == "*", method
        assert "Stream-Next-Offset" in answer.headers["access-control-expose-headers"]


async def test_what_caches_keep_does_not_depend_on_who_asked_first(here: Site) -> None:
    await here.create("/s")
    assert (await here.client.get("/s")).headers["access-control-allow-origin"] == "*"


async def test_a_preflight_is_answered_for_any_path(here: Site) -> None:
    for path in ("/nowhere", "/__ds/nothing"):
        answer = await here.client.options(path, headers={"Origin": "https://app.example"})
        assert answer.status_code == 204
        assert "if-none-match" in answer.headers["access-control-allow-headers"].lower()


async def test_a_head_has_no_body_whatever_it_finds(here: Site) -> None:
    await here.create("/s", b"x")
    assert (await here.client.head("/s")).content == b""
    missing = await here.client.head("/nowhere")
    assert (missing.status_code, missing.content) == (404, b"")


# -- a store that fails


def failing(objects: Objects, fault: Fault) -> tuple[FaultyObjects, list[bool]]:
    """Return the store, and a switch that is off: its writes will meet the fault."""
    switch: list[bool] = []
    return FaultyObjects(objects, lambda verb, key: fault if switch and verb == "put" else None), switch


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.UNAVAILABLE, "store-unavailable"), (Fault.CONFLICT, "outcome-unknown")]
)
async def test_a_failure_to_append_says_whether_anything_may_have_been_written(fault: Fault, code: str) -> None:
    store, switch = failing(await open_objects("memory:"), fault)
    async with site(objects=store, log_settings=IMPATIENT) as here:
        await here.create("/s")
        switch.append(True)
        answer = await here.append("/s", b"x")
        assert (answer.status_code, problem(answer)) == (503, code)
        assert answer.headers["retry-after"] == "1"
        switch.clear()
        assert (await here.append("/s", b"y")).status_code == 204
        assert (await here.client.get("/s")).text == "y"


async def test_an_object_that_is_damaged_is_500_and_not_shown() -> None:
    store = await open_objects("memory:")
    await store.put("root/s", b"no root", Always())
    async with site(objects=store) as here:
        answer = await here.client.get("/s")
        assert (answer.status_code, problem(answer)) == (500, "damaged")
        assert "no root" not in answer.text


async def test_a_failure_that_nobody_foresaw_is_500_with_a_body(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(asked: object) -> None:
        raise RuntimeError("unforeseen")

    async with site(authorize=broken) as here:  # type: ignore[arg-type]  # which is what is being tried
        answer = await here.client.get("/s")
        assert (answer.status_code, problem(answer)) == (500, "internal-error")
    assert "unforeseen" in caplog.text


async def test_the_health_tells_whether_the_store_answers() -> None:
    failing_now: list[bool] = []
    store = FaultyObjects(await open_objects("memory:"), lambda verb, key: Fault.UNAVAILABLE if failing_now else None)
    async with site(objects=store) as here:
        well = await here.client.get("/__ds/health")
        assert (well.status_code, well.json()) == (200, {"status": "ok", "store": "reachable"})
        assert well.headers["cache-control"] == "no-store"
        failing_now.append(True)
        ill = await here.client.get("/__ds/health")
        assert (ill.status_code, ill.json()) == (503, {"status": "unavailable", "store": "unreachable"})


# -- what is no request


async def test_a_lifespan_is_taken_part_in(here: Site) -> None:
    sent: list[str] = []
    incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    incoming.put_nowait({"type": "lifespan.startup"})
    incoming.put_nowait({"type": "lifespan.shutdown"})

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await here.app({"type": "lifespan"}, incoming.get, send)  # type: ignore[arg-type]  # of plain strings
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused(here: Site) -> None:
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await here.app({"type": "websocket"}, receive, send)  # type: ignore[arg-type]  # of plain strings
    assert sent == ["websocket.close"]


async def test_json_comes_back_byte_for_byte(here: Site) -> None:
    await here.create("/j", content_type="application/json")
    sent = '[{"a" : 1.0},  "é\\ud800", 12345678901234567890]'
    await here.client.post("/j", content=sent.encode(), headers=JSON)
    assert (await here.client.get("/j")).text == '[{"a" : 1.0},"é\\ud800",12345678901234567890]'
