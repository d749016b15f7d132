"""What Lambda passes around: paths as they came, and answers that it accepts whatever is in them."""

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.core.lambda_events import (
    ANSWER_BYTES,
    HEADERS_BYTES,
    PAGE_BYTES,
    PLAIN_BYTES,
    fit,
    is_event_stream,
    raw_path,
)


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({"rawPath": "/a%2Fb/c%20d", "requestContext": {"stage": "$default"}}, b"/a%2Fb/c%20d"),
        ({"rawPath": "/prod/a", "requestContext": {"stage": "prod"}}, b"/a"),
        ({"rawPath": "/prod", "requestContext": {"stage": "prod"}}, b"/"),
        ({"rawPath": "/production/a", "requestContext": {"stage": "prod"}}, b"/production/a"),
        ({"rawPath": "/c d/ü", "requestContext": {"stage": "$default"}}, b"/c%20d/%C3%BC"),  # an HTTP API decodes
        ({"path": "/a%2Fb", "requestContext": {"stage": "prod"}}, b"/a%2Fb"),  # a REST API leaves its stage out
        ({"path": "/a", "requestContext": {"elb": {}}}, b"/a"),
        ({"path": ""}, b"/"),
    ],
)
def test_the_path_is_as_it_came_over_the_wire(event: dict[str, Any], path: bytes) -> None:
    assert raw_path(event) == path


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"offset=-1&live=sse", True),
        (b"live=sse", True),
        (b"live=long-poll", False),
        (b"live=ssex", False),
        (b"olive=sse", False),
        (b"", False),
    ],
)
def test_an_event_stream_is_known_by_its_query(query: bytes, expected: bool) -> None:
    assert is_event_stream(query) is expected


def answer_of(body: str, *, is_base64: bool = False) -> dict[str, Any]:
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": body, "isBase64Encoded": is_base64}


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_a_whole_page_is_passed_on_whatever_its_bytes_are(piece: bytes) -> None:
    text = (piece.decode("latin-1") * (PAGE_BYTES // len(piece) + 1)).encode()[:PAGE_BYTES].decode("utf-8", "ignore")
    fitted = fit(answer_of(text), has_type=True)
    assert fitted is not None
    assert fitted["isBase64Encoded"]
    assert b64decode(fitted["body"]).decode() == text
    assert len(json.dumps(fitted)) <= ANSWER_BYTES


@given(st.text(max_size=200))
def test_short_text_stays_text(text: str) -> None:
    assert fit(answer_of(text), has_type=True) == answer_of(text)


@pytest.mark.parametrize("character", ["\x01", '"', "ü", "\U0001f40c"])
def test_text_that_would_stay_text_fits_even_if_every_byte_is_escaped(character: str) -> None:
    fitted = fit(answer_of(character * (PLAIN_BYTES // len(character.encode()))), has_type=True)
    assert fitted is not None
    assert not fitted["isBase64Encoded"]
    assert len(json.dumps(fitted)) <= ANSWER_BYTES


def test_what_is_too_large_even_so_is_not_passed_on() -> None:
    assert fit(answer_of("A" * (ANSWER_BYTES - HEADERS_BYTES + 1), is_base64=True), has_type=True) is None


def test_a_type_that_the_application_did_not_give_is_taken_out() -> None:
    answer = {"statusCode": 204, "headers": {"content-type": "application/json", "etag": "e"}}
    assert fit(answer, has_type=False) == {"statusCode": 204, "headers": {"etag": "e"}}
    assert fit({"statusCode": 204, "multiValueHeaders": {}}, has_type=False) is not None  # a load balancer's
