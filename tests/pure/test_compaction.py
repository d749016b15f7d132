"""Which links become a superset, and what it says; properties over any sequence of commits."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.chunk import Chunk, Kind
from storage.core.compaction import Grouping, Link, Trail, is_worth_it, link_of, merge
from storage.core.cuts import are_cuts
from storage.core.producers import Claim, Record

GROUPING = Grouping(chunks=3, groups=2, superset_bytes=60)


def chunk(index: int, position: int, length: int, kind: Kind = Kind.DATA) -> Chunk:
    claim = Claim("p", 0, index)
    return Chunk(
        position, position + length, kind, f"w{index}", index, index, False, claim, f"{index:03d}",
        {"p": Record(0, index, 0)}, "",
    )  # fmt: skip


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.booleans())
def test_the_chain_holds_the_same_bytes_however_it_is_merged(lengths: list[int], is_json: bool) -> None:
    trail = Trail(GROUPING)
    held: dict[int, tuple[Chunk, bytes]] = {}
    whole, at = b"", 0
    for index, length in enumerate(lengths):
        # A JSON message of n bytes counts n + 1.
        payload = bytes([97 + index % 26]) * (length - 1 if is_json else length)
        body = b"[" + payload + b"]" if is_json else payload
        whole += payload + b"," * is_json
        held[at] = chunk(index, at, length), body
        trail.add(link_of(held[at][0], len(body), "e", "t"))
        while due := trail.due():
            first, last = held[due[0].position][0], held[due[-1].position][0]
            superset, merged = merge([held.pop(link.position) for link in due], is_json=is_json)
            assert (superset.write_id, superset.position) == (first.write_id, first.position)
            told = msgspec.structs.replace(superset, position=0, write_id="", count=1)
            assert told == msgspec.structs.replace(last, position=0, write_id="", count=1)
            assert (superset.index - superset.count + 1) % GROUPING.chunks == 0
            assert len(merged) <= GROUPING.limit_bytes + 2 * len(due)
            held[superset.position] = superset, merged
            trail.replace(len(due), link_of(superset, len(merged), "e", "t"))
        at += length
    reached, index, read = 0, 0, b""
    for position in sorted(held):
        link, body = held[position]
        assert (position, link.index - link.count + 1) == (reached, index)
        read += body[1:-1] + b"," if is_json else body
        reached, index = link.next, link.index + 1
    assert (reached, read) == (at, whole)
    assert len(trail.links) < 3 + 2 * 8


@given(st.lists(st.integers(2, 40), min_size=3, max_size=60), st.integers(1, 90))
def test_a_superset_of_json_tells_some_places_where_messages_begin(lengths: list[int], apart: int) -> None:
    trail = Trail(GROUPING)
    held: dict[int, tuple[Chunk, bytes]] = {}
    at, begins = 0, set()
    for index, length in enumerate(lengths):
        begins.add(at)
        held[at] = chunk(index, at, length), b"[" + b"7" * (length - 1) + b"]"
        trail.add(link_of(held[at][0], length + 1, "e", "t"))
        while due := trail.due():
            superset, merged = merge([held.pop(link.position) for link in due], is_json=True, cut_bytes=apart)
            held[superset.position] = superset, merged
            trail.replace(len(due), link_of(superset, len(merged), "e", "t"))
        at += length
    for superset, body in held.values():
        places = [superset.position, *superset.cuts]
        assert begins.issuperset(places)
        assert all(later - one >= apart for one, later in pairwise(places))
        assert are_cuts(body, [cut - superset.position for cut in superset.cuts])
        # None is left out where there is room for one: pages are nearly full.
        longest = 2 * max(lengths) + apart
        assert superset.count == 1 or all(
            later - one < longest * 2 for one, later in pairwise([*places, superset.next])
        )


def link(first: int, count: int, position: int, size: int = 10, kind: Kind = Kind.DATA) -> Link:
    return Link(position, position + size, first, first + count - 1, 0, kind, size, "e", "t")


def test_a_trail_begins_at_a_group_and_ends_where_something_is_missing() -> None:
    trail = Trail(GROUPING)
    trail.add(link(1, 1, 10))
    assert not trail.links
    assert not trail.due()
    trail.add(link(3, 1, 30))
    trail.add(link(4, 1, 40))
    assert len(trail.links) == 2
    trail.add(link(5, 1, 51))  # its position does not follow
    assert not trail.links
    trail.add(link(6, 1, 60))
    trail.add(link(8, 1, 70))  # its index does not follow
    assert not trail.links


def test_a_group_that_an_empty_close_is_part_of_stays_as_it_is() -> None:
    trail = Trail(GROUPING)
    trail.add(link(0, 1, 0))
    trail.add(link(1, 1, 10))
    trail.add(link(2, 1, 20, 0, Kind.CLOSE))
    assert not trail.due()


@pytest.mark.parametrize(
    ("links", "worth"),
    [
        ([link(0, 1, 0, 20), link(1, 1, 20, 20), link(2, 1, 40, 20)], True),
        ([link(0, 1, 0, 70), link(1, 1, 70, 1), link(2, 1, 71, 1)], True),  # one large chunk among small ones
        ([link(0, 1, 0, 70), link(1, 1, 70, 70), link(2, 1, 140, 1)], False),  # more than a superset may hold
        ([link(0, 3, 0, 60), link(3, 3, 60, 10)], False),  # one has reached the size at which it ends
    ],
)
def test_a_group_is_worth_it_up_to_a_size(links: list[Link], worth: bool) -> None:
    assert is_worth_it(GROUPING, links) is worth


def test_a_group_that_is_not_worth_it_ends_the_trail() -> None:
    trail = Trail(GROUPING)
    for n in range(3):
        trail.add(link(n, 1, n * 100, 100))
    assert not trail.due()
    assert not trail.links


@pytest.mark.parametrize(
    "second",
    [chunk(1, 6, 5), chunk(2, 5, 5), chunk(1, 5, 4), chunk(1, 5, 5, Kind.CLOSE)],
    ids=["a gap", "an index is missing", "its body is too long", "a close"],
)
def test_what_does_not_follow_is_not_merged(second: Chunk) -> None:
    with pytest.raises(ValueError, match="is not the one that is to follow"):
        merge([(chunk(0, 0, 5), b"01234"), (second, b"56789")], is_json=False)
