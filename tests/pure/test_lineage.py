"""Which generation holds which positions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.lineage import Lineage, Segment, fork_at, position_of, segment_at, token_at
from storage.core.offset import Offset

OWN: Lineage = (Segment("s", 1, 0, None),)


@st.composite
def lineages(draw: st.DrawFn) -> Lineage:
    """Draw a stream that was forked, and forked again, at any of its positions."""
    lineage = OWN
    for generation in range(2, draw(st.integers(2, 6))):
        lineage = fork_at(lineage, draw(st.integers(0, 50)), f"f{generation}", generation)
    return lineage


@given(lineages(), st.integers(0, 60))
def test_each_position_is_in_one_segment(lineage: Lineage, position: int) -> None:
    holders = [s for s in lineage if s.low <= position and (s.high is None or position < s.high)]
    assert [segment_at(lineage, position)] == holders


@given(lineages())
def test_segments_follow_each_other_without_a_gap(lineage: Lineage) -> None:
    assert lineage[0].low == 0
    for one, following in itertools.pairwise(lineage):
        assert one.high == following.low > one.low
    assert lineage[-1].high is None


@given(lineages(), st.integers(0, 60))
def test_the_token_of_a_position_names_that_position(lineage: Lineage, position: int) -> None:
    assert position_of(lineage, token_at(lineage, position)) == position


@given(lineages(), st.integers(0, 60))
def test_a_fork_hands_out_its_sources_tokens_up_to_the_fork_point(lineage: Lineage, position: int) -> None:
    fork = fork_at(lineage, position, "f", 100)
    for at in range(position + 1):
        if at < position or position > 0:
            assert token_at(fork, at) == token_at(lineage, at)
    assert token_at(fork, position + 1) == Offset(100, position + 1)


@given(lineages(), st.integers(0, 60), st.integers(0, 60))
def test_a_fork_of_a_fork_inherits_nothing_beyond_where_it_left(lineage: Lineage, first: int, second: int) -> None:
    fork = fork_at(fork_at(lineage, first, "f", 100), second, "g", 101)
    assert fork[-1] == Segment("g", 101, second, None)
    for at in range(second):
        assert segment_at(fork, at).generation == (segment_at(lineage, at).generation if at < first else 100)


@pytest.mark.parametrize(
    ("offset", "position"),
    [
        (Offset(1, 0), 0),
        (Offset(1, 7), 7),
        (Offset(1, 8), None),
        (Offset(2, 6), None),
        (Offset(2, 7), 7),
        (Offset(2, 99), 99),
        (Offset(3, 7), None),
    ],
)
def test_an_offset_is_good_only_in_its_generations_range(offset: Offset, position: int | None) -> None:
    assert position_of(fork_at(OWN, 7, "f", 2), offset) == position


def test_a_lineage_that_does_not_end_open_is_none() -> None:
    assert segment_at((Segment("s", 1, 0, 5),), 6) == Segment("s", 1, 0, 5)  # whose chunks will say what is wrong
    with pytest.raises(AssertionError):
        token_at((Segment("s", 1, 0, 5),), 6)
