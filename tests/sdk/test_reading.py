"""A read delivers every byte once, whatever breaks on the way: `core.reading` against a simulated stream."""

import itertools
import json
from typing import Any

import pytest
from durable_streams_client import (
    Cdn,
    InvalidOffset,
    MalformedReply,
    NotFound,
    Position,
    Retry,
    StaleCache,
    TimedOut,
    Unavailable,
)
from durable_streams_client.core.batch import Batch, join_deliveries
from durable_streams_client.core.exchange import Lost, Opened, Pace, Reply, Request
from durable_streams_client.core.reading import Reading
from durable_streams_client.errors import DurableStreamError
from durable_streams_client.models import Live
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sdk.simulated import IMPATIENT, PATIENT, Driver, SimulatedStream, token

ORIGIN = "http://origin.test/streams/a"
LIVE_MODES: list[Live] = [False, True, "long-poll", "sse"]


def make_reading(driver: Driver, live: Live, cdn: Cdn | None = None, pace: Pace = PATIENT) -> Reading:
    return Reading(ORIGIN, live, pace, pace, clock=driver.clock, nonce=lambda: "fresh", cdn=cdn)


def no_sse(request: Request) -> tuple[Opened | Reply | Lost, list[Any]]:
    """Serve nobody, for reads that are not to try."""
    return Lost("unused", sent=False), []


def drive(
    stream: SimulatedStream, live: Live, start: str = "-1", cdn: Cdn | None = None, serve: Any = None
) -> tuple[list[Batch], Driver, Reading]:
    """Read until caught up, live or not."""

    def serve_events(request: Request) -> tuple[Opened | Reply | Lost, list[Any]]:
        opened, text = stream.events(request)
        return opened, [text]

    driver = Driver(serve or stream.answer, serve_events)
    reading = make_reading(driver, live, cdn)
    batches = driver.run(reading.flow(Position.parse(start)), until=lambda batches: batches[-1].up_to_date)
    return batches, driver, reading


@pytest.mark.parametrize("live", LIVE_MODES)
def test_a_read_from_the_beginning_delivers_everything_and_says_that_it_caught_up(live: Live) -> None:
    stream = SimulatedStream([b"%d" % number for number in range(10)])
    batches, _, reading = drive(stream, live)
    assert b"".join(batch.data for batch in batches) == b"0123456789"
    assert batches[-1].up_to_date
    assert reading.offset == token(10)


@pytest.mark.parametrize("live", LIVE_MODES)
def test_every_page_but_the_first_is_asked_for_while_the_one_before_is_handed_out(live: Live) -> None:
    stream = SimulatedStream([b"%d" % number for number in range(10)])
    _, driver, _ = drive(stream, live)
    pages = driver.requests[:4]
    assert [request.params["offset"] for request in pages] == ["-1", token(3), token(6), token(9)]
    assert driver.ahead == pages[1:], "each is used, and none is asked for beyond the tail"


def test_what_was_asked_for_ahead_and_failed_is_asked_for_again() -> None:
    stream = SimulatedStream([b"%d" % number for number in range(6)])
    fails: list[Reply | Lost] = [Lost("reset", sent=True), Reply(503, {})]

    def serve(request: Request) -> Reply | Lost:
        return fails.pop() if request.params["offset"] == token(3) and fails else stream.answer(request)

    batches, driver, _ = drive(stream, False, serve=serve)
    assert b"".join(batch.data for batch in batches) == b"012345"
    assert (len(driver.ahead), len(driver.pauses)) == (1, 2)


def test_what_was_appended_while_a_page_was_handed_out_is_read_too() -> None:
    """The page after it was asked for before that, and says to be the last."""
    stream = SimulatedStream([b"%d" % number for number in range(6)])
    driver = Driver(stream.answer, no_sse)
    reading = make_reading(driver, False)

    def work(batches: list[Batch]) -> bool:
        if len(batches) == 1:
            stream.units += [b"6", b"7"]
        return batches[-1].up_to_date

    batches = driver.run(reading.flow(Position()), until=work)
    assert b"".join(batch.data for batch in batches) == b"01234567"


def test_the_last_page_of_a_closed_stream_is_asked_for_once() -> None:
    stream = SimulatedStream([b"%d" % number for number in range(6)], closed=True)
    driver = Driver(stream.answer, no_sse)
    batches = driver.run(make_reading(driver, False).flow(Position()), until=lambda batches: batches[-1].closed)
    assert b"".join(batch.data for batch in batches) == b"012345"
    assert len(driver.requests) == 2


@pytest.mark.parametrize("live", LIVE_MODES)
def test_the_end_of_a_closed_stream_ends_every_read(live: Live) -> None:
    stream = SimulatedStream([b"a", b"b"], closed=True)
    driver = Driver(stream.answer, lambda request: (stream.events(request)[0], [stream.events(request)[1]]))
    reading = make_reading(driver, live)
    batches = driver.run(reading.flow(Position()), until=lambda batches: False)
    assert b"".join(batch.data for batch in batches) == b"ab"
    assert batches[-1].closed
    assert reading.closed


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=5), max_size=12),
    appended=st.lists(st.binary(min_size=1, max_size=5), max_size=12),
    page=st.integers(1, 4),
    live=st.sampled_from(["long-poll", "sse", True]),
    as_json=st.booleans(),
    data=st.data(),
)
@settings(max_examples=300, deadline=None)
def test_no_fault_makes_a_follower_miss_or_repeat_a_byte(
    pieces: list[bytes], appended: list[bytes], page: int, live: Live, as_json: bool, data: st.DataObject
) -> None:
    """Requests are lost, refused for a while, event streams cut anywhere; meanwhile the stream grows."""

    def unit(piece: bytes) -> bytes:
        return json.dumps(piece.hex()).encode() if as_json else piece

    stream = SimulatedStream([unit(piece) for piece in pieces], json=as_json, page=page)
    coming = [unit(piece) for piece in appended]
    everything = [*stream.units, *coming]
    # Few enough that a run ends; afterwards all is well, as it has to be at some time.
    faults = data.draw(st.lists(st.sampled_from(["lost", "503", "cut", "none"]), max_size=20))

    def next_fault() -> str:
        grows: bool = data.draw(st.booleans())
        if coming and grows:
            stream.units.append(coming.pop(0))
        return faults.pop(0) if faults else "none"

    def serve(request: Request) -> Reply | Lost:
        match next_fault():
            case "lost" | "cut":
                return Lost("reset", sent=True)
            case "503":
                return Reply(503, {})
        if not faults and coming:
            stream.units.append(coming.pop(0))
        return stream.answer(request)

    def serve_events(request: Request) -> tuple[Opened | Reply | Lost, list[Any]]:
        fault = next_fault()
        if fault == "lost":
            return Lost("refused", sent=False), []
        if fault == "503":
            return Reply(503, {}), []
        if not faults and coming:
            stream.units.append(coming.pop(0))
        opened, text = stream.events(request)
        if fault == "cut":
            place = data.draw(st.integers(0, len(text)))
            return opened, [text[:place], Lost("cut", sent=True)] if place else [Lost("cut", sent=True)]
        place = data.draw(st.integers(1, len(text)))
        return opened, [piece for piece in (text[:place], text[place:]) if piece]

    driver = Driver(serve, serve_events)
    reading = make_reading(driver, live)
    total = len(everything)
    batches = driver.run(
        reading.flow(Position()), until=lambda batches: batches[-1].end.offset == token(total) or not total
    )
    delivered = join_deliveries([batch.data for batch in batches if batch.data], json=as_json)
    assert delivered == (stream.body(everything) if everything else b"")
    for before, after in itertools.pairwise(batches):
        assert after.start == before.end


@given(as_json=st.booleans(), skip=st.integers(0, 12), page=st.integers(1, 4))
def test_a_read_resumes_in_the_middle_of_a_batch_even_if_pages_are_cut_elsewhere(
    as_json: bool, skip: int, page: int
) -> None:
    stream = SimulatedStream([b"%d" % number for number in range(10)], json=as_json, page=page)
    batches, _, _ = drive(stream, False, start=f"{token(0)},{skip}")
    delivered = join_deliveries([batch.data for batch in batches if batch.data], json=as_json)
    rest = stream.units[skip:]
    assert delivered == (stream.body(rest) if rest else b"")


def test_now_is_settled_before_going_live_so_that_a_broken_first_request_skips_nothing() -> None:
    stream = SimulatedStream([b"old"])
    lost = [Lost("reset", sent=True)]

    def serve(request: Request) -> Reply | Lost:
        if request.params.get("live") and lost:
            stream.units.append(b"new")
            return lost.pop()
        return stream.answer(request)

    driver = Driver(serve, no_sse)
    batches = driver.run(
        make_reading(driver, "long-poll").flow(Position("now")), until=lambda batches: bool(batches[-1].data)
    )
    assert batches[-1].data == b"new"
    assert batches[0].end == Position(token(1))


@pytest.mark.parametrize("live", ["long-poll", True])
def test_text_is_followed_by_long_poll_where_the_mode_is_left_to_the_client(live: Live) -> None:
    stream = SimulatedStream([b"a"], content_type="text/plain; charset=utf-8")
    driver = Driver(stream.answer, no_sse)
    flow = make_reading(driver, live).flow(Position())

    def grown(batches: list[Batch]) -> bool:
        if len(stream.units) == 1:
            stream.units.append(b"b\r\n")
        return batches[-1].data.endswith(b"\r\n")

    assert driver.run(flow, until=grown)[-1].data == b"b\r\n"
    assert driver.requests[-1].params["live"] == "long-poll"


@pytest.mark.parametrize(
    "refusal",
    [
        (Reply(501, {}), []),
        (Opened({"content-type": "text/html"}), []),
        (Opened({"content-type": "text/event-stream"}), [Lost("silence", sent=True)]),
        (Opened({"content-type": "text/event-stream"}), []),
    ],
)
def test_sse_that_does_not_get_through_is_given_up_for_long_poll(refusal: Any) -> None:
    stream = SimulatedStream([])

    def serve(request: Request) -> Reply:
        if request.params.get("live") == "long-poll":
            stream.units.append(b"x")
        return stream.answer(request)

    driver = Driver(serve, lambda request: (refusal[0], list(refusal[1])))
    batches = driver.run(make_reading(driver, True).flow(Position()), until=lambda batches: bool(batches[-1].data))
    assert batches[-1].data == b"x"


def test_sse_that_was_asked_for_by_name_is_not_given_up() -> None:
    driver = Driver(SimulatedStream([]).answer, lambda request: (Opened({"content-type": "text/html"}), []))
    with pytest.raises(MalformedReply):
        driver.run(make_reading(driver, "sse").flow(Position()), until=lambda batches: False)


@pytest.mark.parametrize("event", [b"", b"{", b"[]", b'{"streamNextOffset":1}', b'{"streamCursor":"1"}'])
def test_a_control_event_that_makes_no_sense_is_an_error_that_names_the_stream(event: bytes) -> None:
    text = b"event: control\ndata:" + event + b"\n\n"
    driver = Driver(SimulatedStream([]).answer, lambda request: (Opened({"content-type": "text/event-stream"}), [text]))
    with pytest.raises(MalformedReply) as caught:
        driver.run(make_reading(driver, "sse").flow(Position()), until=lambda batches: False)
    assert caught.value.url == ORIGIN


def test_events_of_an_unknown_type_are_skipped() -> None:
    stream = SimulatedStream([])

    def serve_events(request: Request) -> tuple[Opened, list[bytes]]:
        stream.units = [b"x"]
        opened, text = stream.events(request)
        return opened, [b": comment\n\nevent: later\ndata: x\n\n" + text]

    driver = Driver(stream.answer, serve_events)
    batches = driver.run(make_reading(driver, "sse").flow(Position()), until=lambda batches: bool(batches[-1].data))
    assert batches[-1].data == b"x"


def test_cursors_are_echoed_in_live_requests_and_nowhere_else() -> None:
    stream = SimulatedStream([b"a"])
    driver = Driver(stream.answer, no_sse)
    flow = make_reading(driver, "long-poll").flow(Position())

    def seen(batches: list[Batch]) -> bool:
        stream.units.append(b"more")
        return len(driver.requests) > 4

    driver.run(flow, until=seen)
    cursors = [request.params.get("cursor") for request in driver.requests]
    assert cursors[:2] == [None, None]
    assert cursors[2:] == ["101", "102", "103"][: len(cursors) - 2]


@pytest.mark.parametrize(("status", "kind"), [(400, InvalidOffset), (404, NotFound), (503, Unavailable)])
def test_errors_of_a_read_say_what_the_caller_can_do(status: int, kind: type[DurableStreamError]) -> None:
    driver = Driver(lambda request: Reply(status, {}), no_sse)
    flow = make_reading(driver, False, pace=IMPATIENT).flow(Position("x"))
    with pytest.raises(kind) as caught:
        driver.run(flow, until=lambda batches: False)
    assert caught.value.status == status


def test_failures_are_counted_anew_after_every_success() -> None:
    stream = SimulatedStream([b"a", b"b", b"c"], page=1)
    answers = iter([False, True] * 10)
    driver = Driver(
        lambda request: stream.answer(request) if next(answers) else Reply(503, {}),
        no_sse,
    )
    flow = make_reading(driver, False, pace=Pace(Retry(max_retries=1), lambda: 0.0)).flow(Position())
    assert b"".join(batch.data for batch in driver.run(flow, until=lambda batches: False)) == b"abc"


CDN = Cdn("https://cdn.test/edge")


def test_catch_up_goes_through_the_cdn_and_ends_with_the_origins_word() -> None:
    stream = SimulatedStream([b"a", b"b", b"c", b"d"], page=2)
    batches, driver, _ = drive(stream, False, cdn=CDN)
    assert b"".join(batch.data for batch in batches) == b"abcd"
    hosts = [request.url.split("/")[2] for request in driver.requests]
    assert hosts == ["cdn.test", "cdn.test", "origin.test"]
    assert driver.requests[0].url == "https://cdn.test/edge/streams/a"


def test_a_cdn_that_holds_an_old_last_page_hides_nothing() -> None:
    stream = SimulatedStream([b"a"])
    old = stream.answer(Request("GET", ORIGIN, params={"offset": "-1"}))
    stream.units.append(b"b")

    def serve(request: Request) -> Reply:
        return old if "cdn" in request.url and request.params["offset"] == "-1" else stream.answer(request)

    batches, _, _ = drive(stream, False, cdn=CDN, serve=serve)
    assert b"".join(batch.data for batch in batches) == b"ab"


@pytest.mark.parametrize("live", [False, "long-poll"])
def test_a_cache_that_answers_every_offset_with_the_first_page_is_passed_by(live: Live) -> None:
    stream = SimulatedStream([b"a", b"b", b"c", b"d", b"e"], page=2)
    first = stream.answer(Request("GET", ORIGIN, params={"offset": "-1"}))

    def serve(request: Request) -> Reply:
        return first if "cdn" in request.url else stream.answer(request)

    batches, driver, reading = drive(stream, live, cdn=Cdn("https://cdn.test", live=True), serve=serve)
    assert b"".join(batch.data for batch in batches) == b"abcde"
    assert sum("cdn" in request.url for request in driver.requests) <= 4
    assert reading.stale_answers > 0


def test_a_cache_that_cannot_be_passed_by_is_an_error_and_delivers_nothing_twice() -> None:
    stream = SimulatedStream([b"a", b"b", b"c"], page=1)
    first = stream.answer(Request("GET", ORIGIN, params={"offset": "-1"}))
    driver = Driver(lambda request: first, no_sse)
    delivered: list[bytes] = []

    def note(batches: list[Batch]) -> bool:
        delivered.append(batches[-1].data)
        return False

    flow = make_reading(driver, False).flow(Position())
    with pytest.raises(StaleCache):
        driver.run(flow, until=note)
    assert delivered == [b"a"]
    assert driver.requests[-1].params["cache_buster"] == "fresh"
    assert driver.requests[-1].headers["Cache-Control"] == "no-cache"


def test_a_cdn_that_replays_old_events_is_passed_by() -> None:
    stream = SimulatedStream([b"a"])
    opened, old = stream.events(Request("GET", ORIGIN, params={"offset": "-1"}))

    def serve_events(request: Request) -> tuple[Opened, list[bytes]]:
        if "cdn" in request.url:
            return opened, [old]
        stream.units = [b"a", b"b"]
        return opened, [stream.events(request)[1]]

    driver = Driver(stream.answer, serve_events)
    reading = make_reading(driver, "sse", cdn=Cdn("https://cdn.test", live=True))
    delivered = driver.run(reading.flow(Position()), until=lambda batches: batches[-1].data == b"b")
    assert [batch.data for batch in delivered if batch.data] == [b"a", b"b"]


@pytest.mark.parametrize("answer", [Reply(404, {}), Reply(503, {}), Lost("refused", sent=False)])
def test_a_cdn_that_remembers_a_404_or_fails_has_the_origin_asked(answer: Reply | Lost) -> None:
    stream = SimulatedStream([b"a"])
    driver = Driver(lambda request: answer if "cdn" in request.url else stream.answer(request), no_sse)
    flow = make_reading(driver, False, cdn=CDN, pace=IMPATIENT).flow(Position())
    assert [batch.data for batch in driver.run(flow, until=lambda batches: False) if batch.data] == [b"a"]


@pytest.mark.parametrize("carries", [False, True])
def test_live_requests_go_to_the_origin_unless_the_cdn_is_to_carry_them(carries: bool) -> None:
    stream = SimulatedStream([b"a"])
    driver = Driver(stream.answer, no_sse)
    flow = make_reading(driver, "long-poll", cdn=Cdn("https://cdn.test", live=carries)).flow(Position())
    driver.run(flow, until=lambda batches: _live_asked(driver, stream))
    asked = [request.url for request in driver.requests if "live" in request.params]
    assert asked
    assert all(("cdn" in url) is carries for url in asked)


def _live_asked(driver: Driver, stream: SimulatedStream) -> bool:
    stream.units.append(b"more")
    return any("live" in request.params for request in driver.requests)


def test_an_empty_answer_that_was_not_held_is_followed_by_a_pause() -> None:
    stream = SimulatedStream([])
    driver = Driver(stream.answer, no_sse)
    reading = Reading(ORIGIN, "long-poll", PATIENT, PATIENT, clock=lambda: 1.0, nonce=lambda: "fresh")
    flow = reading.flow(Position())
    with pytest.raises(AssertionError, match="no progress"):
        driver.run(flow, until=lambda batches: False, steps=40)
    assert len(driver.pauses) >= 10


def test_a_long_poll_that_is_answered_with_an_old_cursor_again_and_again_leaves_the_cdn() -> None:
    stream = SimulatedStream([])

    def serve(request: Request) -> Reply:
        if "cdn" in request.url and request.params.get("live"):
            return Reply(204, {"stream-next-offset": token(0), "stream-cursor": "7"})
        if request.params.get("live"):
            stream.units = [b"x"]
        return stream.answer(request)

    driver = Driver(serve, no_sse)
    reading = make_reading(driver, "long-poll", cdn=Cdn("https://cdn.test", live=True))
    batches = driver.run(reading.flow(Position()), until=lambda batches: bool(batches[-1].data))
    assert batches[-1].data == b"x"


def test_getting_past_a_stale_cache_takes_time_that_must_be_there() -> None:
    stream = SimulatedStream([b"a", b"b"], page=1)
    first = stream.answer(Request("GET", ORIGIN, params={"offset": "-1"}))
    driver = Driver(lambda request: first, no_sse, grants_pauses=False)
    with pytest.raises(TimedOut):
        driver.run(make_reading(driver, False).flow(Position()), until=lambda batches: False)


def test_connections_that_bring_nothing_and_end_at_once_are_not_opened_without_a_pause() -> None:
    stream = SimulatedStream([])
    driver = Driver(stream.answer, lambda request: (stream.events(request)[0], [stream.events(request)[1]]))
    for live, asked in (("sse", "sse"), (True, "long-poll")):
        reading = Reading(ORIGIN, live, PATIENT, PATIENT, clock=lambda: 1.0, nonce=lambda: "fresh")  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="no progress"):
            driver.run(reading.flow(Position()), until=lambda batches: False, steps=80)
        assert driver.requests[-1].params["live"] == asked
        assert driver.pauses


def test_a_stream_that_is_deleted_ends_its_followers() -> None:
    driver = Driver(SimulatedStream([b"a"]).answer, lambda request: (Reply(404, {}), []))
    with pytest.raises(NotFound):
        driver.run(make_reading(driver, True).flow(Position()), until=lambda batches: False)
    assert not driver.open


def test_a_close_that_comes_by_event_ends_the_read_and_the_connection() -> None:
    stream = SimulatedStream([b"a"])

    def serve_events(request: Request) -> tuple[Opened, list[bytes]]:
        stream.closed = True
        opened, text = stream.events(request)
        return opened, [text, b"event: data\ndata:eA==\n\n"]

    driver = Driver(stream.answer, serve_events)
    batches = driver.run(make_reading(driver, "sse").flow(Position()), until=lambda batches: False)
    assert batches[-1].closed
    assert not driver.open


def test_a_read_whose_time_is_up_does_not_turn_to_the_origin() -> None:
    driver = Driver(lambda request: Lost("late", sent=True, out_of_time=True), no_sse)
    with pytest.raises(TimedOut):
        driver.run(make_reading(driver, False, cdn=CDN).flow(Position()), until=lambda batches: False)
    assert len(driver.requests) == 1
