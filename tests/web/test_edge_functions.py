"""CloudFront's functions in node: every offset becomes the key that the log writes to, and metadata become headers."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.core import keys
from storage.core.chunk import Chunk, Kind, encode_chunk
from storage.core.offset import LARGEST, Offset
from storage.core.producers import Claim, Record
from tests.web.edge import Edge, edge, functions

CODE_BYTES = 10 * 1024  # CloudFront's limit for a function
numbers = st.integers(0, LARGEST)
paths = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=40).map(keys.normalise_path)


@pytest.fixture(scope="module")
def node() -> Iterator[Edge]:
    with edge() as process:
        yield process


def request(uri: str, method: str = "GET", **query: str) -> dict[str, Any]:
    querystring = {name: {"value": value} for name, value in query.items()}
    headers = {"host": {"value": "d1.cloudfront.net"}}
    return {"version": "1.0", "request": {"method": method, "uri": uri, "querystring": querystring, "headers": headers}}


def chunks_url(path: str) -> str:
    """Return the path of what the server's header names, before the offset."""
    return f"/__ds/chunk/{quote(keys.encode_path(path), safe='')}"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths, numbers, numbers)
@example("v1/a", 0, 0)
@example("", LARGEST, LARGEST)
@example("v1/%2F%25", 2**53 + 1, 2**53 - 1)
@example("v1/a b+c/ü", 1_795_548_916_410_000, 10**15)
def test_an_offset_becomes_the_key_of_the_chunk_that_begins_there(
    node: Edge, path: str, generation: int, position: int
) -> None:
    returned = node.run("ChunkRequest", request(chunks_url(path), offset=str(Offset(generation, position))))
    assert unquote(returned["uri"]) == f"/{keys.chunks_of_generation(path, generation)}{keys.complement(position)}"
    assert returned["querystring"] == {}


def test_each_digit_has_its_complement_at_each_place(node: Edge) -> None:
    for place in range(16):
        for digit in range(10):
            number = digit * 10**place
            returned = node.run("ChunkRequest", request(chunks_url("a"), offset=str(Offset(number, LARGEST - number))))
            assert unquote(returned["uri"]) == f"/{keys.chunks_of_generation('a', number)}{number:016d}"


@pytest.mark.parametrize(
    "offset", ["", "-1", "now", "1_2", "0" * 33, f"{'0' * 16}_{'0' * 15}a", f"{'0' * 16}_{'0' * 17}", "../../root/a"]
)
def test_what_is_no_offset_reaches_no_object(node: Edge, offset: str) -> None:
    returned = node.run("ChunkRequest", request(chunks_url("a"), offset=offset))
    assert returned["statusCode"] == 404
    assert returned["headers"]["cache-control"]["value"] == "no-store"


@pytest.mark.parametrize("uri", ["/__ds/chunk/", "/__ds/chunk/a/b", "/__ds/chunk/a/../../root/b"])
def test_what_is_no_stream_reaches_no_object(node: Edge, uri: str) -> None:
    assert node.run("ChunkRequest", request(uri, offset=str(Offset(1, 2))))["statusCode"] == 404


def test_a_request_without_an_offset_reaches_no_object(node: Edge) -> None:
    assert node.run("ChunkRequest", request(chunks_url("a")))["statusCode"] == 404


def chunk_of(kind: Kind, *, closed: bool) -> Chunk:
    return Chunk(
        position=10,
        next=25,
        kind=kind,
        write_id="ab" * 12,
        index=3,
        at_ms=1_700_000_000_000,
        closed=closed,
        closer=Claim("somebody", 1, 2) if closed else None,
        sequence="seq",
        producers={"somebody": Record(epoch=1, seq=2, minute=28_333_333)},
        table="",
    )


def answered(node: Edge, metadata: dict[str, str], status: int = 200) -> dict[str, Any]:
    headers = {f"x-amz-meta-{name}": {"value": value} for name, value in metadata.items()}
    headers |= {
        "content-type": {"value": "application/json"},
        "content-length": {"value": "15"},
        "cache-control": {"value": "public, max-age=31536000, immutable"},
        "etag": {"value": '"e"'},
        "x-amz-request-id": {"value": "R"},
        "x-amz-cf-id": {"value": "C"},
    }
    response = {"statusCode": status, "headers": headers}
    returned = node.run("ChunkResponse", {**request("/chunk/a"), "response": response})
    assert isinstance(returned, dict)
    return returned


@pytest.mark.parametrize("closed", [False, True])
def test_metadata_become_the_protocols_headers_and_nothing_else_is_told(node: Edge, closed: bool) -> None:
    returned = answered(node, encode_chunk(chunk_of(Kind.DATA, closed=closed), 7))
    headers = {name: header["value"] for name, header in returned["headers"].items()}
    assert returned["statusCode"] == 200
    assert headers["stream-next-offset"] == str(Offset(7, 25))
    assert headers.get("stream-closed") == ("true" if closed else None)
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["etag"] == '"e"'
    assert "stream-up-to-date" not in headers
    assert not [name for name in headers if name.startswith("x-amz-") and name != "x-amz-cf-id"]
    assert "somebody" not in str(headers)


def test_the_end_of_a_stream_is_told(node: Edge) -> None:
    returned = answered(node, encode_chunk(chunk_of(Kind.CLOSE, closed=True), 7))
    assert returned["headers"]["stream-closed"]["value"] == "true"


def test_a_tombstone_is_not_found_and_not_kept(node: Edge) -> None:
    returned = answered(node, encode_chunk(chunk_of(Kind.TOMBSTONE, closed=False), 7))
    assert returned["statusCode"] == 404
    assert returned["headers"]["cache-control"]["value"] == "no-store"
    assert "stream-next-offset" not in returned["headers"]


def test_an_object_that_is_no_chunk_is_not_found(node: Edge) -> None:
    assert answered(node, {})["statusCode"] == 404


def test_the_origin_learns_which_host_was_asked(node: Edge) -> None:
    returned = node.run("StreamRequest", request("/a", offset="-1", live="sse"))
    assert returned["headers"]["x-forwarded-host"]["value"] == "d1.cloudfront.net"
    assert "origin" not in returned


def test_event_streams_go_to_the_function_that_streams_where_there_is_one() -> None:
    with edge(streaming=True) as process:
        assert process.run("StreamRequest", request("/a", live="sse"))["origin"] == "streaming"
        assert "origin" not in process.run("StreamRequest", request("/a", live="long-poll"))
        assert "origin" not in process.run("StreamRequest", request("/a", "OPTIONS", live="sse"))
        assert "origin" not in process.run("StreamRequest", request("/a", offset="-1"))


def test_each_function_is_within_cloudfronts_size() -> None:
    for name, code in functions().items():
        assert len(code.encode()) < CODE_BYTES, name
