"""What this server offers beyond the protocol: docs/extensions.md."""

from handler.app import create_app
from handler.subscriptions import SubscriptionService
from tests.web.harness import NEXT_OFFSET, client_of, site


async def test_a_stream_and_a_preflight_name_the_extensions() -> None:
    async with site() as here:
        await here.create("/s")
        for answer in (await here.client.head("/s"), await here.client.options("/s")):
            assert answer.headers["stream-extensions"] == "conditional-append, retention, listing"


async def test_an_append_on_condition_of_the_tail_is_made_only_there() -> None:
    async with site() as here:
        tail = (await here.create("/s", b"abc")).headers[NEXT_OFFSET]
        moved = await here.append("/s", b"def", if_match=tail)
        assert moved.status_code == 204
        refused = await here.append("/s", b"ghi", if_match=tail)
        assert refused.status_code == 412
        assert refused.headers[NEXT_OFFSET] == moved.headers[NEXT_OFFSET]
        assert (await here.client.get("/s")).content == b"abcdef"


async def test_readers_behind_the_retained_beginning_are_told_that_it_is_gone() -> None:
    async with site() as here:
        first = (await here.create("/s", b"abc")).headers[NEXT_OFFSET]
        second = (await here.append("/s", b"def")).headers[NEXT_OFFSET]
        await here.append("/s", b"ghi")
        start = first.partition("_")[0] + "_" + "0" * 15 + "1"
        for offset in (first, second, first):  # what was dropped stays dropped
            answer = await here.client.patch("/s", headers={"Stream-Retain-From": offset})
            assert answer.status_code == 204
        assert answer.headers["stream-earliest-offset"] == second
        assert (await here.client.head("/s")).headers["stream-earliest-offset"] == second
        assert (await here.client.get("/s?offset=-1")).content == b"ghi"
        assert (await here.client.get(f"/s?offset={second}")).content == b"ghi"
        for offset in (first, start):
            gone = await here.client.get("/s", params={"offset": offset})
            assert gone.status_code == 410, gone.text


async def test_a_fork_made_before_keeps_what_its_source_has_dropped() -> None:
    async with site() as here:
        tail = (await here.create("/s", b"abc")).headers[NEXT_OFFSET]
        await here.create("/f", b"!", stream_forked_from="/s")
        await here.client.patch("/s", headers={"Stream-Retain-From": tail})
        assert (await here.client.get("/s")).content == b""
        assert (await here.client.get("/f")).content == b"abc!"


async def test_nothing_is_dropped_for_an_offset_that_is_none_of_the_streams() -> None:
    async with site() as here:
        tail = (await here.create("/s", b"abc")).headers[NEXT_OFFSET]
        beyond = tail[:-1] + "9"
        other = "1" + tail[1:] if tail[0] != "1" else "2" + tail[1:]
        for offset, status in (("", 400), ("x", 400), ("-1", 400), ("now", 400), (beyond, 400), (other, 410)):
            answer = await here.client.patch("/s", headers={"Stream-Retain-From": offset})
            assert (offset, answer.status_code) == (offset, status)
            assert answer.json()["field"] == "Stream-Retain-From"
        assert (await here.client.patch("/s")).status_code == 400
        assert (await here.client.patch("/none", headers={"Stream-Retain-From": tail})).status_code == 404
        assert (await here.client.get("/s")).content == b"abc"


async def test_streams_are_listed_by_prefix_a_page_at_a_time() -> None:
    async with site() as here, client_of(create_app(here.log, subscriptions=SubscriptionService(here.log))) as client:
        for path in ("/a/1", "/a/2", "/a/3", "/b/1"):
            await here.create(path)
        await client.delete("/a/2")
        first = (await client.get("/__ds/streams?prefix=a/&limit=1")).json()
        assert [stream["path"] for stream in first["streams"]] == ["a/1"]
        rest = (await client.get(f"/__ds/streams?prefix=a/&after={first['next']}")).json()
        assert [stream["path"] for stream in rest["streams"]] == ["a/3"]
        assert rest["next"] is None
