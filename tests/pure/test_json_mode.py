"""JSON bodies, cut into messages byte for byte."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.json_mode import InvalidJson, boundaries, parse_payload, split_body

white = st.text(st.sampled_from(" \t\n\r"), max_size=3)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
# As somebody else's encoder would write them: with any white space, with escapes or without.
texts = st.builds(
    lambda value, ascii_, indent: json.dumps(value, ensure_ascii=ascii_, indent=indent),
    values,
    st.booleans(),
    st.sampled_from([None, 0, 1, "\t"]),
).filter(lambda text: text.isascii() or "\\ud" not in text)
lone = st.sampled_from(['"\\ud800"', '["\\udfff\\u0041"]', '{"\\uDEAD": [1, 2]}'])


def encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def array_of(messages: list[str], spaces: list[str]) -> bytes:
    """Write an array with white space wherever it may stand."""
    spaces = [*spaces, *[""] * (2 * len(messages) + 3)]
    inside = ",".join(f"{spaces[2 * n]}{message}{spaces[2 * n + 1]}" for n, message in enumerate(messages))
    return f"{spaces[-1]}[{inside or spaces[0]}]{spaces[-2]}".encode()


@given(st.lists((texts | lone).filter(encodable), max_size=6), st.lists(white, max_size=15))
def test_the_messages_of_an_array_come_back_byte_for_byte(messages: list[str], spaces: list[str]) -> None:
    assert split_body(array_of(messages, spaces)) == [message.encode() for message in messages]


@given(texts.filter(encodable) | lone, white, white)
def test_a_body_that_is_no_array_is_one_message(text: str, before: str, behind: str) -> None:
    if not text.startswith("["):
        assert split_body(f"{before}{text}{behind}".encode()) == [text.encode()]


@given(st.binary(max_size=30) | st.text(st.sampled_from('[]{},:"\\u0d81 \ntrue-1.eE'), max_size=14).map(str.encode))
def test_what_is_accepted_is_what_the_standard_library_accepts(body: bytes) -> None:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        expected = json.loads(body.decode(), parse_constant=refuse)
    except ValueError:
        with pytest.raises(InvalidJson):
            split_body(body)
    else:
        messages = [json.loads(message) for message in split_body(body)]
        assert messages == (expected if isinstance(expected, list) else [expected])


DEEP = b"[" * 100_000
NOT_JSON = [b"", b" ", b"[", b"[1", b"[1,]", b"[,1]", b"[1 2]", b"1 2", b"[1]x", b"NaN", b"[Infinity]", b"'a'"]
NOT_JSON += [b"\xff", b'["\xc3"]', b"\xef\xbb\xbf1", b'"\x00"', DEEP]
# A lone surrogate escape takes another way through the code.
NOT_JSON += [b'"\\ud800" x', b'["\\ud800",]', b'["\\ud800"', b'["\\ud800", NaN]', b'["\\ud800",' + DEEP]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:20]))
def test_what_is_not_json_is_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(InvalidJson, match=r"\w"):
        split_body(body)


def test_the_payload_is_the_messages_joined_by_commas() -> None:
    assert parse_payload(b' [ {"a": 1} , 2 ]') == b'{"a": 1},2'
    assert parse_payload(b" 7 ") == b"7"
    assert parse_payload(b"[ ]") == b""
    assert parse_payload(b"[[1, 2]]") == b"[1, 2]"


@given(st.lists(texts.filter(encodable), min_size=1, max_size=6))
def test_a_message_of_n_bytes_counts_n_and_one(messages: list[str]) -> None:
    payload = parse_payload(array_of(messages, []))
    positions = boundaries(b"[" + payload + b"]")
    assert positions[0] == 0
    assert [high - low for low, high in itertools.pairwise(positions)] == [
        len(message.encode()) + 1 for message in messages
    ]
    assert positions[-1] == len(payload) + 1
