"""Which answer comes first where several could be given. Sections 5.2 and 5.2.1."""

from collections.abc import AsyncIterator

import pytest

from tests.web.harness import JSON, NEXT_OFFSET, TEXT, Site, site

PRODUCER = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
OTHER_TYPE = {"Content-Type": "text/html"}


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as running:
        yield running


def code(answer: object) -> str:
    return str(getattr(answer, "json")()["code"])  # noqa: B009


@pytest.mark.parametrize(
    "headers",
    [TEXT, OTHER_TYPE, {**TEXT, **PRODUCER}, {**TEXT, "Stream-Seq": "0"}, {**TEXT, "If-Match": "1_1"}],
)
async def test_a_closed_stream_says_that_it_is_closed_before_anything_else(here: Site, headers: dict[str, str]) -> None:
    await here.create("/s", b"all", stream_closed="true")
    headers = {name: value.replace("1_1", await here.tail("/s")) for name, value in headers.items()}
    answer = await here.client.post("/s", content=b"more", headers=headers)
    assert (answer.status_code, code(answer)) == (409, "stream-closed")
    assert answer.headers["stream-closed"] == "true"
    assert answer.headers[NEXT_OFFSET] == await here.tail("/s")


async def test_a_closed_json_stream_says_that_it_is_closed_before_it_looks_at_the_body(here: Site) -> None:
    await here.create("/j", b"[1]", content_type="application/json", stream_closed="true")
    answer = await here.client.post("/j", content=b"{", headers=JSON)
    assert (answer.status_code, code(answer)) == (409, "stream-closed")


async def test_the_content_type_comes_before_the_producer(here: Site) -> None:
    await here.create("/s")
    await here.append("/s", b"1", **PRODUCER)
    answer = await here.client.post("/s", content=b"1", headers={**OTHER_TYPE, **PRODUCER})
    assert (answer.status_code, code(answer)) == (409, "content-type-differs")


async def test_the_content_type_comes_before_the_json(here: Site) -> None:
    await here.create("/s")
    answer = await here.client.post("/s", content=b"{", headers=JSON)
    assert (answer.status_code, code(answer)) == (409, "content-type-differs")


async def test_the_json_comes_before_the_producer(here: Site) -> None:
    await here.create("/j", content_type="application/json")
    gap = {**JSON, **PRODUCER, "Producer-Seq": "5"}
    assert code(await here.client.post("/j", content=b"{", headers=gap)) == "invalid-json"
    assert code(await here.client.post("/j", content=b"[]", headers=gap)) == "invalid-json"
    assert code(await here.client.post("/j", content=b"[1]", headers=gap)) == "sequence-gap"


async def test_the_producer_comes_before_the_stream_seq(here: Site) -> None:
    await here.create("/s")
    first = await here.append("/s", b"1", **PRODUCER, stream_seq="b")
    again = await here.append("/s", b"1", **PRODUCER, stream_seq="a")
    assert (first.status_code, again.status_code) == (200, 204)
    fresh = {**PRODUCER, "Producer-Seq": "1"}
    answer = await here.append("/s", b"2", **fresh, stream_seq="a")
    assert (answer.status_code, code(answer)) == (409, "sequence-regression")


async def test_a_refused_stream_seq_does_not_use_up_the_producers_seq(here: Site) -> None:
    await here.create("/s")
    await here.append("/s", b"1", **PRODUCER, stream_seq="b")
    fresh = {**PRODUCER, "Producer-Seq": "1"}
    assert (await here.append("/s", b"2", **fresh, stream_seq="a")).status_code == 409
    assert (await here.append("/s", b"2", **fresh, stream_seq="c")).status_code == 200


async def test_what_is_wrong_by_itself_comes_before_the_stream(here: Site) -> None:
    assert (await here.client.post("/nowhere", content=b"x")).status_code == 400
    assert (await here.append("/nowhere", b"")).status_code == 400
    assert (await here.append("/nowhere", b"x", producer_id="p")).status_code == 400
    assert (await here.client.get("/nowhere?offset=x")).status_code == 400
    assert (await here.client.get("/nowhere?live=sse")).status_code == 400


async def test_a_stream_that_is_not_there_comes_before_its_json(here: Site) -> None:
    assert (await here.client.post("/nowhere", content=b"{", headers=JSON)).status_code == 404


async def test_a_new_epoch_begins_with_seq_zero(here: Site) -> None:
    await here.create("/s")
    await here.append("/s", b"1", **PRODUCER)
    answer = await here.append("/s", b"2", **{**PRODUCER, "Producer-Epoch": "1", "Producer-Seq": "1"})
    assert (answer.status_code, code(answer)) == (400, "epoch-not-at-zero")
    assert (await here.append("/s", b"2", **{**PRODUCER, "Producer-Epoch": "1"})).status_code == 200
    stale = await here.append("/s", b"3", **{**PRODUCER, "Producer-Seq": "1"})
    assert (stale.status_code, stale.headers["producer-epoch"]) == (403, "1")


# -- conditional append, an extension


async def test_an_append_goes_only_where_its_writer_expects_the_tail(here: Site) -> None:
    await here.create("/s", b"one")
    tail = await here.tail("/s")
    assert (await here.append("/s", b"two", if_match=tail)).status_code == 204
    late = await here.append("/s", b"also two", if_match=tail)
    assert (late.status_code, code(late)) == (412, "tail-moved")
    assert late.headers[NEXT_OFFSET] == await here.tail("/s")
    assert (await here.append("/s", b"three", if_match=f'"{late.headers[NEXT_OFFSET]}"')).status_code == 204
    assert (await here.client.get("/s")).content == b"onetwothree"


async def test_the_same_position_of_an_earlier_stream_is_not_the_tail(here: Site) -> None:
    await here.create("/s", b"one")
    tail = await here.tail("/s")
    await here.client.delete("/s")
    await here.create("/s", b"two")
    assert (await here.append("/s", b"more", if_match=tail)).status_code == 412


async def test_a_forks_tail_at_its_fork_point_is_its_sources_offset(here: Site) -> None:
    await here.create("/source", b"one")
    tail = await here.tail("/source")
    await here.create("/fork", stream_forked_from="/source")
    assert await here.tail("/fork") == tail
    assert (await here.append("/fork", b"two", if_match=tail)).status_code == 204
    assert (await here.append("/fork", b"two", if_match=tail)).status_code == 412
    assert (await here.client.get("/fork")).content == b"onetwo"
