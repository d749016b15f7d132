"""The conversation between client and server as generators: they yield what to do and are sent what came of it.

A flow decides; a shell (`sync`, `aio`) carries out its steps and knows nothing of their meaning:

    step yielded       outcome sent back
    Request            Reply | Lost
    Ahead              None                                            a Request that is likely to be the next one
    Open               Opened | Reply (any status but 200) | Lost      a response whose body arrives bit by bit
    Receive            bytes, empty at the end of the body | Lost
    Hangup             None                                            give up the response that is open
    Pause              bool: False if the time given to the call does not allow it
    Turn               None, once every earlier batch of the producer is settled
    Batch              None                                            hand it to the caller

When a flow is closed early the shell gives up the open response by itself. Knows no HTTP library, clock or randomness.
"""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from durable_streams_client.core import names
from durable_streams_client.core.backoff import parse_retry_after, plan_delay_seconds
from durable_streams_client.errors import (
    AmbiguousWrite,
    ConnectionFailed,
    DurableStreamError,
    RateLimited,
    TimedOut,
    Unavailable,
)
from durable_streams_client.models import Retry

T = TypeVar("T")
Flow = Generator[Any, Any, T]
"""A generator as described above.

Steps and outcomes go in pairs that a type cannot express; `ask` and its like check them.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, before the caller's own headers and parameters are added.

    `live` requests wait for new data: they are bounded by silence (`silence_seconds`, or the shell's default), not in
    total. `public` ones are for what is the same for everybody, at a place that the server has named: the caller's own
    headers and parameters, tokens among them, are not added.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    live: bool = False
    silence_seconds: float | None = None
    public: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """Begin to carry out a request, and go on: if the next Request is the same, this is its outcome.

    If it is another one, or the response is given up, it was for nobody.
    """

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and leave its body to be received."""

    request: Request


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next bytes of the open response."""


@dataclass(frozen=True, slots=True)
class Hangup:
    """Give up the open response."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Wait until every batch before this one is settled. Of a producer only."""

    order: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A response with its whole body, content encoding undone. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return a header by its name in any case."""
        return self.headers.get(name.lower())

    def says(self, name: str) -> bool:
        """Tell whether a header is `true`, the only value that counts, in any case. Section 4.1."""
        return self.headers.get(name.lower(), "").strip().lower() == names.TRUE


@dataclass(frozen=True, slots=True)
class Opened:
    """The head of a response with status 200."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lost:
    """No response, or not all of it. `sent` is False only if the server cannot have seen the request.

    `out_of_time`: the time given to the whole call is up, so there is no next attempt.
    """

    reason: str
    sent: bool
    out_of_time: bool = False
    cause: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How to try again: the policy, and where random numbers in [0, 1) come from."""

    retry: Retry
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply that ended an exchange. `doubt`: an earlier attempt may have been carried out already."""

    reply: Reply
    doubt: bool


# Statuses worth another attempt. 501 and 505 will not change; 500, 502 and 504 leave open whether the request was
# carried out.
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 508, 520, 521, 522, 523, 524})
UNKNOWN_OUTCOME = frozenset({502, 504, 520, 522, 524})  # said by a gateway that lost its server


def exchange(request: Request, pace: Pace, *, repeatable: bool = True) -> Flow[Answer]:
    """Send a request until it is answered with something that no retry will change, and return that.

    `repeatable` False is for writes that a second copy would double: they are sent again only if the first copy was
    refused or never left. A plain 500 counts as refused, which is what the protocol's client cases expect of appends.
    Raise RetryLater when the retries or the time are used up, AmbiguousWrite when a write's fate is unknown.
    """
    failures = 0
    doubt = False
    while True:
        outcome = yield request
        if isinstance(outcome, Reply):
            if outcome.status not in RETRIED:
                return Answer(outcome, doubt)
            unknown = outcome.status in UNKNOWN_OUTCOME
            doubt = doubt or unknown or outcome.status == 500
        else:
            assert isinstance(outcome, Lost)
            unknown = outcome.sent
            doubt = doubt or unknown
        error = judge_failure(request, outcome)
        if unknown and not repeatable:
            raise AmbiguousWrite(
                f"{request.method} went out, its answer was lost ({error.message})",
                url=request.url,
                status=error.status,
                headers=error.headers,
            ) from error
        failures += 1
        yield from give_time(request, pace, failures, error)


def give_time(request: Request, pace: Pace, failures: int, error: DurableStreamError) -> Flow[None]:
    """Pause before the attempt after the `failures`-th consecutive failure, or raise `error` if there is to be none."""
    retry = pace.retry
    if isinstance(error, TimedOut) or (retry.max_retries is not None and failures > retry.max_retries):
        raise error
    retry_after = parse_retry_after(error.headers.get(names.RETRY_AFTER.lower()), error.headers.get(names.DATE.lower()))
    if retry_after is not None and retry_after > retry.max_retry_after_seconds:
        raise error
    if not (yield Pause(plan_delay_seconds(retry, failures, pace.chance(), retry_after))):
        raise TimedOut(f"no time left for another attempt: {error.message}", url=request.url) from error


def judge_failure(request: Request, outcome: Reply | Lost) -> DurableStreamError:
    """Return the error that a failed attempt becomes if it was the last one."""
    if isinstance(outcome, Lost):
        kind = TimedOut if outcome.out_of_time else ConnectionFailed
        lost = kind(f"{request.method} failed: {outcome.reason}", url=request.url)
        lost.__cause__ = outcome.cause
        return lost
    what = f"{request.method} was answered {outcome.status}: {explain(outcome)}"
    if outcome.status == 429:
        limited = RateLimited(what, url=request.url, status=outcome.status, headers=outcome.headers)
        limited.retry_after_seconds = parse_retry_after(outcome.header(names.RETRY_AFTER), outcome.header(names.DATE))
        return limited
    return Unavailable(what, url=request.url, status=outcome.status, headers=outcome.headers)


def explain(reply: Reply) -> str:
    """Return a response's own explanation on one line: the detail of a problem (RFC 9457), or how its body begins."""
    text = reply.body[:2000].decode("utf-8", "replace")
    with suppress(ValueError, AttributeError):
        problem = json.loads(text)
        text = problem.get("detail") or problem.get("title") or text
    return " ".join(str(text).split())[:200] or "no explanation"


def compose_url(request: Request, params: Mapping[str, str]) -> str:
    """Return the URL to ask for, its parameters in the order of their names: one spelling for every cache. Section
    10.1.

    The request's parameters win over the caller's, and those over what the stream's URL carries already.
    """
    parts = urlsplit(request.url)
    ours = dict(params) | dict(request.params)
    carried = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ours]
    pairs = sorted([*carried, *ours.items()], key=lambda pair: pair[0])
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
