"""A read from its first request to its last, as one conversation: catch up, then follow. Sections 5.6 to 5.8, 8, 10.

What holds whatever breaks: data is handed on only together with the offset after it (an SSE delivery waits for its
control event), and every next request asks for exactly that offset. So an attempt that fails half-way leaves no gap
and no repeat.

`now` is settled first, by asking for the tail: a live request with `offset=now` that broke would begin again at a
later now. Knows no HTTP library, clock or randomness; time and chance are arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

from durable_streams_client.core import names
from durable_streams_client.core.backoff import plan_delay_seconds
from durable_streams_client.core.batch import Batch, drop_prefix, is_json, is_text
from durable_streams_client.core.cdn import Cdn
from durable_streams_client.core.exchange import (
    RETRIED,
    Ahead,
    Flow,
    Hangup,
    Lost,
    Open,
    Opened,
    Pace,
    Pause,
    Receive,
    Reply,
    Request,
    exchange,
    give_time,
    judge_failure,
)
from durable_streams_client.core.progress import Progress, is_cursor_stale, judge_progress
from durable_streams_client.core.replies import Page, error_of, parse_page
from durable_streams_client.core.sse import PageDecoder
from durable_streams_client.errors import DurableStreamError, MalformedReply, RetryLater, StaleCache, TimedOut
from durable_streams_client.models import Live, Position

# How often one request is repeated past a cache that answered with something old, before giving up on it.
MAX_DETOURS = 3
# After this many detours a read does not go through its CDN any more: each one costs a request that brought nothing.
MAX_STALE_ANSWERS = 3
# Shorter connections are no use: three in a row mean that something in between does not let events through.
SHORT_CONNECTION_SECONDS = 1.0
MAX_SHORT_CONNECTIONS = 3
# A server speaks at once on SSE, even if only to say that there is nothing new. Silence this long: a proxy is
# collecting.
SSE_FIRST_SILENCE_SECONDS = 10.0
# A long-poll answered with nothing sooner than this was not held: pause before the next, or it becomes a busy loop.
SHORT_POLL_SECONDS = 0.1


class _SseUnusableError(Exception):
    """SSE does not get through to this client; long-poll may."""


@dataclass
class Reading:
    """What a read knows of its stream.

    `offset` is what the next request asks for; the shell keeps the caller's position.
    """

    url: str
    live: Live
    pace: Pace
    follow_pace: Pace
    clock: Callable[[], float]
    nonce: Callable[[], str]
    cdn: Cdn | None = None
    offset: str = field(init=False, default=names.OFFSET_BEGINNING)
    skip: int = field(init=False, default=0)
    cursor: str | None = field(init=False, default=None)
    up_to_date: bool = field(init=False, default=False)
    closed: bool = field(init=False, default=False)
    status: int | None = field(init=False, default=None)
    headers: dict[str, str] = field(init=False, default_factory=dict)
    content_type: str = field(init=False, default="")
    stale_answers: int = field(init=False, default=0)
    chunks_url: str = field(init=False, default="")
    asked_ahead: bool = field(init=False, default=False)

    def flow(self, position: Position) -> Flow[None]:
        """Read from a position to the tail, then follow if asked to, handing on a Batch for every delivery.

        Ends at the tail (`live` False) or at the end of a closed stream. After an error the flow can be begun again.
        """
        self.offset, self.skip = position.offset, position.skip
        self.up_to_date = self.closed = False
        self.asked_ahead = False
        try:
            yield from self._read()
        except MalformedReply as error:
            error.url = error.url or self.url
            error.offset = error.offset or self.offset
            raise

    def _read(self) -> Flow[None]:
        if self.offset == names.OFFSET_NOW:
            page = yield from self._ask(None, direct=True)
            self.skip = 0
            yield from self._hand_on(page)
        else:
            yield from self._catch_up()
        if self.live is False:
            return
        # Lines of text are not exact (line ends are normalised), so what is left to the client goes by long-poll.
        if self.live == names.LIVE_SSE or (self.live is True and not is_text(self.content_type)):
            try:
                yield from self._listen()
            except _SseUnusableError:
                yield Hangup()
        while not self.closed:
            yield from self._poll()

    def _catch_up(self) -> Flow[None]:
        direct = False
        while True:
            page = None if direct else (yield from self._ask_for_chunk())
            if page is None:
                page = yield from self._ask(None, direct=direct)
            # A cache may hold an old page that says it is the last: only the origin's word ends a read. Its word is
            # asked for once more here, from where the page ended, even where a detour led to the origin already.
            # So it is after a page that was asked for while the caller was at the one before: he may have appended.
            believe = page.closed or (not self.asked_ahead and (direct or self.cdn is None))
            self.asked_ahead = False
            yield from self._hand_on(page, believe=believe, reads_on=not page.up_to_date)
            if page.up_to_date and believe:
                return
            direct = page.up_to_date

    def _ask_for_chunk(self) -> Flow[Page | None]:
        """Read what lies at `offset` as the object that the server said it is; None if it has to be asked itself.

        One attempt: an offset may lie within an object, and history that is not to be had there is at the server's.
        """
        if not self.chunks_url:
            return None
        request = self._compose_chunk()
        outcome = yield request
        if isinstance(outcome, Reply) and outcome.status == 200 and outcome.header(names.STREAM_NEXT_OFFSET):
            page = self._judge_page(request, outcome)
            # An answer that says to be the tail without being the end is none of an object's.
            if page is not None and (page.closed or not page.up_to_date):
                self._note(outcome)
                return page
        self.chunks_url = ""
        return None

    def _poll(self) -> Flow[None]:
        asked_at, sent_cursor = self.clock(), self.cursor
        page = yield from self._ask(names.LIVE_LONG_POLL)
        yield from self._hand_on(page)
        if page.data or self.closed:
            return
        if is_cursor_stale(sent_cursor, page.cursor):
            self.stale_answers += 1  # an empty answer harms nobody, but going on like this would be a loop
        if self.clock() - asked_at < SHORT_POLL_SECONDS:
            yield Pause(plan_delay_seconds(self.follow_pace.retry, 1, self.follow_pace.chance()))

    def _uses_cdn(self, live: str | None, direct: bool) -> bool:
        return (
            self.cdn is not None
            and not direct
            and self.stale_answers < MAX_STALE_ANSWERS
            and (live is None or self.cdn.live)
        )

    def _compose_chunk(self) -> Request:
        return Request("GET", self.chunks_url, params={names.OFFSET: self.offset}, public=True)

    def _ask_ahead(self) -> Flow[None]:
        """Ask for the page at `offset` already, while the caller is at the one before it."""
        if self.stale_answers < MAX_STALE_ANSWERS:  # else every request is another one
            self.asked_ahead = True
            yield Ahead(self._compose_chunk() if self.chunks_url else self._compose(None))

    def _compose(self, live: str | None, *, direct: bool = False, detour: bool = False) -> Request:
        params = {names.OFFSET: self.offset}
        headers = {}
        if live is not None:
            params[names.LIVE] = live
            if self.cursor is not None:
                params[names.CURSOR] = self.cursor
        if live == names.LIVE_SSE:
            headers = {names.ACCEPT: names.EVENT_STREAM_TYPE, names.ACCEPT_ENCODING: "identity"}
        url = self.url
        if self._uses_cdn(live, direct or detour):
            assert self.cdn is not None
            url = self.cdn.rebase(url)
        if detour or self.stale_answers >= MAX_STALE_ANSWERS:
            params[names.CACHE_BUSTER] = self.nonce()
            headers[names.CACHE_CONTROL] = "no-cache"
        return Request("GET", url, headers, params, live=live is not None)

    def _ask(self, live: str | None, *, direct: bool = False) -> Flow[Page]:
        """Ask for the page at `offset`, past caches that answer with what cannot be true.

        `direct` leaves the CDN out.
        """
        pace = self.pace if live is None else self.follow_pace
        detours = 0
        while True:
            request = self._compose(live, direct=direct, detour=detours > 0)
            through_cdn = self._uses_cdn(live, direct or detours > 0)
            try:
                answer = yield from exchange(request, pace)
            except TimedOut:
                raise
            except RetryLater:
                if not through_cdn:
                    raise
            else:
                if not through_cdn or answer.reply.status in (200, 204):
                    self._note(answer.reply)
                    page = self._judge_page(request, answer.reply)
                    if page is not None:
                        named = answer.reply.header(names.STREAM_CHUNKS)
                        self.chunks_url = urljoin(request.url, named) if named else ""
                        return page
                    yield from self._distrust(request, detours)
                    detours += 1
                    continue
            # A CDN that fails, or remembers a 404 from before the stream was created, has the origin asked instead.
            self.stale_answers += 1
            detours += 1

    def _judge_page(self, request: Request, reply: Reply) -> Page | None:
        page = parse_page(request, reply, json=is_json(self.content_type))
        if self.offset == names.OFFSET_NOW:
            return replace(page, data=b"")
        progress = judge_progress(self.offset, page.next_offset, has_data=bool(page.data))
        if progress is Progress.STALE:
            return None
        # Nothing, and nowhere further to go: that is the tail, whether or not the server says so. Section 5.6.
        return replace(page, up_to_date=True) if progress is Progress.STILL else page

    def _distrust(self, request: Request, detours: int) -> Flow[None]:
        """Count an answer that cannot be true, and pause before the next one, or give up after MAX_DETOURS."""
        self.stale_answers += 1
        error = StaleCache(
            f"asked for {self.offset}, a cache answers with something older", url=request.url, offset=self.offset
        )
        if detours >= MAX_DETOURS:
            raise error
        if not (yield Pause(plan_delay_seconds(self.pace.retry, detours + 1, self.pace.chance()))):
            raise TimedOut(f"no time left to get past it: {error.message}", url=request.url) from error

    def _note(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = dict(reply.headers)
        content_type = reply.header(names.CONTENT_TYPE)
        if content_type and reply.status == 200:
            self.content_type = content_type

    def _hand_on(self, page: Page, *, believe: bool = True, reads_on: bool = False) -> Flow[None]:
        """Move to where a page ends and hand on its data, or the news of having caught up or come to the end.

        `reads_on`: the page that follows will be asked for.
        """
        up_to_date, closed = page.up_to_date and believe, page.closed
        news = (up_to_date, closed) != (self.up_to_date, self.closed) and up_to_date
        start = Position(self.offset, self.skip)
        end = Position(page.next_offset, self.skip if not page.data else 0)
        batch = drop_prefix(Batch(page.data, start, end, up_to_date, closed, self.content_type))
        self.offset, self.skip = batch.end.offset, batch.end.skip
        self.cursor = page.cursor if page.cursor is not None else self.cursor
        self.up_to_date, self.closed = up_to_date, closed
        if batch.data or news:
            if reads_on:
                yield from self._ask_ahead()
            yield batch

    def _listen(self) -> Flow[None]:
        """Follow by SSE, connection after connection, until the stream ends.

        Raise _SseUnusableError if `live=True` may poll.
        """
        proven = self.live is not True  # where SSE was asked for by name there is nothing to fall back to
        failures = short = 0
        while not self.closed:
            request = self._compose(names.LIVE_SSE, detour=failures > 0 and self.stale_answers > 0)
            if not proven:
                request = replace(request, silence_seconds=SSE_FIRST_SILENCE_SECONDS)
            opened_at, offset_before = self.clock(), self.offset
            outcome = yield Open(request)
            if isinstance(outcome, Opened):
                events, failure = yield from self._receive(request, outcome)
                proven = proven or events > 0
                if not proven:
                    raise _SseUnusableError
                failures = 0 if events else failures
            else:
                failure = self._judge_unopened(request, outcome, proven)
            if self.closed:
                return
            short = (
                short + 1 if self.clock() - opened_at < SHORT_CONNECTION_SECONDS and self.offset == offset_before else 0
            )
            if self.live is True and isinstance(outcome, Opened) and short >= MAX_SHORT_CONNECTIONS:
                raise _SseUnusableError
            if failure is not None:
                failures += 1
                yield from give_time(request, self.follow_pace, failures, failure)
            elif short:
                yield Pause(plan_delay_seconds(self.follow_pace.retry, short, self.follow_pace.chance()))

    def _judge_unopened(self, request: Request, outcome: Reply | Lost, proven: bool) -> DurableStreamError:
        if isinstance(outcome, Lost) or outcome.status in RETRIED:
            return judge_failure(request, outcome)
        self._note(outcome)
        if not proven and outcome.status in (400, 405, 406, 415, 501):
            raise _SseUnusableError
        raise error_of(request, outcome)

    def _receive(self, request: Request, opened: Opened) -> Flow[tuple[int, DurableStreamError | None]]:
        """Hand on what one connection brings; return how many events that were, and why it ended if not by itself."""
        self.status, self.headers = 200, dict(opened.headers)
        if (
            opened.headers.get(names.CONTENT_TYPE.lower(), "").partition(";")[0].strip().lower()
            != names.EVENT_STREAM_TYPE
        ):
            if self.live is True:
                raise _SseUnusableError
            raise MalformedReply("the answer to a live=sse read is no event stream", url=request.url, status=200)
        decoder = PageDecoder(opened.headers, json=is_json(self.content_type))
        while True:
            piece = yield Receive()
            if isinstance(piece, Lost):
                yield Hangup()
                return decoder.events, judge_failure(request, piece)
            if not piece:
                return decoder.events, None
            for page in decoder.feed(piece):
                if judge_progress(self.offset, page.next_offset, has_data=bool(page.data)) is Progress.STALE:
                    yield Hangup()
                    yield from self._distrust(request, self.stale_answers)
                    return 0, StaleCache("a cache replays old events", url=request.url, offset=self.offset)
                yield from self._hand_on(page)
                if self.closed:
                    yield Hangup()
                    return decoder.events, None
