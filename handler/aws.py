"""Run the server on Lambda: Mangum around the same application, wired here, configured by the same variables.

The entry point is `handler.aws.handler`.

A sandbox answers one request at a time and is frozen in between; it may be one of many clones of a snapshot that was
taken after this module was loaded. So nothing is opened, drawn or measured before the first request.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any, Protocol

from mangum import Mangum

from handler.app import WAIT_SECONDS
from handler.assembly import build_app, log_settings, store_options
from handler.batch import Batch
from handler.body import AsgiApp, Message, Receive, Scope, Send
from handler.core.lambda_events import PAGE_BYTES, Event, fit, is_event_stream, raw_path
from handler.core.problems import Reply, reply_problem
from handler.origin import OriginGuard
from handler.settings import PREFIX, BadSetting, ServerSettings, read_settings
from storage.log import Log
from storage.opening import open_objects

# What is different here as long as nobody says otherwise: a page and a body must fit into what Lambda passes on, an
# API gateway gives up after 29 seconds, and one request at a time needs few connections.
DEFAULTS = {
    f"{PREFIX}PAGE_SIZE": str(PAGE_BYTES),
    f"{PREFIX}MAX_BODY": str(PAGE_BYTES),
    f"{PREFIX}LONG_POLL_TIMEOUT": "20s",
    f"{PREFIX}SSE_TIMEOUT": "20s",
    f"{PREFIX}POOL_SIZE": "32",
}
MARGIN_SECONDS = 2.0  # of an invocation's time, for what comes after a wait: a read of the store, and the way back
THAWED_SECONDS = 1.0  # after a longer pause the store may have closed connections that look open here

_log = logging.getLogger("handler")

_TOO_LARGE = reply_problem(
    500, "page-too-large", "What is at this offset is more than Lambda can pass on; read it from a server or the CDN."
)


class Context(Protocol):
    """What Lambda tells of an invocation, as far as it is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still take."""
        ...


class Handler:
    """A Lambda function's entry point."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read the settings, and load what they need. Raises BadSetting."""
        self._settings = read_function_settings(environment)
        preload(self._settings)
        self._app: AsgiApp | None = None
        self._answered_at = 0.0
        self._wait_seconds = 0.0
        self._has_type = False
        self._mangum = Mangum(self._answer, lifespan="off")

    def __call__(self, event: Event, context: Context) -> MutableMapping[str, Any]:
        """Answer one event."""
        self._wait_seconds = max(0.0, context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS)
        answer = fit(self._mangum(event, context), has_type=self._has_type)  # type: ignore[arg-type]  # any mapping does
        if answer is not None:
            return answer
        _log.error("an answer at %s is more than Lambda passes on", raw_path(event).decode())
        return _problem(_TOO_LARGE)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["raw_path"] = raw_path(scope["aws.event"])
        scope[WAIT_SECONDS] = self._wait_seconds
        app = await self._opened()
        await self._thaw()
        self._has_type = False

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._has_type = any(name == b"content-type" for name, _ in message["headers"])
            await send(message)

        try:
            if scope["method"] == "GET" and is_event_stream(scope["query_string"]):
                seconds = min(self._settings.sse_timeout, self._wait_seconds)
                await Batch(receive, noting, seconds).run(app, scope)
            else:
                await app(scope, receive, noting)
        finally:
            self._answered_at = time.time()

    async def _opened(self) -> AsgiApp:
        """Return the application, once per sandbox, in the loop that it is going to live in."""
        if self._app is None:
            settings = self._settings
            objects = await open_objects(settings.store, store_options(settings))
            app: AsgiApp = build_app(Log(objects, log_settings(settings)), settings)
            self._app = OriginGuard(app, settings.origin_secret) if settings.origin_secret else app
        return self._app

    async def _thaw(self) -> None:
        """Let the loop see what happened while the sandbox was frozen, before a write goes out on a dead connection."""
        if time.time() - self._answered_at > THAWED_SECONDS:
            for _ in range(3):  # the selector's news, the transport's end, the pool's
                await asyncio.sleep(0)


def read_function_settings(environment: Mapping[str, str]) -> ServerSettings:
    """Return the settings that the variables describe. Raises BadSetting."""
    if not environment.get(f"{PREFIX}STORE"):
        raise BadSetting(f"{PREFIX}STORE must name the bucket, as s3://bucket: nothing else outlives a sandbox")
    return read_settings({}, {**DEFAULTS, **environment})


def preload(settings: ServerSettings) -> None:
    """Load what the first request would load otherwise: this part of a start is in the snapshot, or on a faster CPU."""
    if not settings.store.startswith("s3:"):
        return
    if settings.s3_driver == "obstore":
        import storage.s3_obstore
    else:
        import storage.s3

        storage.s3.preload()


def _problem(reply: Reply) -> dict[str, Any]:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return {"statusCode": reply.status, "headers": headers, "body": reply.body.decode(), "isBase64Encoded": False}


@cache
def _function() -> Handler:
    return Handler(os.environ)


def handler(event: Event, context: Context) -> MutableMapping[str, Any]:
    """Answer a request that came as an event."""
    return _function()(event, context)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    _function()  # while the sandbox is being made, and before its snapshot is taken
