"""A reader's position is that after the last thing handed out, wherever an iteration stops."""

from collections.abc import Iterator
from typing import Any

import pytest
from durable_streams_client import Batch, Position
from durable_streams_client.core.batch import drop_prefix, join_deliveries
from durable_streams_client.core.handout import Handout
from hypothesis import given
from hypothesis import strategies as st

from tests.sdk.simulated import token

UTF8 = "application/text"


def batches_of(pieces: list[bytes], start: Position) -> Iterator[Batch]:
    """Deliver from a position on, a piece at a time, as `core.reading` would."""
    skip = start.skip
    for number in range(0 if start.offset == "-1" else int(start.offset), len(pieces)):
        offset = token(number)
        end = Position(token(number + 1), 0)
        batch = drop_prefix(Batch(pieces[number], Position(offset, skip), end, False, False, UTF8))
        skip = batch.end.skip
        yield batch


@given(st.text(max_size=12), st.lists(st.integers(1, 4), min_size=1), st.integers(0, 12))
def test_text_that_is_resumed_anywhere_is_the_same_text(text: str, sizes: list[int], stop: int) -> None:
    data = text.encode()
    pieces: list[bytes] = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    handout, first = Handout(Position(token(0))), ""
    for batch in batches_of(pieces, Position(token(0))):
        first += handout.decode(batch)
        if len(first) >= stop:
            break
    resumed = Handout(handout.position)
    rest = "".join(resumed.decode(batch) for batch in batches_of(pieces, handout.position) if batch.data)
    assert first + rest == text


def test_text_that_ends_within_a_character_is_an_error_at_the_end_of_a_stream_and_not_before() -> None:
    handout = Handout(Position())
    assert handout.decode(Batch(b"a\xe2\x82", Position(), Position("1"), True, False, UTF8)) == "a"
    assert handout.position == Position("-1", 1)
    assert not handout.complete
    with pytest.raises(UnicodeDecodeError):
        handout.decode(Batch(b"", Position("1"), Position("1"), True, True, UTF8))
    assert handout.position == Position("-1", 1)
    handout.restart()
    assert handout.decode(Batch(b"\xe2\x82\xac", Position("-1", 1), Position("2"), True, True, UTF8)) == "€"
    assert handout.position == Position("2")


def test_messages_are_counted_and_a_batch_that_is_used_up_ends_at_its_end() -> None:
    handout = Handout(Position("now"))
    assert handout.position == Position("now")
    handout.begin(Batch(b"[1,2]", Position("5", 1), Position("6"), True, False, "application/json"), 2)
    positions: list[Any] = [handout.position]
    for handout.taken in (1, 2):
        positions.append(handout.position)
    assert positions == [Position("5", 1), Position("5", 2), Position("6")]
    assert handout.complete


def test_a_batch_handed_out_as_a_whole_is_behind() -> None:
    handout = Handout(Position())
    batch = Batch(b"x", Position(), Position("1"), True, False, UTF8)
    assert handout.hand_out(batch) is batch
    assert handout.position == Position("1")
    assert join_deliveries([batch.data], json=False) == b"x"
