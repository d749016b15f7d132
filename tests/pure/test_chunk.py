"""A chunk as the metadata of its object."""

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storage.core.chunk import METADATA_BYTES, Chunk, DamagedChunk, Kind, decode_chunk, encode_chunk, fits
from storage.core.offset import LARGEST
from storage.core.producers import ENCODED_BYTES, Claim, Record, quote_id

numbers = st.integers(0, 2**53 - 1)
ids = st.text(max_size=30).filter(lambda text: len(quote_id(text)) <= ENCODED_BYTES)
raw = st.builds(
    Chunk,
    position=st.integers(0, LARGEST // 2),
    next=st.integers(LARGEST // 2, LARGEST),
    kind=st.sampled_from(Kind),
    write_id=st.text(st.sampled_from("0123456789abcdef"), min_size=24, max_size=24),
    index=numbers,
    at_ms=numbers,
    closed=st.booleans(),
    closer=st.none() | st.builds(Claim, ids, numbers, numbers),
    sequence=st.none() | st.text(max_size=30),
    producers=st.dictionaries(ids, st.builds(Record, numbers, numbers, st.integers(0, 10**8)), max_size=8),
    table=st.sampled_from(["", f"{9:016d}/{'a' * 24}"]),
    count=st.integers(1, 10_000),
)
places = st.lists(st.integers(0, 2**26), unique=True, max_size=64).map(sorted)
chunks = raw | st.builds(
    lambda chunk, cuts: msgspec.structs.replace(chunk, cuts=tuple(chunk.position + cut for cut in cuts)), raw, places
)


@given(chunks, st.integers(0, LARGEST))
def test_metadata_tells_the_chunk(chunk: Chunk, generation: int) -> None:
    metadata = encode_chunk(chunk, generation)
    told = decode_chunk(chunk.position, metadata)
    if told != chunk:  # there was no room for what can be found without being told
        assert told == msgspec.structs.replace(chunk, cuts=())
        assert not fits({**metadata, "cuts": ",".join(f"{cut - chunk.position:x}" for cut in chunk.cuts)})
    for name, value in metadata.items():
        assert name == name.lower()
        assert value
        assert value.isascii()
        assert value.isprintable()


@given(chunks)
def test_what_fits_is_below_the_limit_of_every_store(chunk: Chunk) -> None:
    metadata = encode_chunk(chunk, 1)
    size = sum(len(name) + len(value) for name, value in metadata.items())
    assert fits(metadata) == (size <= METADATA_BYTES)
    assert METADATA_BYTES < 2048


def test_a_chunk_without_its_producers_fits_with_the_longest_closer_and_sequence() -> None:
    longest = "x" * ENCODED_BYTES
    chunk = Chunk(
        0, LARGEST, Kind.DATA, "a" * 24, 2**53, 2**53, True, Claim(longest, 2**53, 2**53), longest, {}, "t" * 41
    )
    assert fits(encode_chunk(chunk, LARGEST))


def test_some_thirty_producers_fit_beside_the_rest() -> None:
    producers = {f"producer-{n:04d}-abcdef": Record(3, 100_000, 30_000_000) for n in range(36)}
    assert fits(encode_chunk(Chunk(0, 9, Kind.DATA, "a" * 24, 7, 7, False, None, "0007", producers, ""), LARGEST))


def test_only_an_empty_close_is_followed_at_another_key_than_its_end() -> None:
    chunk = Chunk(5, 5, Kind.CLOSE, "w", 0, 0, True, None, None, {}, "")
    assert chunk.successor == 6
    assert msgspec.structs.replace(chunk, kind=Kind.DATA, next=9).successor == 9
    assert msgspec.structs.replace(chunk, kind=Kind.TOMBSTONE).successor == 5


def test_a_tombstone_after_an_empty_close_is_of_the_position_before_its_key() -> None:
    chunk = Chunk(5, 5, Kind.TOMBSTONE, "w", 1, 0, True, None, None, {}, "")
    assert decode_chunk(6, encode_chunk(chunk, 1)) == chunk


@given(chunks, st.sampled_from(["next", "kind", "write-id", "index", "at"]))
def test_metadata_that_lacks_something_is_damaged(chunk: Chunk, name: str) -> None:
    metadata = encode_chunk(chunk, 1)
    del metadata[name]
    with pytest.raises(DamagedChunk, match=name):
        decode_chunk(0, metadata)


@given(chunks, st.sampled_from(["next", "kind", "index", "at", "closer", "producers", "count"]), st.text(max_size=5))
def test_metadata_that_is_not_what_it_should_be_is_damaged(chunk: Chunk, name: str, text: str) -> None:
    assume(not text.strip().isdecimal() and "_" not in text and text.strip("+- "))
    metadata = {**encode_chunk(chunk, 1), name: text}
    with pytest.raises(DamagedChunk):
        decode_chunk(0, metadata)
