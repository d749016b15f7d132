"""Patterns of subscriptions: section 6.2."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.glob import literal_prefix, matches


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("events/*", "events/a", True),
        ("events/*", "events", False),
        ("events/*", "events/a/b", False),
        ("events/*", "events//a", True),
        ("events/*", "other/a", False),
        ("events/**", "events", True),
        ("events/**", "events/a/b/c", True),
        ("events/**", "event", False),
        ("**", "anything/at/all", True),
        ("*", "one", True),
        ("*", "one/two", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/b/c", False),
        ("a/**/*/z", "a/z", False),
        ("a/**/*/z", "a/b/z", True),
        ("**/x/**", "x", True),
        ("**/x/**", "a/x/b", True),
        ("exact/path", "exact/path", True),
        ("exact/path", "exact/path/more", False),
        ("a/%2A", "a/*", True),
        ("a/%2A", "a/%2A", True),
        ("a/%2A", "a/b", False),
        ("par*", "part", False),
    ],
)
def test_a_star_is_one_segment_and_two_are_any_number(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


segments = st.sampled_from(["a", "b", "*", "**"])


@given(st.lists(segments, min_size=1, max_size=6), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=6))
def test_matching_agrees_with_a_regular_expression(pattern: list[str], path: list[str]) -> None:
    text = "".join({"*": "/[^/]+", "**": "(?:/[^/]+)*"}.get(segment, "/" + segment) for segment in pattern)
    expected = re.fullmatch(text, "".join("/" + segment for segment in path)) is not None
    assert matches("/".join(pattern), "/".join(path)) is expected


@given(st.lists(segments, min_size=1, max_size=5), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5))
def test_whatever_matches_begins_with_the_literal_prefix(pattern: list[str], path: list[str]) -> None:
    if matches("/".join(pattern), "/".join(path)):
        assert "/".join(path).startswith(literal_prefix("/".join(pattern)))


def test_the_literal_prefix_ends_where_paths_may_differ() -> None:
    assert literal_prefix("events/*") == "events/"
    assert literal_prefix("events/**") == "events"
    assert literal_prefix("a/b/c") == "a/b/c"
    assert literal_prefix("a/%2A/c") == "a"
    assert literal_prefix("*") == ""


def test_many_stars_are_no_way_to_keep_the_server_busy() -> None:
    assert not matches("/".join(["**", "a"] * 30), "/".join(["a"] * 200 + ["b"]))
