"""What may be appended: sections 5.2, 5.2.1 and 5.3, a row at a time."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.admission import (
    AlreadyClosed,
    Append,
    Appended,
    Draft,
    InvalidBody,
    MediaTypeDiffers,
    Repeated,
    SequenceRegression,
    StreamClosed,
    Tail,
    TailMoved,
    Verdict,
    first_tail,
    tail_after,
    tombstone,
)
from storage.core.chunk import Kind
from storage.core.lineage import Segment, fork_at
from storage.core.producers import Claim, EpochNotAtZero, Record, SequenceGap, StaleEpoch

TEXT = "text/plain"
KNOWN = Claim("p", 2, 5)
OPEN = Tail(1, 10, 10, 3, 99, False, None, "m", {"p": Record(2, 5, 0)}, "", {"p": Record(2, 5, 0)})
CLOSED = msgspec.structs.replace(OPEN, key=11, closed=True)
CLOSED_BY_P = msgspec.structs.replace(CLOSED, closer=KNOWN)


def body(text: str, claim: Claim | None = None, sequence: str | None = None, **more: object) -> Append:
    append = Append(text.encode(), TEXT, claim=claim, sequence=sequence)
    return msgspec.structs.replace(append, **more)


CLOSE = Append(b"", close=True)

ROWS: dict[str, tuple[Tail, Append, Verdict]] = {
    "a body is appended": (OPEN, body("abc"), Appended(13, False, None)),
    "a body may close": (OPEN, body("abc", close=True), Appended(13, True, None)),
    "nothing may close": (OPEN, CLOSE, Appended(10, True, None)),
    # closed comes first, whatever else is wrong
    "a closed stream takes no body": (CLOSED, body("abc"), StreamClosed(10)),
    "a closed stream takes no body that closes": (CLOSED, body("abc", close=True), StreamClosed(10)),
    "a closed stream is closed again": (CLOSED, CLOSE, AlreadyClosed(10)),
    "closed comes before the content type": (CLOSED, body("abc", media_type="x/y"), StreamClosed(10)),
    "closed comes before an invalid body": (CLOSED, Append(b"", TEXT, close=True, invalid="no"), StreamClosed(10)),
    "closed comes before the producer": (CLOSED, body("abc", Claim("p", 1, 0)), StreamClosed(10)),
    "a producer's close of a stream that others closed": (
        CLOSED,
        Append(b"", close=True, claim=KNOWN),
        StreamClosed(10),
    ),
    "the request that closed is repeated": (CLOSED_BY_P, body("abc", KNOWN, close=True), Repeated(10, True, 2, 5)),
    "another request of who closed": (CLOSED_BY_P, body("abc", Claim("p", 2, 6)), StreamClosed(10)),
    "an earlier request of who closed": (CLOSED_BY_P, body("abc", Claim("p", 2, 4)), StreamClosed(10)),
    # then the content type, and the body
    "another content type": (OPEN, body("abc", media_type="x/y"), MediaTypeDiffers(TEXT)),
    "no content type": (OPEN, body("abc", media_type=""), MediaTypeDiffers(TEXT)),
    "a close has no content type": (OPEN, Append(b"", "x/y", close=True), Appended(10, True, None)),
    "an invalid body": (OPEN, Append(b"", TEXT, invalid="no JSON"), InvalidBody("no JSON")),
    "the content type comes before an invalid body": (OPEN, Append(b"", "x/y", invalid="no"), MediaTypeDiffers(TEXT)),
    "the content type comes before the producer": (
        OPEN,
        body("abc", Claim("p", 1, 0), media_type="x/y"),
        MediaTypeDiffers(TEXT),
    ),
    # then the producer
    "a producer goes on": (OPEN, body("abc", Claim("p", 2, 6)), Appended(13, False, Claim("p", 2, 6))),
    "a producer begins": (OPEN, body("abc", Claim("q", 0, 0)), Appended(13, False, Claim("q", 0, 0))),
    "a new epoch begins": (OPEN, body("abc", Claim("p", 3, 0)), Appended(13, False, Claim("p", 3, 0))),
    "a duplicate": (OPEN, body("abc", Claim("p", 2, 3)), Repeated(10, False, 2, 5)),
    "a zombie": (OPEN, body("abc", Claim("p", 1, 6)), StaleEpoch(2)),
    "a gap": (OPEN, body("abc", Claim("p", 2, 8)), SequenceGap(6, 8)),
    "a new epoch that does not begin at 0": (OPEN, body("abc", Claim("p", 3, 1)), EpochNotAtZero(3, 1)),
    "an unknown producer that does not begin at 0": (OPEN, body("abc", Claim("q", 0, 1)), SequenceGap(0, 1)),
    "the producer comes before Stream-Seq": (OPEN, body("abc", Claim("p", 2, 3), "a"), Repeated(10, False, 2, 5)),
    "a duplicate that would close does not": (OPEN, body("abc", KNOWN, close=True), Repeated(10, False, 2, 5)),
    # then the expected tail, then Stream-Seq
    "the tail is where it was expected": (OPEN, body("abc", expected=10), Appended(13, False, None)),
    "the tail is elsewhere": (OPEN, body("abc", expected=9), TailMoved(10)),
    "the tail is of another generation": (OPEN, body("abc", expected=10, expected_in=7), TailMoved(10)),
    "the tail is of this generation": (OPEN, body("abc", expected=10, expected_in=1), Appended(13, False, None)),
    "Stream-Seq goes up": (OPEN, body("abc", None, "n"), Appended(13, False, None)),
    "Stream-Seq stays": (OPEN, body("abc", None, "m"), SequenceRegression("m")),
    "Stream-Seq goes down": (OPEN, body("abc", None, "a"), SequenceRegression("m")),
    "Stream-Seq is compared as text": (OPEN, body("abc", None, "10"), SequenceRegression("m")),
    "the first Stream-Seq": (first_tail(1, 0), body("abc", None, "0"), Appended(3, False, None)),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_protocol(row: str) -> None:
    tail, append, verdict = ROWS[row]
    draft = Draft(tail, TEXT, 0)
    assert draft.admit(append) == verdict
    assert draft.writes == isinstance(verdict, Appended)


@pytest.mark.parametrize("row", ROWS)
def test_an_append_that_is_refused_leaves_no_trace(row: str) -> None:
    tail, append, verdict = ROWS[row]
    if isinstance(verdict, Appended) or tail.closed:
        return
    alone, after = Draft(tail, TEXT, 0), Draft(tail, TEXT, 0)
    after.admit(append)
    follower = body("x", Claim("p", 2, 6), "z")
    assert after.admit(follower) == alone.admit(follower)
    assert after.chunk("w") == alone.chunk("w")
    assert after.body() == alone.body()


def test_each_append_is_judged_against_what_the_one_before_leaves() -> None:
    draft = Draft(first_tail(1, 0), TEXT, 0)
    assert draft.admit(body("ab", Claim("p", 0, 0), "1")) == Appended(2, False, Claim("p", 0, 0))
    assert draft.admit(body("ab", Claim("p", 0, 0), "1")) == Repeated(2, False, 0, 0)
    assert draft.admit(body("c", Claim("p", 0, 2))) == SequenceGap(1, 2)
    assert draft.admit(body("c", Claim("p", 0, 1), "1")) == SequenceRegression("1")
    assert draft.admit(body("c", Claim("p", 0, 1), "2")) == Appended(3, False, Claim("p", 0, 1))
    assert draft.admit(body("d", expected=2)) == TailMoved(3)
    assert draft.admit(body("d", Claim("q", 0, 0), close=True)) == Appended(4, True, Claim("q", 0, 0))
    assert draft.admit(body("e")) == StreamClosed(4)
    assert draft.admit(body("d", Claim("q", 0, 0), close=True)) == Repeated(4, True, 0, 0)
    assert draft.admit(CLOSE) == AlreadyClosed(4)
    assert draft.body() == b"abcd"
    chunk = draft.chunk("w")
    assert (chunk.position, chunk.next, chunk.kind, chunk.index) == (0, 4, Kind.DATA, 0)
    assert (chunk.closed, chunk.closer, chunk.sequence) == (True, Claim("q", 0, 0), "2")
    assert chunk.producers == {"p": Record(0, 1, 0), "q": Record(0, 0, 0)}


def test_a_json_message_counts_one_more() -> None:
    draft = Draft(first_tail(1, 0), "application/json", 0)
    assert draft.admit(Append(b"1,22", "application/json")) == Appended(5, False, None)
    assert draft.admit(Append(b"3", "application/json")) == Appended(7, False, None)
    assert draft.body() == b"[1,22,3]"
    assert draft.chunk("w").next == 7


def test_a_close_without_bytes_is_a_chunk_of_its_own_kind() -> None:
    draft = Draft(OPEN, "application/json", 0)
    draft.admit(CLOSE)
    chunk = draft.chunk("w")
    assert (chunk.kind, chunk.position, chunk.next, chunk.successor) == (Kind.CLOSE, 10, 10, 11)
    assert draft.body() == b"[]"  # what a GET from its position answers


def test_a_single_body_is_not_copied() -> None:
    payload = b"abc"
    draft = Draft(OPEN, TEXT, 0)
    draft.admit(Append(payload, TEXT))
    assert draft.body() is payload


def test_producers_that_did_not_append_are_handed_on() -> None:
    draft = Draft(OPEN, TEXT, 7 * 60_000)
    draft.admit(body("abc"))
    assert draft.chunk("w").producers == {"p": Record(2, 5, 0)}
    draft.admit(body("abc", Claim("q", 0, 0)))
    assert draft.chunk("w").producers == {"p": Record(2, 5, 0), "q": Record(0, 0, 7)}


def test_after_a_spill_only_what_has_changed_is_handed_on() -> None:
    table = {f"p{n}": Record(0, n, 0) for n in range(50)}
    spilled = msgspec.structs.replace(OPEN, producers=table, table="t", unspilled={})
    draft = Draft(spilled, TEXT, 0)
    assert isinstance(draft.admit(body("abc", Claim("p3", 0, 4))), Appended)
    chunk = draft.chunk("w")
    assert (chunk.table, chunk.producers) == ("t", {"p3": Record(0, 4, 0)})
    tail = tail_after(1, chunk, table)
    assert tail.producers == {**table, "p3": Record(0, 4, 0)}
    assert tail.unspilled == {"p3": Record(0, 4, 0)}


def test_at_its_fork_point_a_fork_is_where_its_sources_offset_says() -> None:
    lineage = fork_at((Segment("s", 5, 0, None),), 10, "f", 9)
    tail = first_tail(9, 10)
    for generation, verdict in ((5, Appended(11, False, None)), (9, Appended(11, False, None)), (4, TailMoved(10))):
        append = body("x", expected=10, expected_in=generation)
        assert Draft(tail, TEXT, 0, lineage).admit(append) == verdict
    assert Draft(tail, TEXT, 0).admit(body("x", expected=10, expected_in=5)) == TailMoved(10)


def test_a_tombstone_says_where_its_stream_ended() -> None:
    chunk = tombstone(CLOSED_BY_P, "w", 7)
    assert (chunk.kind, chunk.position, chunk.next, chunk.index, chunk.at_ms) == (Kind.TOMBSTONE, 10, 10, 3, 7)
    tail = tail_after(1, chunk, {})
    assert (tail.deleted, tail.closed, tail.position, tail.producers) == (True, True, 10, {})


appends = st.builds(
    lambda text, claim, sequence, close: body(text, claim, sequence, close=close and not text.startswith("a")),
    st.text(st.sampled_from("ab"), min_size=1, max_size=3),
    st.none() | st.builds(Claim, st.sampled_from("pq"), st.integers(0, 1), st.integers(0, 3)),
    st.none() | st.sampled_from("abc"),
    st.sampled_from([False, False, False, True]),
)


@given(st.lists(appends, max_size=12), st.integers(0, 12))
def test_two_chunks_say_what_one_chunk_would_have_said(group: list[Append], cut: int) -> None:
    one = Draft(first_tail(1, 0), TEXT, 0)
    verdicts = [one.admit(append) for append in group]
    first = Draft(first_tail(1, 0), TEXT, 0)
    said = [first.admit(append) for append in group[:cut]]
    tail = tail_after(1, first.chunk("w"), {}) if first.writes else first_tail(1, 0)
    second = Draft(tail, TEXT, 0)
    said += [second.admit(append) for append in group[cut:]]
    assert said == verdicts
    assert (first.body() if first.writes else b"") + (second.body() if second.writes else b"") == one.body()
