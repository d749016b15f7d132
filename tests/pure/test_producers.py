"""Producers' claims, and the tables that remember them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.producers import (
    Claim,
    DamagedTable,
    Duplicate,
    EpochNotAtZero,
    Fresh,
    Record,
    SequenceGap,
    StaleEpoch,
    Verdict,
    decode_line,
    decode_table,
    encode_line,
    encode_table,
    judge,
    quote_id,
    record_of,
    without_idle,
)

numbers = st.integers(0, 2**53 - 1)
tables = st.dictionaries(st.text(max_size=20), st.builds(Record, numbers, numbers, st.integers(0, 10**9)), max_size=6)


@pytest.mark.parametrize(
    ("known", "epoch", "seq", "verdict"),
    [
        (None, 0, 0, Fresh()),
        (None, 5, 0, Fresh()),
        (None, 0, 3, SequenceGap(0, 3)),
        ((4, 7), 3, 0, StaleEpoch(4)),
        ((4, 7), 3, 8, StaleEpoch(4)),
        ((4, 7), 5, 0, Fresh()),
        ((4, 7), 9, 0, Fresh()),
        ((4, 7), 5, 1, EpochNotAtZero(5, 1)),
        ((4, 7), 4, 7, Duplicate(4, 7)),
        ((4, 7), 4, 0, Duplicate(4, 7)),
        ((4, 7), 4, 8, Fresh()),
        ((4, 7), 4, 9, SequenceGap(8, 9)),
    ],
)
def test_a_row_of_section_5_2_1(known: tuple[int, int] | None, epoch: int, seq: int, verdict: Verdict) -> None:
    record = None if known is None else Record(*known, 0)
    assert judge(Claim("p", epoch, seq), record) == verdict


@given(numbers, numbers)
def test_a_claim_that_was_accepted_is_a_duplicate_from_then_on(epoch: int, seq: int) -> None:
    claim = Claim("p", epoch, seq)
    assert judge(claim, record_of(claim, 0)) == Duplicate(epoch, seq)


@given(tables)
def test_a_line_holds_the_table(table: dict[str, Record]) -> None:
    line = encode_line(table.items())
    assert line.isascii()
    assert not line or line.isprintable()
    assert decode_line(line) == table


@given(tables)
def test_a_spilled_table_holds_the_table(table: dict[str, Record]) -> None:
    assert decode_table(encode_table("w", table)) == table


def test_two_writers_tables_are_two_versions() -> None:
    assert encode_table("w", {}) != encode_table("v", {})


@pytest.mark.parametrize("line", ["a", "a:1:2", "a:1:2:3:4", "a:1:2:z", ",", "a:1:2:3,"])
def test_a_damaged_line_is_said_to_be_so(line: str) -> None:
    with pytest.raises(DamagedTable):
        decode_line(line)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"write_id":"w","producers":{"p":[1,2]}}', b'{"write_id":1}'])
def test_a_damaged_table_is_said_to_be_so(body: bytes) -> None:
    with pytest.raises(DamagedTable):
        decode_table(body)


@given(st.text())
def test_a_quoted_id_has_no_separators(text: str) -> None:
    assert not set(quote_id(text)) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")


def test_producers_that_were_idle_too_long_are_forgotten() -> None:
    minute, now = 60_000, 100 * 60_000
    table = {"old": Record(0, 1, 39), "just": Record(0, 1, 40), "new": Record(0, 1, 100)}
    assert without_idle(table, now, 60 * minute) == {"just": table["just"], "new": table["new"]}
    assert without_idle(table, now, 0) == table
    assert record_of(Claim("p", 0, 0), now + minute - 1) == Record(0, 0, 100)
