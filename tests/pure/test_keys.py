"""The names of objects."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core import keys
from storage.core.offset import LARGEST

numbers = st.integers(0, LARGEST)
raw_paths = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(
    st.sampled_from("abz/%2F2f41~-._ üñ"), max_size=60
)


@given(raw_paths)
def test_to_normalise_twice_is_to_normalise_once(raw: str) -> None:
    path = keys.normalise_path(raw)
    assert keys.normalise_path("/" + path) == path
    assert path.isascii()


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/chat/42", "chat/42"),
        ("chat/42", "chat/42"),
        ("/a%2fb", "a%2Fb"),
        ("/%61%7e%2D", "a~-"),
        ("/a b", "a%20b"),
        ("/ü", "%C3%BC"),
        ("/%c3%bc", "%C3%BC"),
        ("/100%", "100%25"),
        ("/a%zz", "a%25zz"),
        ("//a", "/a"),
        ("/a:b@c!$&'()*+,;=", "a:b@c!$&'()*+,;="),
    ],
)
def test_escapes_are_normalised(raw: str, path: str) -> None:
    assert keys.normalise_path(raw) == path


def test_an_escaped_slash_is_not_a_slash() -> None:
    assert keys.encode_path(keys.normalise_path("/a%2Fb")) != keys.encode_path(keys.normalise_path("/a/b"))


@given(raw_paths)
def test_a_path_is_one_segment_and_can_be_told_from_it(raw: str) -> None:
    path = keys.normalise_path(raw)
    segment = keys.encode_path(path)
    assert re.fullmatch(r"[A-Za-z0-9\-._~%]+", segment)
    assert segment not in (".", "..")
    assert keys.decode_path(segment) == path


def test_a_path_may_be_empty_or_made_of_dots() -> None:
    assert len({keys.encode_path(path) for path in ("", ".", "..", "...", "%25", "%2E")}) == 6


def test_the_longest_keys_of_the_longest_path_are_within_the_limit() -> None:
    path = "a" * keys.PATH_BYTES
    assert len(keys.marker_key(path, LARGEST, path, LARGEST)) <= keys.KEY_BYTES
    table = f"{keys.complement(0)}/{'f' * 24}"
    assert len(keys.states_of_generation(path, LARGEST) + table) <= keys.KEY_BYTES
    with pytest.raises(keys.PathTooLong):
        keys.root_key(path + "a")


@given(numbers, numbers)
def test_later_numbers_sort_first(one: int, other: int) -> None:
    assert (keys.complement(one) < keys.complement(other)) == (one > other)


@given(raw_paths.filter(lambda raw: len(raw) < 20), numbers, numbers)
def test_a_chunks_key_tells_its_generation_and_position(raw: str, generation: int, position: int) -> None:
    path = keys.normalise_path(raw)
    prefix = keys.chunks_of_generation(path, generation)
    assert prefix.startswith(keys.chunks_of_path(path))
    assert keys.parse_chunk_key(prefix + keys.complement(position)) == (generation, position)


@given(raw_paths, raw_paths)
def test_no_path_is_found_under_the_prefix_of_another(one: str, other: str) -> None:
    one, other = keys.normalise_path(one), keys.normalise_path(other)
    if one != other:
        assert not keys.chunks_of_path(one).startswith(keys.chunks_of_path(other))


def test_every_kind_of_object_has_a_place_of_its_own() -> None:
    assert keys.root_key("a/b") == "root/a%2Fb"
    assert keys.touch_key("a/b", 7) == "touch/a%2Fb/0000000000000007"
    assert keys.states_of_generation("a", 7) == "state/a/9999999999999992/"
    marker = keys.marker_key("a", 7, "f", 8)
    assert marker.startswith(keys.markers_of("a", 7))
    assert marker.endswith("/0000000000000008")
    assert marker != keys.marker_key("a", 7, "g", 8)
