"""Framing of server-sent events: no payload opens an event of its own, and no event ends within a character."""

import base64
import re

from hypothesis import given
from hypothesis import strategies as st

from handler.core.sse import Control, frame_control, frame_data, needs_base64, whole_characters


def read_events(sent: bytes) -> list[tuple[str, bytes]]:
    """Read events as HTML's standard tells a browser to; the payload's lines are joined by a line feed."""
    events = []
    name = ""
    lines: list[bytes] = []
    for line in re.split(rb"\r\n|\r|\n", sent):
        if not line:
            if lines:
                events.append((name, b"\n".join(lines)))
            name, lines = "", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            lines.append(value)
    return events


def test_a_line_has_no_space_after_its_colon() -> None:
    assert frame_data(b"hello", base64=False) == b"event: data\ndata:hello\n\n"


def test_every_kind_of_line_end_begins_a_new_data_line() -> None:
    assert frame_data(b"a\nb\rc\r\nd", base64=False) == b"event: data\ndata:a\ndata:b\ndata:c\ndata:d\n\n"


@given(st.binary())
def test_a_payload_never_becomes_more_than_one_event(payload: bytes) -> None:
    events = read_events(frame_data(payload, base64=False) + frame_control(Control("1_2")))
    assert [name for name, _ in events] == ["data", "control"]


@given(st.binary())
def test_what_is_sent_as_base64_comes_back_byte_for_byte(payload: bytes) -> None:
    ((name, data),) = read_events(frame_data(payload, base64=True))
    assert name == "data"
    assert base64.b64decode(data, validate=True) == payload


def test_text_keeps_its_lines_but_not_how_they_ended() -> None:
    ((_, data),) = read_events(frame_data("één\r\ntwee\rdrie\n".encode(), base64=False))
    assert data.decode() == "één\ntwee\ndrie\n"


def test_a_control_event_leaves_out_what_is_not_so() -> None:
    assert frame_control(Control("1_2")) == b'event: control\ndata:{"streamNextOffset":"1_2"}\n\n'


def test_a_control_event_has_the_fields_of_the_protocol() -> None:
    control = Control("1_2", cursor="7", up_to_date=True, closed=True)
    assert frame_control(control) == (
        b'event: control\ndata:{"streamNextOffset":"1_2","streamCursor":"7","upToDate":true,"streamClosed":true}\n\n'
    )


def test_text_and_json_travel_as_they_are_and_all_else_as_base64() -> None:
    assert not needs_base64("text/plain")
    assert not needs_base64("text/html")
    assert not needs_base64("application/json")
    assert needs_base64("application/octet-stream")
    assert needs_base64("application/ndjson")
    assert needs_base64("")


@given(st.text(min_size=1), st.integers(min_value=0))
def test_a_text_cut_anywhere_is_shortened_to_whole_characters(text: str, at: int) -> None:
    whole = text.encode()
    piece = whole[: at % (len(whole) + 1)]
    kept = piece[: whole_characters(piece)]
    assert kept.decode() == piece.decode("utf-8", "ignore")


def test_bytes_that_are_no_utf8_are_left_alone() -> None:
    assert whole_characters(b"\x80\x80\x80\x80\x80") == 5
    assert whole_characters(b"") == 0
    assert whole_characters(b"\xf0\x9f\x98\x80") == 4
    assert whole_characters(b"ab\xf0\x9f\x98") == 2
    assert whole_characters(b"ab\xe2\x82") == 2
    assert whole_characters(b"ab\xc3") == 2
