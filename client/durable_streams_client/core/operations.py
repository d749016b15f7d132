"""Every operation but reading, as conversations.

Sections 4.2 and 5.1 to 5.5. Knows no HTTP library, clock or randomness.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from durable_streams_client.core import names
from durable_streams_client.core.batch import check_json, frame_json, is_json
from durable_streams_client.core.exchange import Flow, Pace, Request, exchange
from durable_streams_client.core.replies import (
    error_of,
    parse_appended,
    parse_closed,
    parse_created,
    parse_deleted,
    parse_head,
)
from durable_streams_client.errors import MalformedReply, NotSupported
from durable_streams_client.models import Appended, Closed, Created, Head

LIST_PAGE_SIZE = 1000  # what object stores list in one request, too

Message = bytes | bytearray | memoryview | str
"""One message: bytes, or text that is sent as UTF-8. On a JSON stream it is JSON text, and an array is one message."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a stream ends by itself: `ttl_seconds` after the last read or write, or at a moment.

    Not both. Section 5.1.
    """

    ttl_seconds: int | None = None
    expires_at: datetime | str | None = None

    def headers(self) -> dict[str, str]:
        """Return it as headers. Raise ValueError for what the protocol does not admit."""
        headers = {}
        if self.ttl_seconds is not None:
            if self.expires_at is not None:
                raise ValueError("ttl_seconds and expires_at exclude each other")
            if self.ttl_seconds < 0:
                raise ValueError("ttl_seconds must not be negative")
            headers[names.STREAM_TTL] = str(self.ttl_seconds)
        if isinstance(self.expires_at, datetime):
            if self.expires_at.tzinfo is None:
                raise ValueError("expires_at needs a time zone")
            headers[names.STREAM_EXPIRES_AT] = self.expires_at.isoformat()
        elif self.expires_at is not None:
            headers[names.STREAM_EXPIRES_AT] = self.expires_at
        return headers


def encode_message(message: Message) -> bytes:
    """Return a message as bytes. Raise TypeError for what is neither bytes nor text."""
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message)
    raise TypeError(f"a message is bytes or str, not {type(message).__name__}; for JSON values there is append_json")


def compose_body(messages: Sequence[Message], content_type: str) -> bytes:
    """Return messages as one body. On a JSON stream each stays one message, even if it is an array. Section 9.1.2.

    What is not JSON goes out bare, so that it is the server that refuses it.
    """
    parts = [encode_message(message) for message in messages]
    if not is_json(content_type):
        return b"".join(parts)
    try:
        for part in parts:
            check_json(part)
    except ValueError:
        return b"\n".join(parts)
    return frame_json(parts)


def create(
    url: str, pace: Pace, *, content_type: str | None, expiry: Expiry, closed: bool, body: bytes | None
) -> Flow[Created]:
    """Create a stream, or make sure that it is there with this configuration. Section 5.1."""
    headers = expiry.headers()
    if content_type is not None:
        headers[names.CONTENT_TYPE] = content_type
    if closed:
        headers[names.STREAM_CLOSED] = names.TRUE
    request = Request("PUT", url, headers, content=body)
    answer = yield from exchange(request, pace)
    return parse_created(request, answer.reply)


def fork(
    source_url: str,
    url: str,
    pace: Pace,
    *,
    offset: str | None,
    sub_offset: int,
    content_type: str | None,
    expiry: Expiry,
) -> Flow[Created]:
    """Create a stream that begins with another one's data, up to an offset or its tail. Section 4.2."""
    if sub_offset < 0:
        raise ValueError("sub_offset must not be negative")
    if sub_offset and offset is None:
        raise ValueError("sub_offset needs an offset to count from")
    headers = expiry.headers() | {names.STREAM_FORKED_FROM: path_of(source_url)}
    if offset is not None:
        headers[names.STREAM_FORK_OFFSET] = offset
    if sub_offset:
        headers[names.STREAM_FORK_SUB_OFFSET] = str(sub_offset)
    if content_type is not None:
        headers[names.CONTENT_TYPE] = content_type
    request = Request("PUT", url, headers)
    answer = yield from exchange(request, pace)
    return parse_created(request, answer.reply)


def path_of(url: str) -> str:
    """Return the path of a URL as it goes over the wire: ASCII, percent-escapes kept."""
    return quote(urlsplit(url).path or "/", safe="/%:@!$&'()*+,;=-._~")


def append(url: str, pace: Pace, *, body: bytes, content_type: str, seq: str | None) -> Flow[Appended]:
    """Append once. A lost answer is AmbiguousWrite: a second copy could double the data. Section 5.2."""
    headers = {names.CONTENT_TYPE: content_type}
    if seq is not None:
        headers[names.STREAM_SEQ] = seq
    request = Request("POST", url, headers, content=body)
    answer = yield from exchange(request, pace, repeatable=False)
    return parse_appended(request, answer.reply)


def close(url: str, pace: Pace, *, body: bytes | None, content_type: str) -> Flow[Closed]:
    """Close a stream, with its last data in the same step if there is any. Without, it may be repeated. Section 5.3."""
    headers = {names.STREAM_CLOSED: names.TRUE}
    if body:
        headers[names.CONTENT_TYPE] = content_type
    request = Request("POST", url, headers, content=body or None)
    answer = yield from exchange(request, pace, repeatable=not body)
    return parse_closed(request, answer.reply)


def delete(url: str, pace: Pace) -> Flow[None]:
    """Delete a stream. A 404 after an attempt whose answer was lost is what that attempt did. Section 5.4."""
    request = Request("DELETE", url)
    answer = yield from exchange(request, pace)
    if not (answer.doubt and answer.reply.status == 404):
        parse_deleted(request, answer.reply)


def head(url: str, pace: Pace) -> Flow[Head]:
    """Ask what a stream is and where its tail is. Section 5.5."""
    request = Request("HEAD", url)
    answer = yield from exchange(request, pace)
    return parse_head(request, answer.reply)


def list_streams(
    root_url: str, pace: Pace, *, prefix: str, after: str | None, limit: int
) -> Flow[tuple[list[str], str | None]]:
    """Return a page of the paths that begin with `prefix`, and where the next page begins, None after the last one.

    An extension of our own server, `GET {root}/__ds/streams`. Raise NotSupported where the server has no such thing.
    """
    # That server names paths without the slash they begin with in a URL.
    params = {names.PREFIX: prefix.removeprefix("/"), names.LIMIT: str(limit)}
    if after is not None:
        params[names.AFTER] = after
    request = Request("GET", root_url.rstrip("/") + names.STREAMS_PATH, params=params)
    reply = (yield from exchange(request, pace)).reply
    if reply.status in (400, 404, 405, 501):
        raise NotSupported(
            f"this server does not list streams: {names.STREAMS_PATH} was answered {reply.status}",
            url=request.url,
            status=reply.status,
            headers=reply.headers,
        )
    if reply.status != 200:
        raise error_of(request, reply)
    try:
        page = json.loads(reply.body)
        paths = [_require_text(stream["path"]) for stream in page["streams"]]
        following = page.get("next")
        return paths, None if following is None else _require_text(following)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedReply(f"not a list of streams: {error!r}", url=request.url, status=200) from error


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not text: {value!r}")
    return value
