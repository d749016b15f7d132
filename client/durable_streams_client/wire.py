"""What both shells need to put a step on the wire: values that are computed per request, deadlines, httpx's exceptions.

Knows httpx and the clock, but no loop and no thread.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx

from durable_streams_client.core.exchange import Lost, Request
from durable_streams_client.models import Timeouts

SyncValue = str | Callable[[], str]
AsyncValue = str | Callable[[], str | Awaitable[str]]
SyncValues = Mapping[str, SyncValue]
AsyncValues = Mapping[str, AsyncValue]
"""Headers or query parameters. What is callable is called for every request that goes out, retries included."""

try:
    VERSION = version("durable-streams-client")
except PackageNotFoundError:  # pragma: no cover  (run from a source tree)
    VERSION = "0"

USER_AGENT = f"durable-streams-client/{VERSION}"

# Both common servers (uvicorn, Node) drop idle connections after 5 s; one that is reused just then loses a request.
KEEPALIVE_SECONDS = 4.0
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE_SECONDS)


class Deadline:
    """The moment at which the time given to a call is up, if it was given any."""

    def __init__(self, total_seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        if total_seconds is not None and total_seconds <= 0:
            raise ValueError("total_seconds must be positive")
        self._clock = clock
        self._at = None if total_seconds is None else clock() + total_seconds

    def remaining_seconds(self) -> float | None:
        """Return what is left, None without end, never less than 0."""
        return None if self._at is None else max(0.0, self._at - self._clock())

    def passed(self) -> bool:
        """Tell whether the time is up."""
        return self._at is not None and self._clock() >= self._at

    def cut(self, seconds: float) -> float:
        """Return a duration, cut where the deadline comes first."""
        remaining = self.remaining_seconds()
        return seconds if remaining is None else min(seconds, remaining)


def join_url(base_url: str, path: str) -> str:
    """Return the URL of a stream: an absolute one as it is, another one under the base."""
    if "://" in path:
        return path
    if not base_url:
        raise ValueError(f"{path!r} is no URL, and the client has no base_url")
    return f"{base_url.rstrip('/')}/{path.removeprefix('/')}"


def resolve(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values with what is callable called. Raise TypeError for what would have to be awaited."""
    resolved = {}
    for name, value in values.items():
        text = value() if callable(value) else value
        if inspect.isawaitable(text):
            if inspect.iscoroutine(text):
                text.close()
            raise TypeError(f"the value of {name} is computed asynchronously: use AsyncClient")
        resolved[name] = text
    return resolved


async def resolve_async(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values with what is callable called, and awaited if need be."""
    resolved = {}
    for name, value in values.items():
        text = value() if callable(value) else value
        resolved[name] = await text if inspect.isawaitable(text) else text
    return resolved


def merge_headers(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers in one, later layers first, names in lower case so that none goes out twice."""
    merged: dict[str, Any] = {"user-agent": USER_AGENT}
    for layer in layers:
        merged.update({name.lower(): value for name, value in layer.items()})
    return merged


def plan_timeout(request: Request, timeouts: Timeouts, deadline: Deadline) -> tuple[httpx.Timeout, float | None]:
    """Return the timeouts of httpx, which bound silence, and the total of the attempt, None for a live one."""
    if request.live:
        silence, total = request.silence_seconds or timeouts.live_silence_seconds, deadline.remaining_seconds()
    else:
        silence = total = deadline.cut(timeouts.attempt_seconds)
    return (
        httpx.Timeout(
            connect=max(0.001, deadline.cut(timeouts.connect_seconds)),
            read=max(0.001, deadline.cut(silence)),
            write=max(0.001, deadline.cut(timeouts.attempt_seconds)),
            pool=max(0.001, deadline.cut(timeouts.connect_seconds)),
        ),
        total,
    )


def judge_exception(error: BaseException, deadline: Deadline) -> Lost:
    """Return what an exception of httpx means for a request."""
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Lost(reason, sent=not unsent, out_of_time=deadline.passed(), cause=error)


def judge_overrun(deadline: Deadline) -> Lost:
    """Return what it means that an attempt was cut because its time was up."""
    return Lost("no complete answer in time", sent=True, out_of_time=deadline.passed())


# Errors of the transport: worth another attempt. Others, such as an unsupported scheme, are errors of the program.
TRANSIENT = (
    httpx.NetworkError,
    httpx.TimeoutException,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
    httpx.DecodingError,
)


def lower_headers(response: httpx.Response) -> dict[str, str]:
    """Return a response's headers as a plain mapping, names in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}
