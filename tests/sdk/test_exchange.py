"""Requests and their answers: what is repeated, what is not, how long is waited, and what an answer means."""

from datetime import UTC, datetime
from typing import Any

import pytest
from durable_streams_client import (
    AmbiguousWrite,
    BadRequest,
    Conflict,
    ConnectionFailed,
    Fenced,
    Gone,
    InvalidOffset,
    MalformedReply,
    NotFound,
    NotSupported,
    OffsetGone,
    Position,
    RateLimited,
    Retry,
    SequenceConflict,
    StreamClosed,
    TimedOut,
    Timeouts,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedStatus,
)
from durable_streams_client.core import operations
from durable_streams_client.core.backoff import parse_retry_after, plan_delay_seconds
from durable_streams_client.core.exchange import Lost, Pace, Pause, Reply, Request, compose_url, exchange
from durable_streams_client.core.operations import Expiry
from durable_streams_client.core.progress import Progress, is_cursor_stale, judge_progress
from durable_streams_client.core.replies import error_of, parse_head
from durable_streams_client.errors import DurableStreamError
from hypothesis import given
from hypothesis import strategies as st

from tests.sdk.simulated import run_to_end

URL = "http://server.test/stream"
PACE = Pace(Retry(max_retries=3, initial_delay_seconds=1, max_delay_seconds=4), lambda: 0.0)
GET = Request("GET", URL)
POST = Request("POST", URL, content=b"x")
LOST = Lost("reset", sent=True)
UNSENT = Lost("refused", sent=False)


def pauses(steps: list[Any]) -> list[float]:
    return [step.seconds for step in steps if isinstance(step, Pause)]


def test_what_may_pass_later_is_tried_again_with_growing_waits() -> None:
    answer, steps = run_to_end(exchange(GET, PACE), [Reply(500, {}), LOST, Reply(503, {}), Reply(200, {})])
    assert answer.reply.status == 200
    assert pauses(steps) == [1, 2, 4]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Reply(500, {}), Unavailable),
        (Reply(429, {}), RateLimited),
        (LOST, ConnectionFailed),
        (UNSENT, ConnectionFailed),
    ],
)
def test_retries_end_and_say_what_the_last_attempt_met(outcome: Any, error: type[DurableStreamError]) -> None:
    with pytest.raises(error) as caught:
        run_to_end(exchange(GET, PACE), [outcome] * 4)
    assert caught.value.url == URL
    assert caught.value.status == (outcome.status if isinstance(outcome, Reply) else None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 501])
def test_what_will_not_change_is_not_tried_again(status: int) -> None:
    answer, steps = run_to_end(exchange(GET, PACE), [Reply(status, {})])
    assert (answer.reply.status, len(steps)) == (status, 1)


def test_a_write_that_a_copy_would_double_is_repeated_only_if_it_was_refused_or_never_left() -> None:
    refusals = [Reply(503, {}), UNSENT, Reply(500, {}), Reply(204, {})]
    answer, _ = run_to_end(exchange(POST, PACE, repeatable=False), refusals)
    assert answer.reply.status == 204
    for outcome in (LOST, Reply(502, {}), Reply(504, {})):
        with pytest.raises(AmbiguousWrite):
            run_to_end(exchange(POST, PACE, repeatable=False), [UNSENT, outcome])


def test_retry_after_is_a_lower_bound_and_too_much_of_it_is_an_error() -> None:
    _, steps = run_to_end(exchange(GET, PACE), [Reply(429, {"retry-after": "30"}), Reply(200, {})])
    assert pauses(steps) == [31]
    with pytest.raises(RateLimited) as caught:
        run_to_end(exchange(GET, PACE), [Reply(429, {"retry-after": "3600"})])
    assert caught.value.retry_after_seconds == 3600


def test_a_call_whose_time_is_up_ends_whether_in_a_request_or_in_a_pause() -> None:
    with pytest.raises(TimedOut):
        run_to_end(exchange(GET, PACE), [Lost("late", sent=True, out_of_time=True)])
    flow = exchange(GET, PACE)
    next(flow)
    assert isinstance(flow.send(Reply(503, {})), Pause)
    with pytest.raises(TimedOut):
        flow.send(False)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", None, 120),
        (" 0 ", None, 0),
        ("Tue, 24 Nov 2026 19:00:10 GMT", "Tue, 24 Nov 2026 19:00:00 GMT", 10),
        ("Tue, 24 Nov 2026 19:00:00 GMT", "Tue, 24 Nov 2026 19:00:10 GMT", 0),
        ("Tue, 24 Nov 2026 19:00:00 GMT", None, None),
        ("soon", "Tue, 24 Nov 2026 19:00:00 GMT", None),
        ("-1", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, date: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, date) == seconds


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_half_of_its_bound_and_the_bound_however_often_it_failed(
    failures: int, chance: float
) -> None:
    retry = Retry()
    bound = min(retry.max_delay_seconds, retry.initial_delay_seconds * 2.0 ** min(failures - 1, 64))
    assert bound / 2 <= plan_delay_seconds(retry, failures, chance) <= bound


def test_query_parameters_are_ordered_by_name_and_quoted() -> None:
    request = Request("GET", f"{URL}?z=1&tenant=a%26b&z=2&offset=old#part", params={"offset": "a b", "live": "sse"})
    assert compose_url(request, {"key": "ü", "live": "no"}) == (
        f"{URL}?key=%C3%BC&live=sse&offset=a%20b&tenant=a%26b&z=1&z=2"
    )


@pytest.mark.parametrize(
    ("method", "status", "headers", "kind"),
    [
        ("GET", 400, {}, InvalidOffset),
        ("POST", 400, {}, BadRequest),
        ("HEAD", 401, {}, Unauthorized),
        ("POST", 403, {}, Unauthorized),
        ("POST", 403, {"producer-epoch": "4"}, Fenced),
        ("GET", 404, {}, NotFound),
        ("POST", 405, {}, NotSupported),
        ("PUT", 409, {}, Conflict),
        ("POST", 409, {"stream-closed": "TRUE", "producer-expected-seq": "1"}, StreamClosed),
        ("POST", 409, {"stream-closed": "yes"}, Conflict),
        ("POST", 409, {"producer-expected-seq": "1"}, SequenceConflict),
        ("GET", 410, {}, OffsetGone),
        ("DELETE", 410, {}, Gone),
        ("POST", 413, {}, TooLarge),
        ("GET", 418, {}, UnexpectedStatus),
    ],
)
def test_every_refusal_has_an_error_that_says_what_can_be_done(
    method: str, status: int, headers: dict[str, str], kind: type[DurableStreamError]
) -> None:
    error = error_of(Request(method, URL), Reply(status, {**headers, "stream-next-offset": "9"}, b"because"))
    assert type(error) is kind
    assert (error.status, error.offset, error.url) == (status, "9", URL)
    assert "because" in str(error)
    assert URL in str(error)


def test_a_delete_that_finds_nothing_after_a_lost_answer_has_done_its_work() -> None:
    run_to_end(operations.delete(URL, PACE), [LOST, Reply(404, {})])
    with pytest.raises(NotFound):
        run_to_end(operations.delete(URL, PACE), [UNSENT, Reply(404, {})])


def test_a_close_without_data_is_repeated_and_one_with_data_is_not() -> None:
    def close(body: bytes | None) -> Any:
        return operations.close(URL, PACE, body=body, content_type="text/plain")

    closed, _ = run_to_end(close(None), [LOST, Reply(204, {"stream-next-offset": "5"})])
    assert closed.offset == "5"
    with pytest.raises(AmbiguousWrite):
        run_to_end(close(b"end"), [LOST])


def test_a_list_of_streams_goes_on_until_there_is_no_next_page() -> None:
    def ask(outcome: Reply) -> Any:
        return run_to_end(operations.list_streams(URL, PACE, prefix="a", after="b", limit=2), [outcome])

    (paths, following), steps = ask(Reply(200, {}, b'{"streams":[{"path":"/a1"},{"path":"/a2"}],"next":"/a2"}'))
    assert (paths, following) == (["/a1", "/a2"], "/a2")
    assert steps[0].params == {"prefix": "a", "after": "b", "limit": "2"}
    assert ask(Reply(200, {}, b'{"streams":[]}'))[0] == ([], None)
    with pytest.raises(NotSupported):
        ask(Reply(404, {}))
    for body in (b"", b"[]", b'{"streams":[{"path":1}]}', b'{"streams":[{}]}', b'{"streams":[],"next":1}'):
        with pytest.raises(MalformedReply):
            ask(Reply(200, {}, body))


def test_a_head_without_an_offset_or_with_a_broken_number_is_malformed() -> None:
    for headers in ({}, {"stream-next-offset": "1", "stream-ttl": "1.5"}):
        with pytest.raises(MalformedReply):
            parse_head(Request("HEAD", URL), Reply(200, headers))


@pytest.mark.parametrize(
    ("asked", "next_offset", "has_data", "progress"),
    [
        ("-1", "0", True, Progress.FORWARD),
        ("-1", "0", False, Progress.STILL),
        ("5", "6", True, Progress.FORWARD),
        ("5", "6", False, Progress.FORWARD),
        ("5", "5", False, Progress.STILL),
        ("5", "5", True, Progress.STALE),
        ("5", "4", True, Progress.STALE),
        ("5", "4", False, Progress.STALE),
    ],
)
def test_offsets_only_move_forward(asked: str, next_offset: str, has_data: bool, progress: Progress) -> None:
    assert judge_progress(asked, next_offset, has_data=has_data) is progress


def test_cursors_only_move_forward() -> None:
    assert is_cursor_stale("10", "9")
    assert is_cursor_stale("10", "10")
    assert not is_cursor_stale("9", "10")
    assert is_cursor_stale("a", "a")
    assert not is_cursor_stale("a", "b")
    assert not is_cursor_stale(None, "1")
    assert not is_cursor_stale("1", None)


@given(st.text(alphabet=st.characters(exclude_characters=",&=?/"), min_size=1), st.integers(0, 2**60))
def test_a_position_survives_being_stored_as_text(offset: str, skip: int) -> None:
    assert Position.parse(str(Position(offset, skip))) == Position(offset, skip)


@pytest.mark.parametrize("text", ["", "a,", "a,-1", "a,1,2", ",1", "a,x"])
def test_text_that_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (each for a reason of its own)
        Position.parse(text)


def test_arguments_are_judged_before_anything_is_sent() -> None:
    for expiry in (Expiry(1, "2030-01-01T00:00:00Z"), Expiry(-1)):
        with pytest.raises(ValueError, match="ttl_seconds"):
            expiry.headers()
    with pytest.raises(ValueError, match="max_retry_after_seconds"):
        Retry(max_retry_after_seconds=-1)
    with pytest.raises(ValueError, match="attempt_seconds"):
        Timeouts(attempt_seconds=0)
    with pytest.raises(TypeError, match="append_json"):
        operations.encode_message({"a": 1})  # type: ignore[arg-type]


def test_a_create_says_everything_in_headers() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    flow = operations.create(URL, PACE, content_type=None, expiry=Expiry(None, moment), closed=True, body=b"all")
    created, steps = run_to_end(flow, [Reply(201, {"stream-closed": "true"})])
    assert steps[0].headers == {"Stream-Expires-At": "2030-01-01T00:00:00+00:00", "Stream-Closed": "true"}
    assert (created.created, created.closed, created.content_type) == (True, True, None)
    with pytest.raises(ValueError, match="time zone"):
        Expiry(None, datetime(2030, 1, 1)).headers()
    assert Expiry(60, None).headers() == {"Stream-TTL": "60"}
    assert Expiry(None, "2030-01-01T00:00:00Z").headers() == {"Stream-Expires-At": "2030-01-01T00:00:00Z"}


def test_a_fork_says_everything_in_headers() -> None:
    def fork(**options: Any) -> Any:
        defaults = {"offset": None, "sub_offset": 0, "content_type": None, "expiry": Expiry()}
        return operations.fork("http://server.test/a b/ü?x=1", URL, PACE, **(defaults | options))

    _, steps = run_to_end(fork(offset="7", sub_offset=2, content_type="text/plain"), [Reply(201, {})])
    assert steps[0].headers == {
        "Stream-Forked-From": "/a%20b/%C3%BC",
        "Stream-Fork-Offset": "7",
        "Stream-Fork-Sub-Offset": "2",
        "Content-Type": "text/plain",
    }
    _, steps = run_to_end(fork(), [Reply(201, {})])
    assert steps[0].headers == {"Stream-Forked-From": "/a%20b/%C3%BC"}
    for options in ({"sub_offset": -1, "offset": "7"}, {"sub_offset": 1}):
        with pytest.raises(ValueError, match="sub_offset"):
            run_to_end(fork(**options), [])


def test_what_is_not_json_goes_out_bare_so_that_the_server_refuses_it() -> None:
    assert operations.compose_body(["1", "[2]"], "application/json") == b"[1,[2]]"
    assert operations.compose_body(["1,2"], "application/json") == b"1,2"
    assert operations.compose_body(["a", memoryview(b"b")], "text/plain") == b"ab"


def test_a_list_of_streams_that_is_refused_says_why() -> None:
    with pytest.raises(Unauthorized):
        run_to_end(operations.list_streams(URL, PACE, prefix="", after=None, limit=2), [Reply(401, {})])


def test_a_head_is_read_with_everything_that_it_says() -> None:
    headers = {"stream-next-offset": "9", "content-type": "text/plain", "stream-ttl": "60", "etag": "e"}
    head, _ = run_to_end(operations.head(URL, PACE), [Reply(200, headers)])
    assert (head.offset, head.content_type, head.ttl_seconds, head.etag, head.closed) == (
        "9",
        "text/plain",
        60,
        "e",
        False,
    )
    with pytest.raises(NotFound):
        run_to_end(operations.head(URL, PACE), [Reply(404, {})])


def test_writes_that_are_refused_raise_what_they_were_refused_with() -> None:
    refused = Reply(409, {"stream-closed": "true"})
    for flow in (
        operations.append(URL, PACE, body=b"x", content_type="text/plain", seq="1"),
        operations.create(URL, PACE, content_type="text/plain", expiry=Expiry(), closed=False, body=None),
    ):
        with pytest.raises((StreamClosed, Conflict)):
            run_to_end(flow, [refused])
    flow = operations.append(URL, PACE, body=b"x", content_type="text/plain", seq="1")
    appended, steps = run_to_end(flow, [Reply(204, {"stream-next-offset": "1"})])
    assert steps[0].headers == {"Content-Type": "text/plain", "Stream-Seq": "1"}
    assert (appended.offset, appended.duplicate) == ("1", False)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"title":"Conflict","detail":"It is\\n closed."}', "It is closed."),
        (b'{"title":"Conflict"}', "Conflict"),
        (b"[1]", "[1]"),
        (b"plain\n text \xff", "plain text \ufffd"),
        (b"", "no explanation"),
    ],
)
def test_an_error_says_what_the_server_said(body: bytes, said: str) -> None:
    assert str(error_of(GET, Reply(418, {}, body))) == f"GET was answered 418: {said} ({URL})"
