"""Build replies: every verdict and outcome of the log as a status, raw headers and a body. Section 5.

Each `reply_` ends in assert_never: an answer that the log learns to give is a type error here, not a 500.
"""

from typing import assert_never
from urllib.parse import quote

import msgspec

from handler.core import names
from handler.core.caching import CacheRules, is_match, live_control, page_control, page_etag
from handler.core.problems import BASE, NOT_STORED, RawHeaders, Reply, header, reply_problem
from handler.core.requests import Read
from storage.core.admission import (
    AlreadyClosed,
    Appended,
    InvalidBody,
    Judged,
    MediaTypeDiffers,
    Repeated,
    SequenceRegression,
    StreamClosed,
    TailMoved,
)
from storage.core.keys import encode_path
from storage.core.lineage import token_at
from storage.core.offset import Sentinel
from storage.core.producers import EpochNotAtZero, SequenceGap, StaleEpoch
from storage.core.root import Root
from storage.log import (
    Created,
    CreationOutcome,
    Deleted,
    Description,
    Differs,
    Existed,
    ForkInvalid,
    Gone,
    NotFound,
    OffsetGone,
    OffsetInvalid,
    Page,
    Retained,
    SourceGone,
    SourceNotFound,
    SourceTypeDiffers,
)

_CLOSED = header(names.STREAM_CLOSED, names.TRUE)
_UP_TO_DATE = header(names.STREAM_UP_TO_DATE, names.TRUE)
_EXTENSIONS = header(names.STREAM_EXTENSIONS, ", ".join(names.EXTENSIONS))
_NEXT_OFFSET = names.STREAM_NEXT_OFFSET.lower().encode()

# -- streams

_NOT_FOUND = reply_problem(404, "stream-not-found", "There is no stream at this path.", "path")
_GONE = reply_problem(410, "stream-gone", "The stream is deleted, and kept only for its forks.", "path")


def reply_created(outcome: CreationOutcome, location: str) -> Reply:
    """Return the answer to a PUT. Sections 5.1 and 4.2."""
    match outcome:
        case Created(stream):
            return Reply(201, [*_described(stream), header(names.LOCATION, location), (b"content-length", b"0")])
        case Existed(stream):
            return Reply(200, [*_described(stream), (b"content-length", b"0")])
        case Differs(field, present):
            sentence = f"A stream is there with another {field}: {present}; ask for that, or use another path."
            return reply_problem(409, "stream-exists", sentence, field)
        case Gone():
            sentence = "A stream was deleted here and is kept for its forks; use another path."
            return reply_problem(409, "stream-gone", sentence, "path")
        case SourceNotFound():
            sentence = "There is no stream at the path that Stream-Forked-From names."
            return reply_problem(404, "source-not-found", sentence, names.STREAM_FORKED_FROM)
        case SourceGone():
            sentence = "The stream that Stream-Forked-From names is deleted, and kept only for the forks that it has."
            return reply_problem(409, "source-gone", sentence, names.STREAM_FORKED_FROM)
        case ForkInvalid(field, why):
            return reply_problem(400, "invalid-fork", f"{field} names no place in the source: {why}.", field)
        case SourceTypeDiffers(expected):
            sentence = f"Content-Type is not the source's; send {expected}, or leave it out."
            return reply_problem(409, "content-type-differs", sentence, names.CONTENT_TYPE)
        case InvalidBody(why):
            return reply_problem(400, "invalid-json", f"The body is not JSON: {why}.", "body")
        case _:
            assert_never(outcome)


def _described(stream: Description) -> RawHeaders:
    root, tail = stream.root, stream.tail
    headers = [
        *BASE,
        header(names.CONTENT_TYPE, root.config.content_type),
        (_NEXT_OFFSET, str(token_at(root.lineage, tail.position)).encode()),
    ]
    if tail.closed:
        headers.append(_CLOSED)
    return headers


def reply_head(outcome: Description | NotFound | Gone) -> Reply:
    """Return the answer to a HEAD. Section 5.5."""
    match outcome:
        case Description(root, _):
            headers = [*_described(outcome), NOT_STORED, _EXTENSIONS]
            if root.retained:
                headers.append(_earliest(root, root.retained))
            if root.config.ttl_seconds is not None:
                headers.append(header(names.STREAM_TTL, str(root.config.ttl_seconds)))
            if root.config.expires_at is not None:
                headers.append(header(names.STREAM_EXPIRES_AT, root.config.expires_at))
            return Reply(200, headers)
        case NotFound():
            return _NOT_FOUND
        case Gone():
            return _GONE
        case _:
            assert_never(outcome)


def reply_retained(outcome: Retained | NotFound | Gone | OffsetGone | OffsetInvalid) -> Reply:
    """Return the answer to a PATCH with Stream-Retain-From, an extension."""
    match outcome:
        case Retained(root, position):
            return Reply(204, [*BASE, _earliest(root, position)])
        case NotFound():
            return _NOT_FOUND
        case Gone():
            return _GONE
        case OffsetGone():
            sentence = "Stream-Retain-From is of another generation of this path; send an offset of this one."
            return reply_problem(410, "offset-gone", sentence, names.STREAM_RETAIN_FROM)
        case OffsetInvalid(why):
            sentence = f"Stream-Retain-From is no offset that this stream has handed out: {why}."
            return reply_problem(400, "invalid-offset", sentence, names.STREAM_RETAIN_FROM)
        case _:
            assert_never(outcome)


def _earliest(root: Root, position: int) -> tuple[bytes, bytes]:
    return header(names.STREAM_EARLIEST_OFFSET, str(token_at(root.lineage, position)))


def reply_deleted(outcome: Deleted | NotFound | Gone) -> Reply:
    """Return the answer to a DELETE. Section 5.4."""
    match outcome:
        case Deleted():
            return Reply(204, BASE)
        case NotFound():
            return _NOT_FOUND
        case Gone():
            return _GONE
        case _:
            assert_never(outcome)


# -- appends


def reply_appended(outcome: Judged | NotFound | Gone, *, has_body: bool) -> Reply:
    """Return the answer to a POST. Sections 5.2 and 5.3: 200 for a producer's new data, 204 for the rest."""
    match outcome:
        case Judged(verdict, lineage):
            pass
        case NotFound():
            return _NOT_FOUND
        case Gone():
            return _GONE
        case _:
            assert_never(outcome)
    match verdict:
        case Appended(position, closed, claim):
            headers = [*BASE, (_NEXT_OFFSET, str(token_at(lineage, position)).encode())]
            if closed:
                headers.append(_CLOSED)
            if claim is None:
                return Reply(204, headers)
            headers += _producer(claim.epoch, claim.seq)
            if not has_body:
                return Reply(204, headers)
            return Reply(200, [*headers, (b"content-length", b"0")])
        case Repeated(position, closed, epoch, seq):
            headers = [
                *BASE,
                (_NEXT_OFFSET, str(token_at(lineage, position)).encode()),
                *_producer(epoch, seq),
            ]
            return Reply(204, [*headers, _CLOSED] if closed else headers)
        case AlreadyClosed(position):
            return Reply(204, [*BASE, (_NEXT_OFFSET, str(token_at(lineage, position)).encode()), _CLOSED])
        case StreamClosed(position):
            next_offset = (_NEXT_OFFSET, str(token_at(lineage, position)).encode())
            return reply_problem(409, "stream-closed", "The stream is closed.", "", next_offset, _CLOSED)
        case MediaTypeDiffers(expected):
            sentence = f"Content-Type is not the stream's; send {expected}."
            return reply_problem(409, "content-type-differs", sentence, names.CONTENT_TYPE)
        case SequenceRegression(last):
            sentence = f"Stream-Seq is not above the last one, {last!r}, byte by byte; send one that is."
            return reply_problem(409, "sequence-regression", sentence, names.STREAM_SEQ)
        case TailMoved(position):
            sentence = "The tail is not where If-Match expects it; Stream-Next-Offset says where it is."
            next_offset = (_NEXT_OFFSET, str(token_at(lineage, position)).encode())
            return reply_problem(412, "tail-moved", sentence, names.IF_MATCH, next_offset)
        case InvalidBody(why):
            return reply_problem(400, "invalid-json", f"The body is not JSON that can be appended: {why}.", "body")
        case StaleEpoch(epoch):
            sentence = f"Producer-Epoch is behind {epoch}: a newer instance of this producer has taken over."
            current = header(names.PRODUCER_EPOCH, str(epoch))
            return reply_problem(403, "stale-epoch", sentence, names.PRODUCER_EPOCH, current)
        case SequenceGap(expected_seq, received):
            sentence = f"Producer-Seq {received} leaves a gap; send {expected_seq} first."
            gap = (
                header(names.PRODUCER_EXPECTED_SEQ, str(expected_seq)),
                header(names.PRODUCER_RECEIVED_SEQ, str(received)),
            )
            return reply_problem(409, "sequence-gap", sentence, names.PRODUCER_SEQ, *gap)
        case EpochNotAtZero(epoch, seq):
            sentence = f"Producer-Seq is {seq} in the new epoch {epoch}; an epoch begins with 0."
            return reply_problem(400, "epoch-not-at-zero", sentence, names.PRODUCER_SEQ)
        case _:
            assert_never(verdict)


def _producer(epoch: int, seq: int) -> RawHeaders:
    return [
        (b"producer-epoch", str(epoch).encode()),
        (b"producer-seq", str(seq).encode()),
    ]


# -- reads


class Reading(msgspec.Struct, frozen=True):
    """What a reply to a read depends on besides the page."""

    rules: CacheRules
    now_ms: int
    cursor: str = ""  # of a live answer
    private: bool = False  # the request was authorised
    chunks_url: str = ""  # where a CDN serves chunk objects to everybody


Outcome = Page | NotFound | Gone | OffsetGone | OffsetInvalid


def reply_read(outcome: Outcome, read: Read, reading: Reading) -> Reply:
    """Return the answer to a GET: a catch-up page or a long-poll's. Sections 5.6 and 5.7."""
    match outcome:
        case Page():
            return _reply_page(outcome, read, reading)
        case _:
            return reply_unreadable(outcome)


def reply_unreadable(outcome: NotFound | Gone | OffsetGone | OffsetInvalid) -> Reply:
    """Return what a read gets that has no page."""
    match outcome:
        case NotFound():
            return _NOT_FOUND
        case Gone():
            return _GONE
        case OffsetGone():
            sentence = "What follows this offset is not kept any more, or was another stream's; begin again with -1."
            return reply_problem(410, "offset-gone", sentence, names.OFFSET)
        case OffsetInvalid(why):
            sentence = f"The offset is none of this stream's: {why}; accepted is what Stream-Next-Offset said."
            return reply_problem(400, "invalid-offset", sentence, names.OFFSET)
        case _:
            assert_never(outcome)


def _reply_page(page: Page, read: Read, reading: Reading) -> Reply:
    root, own = page.root, page.root.generation
    config = root.config
    headers = [*BASE, (_NEXT_OFFSET, str(token_at(root.lineage, page.end)).encode())]
    if page.up_to_date:
        headers.append(_UP_TO_DATE)
    if page.closed:
        headers.append(_CLOSED)
    chunks = chunks_after(page, reading)
    if chunks:
        headers.append(header(names.STREAM_CHUNKS, chunks))
    if read.live:
        if not page.closed:
            headers.append(header(names.STREAM_CURSOR, reading.cursor))
        has_data = page.end > page.start
        control = live_control(config, read.offset, reading.now_ms, has_data=has_data, private=reading.private)
        headers.append(header(names.CACHE_CONTROL, control))
        if not has_data:
            return Reply(204, headers)
    else:
        control = page_control(
            reading.rules, config, own, read.offset, reading.now_ms, at_tail=page.up_to_date, private=reading.private
        )
        headers.append(header(names.CACHE_CONTROL, control))
    if read.offset is not Sentinel.NOW:
        etag = page_etag(own, page.start, page.end, closed=page.closed)
        headers.append(header(names.ETAG, etag))
        if is_match(read.if_none_match, etag) and not read.live:
            return Reply(304, headers)
    headers.append(header(names.CONTENT_TYPE, config.content_type))
    headers.append((b"content-length", str(page.size).encode()))
    return Reply(200, headers, page.parts[0], page.parts[1:])


def chunks_after(page: Page, reading: Reading) -> str:
    """Return where what follows the page may be read as chunk objects; empty where that would not be the same.

    Not at the tail, where there is nothing yet; not in what a fork has inherited, which ends within a chunk; not where
    reading asks for a token, or puts an expiry off, or an expiry would be outlived.
    """
    root = page.root
    own = root.lineage[-1]
    if (
        not reading.chunks_url
        or reading.private
        or page.up_to_date
        or token_at(root.lineage, page.end).generation != own.generation
    ):
        return ""
    if root.config.ttl_seconds is not None or root.config.expires_at is not None:
        return ""
    return f"{reading.chunks_url}/{quote(encode_path(own.path), safe='')}"
