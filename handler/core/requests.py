"""Read requests: raw ASGI headers and queries in, one frozen value per kind of request out. Sections 5, 8 and 9.

Whatever a client can get wrong on its own is refused here, before any stream is looked at. Knows nothing of streams.
"""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_plus

import msgspec

from handler.core import names
from handler.core.fields import (
    Headers,
    Unacceptable,
    is_true,
    parse_claim,
    parse_content_type,
    parse_expected,
    parse_integer,
    parse_media_type,
    parse_offset_field,
    parse_sequence,
    parse_time,
    text_of,
)
from storage.core.admission import Append
from storage.core.json_mode import InvalidJson, parse_payload
from storage.core.keys import normalise_path
from storage.core.offset import Offset, Sentinel
from storage.core.root import Config, media_type
from storage.creation import Creation
from storage.forks import Fork

# Headers of which a second one would contradict the first; of the others the last one counts.
_SINGLE = frozenset(
    name.lower().encode()
    for name in (
        names.CONTENT_LENGTH,
        names.CONTENT_TYPE,
        names.IF_MATCH,
        names.PRODUCER_EPOCH,
        names.PRODUCER_ID,
        names.PRODUCER_SEQ,
        names.STREAM_EXPIRES_AT,
        names.STREAM_FORK_OFFSET,
        names.STREAM_FORK_SUB_OFFSET,
        names.STREAM_FORKED_FROM,
        names.STREAM_RETAIN_FROM,
        names.STREAM_SEQ,
        names.STREAM_TTL,
    )
)


class Read(msgspec.Struct, frozen=True):
    """What a GET asks for."""

    offset: Offset | Sentinel
    live: str = ""  # one of names.LIVE_*, empty for a catch-up read
    cursor: str | None = None
    if_none_match: str | None = None
    token: str = ""  # the offset as the client wrote it


def parse_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name. Raises Unacceptable where one that must be single is repeated."""
    pairs = list(raw)
    headers = dict(pairs)
    if len(headers) != len(pairs):
        first: dict[bytes, bytes] = {}
        for name, value in pairs:
            if first.setdefault(name, value) != value and name in _SINGLE:
                field = name.decode("latin-1")
                raise Unacceptable("repeated-header", field, f"{field} is there twice, with different values; send one")
    return headers


@lru_cache(maxsize=4096)
def parse_path(raw_path: bytes, root_path: str) -> str | None:
    """Return the path of the stream that a URL names below the application's root; None for a reserved one.

    Section 6: a path with a `__ds` segment is never a stream.
    """
    path = parse_any_path(raw_path, root_path)
    return None if names.RESERVED in path and names.RESERVED in path.split("/") else path


def parse_any_path(raw_path: bytes, root_path: str) -> str:
    """Return the path below the application's root, of a stream or not."""
    return _below(normalise_path(raw_path.decode("latin-1")), root_path)


def _below(path: str, root_path: str) -> str:
    root = normalise_path(quote(root_path, safe="/%")).strip("/")
    if not root:
        return path
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) + 1 :]
    return path  # a proxy has taken the root away already


# -- one value per request


def parse_retain(headers: Headers) -> Offset:
    """Return the offset before which a PATCH wants nothing kept, an extension. Raises Unacceptable."""
    value = headers.get(b"stream-retain-from")
    offset = None if value is None else parse_offset_field(names.STREAM_RETAIN_FROM, text_of(value))
    if not isinstance(offset, Offset):
        field = names.STREAM_RETAIN_FROM
        raise Unacceptable("invalid-retention", field, f"{field} is to be an offset that Stream-Next-Offset said")
    return offset


def parse_append(headers: Headers, body: bytes) -> Append:
    """Return what a POST asks for. Section 5.2. Raises Unacceptable."""
    get = headers.get
    close = is_true(get(b"stream-closed"))
    declared = get(b"content-type")
    media = "" if declared is None else parse_media_type(declared)
    invalid = ""
    if not body:
        if not close:
            raise Unacceptable(
                "empty-body",
                "body",
                "the body is empty; send what to append, or Stream-Closed: true to close",
            )
    elif not media:
        raise Unacceptable(
            "missing-content-type", names.CONTENT_TYPE, "Content-Type is missing; send the content type of the stream"
        )
    elif media == names.JSON_TYPE:
        body, invalid = _parse_json(body)
        if not body and not invalid:
            invalid = "it is an empty array, which appends nothing"
    sequence = get(b"stream-seq")
    if_match = get(b"if-match")
    expected = None if if_match is None else parse_expected(if_match)
    claim = None
    if b"producer-id" in headers or b"producer-epoch" in headers or b"producer-seq" in headers:
        claim = parse_claim(headers)
    return Append(
        body,
        media,
        close,
        None if sequence is None else parse_sequence(sequence),
        claim,
        None if expected is None else expected.position,
        None if expected is None else expected.generation,
        invalid,
    )


def parse_create(headers: Headers, body: bytes, root_path: str) -> Creation:
    """Return what a PUT asks for. Sections 5.1 and 4.2. Raises Unacceptable."""
    declared = headers.get(b"content-type")
    content_type = "" if declared is None else parse_content_type(declared)
    fork = _parse_fork(headers, root_path)
    if not content_type and fork is None:
        content_type = names.BINARY_TYPE
    ttl_seconds = expires_at_ms = expires_at = None
    if b"stream-ttl" in headers:
        ttl_seconds = parse_integer(names.STREAM_TTL, headers[b"stream-ttl"], "seconds, such as 3600")
    if b"stream-expires-at" in headers:
        expires_at = text_of(headers[b"stream-expires-at"])
        expires_at_ms = parse_time(names.STREAM_EXPIRES_AT, expires_at)
        if ttl_seconds is not None:
            raise Unacceptable(
                "two-lifetimes",
                names.STREAM_EXPIRES_AT,
                "Stream-Expires-At is there together with Stream-TTL; send one of the two",
            )
    if media_type(content_type) == names.JSON_TYPE and body:
        body, invalid = _parse_json(body)
        if invalid:
            raise Unacceptable("invalid-json", "body", f"the body is not JSON: {invalid}")
    return Creation(
        config=Config(content_type, ttl_seconds, expires_at_ms, expires_at),
        payload=body,
        closed=is_true(headers.get(b"stream-closed")),
        fork=fork,
    )


def parse_read(headers: Headers, query: bytes) -> Read:
    """Return what a GET asks for. Sections 5.6 to 5.8. Raises Unacceptable."""
    found = headers.get(b"if-none-match")
    if_none_match = None if found is None else text_of(found)
    if not query:
        return Read(Sentinel.START, if_none_match=if_none_match)
    parameters = _parse_query(query)
    live = parameters.get(names.LIVE, "")
    if names.LIVE in parameters and live not in (names.LIVE_LONG_POLL, names.LIVE_SSE):
        raise Unacceptable("unknown-live-mode", names.LIVE, f"live={live!r} is no mode; accepted are long-poll and sse")
    token = parameters.get(names.OFFSET)
    if token is None:
        if live:
            raise Unacceptable(
                "missing-offset", names.OFFSET, f"offset is missing, and live={live} needs one; send -1 for the start"
            )
        return Read(Sentinel.START, if_none_match=if_none_match)
    return Read(
        offset=parse_offset_field(names.OFFSET, token),
        live=live,
        cursor=parameters.get(names.CURSOR),
        if_none_match=if_none_match,
        token=token,
    )


# -- parts


def _parse_fork(headers: Headers, root_path: str) -> Fork | None:
    source = headers.get(b"stream-forked-from")
    if source is None:
        for name in (names.STREAM_FORK_OFFSET, names.STREAM_FORK_SUB_OFFSET):
            if name.lower().encode() in headers:
                raise Unacceptable(
                    "fork-without-source", name, f"{name} is there without Stream-Forked-From; send the source's path"
                )
        return None
    path = parse_path(source.strip(), root_path) if source.strip().startswith(b"/") else None
    if path is None:
        raise Unacceptable(
            "malformed-path",
            names.STREAM_FORKED_FROM,
            f"Stream-Forked-From {text_of(source)[:80]!r} is no stream; accepted is its URL's path, from the first /",
        )
    offset = sub_offset = None
    if b"stream-fork-offset" in headers:
        offset = parse_offset_field(names.STREAM_FORK_OFFSET, text_of(headers[b"stream-fork-offset"]))
    if b"stream-fork-sub-offset" in headers:
        sub_offset = parse_integer(
            names.STREAM_FORK_SUB_OFFSET, headers[b"stream-fork-sub-offset"], "bytes or messages"
        )
        if sub_offset and offset is None:
            raise Unacceptable(
                "fork-without-offset",
                names.STREAM_FORK_SUB_OFFSET,
                "Stream-Fork-Sub-Offset is there without Stream-Fork-Offset; send the offset that it goes on from",
            )
    return Fork(path, offset, sub_offset or 0)


def _parse_query(query: bytes) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if "%" in value or "+" in value:
            # A plus in an offset or a cursor is a space, as everywhere in a query.
            value = unquote(value.replace("+", " "), errors="surrogateescape")
        if name == names.OFFSET and name in parameters:
            raise Unacceptable("repeated-offset", name, "offset is there twice; send one")
        parameters[name] = value
    return parameters


def _parse_json(body: bytes) -> tuple[bytes, str]:
    """Return the payload and nothing, or nothing and why there is none."""
    try:
        return parse_payload(body), ""
    except InvalidJson as error:
        return b"", str(error)
