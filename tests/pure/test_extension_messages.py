"""What the extensions put on the wire: retention, and where a CDN has the history."""

import msgspec
import pytest

from handler.core.caching import CacheRules
from handler.core.fields import Unacceptable
from handler.core.requests import Read, parse_retain
from handler.core.responses import Reading, chunks_after, reply_head, reply_read, reply_retained
from storage.core.offset import Offset, Sentinel
from storage.core.root import Config, Root
from storage.log import Description, Gone, NotFound, OffsetGone, OffsetInvalid, Page, Retained
from tests.pure.test_responses import FORKED, LINEAGE, PLAIN, described, headers_of, problem_of, root, token

CHUNKS = "https://cdn.example/chunk"


def test_retention_begins_at_an_offset_that_was_handed_out() -> None:
    assert parse_retain({b"stream-retain-from": token(5).encode()}) == Offset(7, 5)


@pytest.mark.parametrize("value", [None, b"-1", b"now", b"5", b""])
def test_retention_does_not_begin_anywhere_else(value: bytes | None) -> None:
    with pytest.raises(Unacceptable) as refused:
        parse_retain({} if value is None else {b"stream-retain-from": value})
    assert refused.value.field == "Stream-Retain-From"


def test_what_is_kept_is_told_by_its_earliest_offset() -> None:
    reply = reply_retained(Retained(root(), 5))
    assert reply.status == 204
    assert headers_of(reply)["stream-earliest-offset"] == token(5)
    kept = Description(msgspec.structs.replace(root(), retained=5), described().tail)
    assert headers_of(reply_head(kept))["stream-earliest-offset"] == token(5)
    assert "stream-earliest-offset" not in headers_of(reply_head(described()))


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (NotFound(), 404, "stream-not-found"),
        (Gone(), 410, "stream-gone"),
        (OffsetGone(), 410, "offset-gone"),
        (OffsetInvalid("it is beyond"), 400, "invalid-offset"),
    ],
)
def test_a_retention_that_cannot_be_says_why(
    outcome: NotFound | Gone | OffsetGone | OffsetInvalid, status: int, code: str
) -> None:
    reply = reply_retained(outcome)
    assert (reply.status, problem_of(reply)["code"]) == (status, code)


def chunks(
    of: Root, *, end: int = 15, up_to_date: bool = False, private: bool = False, chunks_url: str = CHUNKS
) -> str:
    page = Page(of, (b"x" * end,), 0, end, up_to_date, False)
    return chunks_after(page, Reading(CacheRules(), 0, "", private, chunks_url))


def test_history_is_pointed_to_where_a_cdn_has_it() -> None:
    assert chunks(root(lineage=LINEAGE)) == f"{CHUNKS}/s"
    assert chunks(root(lineage=FORKED)) == f"{CHUNKS}/s"


@pytest.mark.parametrize(
    "found",
    [
        chunks(root(), chunks_url=""),
        chunks(root(), private=True),
        chunks(root(), up_to_date=True),
        chunks(root(lineage=FORKED), end=10),
        chunks(root(Config("text/plain", ttl_seconds=60))),
        chunks(root(Config("text/plain", expires_at_ms=1, expires_at="1970-01-01T00:00:00.001Z"))),
    ],
)
def test_history_is_pointed_to_nowhere_else(found: str) -> None:
    assert found == ""
    assert chunks(root(PLAIN)) != ""


def test_a_page_before_the_tail_says_where_its_history_goes_on() -> None:
    page = Page(root(), (b"x" * 5,), 0, 5, False, False)
    reply = reply_read(page, Read(Sentinel.START), Reading(CacheRules(), 0, chunks_url=CHUNKS))
    assert headers_of(reply)["stream-chunks"] == f"{CHUNKS}/s"
