"""`check` finds each kind of damage and says where; `copy` moves a deployment and says if it came through whole."""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from storage.check import Checked, Checker
from storage.copying import Copier
from storage.core import keys
from storage.core.compaction import Grouping
from storage.core.producers import Claim
from storage.core.root import Config, Root, decode_root, encode_root
from storage.creation import Creation
from storage.errors import UnavailableError
from storage.forks import Fork
from storage.log import Append, Log, LogSettings, Offset, Page, Sentinel
from storage.objects import Always, Objects, StoreUnavailable
from storage.sqlite import SqliteObjects
from tests.bucket.counting import CountingObjects

SETTINGS = LogSettings(grouping=Grouping(chunks=4, groups=2, superset_bytes=1000, cut_bytes=20))
JSON = "application/json"


@pytest.fixture
async def store() -> AsyncIterator[SqliteObjects]:
    """A store with everything in it: long streams, forks, tables, closed and deleted ones."""
    objects = await SqliteObjects.open_memory()
    log = Log(objects, SETTINGS)
    await log.create("text", Creation(Config("text/plain"), b"0123456789"))
    for n in range(1, 11):
        await log.append("text", Append(b"0123456789", media_type="text/plain", sequence=f"{n:03d}"))
    await log.create("json", Creation(Config(JSON), b'{"n":0}'))
    for n in range(1, 8):
        await log.append("json", Append(b'{"n":%d}' % n, media_type=JSON))
    await log.append("json", Append(b"", close=True))
    await log.create("tables", Creation(Config("text/plain")))
    for n in range(12):
        await log.append("tables", Append(b"x", media_type="text/plain", claim=Claim(f"{n:0300d}", 0, 0)))
    source = await generation(objects, "text")
    await log.create("fork", Creation(Config(""), fork=Fork("text", Offset(source, 55))))
    await log.append("fork", Append(b"more", media_type="text/plain"))
    await log.create("soft", Creation(Config("text/plain"), b"kept for a fork"))
    await log.create("fork of soft", Creation(Config(""), fork=Fork("soft")))
    await log.delete("soft")
    await log.create("gone", Creation(Config("text/plain"), b"x"))
    await log.delete("gone")
    await log.aclose()
    yield objects
    await objects.aclose()


async def root(objects: Objects, path: str) -> Root:
    found = await objects.get(keys.root_key(path))
    assert found is not None
    return decode_root(found.body)


async def generation(objects: Objects, path: str) -> int:
    return (await root(objects, path)).generation


async def chunk(objects: Objects, path: str, position: int) -> str:
    return keys.chunks_of_generation(path, await generation(objects, path)) + keys.complement(position)


async def rewrite(objects: Objects, key: str, body: Callable[[bytes], bytes] = bytes, **changed: str | None) -> str:
    found = await objects.get(key)
    assert found is not None
    metadata = {**found.head.metadata, **{name.replace("_", "-"): value for name, value in changed.items()}}
    kept = {name: value for name, value in metadata.items() if value is not None}
    await objects.put(key, body(found.body), Always(), content_type=found.head.content_type, metadata=kept)
    return key


async def reroot(objects: Objects, path: str, **changed: object) -> str:
    new = msgspec.structs.replace(await root(objects, path), **changed)
    await objects.put(keys.root_key(path), encode_root(new), Always())
    return keys.root_key(path)


async def remove(objects: Objects, key: str) -> str:
    await objects.delete(key)
    return key


async def test_a_sound_store_has_no_findings(store: SqliteObjects) -> None:
    checked = await Checker(store).check()
    assert checked.findings == []
    assert checked.streams == 7
    assert checked.objects == 35


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


async def remove_raw(store: SqliteObjects) -> str:
    await store.delete(await chunk(store, "text", 90))
    return await chunk(store, "text", 100)


async def remove_superset(store: SqliteObjects) -> str:
    key = await chunk(store, "text", 0)
    await store.delete(key)
    return await chunk(store, "text", 10)


async def remove_first(store: SqliteObjects) -> str:
    await store.delete(await chunk(store, "fork", 55))
    return keys.chunks_of_generation("soft", await generation(store, "soft"))


async def remove_table(store: SqliteObjects) -> str:
    [entry, *_] = await store.list("state/")
    await store.delete(entry.key)
    return keys.chunks_of_generation("tables", await generation(store, "tables"))


async def extra_beyond_the_end(store: SqliteObjects) -> str:
    found = await store.get(await chunk(store, "text", 100))
    assert found is not None
    key = await chunk(store, "text", 200)
    await store.put(key, found.body, Always(), content_type="text/plain", metadata=found.head.metadata)
    return key


async def after_the_close(store: SqliteObjects) -> str:
    found = await store.get(await chunk(store, "json", 56))
    assert found is not None
    key = await chunk(store, "json", 65)
    meta = {**found.head.metadata, "next": f"{await generation(store, 'json'):016d}_{73:016d}"}
    await store.put(key, found.body, Always(), content_type=JSON, metadata=meta)
    return key


Damage = Callable[[SqliteObjects], Awaitable[str]]

DAMAGES: dict[str, tuple[Damage, str]] = {
    "a chunk is removed": (remove_raw, "nothing stands at 90"),
    "a superset is removed": (remove_superset, "the chain begins with it"),
    "a byte is changed in a chunk": (lambda s: _at(s, "text", 90, flip(3)), "its bytes have changed"),
    "a byte is changed in a superset": (lambda s: _at(s, "text", 0, flip(33)), "its bytes have changed"),
    "a byte is changed inside a superset, and its checksum too": (
        lambda s: _at(s, "text", 30, flip(3), crc=None),
        "holds other bytes in its place",
    ),
    "a superset is too short": (lambda s: _at(s, "text", 0, lambda body: body[:-10]), "its body has 70"),
    "a superset is too short and says so": (
        lambda s: _shortened(s),
        "the end of the superset at 0",
    ),
    "a chunk is too long": (lambda s: _at(s, "text", 100, lambda body: body + b"x"), "its body has 11"),
    "an index is wrong": (lambda s: _at(s, "text", 90, index="7"), "9 chunks are before it"),
    "a count is wrong": (lambda s: _at(s, "text", 0, count="5"), "it is the first chunk, and its index is 3"),
    "the state at a superset's end is wrong": (lambda s: _other_state(s), "tells of another state"),
    "metadata are missing": (lambda s: _at(s, "text", 80, kind=None), "its metadata cannot be read"),
    "the generation in the metadata is wrong": (
        lambda s: _at(s, "text", 100, next=f"{7:016d}_{110:016d}"),
        "of another generation",
    ),
    "the first chunk is another creation's": (lambda s: _at(s, "text", 0, write_id="other"), "another first chunk"),
    "JSON is no array": (lambda s: _at(s, "json", 0, lambda body: b"x" + body[1:], crc=None), "it is not an array"),
    "a cut is inside a message": (lambda s: _at(s, "json", 0, cuts="18,2f"), "it names places where no message begins"),
    "something stands beyond the end": (extra_beyond_the_end, "nothing stands at 110"),
    "something follows a close": (after_the_close, "it follows the end of a closed stream"),
    "a producer table is missing": (remove_table, "the producer table that it names is missing"),
    "a root cannot be read": (
        lambda s: _put(s, "root/text", b"{"),
        "it is not a root",
    ),
    "a root has another generation": (
        lambda s: reroot(s, "text", generation=5),
        "its own chunks are said to be",
    ),
    "a lineage has a gap": (lambda s: _gap(s), "its lineage has a gap at 50"),
    "what a fork inherited is missing": (lambda s: _without_source(s), "what it inherited at 0 is missing"),
    "a marker is missing": (lambda s: _without_marker(s), "the marker that says so is missing"),
    "a stream lost its root": (lambda s: _without_root(s), "no root speaks of this path"),
    "a content type is wrong": (lambda s: _typed(s), "its content type is text/html"),
    "a close says that the stream is open": (lambda s: _at(s, "json", 64, closed=None), "says that the stream is open"),
    "a close holds something": (lambda s: _full_close(s), "it is a close, and says that it holds something"),
    "something follows a tombstone": (lambda s: _undead(s), "it follows a tombstone"),
    "retention is beyond the end": (lambda s: reroot(s, "text", retained=1000), "it keeps what follows 1000"),
}


async def _at(
    store: SqliteObjects, path: str, at: int, body: Callable[[bytes], bytes] = bytes, **changed: str | None
) -> str:
    return await rewrite(store, await chunk(store, path, at), body, **changed)


async def _shortened(store: SqliteObjects) -> str:
    number = await generation(store, "text")
    await _at(store, "text", 0, lambda body: body[:75], crc=None, next=f"{number:016d}_{75:016d}")
    return await chunk(store, "text", 70)


async def _other_state(store: SqliteObjects) -> str:
    await _at(store, "text", 0, seq="=004")
    return await chunk(store, "text", 70)


async def _without_root(store: SqliteObjects) -> str:
    await store.delete("root/tables")
    return "chunk/tables/"


async def _typed(store: SqliteObjects) -> str:
    key = await chunk(store, "text", 90)
    found = await store.get(key)
    assert found is not None
    await store.put(key, found.body, Always(), content_type="text/html", metadata=found.head.metadata)
    return key


async def _full_close(store: SqliteObjects) -> str:
    return await _at(store, "json", 64, next=f"{await generation(store, 'json'):016d}_{69:016d}")


async def _undead(store: SqliteObjects) -> str:
    found = await store.get(await chunk(store, "text", 100))
    assert found is not None
    number, metadata = await generation(store, "text"), dict(found.head.metadata)
    tombstone = {**metadata, "kind": "tombstone", "next": f"{number:016d}_{110:016d}", "index": "11", "crc": "00000000"}
    await store.put(await chunk(store, "text", 110), b"", Always(), metadata=tombstone)
    key = await chunk(store, "text", 120)
    await store.put(key, found.body, Always(), content_type="text/plain", metadata=metadata)
    return key


async def _put(store: SqliteObjects, key: str, body: bytes) -> str:
    await store.put(key, body, Always())
    return key


async def _gap(store: SqliteObjects) -> str:
    lineage = (await root(store, "fork")).lineage
    return await reroot(store, "fork", lineage=(msgspec.structs.replace(lineage[0], high=50), *lineage[1:]))


async def _without_source(store: SqliteObjects) -> str:
    await store.delete(await chunk(store, "soft", 0))
    return "root/fork%20of%20soft"


async def _without_marker(store: SqliteObjects) -> str:
    [entry, *_] = await store.list("fork/soft/")
    return await remove(store, entry.key)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_found_and_its_place_is_told(store: SqliteObjects, damage: str) -> None:
    inflict, what = DAMAGES[damage]
    where = await inflict(store)
    findings = (await Checker(store).check()).findings
    assert any(_is_about(finding.key, where) and what in finding.what for finding in findings), findings


def _is_about(key: str, where: str) -> bool:
    return key.startswith(where) or where.startswith(key)


async def test_one_stream_is_checked_alone(store: SqliteObjects) -> None:
    await store.delete(await chunk(store, "text", 90))
    assert (await Checker(store).check("json")).findings == []
    assert len((await Checker(store).check("text")).findings) == 1
    [finding] = (await Checker(store).check("nowhere")).findings
    assert "there is no such stream" in finding.what


# -- copying


async def everything(store: Objects) -> dict[str, tuple[bytes, dict[str, str], str]]:
    found = {}
    for entry in await store.list(""):
        there = await store.get(entry.key)
        assert there is not None
        found[entry.key] = there.body, dict(there.head.metadata), there.head.content_type
    return found


async def test_a_copy_is_the_same_and_goes_on_as_a_log(store: SqliteObjects) -> None:
    target = await SqliteObjects.open_memory()
    phases: list[str] = []
    copied = await Copier(store, target, lambda phase, done, total: phases.append(phase)).copy()
    assert copied.differences == []
    assert await everything(target) == await everything(store)
    assert list(dict.fromkeys(phases)) == ["count", "copy", "compare"]
    checked: Checked = await Checker(target).check()
    assert checked.findings == []
    log = Log(target, SETTINGS)
    await log.append("fork", Append(b"!", media_type="text/plain"))
    page = await log.read("fork", Sentinel.START)
    assert isinstance(page, Page)
    assert page.body == (b"0123456789" * 6)[:55] + b"more!"
    await log.aclose()
    await target.aclose()


class Failing(CountingObjects):
    """A store that fails for good after so many writes."""

    left = 10**6

    async def put(self, key, body, condition, **more):  # type: ignore[no-untyped-def]
        if self.left == 0:
            raise StoreUnavailable("it is gone")
        self.left -= 1
        return await super().put(key, body, condition, **more)


async def test_a_copy_that_was_interrupted_goes_on_and_no_root_was_there_before_its_chunks(
    store: SqliteObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.copying.TRIES", 1)
    target = Failing(await SqliteObjects.open_memory())
    target.left = 20
    with pytest.raises(UnavailableError):
        await Copier(store, target).copy()
    assert not await target.list("root/")
    target.left = 10**6
    target.clear()
    copied = await Copier(store, target).copy()
    assert copied.present > 0
    assert copied.differences == []
    assert await everything(target) == await everything(store)
    order = target.keys("put")
    assert [key.startswith("root/") for key in order] == sorted(key.startswith("root/") for key in order)
    await target.aclose()


async def test_what_differs_after_a_copy_is_told(store: SqliteObjects) -> None:
    target = await SqliteObjects.open_memory()
    changed = await chunk(store, "text", 90)
    found = await store.get(changed)
    assert found is not None
    await target.put(changed, flip(0)(found.body), Always(), content_type="text/plain", metadata=found.head.metadata)
    await target.put("root/other", b"{}", Always())
    copied = await Copier(store, target).copy()
    assert sorted(copied.differences) == sorted(
        [f"{changed}: its bytes differ", "root/other: it is in the target only"]
    )
    await target.aclose()


async def test_every_chunk_says_the_checksum_of_its_bytes(store: SqliteObjects) -> None:
    entries = await store.list("chunk/")
    heads = [await store.head(entry.key) for entry in entries]
    assert all(head is not None and len(head.metadata["crc"]) == 8 for head in heads)
