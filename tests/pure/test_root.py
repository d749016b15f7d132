"""The root of a stream, and what it depends on."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.lineage import Segment
from storage.core.marker import DamagedMarker, Marker, decode_marker, encode_marker
from storage.core.root import (
    Config,
    DamagedRoot,
    Origin,
    Root,
    State,
    decode_root,
    encode_root,
    media_type,
    next_generation,
)

numbers = st.integers(0, 10**16 - 1)
texts = st.text(max_size=20)
segments = st.builds(Segment, texts, numbers, numbers, st.none() | numbers)
roots = st.builds(
    Root,
    generation=numbers,
    state=st.sampled_from(State),
    creation=texts,
    write_id=texts,
    born=st.booleans(),
    first=st.booleans(),
    created_ms=numbers,
    config=st.builds(Config, texts, st.none() | numbers, st.none() | numbers, st.none() | texts),
    lineage=st.lists(segments, min_size=1, max_size=4).map(tuple),
    origin=st.none() | st.builds(Origin, texts, numbers, numbers, numbers, st.booleans()),
    retained=numbers,
)


@given(roots)
def test_a_root_is_read_as_it_was_written(root: Root) -> None:
    assert decode_root(encode_root(root)) == root


@given(roots, texts)
def test_another_write_id_is_another_body(root: Root, write_id: str) -> None:
    other = msgspec.structs.replace(root, write_id=write_id)
    assert (encode_root(other) == encode_root(root)) == (write_id == root.write_id)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"generation":1}'])
def test_what_is_no_root_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedRoot):
        decode_root(body)


@given(roots)
def test_a_root_without_a_lineage_is_damaged(root: Root) -> None:
    with pytest.raises(DamagedRoot, match="lineage"):
        decode_root(encode_root(msgspec.structs.replace(root, lineage=())))


@given(roots)
def test_the_segment_that_grows_is_the_last(root: Root) -> None:
    assert root.own is root.lineage[-1]


@pytest.mark.parametrize(
    ("content_type", "media", "is_json"),
    [
        ("application/json", "application/json", True),
        ("Application/JSON ; charset=utf-8", "application/json", True),
        ("text/plain; charset=utf-8", "text/plain", False),
        ("application/json-seq", "application/json-seq", False),
        ("", "", False),
    ],
)
def test_parameters_and_case_of_a_content_type_do_not_count(content_type: str, media: str, is_json: bool) -> None:
    assert media_type(content_type) == media
    root = Root(1, State.LIVE, "c", "w", True, False, 0, Config(content_type), (Segment("s", 1, 0, None),))
    assert root.is_json is is_json


@given(st.integers(0, 10**12), st.lists(numbers, max_size=4))
def test_a_generation_is_above_all_earlier_ones_and_not_below_the_clock(now_ms: int, earlier: list[int]) -> None:
    generation = next_generation(now_ms, *earlier)
    assert generation >= max(1, now_ms * 1000)
    assert all(generation > each for each in earlier)
    assert generation in {1, now_ms * 1000, *(each + 1 for each in earlier)}


@given(texts, numbers)
def test_a_marker_is_read_as_it_was_written(path: str, generation: int) -> None:
    assert decode_marker(encode_marker(Marker(path, generation))) == Marker(path, generation)


def test_what_is_no_marker_is_damaged() -> None:
    with pytest.raises(DamagedMarker):
        decode_marker(b"[]")
