"""Hints at work that is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.due import (
    GRACE_MS,
    MINUTE_MS,
    PREFIX,
    Due,
    Kind,
    due_at,
    encode_due,
    is_over,
    minute_prefix,
    parse_due,
)

moments = st.integers(min_value=0, max_value=4_000_000_000_000)


@given(moments, st.sampled_from(Kind), st.text("abc%2F/", min_size=1))
def test_a_key_says_what_was_put_into_it(at_ms: int, kind: Kind, what: str) -> None:
    due = due_at(at_ms, kind, what)
    assert parse_due(encode_due(due)) == due
    assert due.minute_ms <= at_ms < due.minute_ms + MINUTE_MS


@given(moments, moments)
def test_keys_sort_by_their_minutes(one: int, other: int) -> None:
    if one // MINUTE_MS < other // MINUTE_MS:
        assert encode_due(due_at(one, Kind.SUBSCRIPTION, "a")) < encode_due(due_at(other, Kind.APPEND, "a"))


def test_a_key_reads_as_a_utc_minute() -> None:
    assert encode_due(due_at(1_795_547_400_000, Kind.APPEND, "a%2Fb")) == "due/20261124T1910/append/a%2Fb"
    assert minute_prefix(1_795_547_459_999) == PREFIX + "20261124T1910/"


@pytest.mark.parametrize(
    "key",
    ["due/20261124T1910/sweep/x", "due/yesterday/append/x", "due/20261124T1910/append", "key/20261124T1910/append/x"],
)
def test_what_is_not_known_here_is_left_alone(key: str) -> None:
    assert parse_due(key) is None


def test_a_hint_is_over_only_when_what_it_stands_for_cannot_be_under_way() -> None:
    due = Due(0, Kind.APPEND, "x")
    assert not is_over(due, MINUTE_MS + GRACE_MS - 1)
    assert is_over(due, MINUTE_MS + GRACE_MS)
