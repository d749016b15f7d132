"""The public offset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.offset import LARGEST, MalformedOffset, Offset, Sentinel, parse_offset

numbers = st.integers(0, LARGEST)
offsets = st.builds(Offset, numbers, numbers)


@given(offsets)
def test_an_offset_is_read_as_it_was_written(offset: Offset) -> None:
    assert parse_offset(str(offset)) == (offset if offset != Offset(0, 0) else Sentinel.START)


@given(offsets, offsets)
def test_byte_order_of_offsets_is_their_order(one: Offset, other: Offset) -> None:
    assert (str(one) < str(other)) == (one < other)


@pytest.mark.parametrize(("text", "place"), [("-1", Sentinel.START), ("now", Sentinel.NOW)])
def test_some_places_have_names(text: str, place: Sentinel) -> None:
    assert parse_offset(text) is place


ONE = f"{1:016d}"
OTHERS = [
    "",
    "0",
    "-2",
    "NOW",
    "1_1",
    ONE,
    f"{ONE}_{ONE} ",
    f" {ONE}_{ONE}",
    f"{ONE}_{ONE}\n",
    f"{ONE}-{ONE}",
    "1e15_0",
]
OTHERS += [f"{ONE}_{1:015d}", f"{ONE}_{'١' * 16}", f"{ONE}_{-1:016d}"]


@pytest.mark.parametrize("text", OTHERS)
def test_other_texts_are_no_offsets(text: str) -> None:
    with pytest.raises(MalformedOffset):
        parse_offset(text)
