"""What every store must do. Each backend's tests inherit these; knows the port only.

A subclass brings a fixture `objects`: an open store with nothing in it.
"""

import asyncio
import hashlib
import random
import time

import pytest

from storage.objects import Always, IfAbsent, IfMatch, Objects, StoreRefused

RACERS = 32

# ASCII order is not a dictionary's, and an escape must stay one.
KEYS = [
    "chunk/a%2Fb/~0",
    "chunk/a%2Fb/~1",
    "chunk/a%2Fbc/~0",
    "chunk/a/~0",
    "chunk/a~b/~0",
    "root/%41",
    "root/%C3%A9",
    "root/A",
    "root/B",
    "root/_",
    "root/a",
    "root/a+b",
    "root/a=b&c",
    "root/~",
]
PREFIXES = ["", "chunk/", "chunk/a", "chunk/a%", "chunk/a%2Fb/", "root/%C3%A9", "root/a", "nothing", "root/~"]

RANGES: list[tuple[int, int | None, bytes]] = [
    (0, 4, b"0123"),
    (3, 4, b"3456"),
    (3, None, b"3456789"),
    (9, 1, b"9"),
    (7, 100, b"789"),
    (10, None, b""),
    (10, 5, b""),
    (99, 5, b""),
    (4, 0, b""),
    (0, None, b"0123456789"),
]


class ObjectsSuite:
    """The port's promises, one test for each."""

    async def test_what_was_put_is_what_get_returns(self, objects: Objects) -> None:
        etag = await objects.put("a/b", b"\x00\xffbytes", Always(), content_type="application/json")
        found = await objects.get("a/b")
        assert found is not None
        assert found.body == b"\x00\xffbytes"
        assert found.head.etag == etag
        assert found.head.size == 7
        assert found.head.content_type == "application/json"
        assert found.head.metadata == {}

    async def test_head_knows_what_get_knows(self, objects: Objects) -> None:
        await objects.put("a", b"body", Always(), content_type="text/plain; charset=utf-8", metadata={"x": "1"})
        found = await objects.get("a")
        assert found is not None
        assert await objects.head("a") == found.head

    async def test_there_is_nothing_where_nothing_was_put(self, objects: Objects) -> None:
        assert await objects.get("nothing") is None
        assert await objects.head("nothing") is None
        assert await objects.get("nothing", start=3) is None
        assert await objects.get("nothing", start=3, length=0) is None
        assert await objects.list("nothing") == []

    async def test_metadata_comes_back_as_it_was_put(self, objects: Objects) -> None:
        metadata = {
            "next": "0000000000001024",
            "producers": '{"p %2F 1":[3,17],"q":[0,0]}',
            "with-dash": "a;b,c=d:e/f?g#h'\"\\~",
            "long": "x" * 1700,
        }
        await objects.put("a", b"", Always(), cache_control="public, immutable", metadata=metadata)
        head = await objects.head("a")
        assert head is not None
        assert head.metadata == metadata

    async def test_an_overwrite_leaves_nothing_of_what_was_there(self, objects: Objects) -> None:
        await objects.put("a", b"longer", Always(), content_type="text/plain", metadata={"old": "1"})
        await objects.put("a", b"new", Always(), content_type="text/html", metadata={"new": "2"})
        found = await objects.get("a")
        assert found is not None
        assert (found.body, found.head.size) == (b"new", 3)
        assert (found.head.content_type, found.head.metadata) == ("text/html", {"new": "2"})

    async def test_an_empty_body_is_an_object(self, objects: Objects) -> None:
        assert await objects.put("empty", b"", IfAbsent()) is not None
        found = await objects.get("empty")
        assert found is not None
        assert (found.body, found.head.size) == (b"", 0)
        assert await objects.put("empty", b"", IfAbsent()) is None

    async def test_ten_megabytes_come_back(self, objects: Objects) -> None:
        body = random.Random(1).randbytes(10 * 1024 * 1024)
        etag = await objects.put("big", body, IfAbsent())
        found = await objects.get("big")
        assert found is not None
        assert found.head.etag == etag
        assert hashlib.sha256(found.body).digest() == hashlib.sha256(body).digest()
        part = await objects.get("big", start=9_000_000, length=70_000)
        assert part is not None
        assert part.body == body[9_000_000:9_070_000]

    async def test_a_range_is_what_there_is_of_it(self, objects: Objects) -> None:
        await objects.put("digits", b"0123456789", Always(), metadata={"a": "1"})
        head = await objects.head("digits")
        for start, length, expected in RANGES:
            found = await objects.get("digits", start=start, length=length)
            assert found is not None
            assert (found.body, found.head) == (expected, head), (start, length)

    async def test_parts_are_what_there_is_of_a_range(self, objects: Objects) -> None:
        await objects.put("digits", b"0123456789", Always(), metadata={"a": "1"})
        head = await objects.head("digits")
        for start, length, expected in RANGES:
            arriving = await objects.get_parts("digits", start=start, length=length)
            assert arriving is not None
            assert (b"".join([part async for part in arriving.parts]), arriving.head) == (expected, head), (
                start,
                length,
            )
        assert await objects.get_parts("nothing") is None
        assert await objects.get_parts("nothing", start=3, length=0) is None

    async def test_parts_of_something_large_need_not_be_read_at_once_nor_to_the_end(self, objects: Objects) -> None:
        body = random.Random(2).randbytes(12 * 1024 * 1024)
        await objects.put("big", body, IfAbsent())
        whole = await objects.get_parts("big", start=1)
        left = [await objects.get_parts("big", start=n) for n in range(4)]
        assert whole is not None
        came = [await anext(whole.parts)]
        await asyncio.sleep(0.2)
        for n, arriving in enumerate(left):
            assert arriving is not None
            assert (await anext(arriving.parts))[:100] == body[n : n + 100]
            await arriving.parts.aclose()
        came += [part async for part in whole.parts]
        assert b"".join(came) == body[1:]
        assert await objects.head("big") == whole.head

    async def test_a_range_of_an_empty_object_is_empty(self, objects: Objects) -> None:
        await objects.put("empty", b"", Always())
        found = await objects.get("empty", start=0, length=10)
        assert found is not None
        assert (found.body, found.head.size) == (b"", 0)

    async def test_if_absent_does_not_touch_what_is_there(self, objects: Objects) -> None:
        first = await objects.put("a", b"first", IfAbsent(), metadata={"who": "1"})
        assert await objects.put("a", b"second", IfAbsent(), metadata={"who": "2"}) is None
        found = await objects.get("a")
        assert found is not None
        assert (found.body, found.head.etag, found.head.metadata) == (b"first", first, {"who": "1"})

    async def test_if_match_replaces_the_version_it_names_and_no_other(self, objects: Objects) -> None:
        first = await objects.put("a", b"first", Always())
        assert first is not None
        second = await objects.put("a", b"second", IfMatch(first))
        assert second not in (None, first)
        assert await objects.put("a", b"third", IfMatch(first)) is None
        found = await objects.get("a")
        assert found is not None
        assert found.body == b"second"

    async def test_if_match_makes_nothing_where_there_is_nothing(self, objects: Objects) -> None:
        etag = await objects.put("other", b"x", Always())
        assert etag is not None
        assert await objects.put("a", b"x", IfMatch(etag)) is None
        assert await objects.head("a") is None

    async def test_an_etag_is_of_the_body_alone(self, objects: Objects) -> None:
        first = await objects.put("a", b"same", Always(), metadata={"v": "1"})
        assert first is not None
        assert await objects.put("b", b"same", Always(), content_type="text/plain") == first
        assert await objects.put("a", b"same", IfMatch(first), metadata={"v": "2"}) == first
        head = await objects.head("a")
        assert head is not None
        assert (head.etag, head.metadata) == (first, {"v": "2"})
        assert await objects.put("a", b"other", Always()) != first

    async def test_list_is_in_byte_order_and_knows_what_head_knows(self, objects: Objects) -> None:
        shuffled = random.Random(2).sample(KEYS, len(KEYS))
        await asyncio.gather(*(objects.put(key, key.encode(), Always()) for key in shuffled))
        entries = await objects.list("")
        assert [entry.key for entry in entries] == KEYS
        for entry in entries:
            head = await objects.head(entry.key)
            assert head is not None
            assert (entry.etag, entry.size) == (head.etag, head.size)
            assert abs(entry.modified_ms - head.modified_ms) < 1000

    async def test_list_has_the_keys_with_the_prefix_after_the_one_named(self, objects: Objects) -> None:
        await asyncio.gather(*(objects.put(key, b"", Always()) for key in KEYS))
        for prefix in PREFIXES:
            under = [key for key in KEYS if key.startswith(prefix)]
            for after in ["", *under[:1], *under[-1:], "chunk/a%2Fb/~00", "root/%42", "a", "zzz"]:
                expected = [key for key in under if key > after]
                assert [entry.key for entry in await objects.list(prefix, after=after)] == expected, (prefix, after)
                first = await objects.list(prefix, after=after, limit=1)
                assert [entry.key for entry in first] == expected[:1], (prefix, after)

    async def test_list_returns_no_more_than_the_limit(self, objects: Objects) -> None:
        keys = [f"many/{number:04}" for number in range(25)]
        await asyncio.gather(*(objects.put(key, b"", Always()) for key in keys))
        for limit in (1, 2, 24, 25, 26):
            assert [entry.key for entry in await objects.list("many/", limit=limit)] == keys[:limit]

    async def test_what_was_deleted_is_gone_and_may_be_made_again(self, objects: Objects) -> None:
        await objects.put("a", b"1", Always())
        await objects.put("ab", b"2", Always())
        await objects.delete("a")
        assert await objects.get("a") is None
        assert [entry.key for entry in await objects.list("")] == ["ab"]
        assert await objects.put("a", b"3", IfAbsent()) is not None

    async def test_to_delete_what_is_not_there_is_no_error(self, objects: Objects) -> None:
        await objects.delete("nothing")

    async def test_an_object_is_stamped_with_the_time_of_its_writing(self, objects: Objects) -> None:
        before_ms = time.time() * 1000
        await objects.put("a", b"", Always())
        head = await objects.head("a")
        assert head is not None
        assert before_ms - 1000 <= head.modified_ms <= time.time() * 1000

    async def test_of_many_who_create_one_key_at_once_one_wins(self, objects: Objects) -> None:
        bodies = [f"racer {racer}".encode() for racer in range(RACERS)]
        etags = await asyncio.gather(*(objects.put("race", body, IfAbsent()) for body in bodies))
        winners = [body for body, etag in zip(bodies, etags, strict=True) if etag is not None]
        found = await objects.get("race")
        assert found is not None
        assert winners == [found.body]

    async def test_of_many_who_replace_one_version_at_once_one_wins(self, objects: Objects) -> None:
        first = await objects.put("race", b"first", Always())
        assert first is not None
        bodies = [f"racer {racer}".encode() for racer in range(RACERS)]
        etags = await asyncio.gather(*(objects.put("race", body, IfMatch(first)) for body in bodies))
        winners = [body for body, etag in zip(bodies, etags, strict=True) if etag is not None]
        found = await objects.get("race")
        assert found is not None
        assert winners == [found.body]

    async def test_writes_of_many_kinds_at_once_each_have_their_own_outcome(self, objects: Objects) -> None:
        first = await objects.put("old", b"old", Always())
        assert first is not None
        outcomes = await asyncio.gather(
            objects.put("new", b"new", IfAbsent()),
            objects.put("old", b"no", IfAbsent()),
            objects.put("old", b"no", IfMatch('"0"')),
            objects.put("always", b"yes", Always()),
            objects.delete("nothing"),
            *(objects.put(f"n/{number}", b"yes", IfAbsent()) for number in range(10)),
        )
        assert [outcome is not None for outcome in outcomes] == [True, False, False, True, False] + [True] * 10
        kept = await objects.get("old")
        assert kept is not None
        assert kept.body == b"old"

    async def test_a_key_that_is_too_long_is_refused_and_nothing_is_written(self, objects: Objects) -> None:
        with pytest.raises(StoreRefused, match="key"):
            await objects.put("k" * 1025, b"", IfAbsent())
        assert await objects.list("k") == []
