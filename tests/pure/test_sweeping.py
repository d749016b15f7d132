"""What may go and what may not, a row each; and the cursor's round trip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.lineage import Segment
from storage.core.root import Config, Root, State
from storage.core.sweeping import (
    Covered,
    Cursor,
    DamagedCursor,
    Layers,
    Named,
    decode_cursor,
    encode_cursor,
    is_dead,
    is_dropped,
    is_marker_void,
    is_reclaimable,
)


def named(position: int, end: int, modified_ms: int = 0, size: int | None = None) -> Named:
    return Named(f"k{position}", position, end, end - position if size is None else size, modified_ms)


def root(generation: int, state: State) -> Root:
    lineage = (Segment("s", generation, 0, None),)
    return Root(generation, state, "c", "w", True, False, 0, Config("text/plain"), lineage)


@given(st.builds(Cursor, st.text(), st.text(), st.none() | st.integers(0, 2**53), st.integers(0, 2**53), st.text()))
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert decode_cursor(encode_cursor(cursor)) == cursor


def test_what_is_no_cursor_is_refused() -> None:
    with pytest.raises(DamagedCursor):
        decode_cursor(b"{")


@pytest.mark.parametrize(
    ("generation", "state", "of", "dead"),
    [
        (5, State.LIVE, 5, False),
        (5, State.SOFT, 5, False),
        (5, State.CREATING, 5, False),
        (5, State.DELETED, 5, True),
        (5, State.LIVE, 4, True),
        (5, State.CREATING, 4, True),
        (5, State.DELETED, 6, False),  # of a root that was read too early
    ],
)
def test_a_generation_is_dead_when_its_root_is_past_it(generation: int, state: State, of: int, dead: bool) -> None:
    assert is_dead(root(generation, state), of) is dead
    assert is_marker_void(root(generation, state), of) is dead


def test_what_lies_inside_is_told_from_what_follows() -> None:
    layers = Layers()
    chain, covered = layers.sort([named(0, 30), named(10, 20), named(20, 30), named(30, 30), named(31, 31)])
    assert [chunk.position for chunk in chain] == [0, 30, 31]  # an empty close and a tombstone are no part of it
    assert [(each.chunk.position, each.by.position) for each in covered] == [(10, 0), (20, 0)]
    assert layers.sort([named(40, 70), named(60, 80)])[0][1].position == 60  # it reaches further: nothing holds it


@pytest.mark.parametrize(
    ("newest", "chunk_ms", "superset_ms", "goes"),
    [
        ("k90", 5, 5, True),
        ("k10", 5, 5, False),  # a cold writer would take what is before it for the tail
        ("k90", 10, 5, False),
        ("k90", 5, 10, False),
    ],
)
def test_an_intermediate_goes_when_it_and_its_superset_are_old(
    newest: str, chunk_ms: int, superset_ms: int, goes: bool
) -> None:
    covered = Covered(named(10, 20, chunk_ms), named(0, 30, superset_ms))
    assert is_reclaimable(covered, newest, 10) is goes


@pytest.mark.parametrize(
    ("chunk", "retained", "newest", "goes"),
    [
        (named(10, 20), 20, "k90", True),
        (named(10, 20), 19, "k90", False),
        (named(10, 20), 20, "k10", False),
        (named(10, 20, modified_ms=10), 20, "k90", False),
        (named(20, 20), 20, "k90", False),  # a close
    ],
)
def test_a_chunk_is_dropped_when_it_is_old_and_wholly_before_what_is_kept(
    chunk: Named, retained: int, newest: str, goes: bool
) -> None:
    assert is_dropped(chunk, retained, newest, 10) is goes
