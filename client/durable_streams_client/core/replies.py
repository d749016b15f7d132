"""From responses to values and errors: the tables of sections 5.1 to 5.7. Knows no attempts and no state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from durable_streams_client.core import names
from durable_streams_client.core.exchange import Reply, Request, explain
from durable_streams_client.errors import (
    BadRequest,
    Conflict,
    DurableStreamError,
    Fenced,
    Gone,
    InvalidOffset,
    MalformedReply,
    NotFound,
    NotSupported,
    OffsetGone,
    SequenceConflict,
    StreamClosed,
    TooLarge,
    Unauthorized,
    UnexpectedStatus,
)
from durable_streams_client.models import Appended, Closed, Created, Head

ERRORS: Mapping[int, type[DurableStreamError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    405: NotSupported,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    501: NotSupported,
}
# A read knows more about what was wrong.
READ_ERRORS: Mapping[int, type[DurableStreamError]] = {400: InvalidOffset, 410: OffsetGone}


def error_of(request: Request, reply: Reply) -> DurableStreamError:
    """Return the error that a refusal is."""
    kind = ERRORS.get(reply.status, UnexpectedStatus)
    if request.method == "GET":
        kind = READ_ERRORS.get(reply.status, kind)
    elif reply.status == 409:
        if reply.says(
            names.STREAM_CLOSED
        ):  # looked at before any other reason for a 409: section 5.2, error precedence
            kind = StreamClosed
        elif _is_sequence_conflict(request, reply):
            kind = SequenceConflict
    elif reply.status == 403 and reply.header(names.PRODUCER_EPOCH) is not None:
        kind = Fenced
    error = kind(
        f"{request.method} was answered {reply.status}: {explain(reply)}",
        url=request.url,
        status=reply.status,
        offset=reply.header(names.STREAM_NEXT_OFFSET) or request.params.get(names.OFFSET),
        headers=reply.headers,
    )
    if isinstance(error, Fenced):
        error.current_epoch = parse_count(reply, names.PRODUCER_EPOCH)
    return error


def _is_sequence_conflict(request: Request, reply: Reply) -> bool:
    # The protocol gives a regression of Stream-Seq no mark of its own: 409 to an append that carried one is taken as
    # such.
    return names.STREAM_SEQ in request.headers or reply.header(names.PRODUCER_EXPECTED_SEQ) is not None


def parse_count(reply: Reply, name: str) -> int | None:
    """Return a header that holds a number in plain decimal, None where it is absent.

    Raise MalformedReply for other text.
    """
    value = reply.header(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise MalformedReply(f"{name} is not a number: {value!r}", status=reply.status, headers=reply.headers)
    return int(value)


def parse_created(request: Request, reply: Reply) -> Created:
    """Judge the answer to a PUT. Section 5.1."""
    if reply.status not in (200, 201, 204):
        raise error_of(request, reply)
    return Created(
        url=request.url,
        created=reply.status == 201,
        offset=reply.header(names.STREAM_NEXT_OFFSET),
        content_type=reply.header(names.CONTENT_TYPE) or request.headers.get(names.CONTENT_TYPE),
        closed=reply.says(names.STREAM_CLOSED),
        status=reply.status,
        headers=reply.headers,
    )


def parse_appended(request: Request, reply: Reply) -> Appended:
    """Judge the answer to a POST with a body. With a producer's headers 204 means a duplicate. Sections 5.2, 5.2.1."""
    if reply.status not in (200, 201, 204):
        raise error_of(request, reply)
    return Appended(
        offset=reply.header(names.STREAM_NEXT_OFFSET),
        closed=reply.says(names.STREAM_CLOSED),
        duplicate=reply.status == 204 and names.PRODUCER_ID in request.headers,
        status=reply.status,
        headers=reply.headers,
    )


def parse_closed(request: Request, reply: Reply) -> Closed:
    """Judge the answer to a close. Section 5.3."""
    appended = parse_appended(request, reply)
    return Closed(offset=appended.offset, status=appended.status, headers=appended.headers)


def parse_deleted(request: Request, reply: Reply) -> None:
    """Judge the answer to a DELETE. Section 5.4."""
    if reply.status not in (200, 202, 204):
        raise error_of(request, reply)


def parse_head(request: Request, reply: Reply) -> Head:
    """Judge the answer to a HEAD. Section 5.5."""
    if reply.status not in (200, 204):
        raise error_of(request, reply)
    return Head(
        offset=require(request, reply, names.STREAM_NEXT_OFFSET),
        content_type=reply.header(names.CONTENT_TYPE) or names.BINARY_TYPE,
        closed=reply.says(names.STREAM_CLOSED),
        ttl_seconds=parse_count(reply, names.STREAM_TTL),
        expires_at=reply.header(names.STREAM_EXPIRES_AT),
        etag=reply.header(names.ETAG),
        status=reply.status,
        headers=reply.headers,
    )


Parse = Callable[[Request, Reply], object]


def require(request: Request, reply: Reply, name: str) -> str:
    """Return a header that the protocol promises, or raise MalformedReply."""
    value = reply.header(name)
    if not value:
        raise MalformedReply(
            f"the answer to {request.method} lacks {name}", url=request.url, status=reply.status, headers=reply.headers
        )
    return value


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a read: its data and where the next read begins. Sections 5.6 and 5.7."""

    data: bytes
    next_offset: str
    cursor: str | None
    up_to_date: bool
    closed: bool
    status: int
    headers: Mapping[str, str]


def parse_page(request: Request, reply: Reply, *, json: bool) -> Page:
    """Judge the answer to a GET. An empty JSON array is no data, like an empty body.

    A 204 means up to date even without saying so; so does the end of a closed stream.
    """
    if reply.status not in (200, 204):
        raise error_of(request, reply)
    closed = reply.says(names.STREAM_CLOSED)
    body = reply.body if reply.status == 200 else b""
    return Page(
        data=b"" if json and body.strip() == b"[]" else body,
        next_offset=require(request, reply, names.STREAM_NEXT_OFFSET),
        cursor=reply.header(names.STREAM_CURSOR),
        up_to_date=closed or reply.status == 204 or reply.says(names.STREAM_UP_TO_DATE),
        closed=closed,
        status=reply.status,
        headers=reply.headers,
    )
