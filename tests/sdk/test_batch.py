"""Messages in batches: framing and unframing of JSON, byte for byte."""

import json
from typing import Any

import pytest
from durable_streams_client import Batch, MalformedReply, Position
from durable_streams_client.core import batch as module
from durable_streams_client.core.batch import (
    check_json,
    drop_prefix,
    encode_json,
    frame_json,
    is_json,
    is_text,
    join_deliveries,
    load_json,
    parse_messages,
    split_messages,
)
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SPACES = st.text(alphabet=" \t\n\r", max_size=3)


@pytest.fixture(params=["fast", "plain"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With msgspec and without it: what is read must be the same."""
    if request.param == "plain":
        monkeypatch.setattr(module, "_fast_loads", None)
    else:
        pytest.importorskip("msgspec")


@given(st.lists(VALUES), st.lists(SPACES, min_size=1))
def test_messages_are_split_byte_for_byte_whatever_space_is_between_them(values: list[Any], spaces: list[str]) -> None:
    messages = [encode_json(value) for value in values]

    def space(number: int) -> bytes:
        return spaces[number % len(spaces)].encode()

    padded = [space(number) + message + space(number + 1) for number, message in enumerate(messages)]
    data = space(0) + b"[" + b",".join(padded) + b"]" + space(1)
    assert split_messages(data) == messages
    assert parse_messages(data) == values


@given(st.lists(st.lists(VALUES)))
def test_several_deliveries_become_one_array(deliveries: list[list[Any]]) -> None:
    joined = join_deliveries([encode_json(values) for values in deliveries], json=True)
    assert parse_messages(joined) == [value for values in deliveries for value in values]


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize("data", [b"[1", b"{}", b"[1,]", b"[1 2]", b"x", b"[\xff]", b"[]]", b"1", b" ", b"[" * 100_000])
def test_what_is_no_array_of_json_is_malformed(data: bytes) -> None:
    for understand in (parse_messages, split_messages):
        with pytest.raises(MalformedReply):
            understand(data)


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize("text", ["12345678901234567890123", "1e999", '"\\ud800"', "-0.0", '{"a":1,"a":2}', "0.1"])
def test_both_parsers_read_the_same(text: str) -> None:
    assert load_json(text.encode()) == json.loads(text)
    check_json(text.encode())


@pytest.mark.parametrize("text", [b"", b"1,2", b"1 2", b"[1],[2]", b"\xff"])
def test_only_one_whole_value_is_a_message(text: bytes) -> None:
    with pytest.raises(ValueError, match="one JSON value"):
        check_json(text)


def test_what_json_cannot_say_is_not_sent() -> None:
    for value, error in ((float("nan"), ValueError), (float("inf"), ValueError), (object(), TypeError)):
        with pytest.raises(error):
            encode_json(value)


def test_nothing_delivered_is_no_message() -> None:
    assert parse_messages(b"") == split_messages(b"") == parse_messages(b"[ ]") == split_messages(b"[ ]") == []
    assert join_deliveries([b"[]", b" [ ] "], json=True) == b""
    assert join_deliveries([b"a", b"", b"b"], json=False) == b"ab"


@pytest.mark.parametrize("delivery", [b"1", b"[", b"", b"{}"])
def test_deliveries_that_are_no_arrays_are_malformed(delivery: bytes) -> None:
    with pytest.raises(MalformedReply):
        join_deliveries([b"[1]", delivery], json=True)


@given(st.lists(st.binary(min_size=1, max_size=3)), st.integers(0, 8), st.booleans())
def test_dropping_what_was_taken_leaves_the_rest_and_what_is_still_due(
    units: list[bytes], skip: int, as_json: bool
) -> None:
    kind = "application/json" if as_json else "application/octet-stream"
    messages = [encode_json(unit.hex()) for unit in units] if as_json else [bytes([byte]) for byte in b"".join(units)]
    data = (frame_json(messages) if messages else b"") if as_json else b"".join(messages)
    rest = drop_prefix(Batch(data, Position("a", skip), Position("b"), True, False, kind))
    expected = messages[skip:]
    assert rest.data == ((frame_json(expected) if expected else b"") if as_json else b"".join(expected))
    if data:
        assert rest.end == Position("b", max(0, skip - len(messages)))


def test_content_types_are_compared_without_parameters_and_case() -> None:
    assert is_json("Application/JSON; charset=utf-8")
    assert not is_json("application/jsonl")
    assert not is_json(None)
    assert is_text("Text/Plain; charset=utf-8")
    assert not is_text(None)


def test_a_batch_of_another_type_has_no_json() -> None:
    batch = Batch(b"\xc3\xa9", Position(), Position("a"), True, False, "text/plain")
    with pytest.raises(TypeError):
        batch.json()
    assert batch.text() == "é"
    assert batch.messages() == [b"\xc3\xa9"]
    assert Batch(b"", Position(), Position("a"), True, False, "text/plain").messages() == []


def test_a_lone_surrogate_is_escaped_because_utf8_cannot_say_it() -> None:
    assert encode_json("\ud800ü") == b'"\\ud800\\u00fc"'


def test_a_batch_of_json_gives_values_and_messages() -> None:
    batch = Batch(b'[1, "a"]', Position(), Position("a"), True, False, "application/json")
    assert batch.json() == [1, "a"]
    assert batch.messages() == [b"1", b'"a"']
    assert drop_prefix(batch) is batch
