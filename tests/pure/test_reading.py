"""Pages, planned and cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.json_mode import boundaries
from storage.core.reading import LONG, Named, NotABoundary, Piece, cut, join, plan_page

bodies = st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=6)
arrays = st.lists(st.lists(st.integers(0, 10**5), min_size=1, max_size=5), min_size=1, max_size=5)


def pieces_of(chunks: list[bytes], sizes: list[int], low: int, high: int, room: int, is_json: bool) -> list[Piece]:
    """Cut a page of `room` out of chunks that follow each other."""
    pieces: list[Piece] = []
    start = 0
    at = low
    for body, size in zip(chunks, sizes, strict=True):
        end = start + size
        if start <= at < end and at - low < room and at < high:
            piece = cut(body, start, at, min(end, high), room - (at - low), is_json=is_json)
            pieces.append(piece)
            at = piece.high
            if at < end:
                break
        start = end
    return pieces


@given(bodies, st.data())
def test_a_page_of_bytes_is_what_stands_there(chunks: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(chunks)
    low = data.draw(st.integers(0, len(whole) - 1))
    high = data.draw(st.integers(low + 1, len(whole)))
    room = data.draw(st.integers(-2, len(whole)))
    pieces = pieces_of(chunks, list(map(len, chunks)), low, high, room, is_json=False) or [
        cut(whole, 0, low, high, room, is_json=False)
    ]
    assert b"".join(join(pieces, is_json=False)) == whole[low : min(high, low + max(room, 1))]


@given(arrays, st.data())
def test_a_page_of_json_is_whole_messages(chunks: list[list[int]], data: st.DataObject) -> None:
    encoded = [json.dumps(chunk, separators=(",", ":")).encode() for chunk in chunks]
    sizes = [len(body) - 1 for body in encoded]
    messages = [message for chunk in chunks for message in chunk]
    starts = boundaries(json.dumps(messages, separators=(",", ":")).encode())
    first = data.draw(st.integers(0, len(messages) - 1))
    last = data.draw(st.integers(first + 1, len(messages)))
    room = data.draw(st.integers(1, starts[-1] + 5))
    pieces = pieces_of(encoded, sizes, starts[first], starts[last], room, is_json=True)
    page = json.loads(b"".join(join(pieces, is_json=True)))
    assert page == messages[first : first + len(page)]
    end = starts[first + len(page)]
    assert pieces[-1].high == end <= starts[last]
    # Of each chunk that is begun one message at least is taken: a page is over its room by less than its last message.
    assert len(page) == 1 or starts[first + len(page) - 1] - starts[first] < room
    if end < starts[last]:
        assert starts[first + len(page) + 1] - starts[first] > room, "the next one would have had room"


@pytest.mark.parametrize("low", [1, 3, 4, 6])
def test_no_page_begins_inside_a_message(low: int) -> None:
    with pytest.raises(NotABoundary):
        cut(b"[1,22,333]", 0, low, 9, 100, is_json=True)


def test_one_message_is_taken_however_little_room_there_is() -> None:
    piece = cut(b"[1,22,333]", 10, 12, 19, 0, is_json=True)
    assert join([piece], is_json=True) == (b"[22]",)
    assert piece.high == 15


def test_an_inherited_chunk_is_clipped_at_the_fork_point() -> None:
    piece = cut(b"[1,22,333]", 0, 0, 5, 100, is_json=True)
    assert join([piece], is_json=True) == (b"[1,22]",)
    assert join([cut(b"abcdef", 0, 1, 3, 100, is_json=False)], is_json=False) == (b"bc",)


def test_a_page_without_pieces_is_empty() -> None:
    assert join([], is_json=False) == (b"",)
    assert join([], is_json=True) == (b"[]",)


def test_a_whole_chunk_is_not_copied() -> None:
    body = b"x" * LONG
    assert join([cut(body, 7, 7, 7 + LONG, LONG, is_json=False)], is_json=False)[0] is body


def test_what_is_long_stands_between_brackets_of_their_own() -> None:
    body = b"[" + b"7" * LONG + b"]"
    one, two = (cut(body, at, at, at + LONG + 1, 2 * LONG, is_json=True) for at in (0, LONG + 1))
    assert join([one, two], is_json=True) == (b"[", body[1:-1], b",", body[1:-1], b"]")


def test_long_parts_are_passed_on_as_they_are_and_short_ones_together() -> None:
    long = [bytes([n]) * LONG for n in range(3)]
    pieces = [
        cut(b"ab", 0, 0, 2, 9, is_json=False),
        cut(b"cd", 2, 2, 4, 9, is_json=False),
        Piece((long[0], b"ef", long[1]), 4, 4 + 2 * LONG + 2),
        cut(long[2], 6 + 2 * LONG, 6 + 2 * LONG, 6 + 3 * LONG, 2 * LONG, is_json=False),
    ]
    parts = join(pieces, is_json=False)
    assert parts == (b"abcd", long[0], b"ef", long[1], long[2])
    assert [parts[n] is part for n, part in zip((1, 3, 4), long, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("named", "start", "room", "chosen"),
    [
        ([(0, 4), (4, 4), (8, 4)], 0, 100, [0, 4, 8]),
        ([(0, 4), (4, 4), (8, 4)], 0, 8, [0, 4]),
        ([(0, 4), (4, 4), (8, 4)], 0, 1, [0]),
        ([(0, 4), (4, 4), (8, 4)], 5, 100, [4, 8]),
        ([(0, 12), (4, 4), (8, 4), (12, 4)], 0, 100, [0, 12]),
        ([(0, 8), (4, 4), (8, 4)], 2, 100, [0, 8]),
        ([(0, 4), (8, 4)], 0, 100, [0]),
        ([], 0, 100, []),
    ],
)
def test_a_plan_covers_the_page_once(named: list[tuple[int, int]], start: int, room: int, chosen: list[int]) -> None:
    assert plan_page([Named(*each) for each in named], start, room, is_json=False) == chosen


def test_the_brackets_of_json_do_not_count() -> None:
    assert plan_page([Named(0, 5), Named(4, 5)], 0, 100, is_json=True) == [0, 4]
