"""Requests parsed at the door: what is wrong by itself is refused with a code, a field and a sentence."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.core.fields import Unacceptable
from handler.core.requests import Read, parse_append, parse_create, parse_headers, parse_path, parse_read
from storage.core.admission import Append
from storage.core.offset import Offset, Sentinel
from storage.core.producers import ENCODED_BYTES, INTEGER_LIMIT, Claim
from storage.core.root import Config
from storage.creation import Creation
from storage.forks import Fork

TEXT = {b"content-type": b"text/plain"}
JSON = {b"content-type": b"application/json"}
PRODUCER = {b"producer-id": b"p", b"producer-epoch": b"1", b"producer-seq": b"2"}
TOKEN = "0000000000000007_0000000000000042"


# -- headers and paths


def test_headers_are_found_by_name() -> None:
    assert parse_headers([(b"a", b"1"), (b"b", b"2")]) == {b"a": b"1", b"b": b"2"}


def test_a_header_that_must_be_single_is_refused_when_it_contradicts_itself() -> None:
    with pytest.raises(Unacceptable) as refused:
        parse_headers([(b"producer-seq", b"1"), (b"producer-seq", b"2")])
    assert refused.value.code == "repeated-header"
    assert refused.value.field == "producer-seq"


def test_headers_that_are_repeated_without_harm_are_accepted() -> None:
    same = [(b"stream-seq", b"1"), (b"stream-seq", b"1")]
    assert parse_headers([*same, (b"accept", b"a"), (b"accept", b"b")])[b"stream-seq"] == b"1"


@pytest.mark.parametrize(
    ("raw", "root", "path"),
    [
        (b"/a/b", "", "a/b"),
        (b"/", "", ""),
        (b"/a%2fb", "", "a%2Fb"),
        (b"/caf%C3%A9", "", "caf%C3%A9"),
        (b"/%61", "", "a"),
        (b"/v1/stream/a", "/v1", "stream/a"),
        (b"/v1/stream/a", "/v1/", "stream/a"),
        (b"/v1", "/v1", ""),
        (b"/v10/a", "/v1", "v10/a"),
        (b"/a b/x", "/a b", "x"),
        (b"/a%20b/x", "/a b", "x"),
        (b"/x", "/gone/before", "x"),
    ],
)
def test_a_stream_is_what_the_raw_path_says_below_the_root(raw: bytes, root: str, path: str) -> None:
    assert parse_path(raw, root) == path


@pytest.mark.parametrize("raw", [b"/__ds", b"/__ds/health", b"/a/__ds/b", b"/a/%5F%5Fds", b"/a/__ds"])
def test_a_path_with_the_reserved_segment_is_no_stream(raw: bytes) -> None:
    assert parse_path(raw, "") is None


@pytest.mark.parametrize("raw", [b"/a__ds", b"/__dsx/a", b"/a/__DS"])
def test_a_path_that_merely_contains_the_reserved_name_is_a_stream(raw: bytes) -> None:
    assert parse_path(raw, "") is not None


# -- appends


def test_an_append_is_its_body_and_its_media_type() -> None:
    assert parse_append({b"content-type": b"Text/Plain; charset=utf-8"}, b"hi") == Append(b"hi", "text/plain")


def test_everything_that_an_append_can_say_is_read() -> None:
    headers = {
        **TEXT,
        **PRODUCER,
        b"stream-seq": b"s1",
        b"stream-closed": b"TRUE",
        b"if-match": b'"' + TOKEN.encode() + b'"',
    }
    assert parse_append(headers, b"hi") == Append(
        b"hi", "text/plain", close=True, sequence="s1", claim=Claim("p", 1, 2), expected=42, expected_in=7
    )


def test_json_messages_are_joined_as_they_were_sent() -> None:
    assert parse_append(JSON, b'[{"a" : 1}, 2]').payload == b'{"a" : 1},2'


@pytest.mark.parametrize("body", [b"{", b"[1,]", b"\xff", b"[" * 100_000, b"[]", b"[ ]"])
def test_a_body_that_is_no_json_is_left_for_the_log_to_refuse_in_its_turn(body: bytes) -> None:
    append = parse_append(JSON, body)
    assert append.payload == b""
    assert append.invalid


@pytest.mark.parametrize("value", [b"false", b"yes", b"1", b"", b" true"])
def test_anything_but_true_does_not_close(value: bytes) -> None:
    assert not parse_append({**TEXT, b"stream-closed": value}, b"hi").close


def test_a_close_needs_neither_a_body_nor_its_type() -> None:
    assert parse_append({b"stream-closed": b"true"}, b"") == Append(b"", "", close=True)
    assert parse_append({**JSON, b"stream-closed": b"true"}, b"").close


def refusal(headers: dict[bytes, bytes], body: bytes = b"hi") -> tuple[str, str]:
    with pytest.raises(Unacceptable) as refused:
        parse_append(headers, body)
    assert refused.value.sentence
    return refused.value.code, refused.value.field


@pytest.mark.parametrize(
    ("headers", "body", "code", "field"),
    [
        (TEXT, b"", "empty-body", "body"),
        ({}, b"hi", "missing-content-type", "Content-Type"),
        ({b"content-type": b" "}, b"hi", "missing-content-type", "Content-Type"),
        ({b"content-type": b"text"}, b"hi", "malformed-content-type", "Content-Type"),
        ({b"content-type": b"/plain"}, b"hi", "malformed-content-type", "Content-Type"),
        ({b"content-type": b"text/"}, b"hi", "malformed-content-type", "Content-Type"),
        ({b"content-type": b"te xt/plain"}, b"hi", "malformed-content-type", "Content-Type"),
        ({b"content-type": b"text/pl\xe4in"}, b"hi", "malformed-content-type", "Content-Type"),
        ({b"content-type": b"text/" + b"x" * 300}, b"hi", "malformed-content-type", "Content-Type"),
        ({**TEXT, b"if-match": b"elsewhere"}, b"hi", "malformed-offset", "If-Match"),
        ({**TEXT, b"if-match": b"now"}, b"hi", "malformed-offset", "If-Match"),
        ({**TEXT, b"if-match": b"-1"}, b"hi", "malformed-offset", "If-Match"),
        ({**TEXT, b"stream-seq": b"x" * (ENCODED_BYTES + 1)}, b"hi", "too-long", "Stream-Seq"),
        ({**TEXT, b"stream-seq": b"%" * (ENCODED_BYTES // 3 + 1)}, b"hi", "too-long", "Stream-Seq"),
    ],
)
def test_an_append_that_is_wrong_by_itself_is_refused(
    headers: dict[bytes, bytes], body: bytes, code: str, field: str
) -> None:
    assert refusal(headers, body) == (code, field)


@pytest.mark.parametrize("missing", sorted(PRODUCER))
def test_producer_headers_come_together_or_not_at_all(missing: bytes) -> None:
    headers = {**TEXT, **PRODUCER}
    del headers[missing]
    code, field = refusal(headers)
    assert code == "incomplete-producer"
    assert field.lower().encode() == missing


@pytest.mark.parametrize("name", [b"producer-epoch", b"producer-seq"])
@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"x", b"1e3", str(INTEGER_LIMIT + 1).encode(), b"9" * 5000])
def test_a_producers_numbers_are_what_javascript_counts_exactly(name: bytes, value: bytes) -> None:
    code, field = refusal({**TEXT, **PRODUCER, name: value})
    assert (code, field.lower().encode()) == ("malformed-producer", name)


def test_the_largest_number_of_a_producer_is_accepted() -> None:
    append = parse_append({**TEXT, **PRODUCER, b"producer-seq": str(INTEGER_LIMIT).encode()}, b"hi")
    assert append.claim == Claim("p", 1, INTEGER_LIMIT)


def test_a_producer_has_a_name_that_fits_into_an_objects_metadata() -> None:
    assert refusal({**TEXT, **PRODUCER, b"producer-id": b""}) == ("malformed-producer", "Producer-Id")
    assert refusal({**TEXT, **PRODUCER, b"producer-id": b"\xe9" * ENCODED_BYTES}) == ("too-long", "Producer-Id")
    assert parse_append({**TEXT, **PRODUCER, b"producer-id": b"x" * ENCODED_BYTES}, b"hi").claim is not None


# -- creations


def test_a_stream_without_a_type_holds_bytes() -> None:
    assert parse_create({}, b"", "") == Creation(Config("application/octet-stream"))


def test_everything_that_a_creation_can_say_is_read() -> None:
    headers = {
        b"content-type": b"text/plain; charset=utf-8",
        b"stream-ttl": b"3600",
        b"stream-closed": b"true",
        b"stream-forked-from": b"/base/a%2fb",
        b"stream-fork-offset": TOKEN.encode(),
        b"stream-fork-sub-offset": b"3",
    }
    assert parse_create(headers, b"hi", "/base") == Creation(
        Config("text/plain; charset=utf-8", ttl_seconds=3600),
        payload=b"hi",
        closed=True,
        fork=Fork("a%2Fb", Offset(7, 42), 3),
    )


def test_a_fork_may_leave_its_type_and_its_place_to_the_source() -> None:
    assert parse_create({b"stream-forked-from": b"/a"}, b"", "") == Creation(Config(""), fork=Fork("a"))


def test_a_json_stream_may_begin_with_messages_or_with_none() -> None:
    assert parse_create(JSON, b"[1, 2]", "").payload == b"1,2"
    assert parse_create(JSON, b"[]", "").payload == b""
    assert parse_create(JSON, b"", "").payload == b""


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01t00:00:01z", 1000),
        ("1970-01-01 00:00:01Z", 1000),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T01:00:01.250+01:00", 1250),
        ("1969-12-31T23:00:01-01:00", 1000),
        ("2030-01-31T12:00:00.000Z", 1_896_091_200_000),
    ],
)
def test_an_expiry_is_an_rfc_3339_timestamp(text: str, at_ms: int) -> None:
    config = parse_create({b"stream-expires-at": text.encode()}, b"", "").config
    assert (config.expires_at_ms, config.expires_at) == (at_ms, text)


@pytest.mark.parametrize(
    ("headers", "body", "code", "field"),
    [
        ({b"stream-ttl": b"060"}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": b"+60"}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": b"-1"}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": b"6.0"}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": b"6e1"}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": b""}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": str(INTEGER_LIMIT + 1).encode()}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-ttl": b"9" * 5000}, b"", "malformed-integer", "Stream-TTL"),
        ({b"stream-expires-at": b"tomorrow"}, b"", "malformed-time", "Stream-Expires-At"),
        ({b"stream-expires-at": b"2030-01-31"}, b"", "malformed-time", "Stream-Expires-At"),
        ({b"stream-expires-at": b"2030-01-31T12:00:00"}, b"", "malformed-time", "Stream-Expires-At"),
        ({b"stream-expires-at": b"2030-01-31T12:00:00.Z"}, b"", "malformed-time", "Stream-Expires-At"),
        ({b"stream-expires-at": b"2030-13-31T12:00:00Z"}, b"", "malformed-time", "Stream-Expires-At"),
        ({b"stream-expires-at": b"20300131T120000Z"}, b"", "malformed-time", "Stream-Expires-At"),
        (
            {b"stream-ttl": b"60", b"stream-expires-at": b"2030-01-31T12:00:00Z"},
            b"",
            "two-lifetimes",
            "Stream-Expires-At",
        ),
        ({b"content-type": b"nothing"}, b"", "malformed-content-type", "Content-Type"),
        (JSON, b"{", "invalid-json", "body"),
        ({b"stream-fork-offset": TOKEN.encode()}, b"", "fork-without-source", "Stream-Fork-Offset"),
        ({b"stream-fork-sub-offset": b"0"}, b"", "fork-without-source", "Stream-Fork-Sub-Offset"),
        ({b"stream-forked-from": b"a"}, b"", "malformed-path", "Stream-Forked-From"),
        ({b"stream-forked-from": b"http://elsewhere/a"}, b"", "malformed-path", "Stream-Forked-From"),
        ({b"stream-forked-from": b"/a/__ds/b"}, b"", "malformed-path", "Stream-Forked-From"),
        ({b"stream-forked-from": b"/a", b"stream-fork-offset": b"x"}, b"", "malformed-offset", "Stream-Fork-Offset"),
        (
            {b"stream-forked-from": b"/a", b"stream-fork-sub-offset": b"1"},
            b"",
            "fork-without-offset",
            "Stream-Fork-Sub-Offset",
        ),
        (
            {b"stream-forked-from": b"/a", b"stream-fork-offset": b"-1", b"stream-fork-sub-offset": b"-1"},
            b"",
            "malformed-integer",
            "Stream-Fork-Sub-Offset",
        ),
    ],
)
def test_a_creation_that_is_wrong_by_itself_is_refused(
    headers: dict[bytes, bytes], body: bytes, code: str, field: str
) -> None:
    with pytest.raises(Unacceptable) as refused:
        parse_create(headers, body, "")
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_sub_offset_of_zero_is_no_sub_offset() -> None:
    creation = parse_create({b"stream-forked-from": b"/a", b"stream-fork-sub-offset": b"0"}, b"", "")
    assert creation.fork == Fork("a")


# -- reads


def test_a_read_without_a_query_begins_at_the_start() -> None:
    assert parse_read({}, b"") == Read(Sentinel.START)
    assert parse_read({}, b"foo=bar") == Read(Sentinel.START)


def test_everything_that_a_read_can_say_is_read() -> None:
    read = parse_read({b"if-none-match": b'"t"'}, b"offset=" + TOKEN.encode() + b"&live=long-poll&cursor=7&x=y")
    assert read == Read(Offset(7, 42), live="long-poll", cursor="7", if_none_match='"t"', token=TOKEN)


def test_a_query_is_decoded() -> None:
    assert parse_read({}, b"%6Fffset=%2D1&live=sse").offset is Sentinel.START
    assert parse_read({}, b"offset=-1&cursor=a+b%2B").cursor == "a b+"


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        (b"offset=", "malformed-offset", "offset"),
        (b"offset=x", "malformed-offset", "offset"),
        (b"offset=0_0", "malformed-offset", "offset"),
        (b"offset=-1&offset=-1", "repeated-offset", "offset"),
        (b"live=long-poll", "missing-offset", "offset"),
        (b"live=sse", "missing-offset", "offset"),
        (b"offset=-1&live=", "unknown-live-mode", "live"),
        (b"offset=-1&live=websocket", "unknown-live-mode", "live"),
    ],
)
def test_a_read_that_is_wrong_by_itself_is_refused(query: bytes, code: str, field: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        parse_read({}, query)
    assert (refused.value.code, refused.value.field) == (code, field)


@given(st.binary(max_size=60))
def test_no_query_is_anything_but_read_or_refused(query: bytes) -> None:
    with suppress(Unacceptable):
        assert isinstance(parse_read({}, query), Read)


@given(st.dictionaries(st.sampled_from([*TEXT, *PRODUCER, b"stream-seq", b"if-match"]), st.binary(max_size=30)))
def test_no_append_is_anything_but_read_or_refused(headers: dict[bytes, bytes]) -> None:
    with suppress(Unacceptable):
        assert isinstance(parse_append(headers, b"hi"), Append)
