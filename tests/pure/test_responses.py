"""Every answer of the log as HTTP: the tables of sections 5 and 10, a row a case."""

import msgspec
import pytest

from handler.core.caching import CacheRules
from handler.core.fields import Unacceptable
from handler.core.problems import (
    Reply,
    reply_error,
    reply_method_not_allowed,
    reply_path_too_long,
    reply_preflight,
    reply_problem,
    reply_unacceptable,
)
from handler.core.requests import Read
from handler.core.responses import (
    Reading,
    reply_appended,
    reply_created,
    reply_deleted,
    reply_head,
    reply_read,
    reply_unreadable,
)
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
    Verdict,
    first_tail,
)
from storage.core.lineage import Lineage, Segment
from storage.core.offset import Offset, Sentinel
from storage.core.producers import Claim, EpochNotAtZero, SequenceGap, StaleEpoch
from storage.core.root import Config, Root, State
from storage.errors import (
    AmbiguousWriteError,
    ContentionError,
    DamageError,
    LogError,
    RefusedPathError,
    UnavailableError,
)
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
    SourceGone,
    SourceNotFound,
    SourceTypeDiffers,
)

GENERATION = 7
LINEAGE: Lineage = (Segment("s", GENERATION, 0, None),)
FORKED: Lineage = (Segment("source", 3, 0, 10), Segment("s", GENERATION, 10, None))
PLAIN = Config("text/plain; charset=utf-8")


def token(position: int, generation: int = GENERATION) -> str:
    return f"{generation:016d}_{position:016d}"


def root(config: Config = PLAIN, lineage: Lineage = LINEAGE) -> Root:
    return Root(GENERATION, State.LIVE, "c", "w", True, False, 0, config, lineage)


def described(config: Config = PLAIN, *, position: int = 5, closed: bool = False) -> Description:
    tail = msgspec.structs.replace(first_tail(GENERATION, position), closed=closed)
    return Description(root(config), tail)


def headers_of(reply: Reply) -> dict[str, str]:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    assert len(headers) == len(reply.headers), "a header is there twice"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    return headers


def problem_of(reply: Reply) -> dict[str, object]:
    headers = headers_of(reply)
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(reply.body))
    assert headers["cache-control"] == "no-store"
    problem: dict[str, object] = msgspec.json.decode(reply.body)
    assert problem["status"] == reply.status
    assert str(problem["detail"]).endswith(".")
    return problem


# -- PUT


def test_a_created_stream_is_described_and_located() -> None:
    reply = reply_created(Created(described(closed=True)), "http://here/s")
    headers = headers_of(reply)
    assert reply.status == 201
    assert headers["location"] == "http://here/s"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["stream-next-offset"] == token(5)
    assert headers["stream-closed"] == "true"


def test_a_stream_that_was_there_is_described_without_a_location() -> None:
    reply = reply_created(Existed(described()), "http://here/s")
    headers = headers_of(reply)
    assert reply.status == 200
    assert headers["stream-next-offset"] == token(5)
    assert "location" not in headers
    assert "stream-closed" not in headers


@pytest.mark.parametrize(
    ("outcome", "status", "code", "field"),
    [
        (Differs("Stream-TTL", "60"), 409, "stream-exists", "Stream-TTL"),
        (Gone(), 409, "stream-gone", "path"),
        (SourceNotFound(), 404, "source-not-found", "Stream-Forked-From"),
        (SourceGone(), 409, "source-gone", "Stream-Forked-From"),
        (ForkInvalid("Stream-Fork-Offset", "it is beyond"), 400, "invalid-fork", "Stream-Fork-Offset"),
        (SourceTypeDiffers("text/plain"), 409, "content-type-differs", "Content-Type"),
        (InvalidBody("it is not"), 400, "invalid-json", "body"),
    ],
)
def test_a_creation_that_cannot_be_says_why(outcome: CreationOutcome, status: int, code: str, field: str) -> None:
    reply = reply_created(outcome, "")
    problem = problem_of(reply)
    assert (reply.status, problem["code"], problem["field"]) == (status, code, field)


# -- POST


def appended(verdict: Verdict, *, has_body: bool = True, lineage: Lineage = LINEAGE) -> Reply:
    return reply_appended(Judged(verdict, lineage), has_body=has_body)


def test_an_append_is_answered_with_the_new_tail_and_nothing_else() -> None:
    reply = appended(Appended(5, False, None))
    assert reply.status == 204
    assert headers_of(reply)["stream-next-offset"] == token(5)
    assert "stream-closed" not in headers_of(reply)


def test_a_producers_append_is_200_and_echoes_its_claim() -> None:
    reply = appended(Appended(5, True, Claim("p", 1, 2)))
    headers = headers_of(reply)
    assert reply.status == 200
    assert headers["content-length"] == "0"
    assert (headers["producer-epoch"], headers["producer-seq"]) == ("1", "2")
    assert headers["stream-closed"] == "true"


def test_a_producers_close_without_data_is_204() -> None:
    reply = appended(Appended(5, True, Claim("p", 1, 2)), has_body=False)
    assert reply.status == 204
    assert headers_of(reply)["producer-seq"] == "2"


@pytest.mark.parametrize("closed", [True, False])
def test_a_duplicate_is_204_with_the_highest_seq_that_was_accepted(closed: bool) -> None:
    reply = appended(Repeated(5, closed, 1, 9))
    headers = headers_of(reply)
    assert reply.status == 204
    assert (headers["producer-epoch"], headers["producer-seq"]) == ("1", "9")
    assert headers["stream-next-offset"] == token(5)
    assert ("stream-closed" in headers) is closed


def test_a_second_close_succeeds() -> None:
    reply = appended(AlreadyClosed(5), has_body=False)
    assert reply.status == 204
    assert headers_of(reply)["stream-closed"] == "true"
    assert headers_of(reply)["stream-next-offset"] == token(5)


def test_an_append_to_a_closed_stream_learns_of_its_end() -> None:
    reply = appended(StreamClosed(5))
    assert problem_of(reply)["code"] == "stream-closed"
    assert reply.status == 409
    assert headers_of(reply)["stream-closed"] == "true"
    assert headers_of(reply)["stream-next-offset"] == token(5)


def test_at_a_fork_point_the_offset_is_the_sources() -> None:
    reply = appended(Appended(10, True, None), has_body=False, lineage=FORKED)
    assert headers_of(reply)["stream-next-offset"] == token(10, 3)
    assert headers_of(appended(Appended(11, False, None), lineage=FORKED))["stream-next-offset"] == token(11)


@pytest.mark.parametrize(
    ("verdict", "status", "code", "field", "also"),
    [
        (MediaTypeDiffers("text/plain"), 409, "content-type-differs", "Content-Type", {}),
        (SequenceRegression("2"), 409, "sequence-regression", "Stream-Seq", {}),
        (TailMoved(9), 412, "tail-moved", "If-Match", {"stream-next-offset": token(9)}),
        (InvalidBody("it is not"), 400, "invalid-json", "body", {}),
        (StaleEpoch(5), 403, "stale-epoch", "Producer-Epoch", {"producer-epoch": "5"}),
        (
            SequenceGap(3, 8),
            409,
            "sequence-gap",
            "Producer-Seq",
            {"producer-expected-seq": "3", "producer-received-seq": "8"},
        ),
        (EpochNotAtZero(2, 1), 400, "epoch-not-at-zero", "Producer-Seq", {}),
    ],
)
def test_an_append_that_is_refused_says_why(
    verdict: Verdict, status: int, code: str, field: str, also: dict[str, str]
) -> None:
    reply = appended(verdict)
    problem = problem_of(reply)
    assert (reply.status, problem["code"], problem["field"]) == (status, code, field)
    assert also.items() <= headers_of(reply).items()


# -- where there is no stream


def test_a_stream_that_is_not_there_is_404_to_every_method() -> None:
    replies = [
        reply_appended(NotFound(), has_body=True),
        reply_head(NotFound()),
        reply_deleted(NotFound()),
        reply_unreadable(NotFound()),
    ]
    assert {(reply.status, problem_of(reply)["code"]) for reply in replies} == {(404, "stream-not-found")}


def test_a_stream_kept_for_its_forks_is_410_to_every_method() -> None:
    replies = [
        reply_appended(Gone(), has_body=True),
        reply_head(Gone()),
        reply_deleted(Gone()),
        reply_unreadable(Gone()),
    ]
    assert {(reply.status, problem_of(reply)["code"]) for reply in replies} == {(410, "stream-gone")}


# -- HEAD and DELETE


def test_a_head_tells_the_tail_the_lifetime_and_the_end() -> None:
    config = Config("text/plain", ttl_seconds=60, expires_at_ms=1, expires_at="1970-01-01T00:00:00.001Z")
    headers = headers_of(reply_head(described(config, closed=True)))
    assert headers["content-type"] == "text/plain"
    assert headers["stream-next-offset"] == token(5)
    assert headers["stream-ttl"] == "60"
    assert headers["stream-expires-at"] == "1970-01-01T00:00:00.001Z"
    assert headers["stream-closed"] == "true"
    assert headers["cache-control"] == "no-store"


def test_a_head_of_a_stream_without_a_lifetime_names_none() -> None:
    headers = headers_of(reply_head(described()))
    assert not {"stream-ttl", "stream-expires-at", "stream-closed"} & headers.keys()


def test_a_deletion_is_204() -> None:
    assert reply_deleted(Deleted()).status == 204


# -- GET


def page(start: int, end: int, *, up_to_date: bool = True, closed: bool = False, config: Config = PLAIN) -> Page:
    return Page(root(config), (b"x" * (end - start),), start, end, up_to_date, closed)


def read(
    found: Page, asked: Read | None = None, *, cursor: str = "", private: bool = False, chunks_url: str = ""
) -> Reply:
    reading = Reading(CacheRules(), 0, cursor, private, chunks_url)
    return reply_read(found, asked or Read(Sentinel.START), reading)


def test_a_page_says_where_to_go_on() -> None:
    reply = read(page(0, 5, up_to_date=False))
    headers = headers_of(reply)
    assert (reply.status, reply.body) == (200, b"xxxxx")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-length"] == "5"
    assert headers["stream-next-offset"] == token(5)
    assert headers["etag"] == '"7:0:5"'
    assert headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
    assert not {"stream-up-to-date", "stream-closed", "stream-cursor"} & headers.keys()


def test_a_page_that_reaches_the_tail_says_so() -> None:
    headers = headers_of(read(page(0, 5)))
    assert headers["stream-up-to-date"] == "true"
    assert headers["cache-control"] == "no-cache"


def test_a_page_that_reaches_the_end_says_so_and_has_another_tag() -> None:
    headers = headers_of(read(page(0, 5, closed=True)))
    assert headers["stream-closed"] == "true"
    assert headers["etag"] == '"7:0:5:c"'


def test_a_client_that_has_the_page_gets_304_and_no_body() -> None:
    reply = read(page(0, 5), Read(Sentinel.START, if_none_match='"7:0:5"'))
    headers = headers_of(reply)
    assert (reply.status, reply.body) == (304, b"")
    assert headers["etag"] == '"7:0:5"'
    assert "content-length" not in headers


def test_a_client_that_has_the_page_from_before_the_end_gets_it_again() -> None:
    assert read(page(0, 5, closed=True), Read(Sentinel.START, if_none_match='"7:0:5"')).status == 200


def test_now_has_no_tag_and_is_not_stored() -> None:
    headers = headers_of(read(page(5, 5), Read(Sentinel.NOW)))
    assert "etag" not in headers
    assert headers["cache-control"] == "no-store"
    assert headers["stream-up-to-date"] == "true"


def test_a_long_poll_with_data_has_a_cursor() -> None:
    reply = read(page(0, 5), Read(Offset(GENERATION, 0), live="long-poll"), cursor="9")
    headers = headers_of(reply)
    assert reply.status == 200
    assert headers["stream-cursor"] == "9"
    assert headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"


def test_a_long_poll_without_data_is_204_with_cursor_and_tail() -> None:
    reply = read(page(5, 5), Read(Offset(GENERATION, 5), live="long-poll"), cursor="9")
    headers = headers_of(reply)
    assert reply.status == 204
    assert headers["stream-next-offset"] == token(5)
    assert headers["stream-up-to-date"] == "true"
    assert headers["stream-cursor"] == "9"
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers


def test_a_long_poll_at_the_end_is_204_without_a_cursor() -> None:
    reply = read(page(5, 5, closed=True), Read(Offset(GENERATION, 5), live="long-poll"), cursor="9")
    headers = headers_of(reply)
    assert reply.status == 204
    assert headers["stream-closed"] == "true"
    assert headers["stream-up-to-date"] == "true"
    assert "stream-cursor" not in headers


def test_a_long_poll_is_never_304() -> None:
    asked = Read(Offset(GENERATION, 0), live="long-poll", if_none_match='"7:0:5"')
    assert read(page(0, 5), asked, cursor="9").status == 200


def test_a_page_that_was_authorised_is_private() -> None:
    assert headers_of(read(page(0, 5), private=True))["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("outcome", "status", "code", "field"),
    [
        (NotFound(), 404, "stream-not-found", "path"),
        (Gone(), 410, "stream-gone", "path"),
        (OffsetGone(), 410, "offset-gone", "offset"),
        (OffsetInvalid("it is beyond the end"), 400, "invalid-offset", "offset"),
    ],
)
def test_a_read_without_a_page_says_why(
    outcome: NotFound | Gone | OffsetGone | OffsetInvalid, status: int, code: str, field: str
) -> None:
    reply = reply_read(outcome, Read(Sentinel.START), Reading(CacheRules(), 0))
    problem = problem_of(reply)
    assert (reply.status, problem["code"], problem["field"]) == (status, code, field)


# -- what is no answer of a stream


@pytest.mark.parametrize(
    ("error", "status", "code", "says"),
    [
        (ContentionError("x"), 503, "contention", "nothing was written"),
        (UnavailableError("x"), 503, "store-unavailable", "nothing was written"),
        (RefusedPathError("x"), 400, "path-too-long", "accepted is a shorter one"),
        (AmbiguousWriteError("x"), 503, "outcome-unknown", "may have happened"),
        (DamageError("secret/key"), 500, "damaged", "damaged"),
    ],
)
def test_a_failure_says_whether_anything_was_written(error: LogError, status: int, code: str, says: str) -> None:
    reply = reply_error(error)
    problem = problem_of(reply)
    assert (reply.status, problem["code"]) == (status, code)
    assert says in str(problem["detail"])
    assert str(error) not in str(problem["detail"])
    assert ("retry-after" in headers_of(reply)) is (status == 503)


def test_a_problem_without_a_field_names_none() -> None:
    assert problem_of(reply_problem(400, "c", "It is so.")) == {
        "title": "Bad Request",
        "status": 400,
        "code": "c",
        "detail": "It is so.",
    }


def test_an_unacceptable_request_is_400_with_its_field() -> None:
    reply = reply_unacceptable(Unacceptable("c", "f", "f is wrong; accepted is g"))
    assert problem_of(reply) == {
        "title": "Bad Request",
        "status": 400,
        "code": "c",
        "detail": "f is wrong; accepted is g.",
        "field": "f",
    }


def test_a_path_too_long_is_400_and_says_what_is_accepted() -> None:
    assert reply_path_too_long(896).status == 400
    assert "896" in str(problem_of(reply_path_too_long(896))["detail"])


def test_an_unknown_method_is_405_and_learns_the_known_ones() -> None:
    reply = reply_method_not_allowed("BREW")
    assert problem_of(reply)["field"] == "method"
    assert reply.status == 405
    assert {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"} <= set(headers_of(reply)["allow"].split(", "))


def test_a_preflight_allows_everything_that_the_protocol_sends_and_exposes_all_that_it_answers() -> None:
    reply = reply_preflight()
    headers = headers_of(reply)
    assert reply.status == 204
    assert headers["access-control-allow-origin"] == "*"
    assert {"if-none-match", "content-type", "stream-seq", "producer-id", "authorization"} <= {
        name.strip().lower() for name in headers["access-control-allow-headers"].split(",")
    }
    assert {"stream-next-offset", "stream-cursor", "etag", "location"} <= {
        name.strip().lower() for name in headers["access-control-expose-headers"].split(",")
    }
