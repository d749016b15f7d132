"""Server-Sent Events: bytes cut anywhere are the same events."""

import base64
import itertools

import pytest
from durable_streams_client import MalformedReply
from durable_streams_client.core.sse import Control, Decoder, Event, decode_data, parse_control
from hypothesis import given
from hypothesis import strategies as st


def feed_all(pieces: list[bytes]) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


LINES = st.lists(
    st.sampled_from([b"data:x", b"data: y", b"data", b"event: control", b"", b":comment", b"id: 1", b"zz"])
)


@given(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"]), st.lists(st.integers(0, 400)))
def test_events_do_not_depend_on_where_bytes_are_cut_or_how_lines_end(
    lines: list[bytes], end: bytes, cuts: list[int]
) -> None:
    text = b"".join(line + end for line in lines)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[start:stop] for start, stop in itertools.pairwise(places)]
    assert feed_all(pieces) == feed_all([b"".join(line + b"\n" for line in lines)])
    assert feed_all([bytes([byte]) for byte in text]) == feed_all([text])


def test_only_cr_lf_and_both_end_a_line() -> None:
    text = "data:a\u0085b\u2028c\u2029d\x0b\x0c\x1ce\n\n".encode()
    assert feed_all([text]) == [Event("message", "a\u0085b\u2028c\u2029d\x0b\x0c\x1ce".encode())]


def test_one_leading_space_is_stripped_and_not_more() -> None:
    assert feed_all([b"data:  two\n\n"]) == [Event("message", b" two")]


def test_an_event_needs_a_data_line_and_the_blank_line_after_it() -> None:
    assert feed_all([b"event: control\n\ndata:x\n"]) == []
    assert feed_all([b"event: control\ndata\n\n"]) == [Event("control", b"")]
    assert feed_all([b"event: a\n\ndata:x\n\n"]) == [Event("message", b"x")]


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert feed_all([b"\xef\xbb\xbfdata:x\n\ndata:\xef\xbb\xbf\n\n"]) == [
        Event("message", b"x"),
        Event("message", b"\xef\xbb\xbf"),
    ]


@given(st.binary(), st.integers(1, 80))
def test_base64_may_be_split_over_lines(payload: bytes, width: int) -> None:
    text = base64.b64encode(payload)
    lines = [text[place : place + width] for place in range(0, len(text), width)]
    assert decode_data(Event("data", b"\n".join(lines)), encoded=True) == payload
    assert decode_data(Event("data", payload), encoded=False) == payload


@pytest.mark.parametrize("text", [b"abc", b"a", b"ab!=", b"====", b"YWJj YWJj"])
def test_what_is_not_base64_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedReply):
        decode_data(Event("data", text), encoded=True)


def test_a_control_event_says_where_the_reader_stands() -> None:
    event = Event("control", b'{"streamNextOffset":"1","streamCursor":"2","upToDate":true,"more":1}')
    assert parse_control(event) == Control("1", "2", up_to_date=True, closed=False)
    # The end implies being up to date, and may come without a cursor. Section 5.8.
    assert parse_control(Event("control", b'{"streamNextOffset":"1","streamClosed":true}')) == Control(
        "1", None, True, True
    )
    assert not parse_control(Event("control", b'{"streamNextOffset":"1","streamClosed":"true"}')).closed


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"streamNextOffset":""}', b'{"streamNextOffset":"1","streamCursor":2}']
)
def test_a_control_event_without_sense_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedReply):
        parse_control(Event("control", text))
