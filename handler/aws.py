"""Run the server on Lambda: Mangum around the same application, wired here, configured by the same variables.

The entry points are `handler.aws.handler` for requests and `handler.aws.sweep` for the schedule, and for what requests
leave to be done.

A sandbox answers one request at a time and is frozen in between; it may be one of many clones of a snapshot that was
taken after this module was loaded. So nothing is opened, drawn or measured before the first request, and nothing goes
on in the background when a request is answered.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
from mangum import Mangum

from handler.app import WAIT_SECONDS
from handler.assembly import build_app, build_subscriptions, log_settings, store_options
from handler.batch import Batch
from handler.body import AsgiApp, Message, Receive, Scope, Send
from handler.core.lambda_events import PAGE_BYTES, Event, fit, is_event_stream, raw_path
from handler.core.problems import Reply, reply_problem
from handler.origin import OriginGuard
from handler.relay import LOOK, Relay
from handler.settings import PREFIX, BadSetting, ServerSettings, read_settings
from handler.subscriptions import SubscriptionService
from storage.clock import Chance
from storage.core.sweeping import Sweeping
from storage.log import Log
from storage.objects import Objects
from storage.opening import open_objects
from storage.probe import probe
from storage.sweep import Sweeper

# What is different here as long as nobody says otherwise: a page and a body must fit into what Lambda passes on, an
# API gateway gives up after 29 seconds, and one request at a time needs few connections.
DEFAULTS = {
    f"{PREFIX}PAGE_SIZE": str(PAGE_BYTES),
    f"{PREFIX}MAX_BODY": str(PAGE_BYTES),
    f"{PREFIX}LONG_POLL_TIMEOUT": "20s",
    f"{PREFIX}SSE_TIMEOUT": "20s",
    f"{PREFIX}POOL_SIZE": "32",
    f"{PREFIX}LOOPBACK_WEBHOOKS": "no",
}
SWEEPER = f"{PREFIX}SWEEPER"  # the function to leave webhooks to; without one they are sent before the answer
MARGIN_SECONDS = 2.0  # of an invocation's time, for what comes after a wait: a read of the store, and the way back
# For what a request has begun besides its answer, before it is frozen; what is left then stands in the store, and its
# deadline too. Where there is a sweeper it is little, and a webhook that hangs does not hold up who set it up.
SETTLE_SECONDS = 5.0
SETTLE_SECONDS_BESIDE_A_SWEEPER = 0.5
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


class Function:
    """A function in one sandbox: what it was told to be, and what it has opened."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read the settings, and load what they need. Raises BadSetting."""
        self._settings = read_function_settings(environment)
        preload(self._settings)
        self._relay = Relay(environment[SWEEPER]) if environment.get(SWEEPER) else None
        self._objects: Objects | None = None
        self._app: AsgiApp
        self._log: Log
        self._subscriptions: SubscriptionService
        self._appended: dict[str, tuple[str, ...]] = {}  # streams, and who listens to them
        self._answered_at = 0.0
        self._wait_seconds = 0.0
        self._has_type = False
        self._is_probed = False
        self._mangum = Mangum(self._answer, lifespan="off")

    def handle(self, event: Event, context: Context) -> MutableMapping[str, Any]:
        """Answer a request."""
        self._wait_seconds = _seconds_of(context)
        answer = fit(self._mangum(event, context), has_type=self._has_type)  # type: ignore[arg-type]  # any mapping does
        if answer is not None:
            return answer
        _log.error("an answer at %s is more than Lambda passes on", raw_path(event).decode())
        return _problem(_TOO_LARGE)

    def sweep(self, event: Event, context: Context) -> None:
        """Do what is due, or what an append left to be done. Raises LogError, UnfitStore."""
        asyncio.get_event_loop().run_until_complete(self._sweep(event, _seconds_of(context)))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = raw_path(scope["aws.event"])
        scope["raw_path"], scope["path"] = raw, unquote(raw.decode())
        scope[WAIT_SECONDS] = self._wait_seconds
        await self._open()
        await self._thaw()
        self._has_type = False

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._has_type = any(name == b"content-type" for name, _ in message["headers"])
            await send(message)

        try:
            if scope["method"] == "GET" and is_event_stream(scope["query_string"]):
                seconds = min(self._settings.sse_timeout, self._wait_seconds)
                await Batch(receive, noting, seconds).run(self._app, scope)
            else:
                await self._app(scope, receive, noting)
            await self._finish()
        finally:
            self._answered_at = time.time()

    async def _finish(self) -> None:
        """Leave nothing begun behind: the next request may come in an hour, or never."""
        appended, self._appended = self._appended, {}
        if appended and self._relay is not None:
            await self._relay.send(appended)
        seconds = SETTLE_SECONDS if self._relay is None else SETTLE_SECONDS_BESIDE_A_SWEEPER
        try:
            async with asyncio.timeout(min(seconds, self._wait_seconds)):
                await self._log.settle()
                await self._subscriptions.settle()
        except TimeoutError:
            _log.info("what a request has begun takes longer than its answer; it stands in the store")

    async def _sweep(self, event: Event, seconds: float) -> None:
        await self._open()
        assert self._objects is not None
        if not self._is_probed:
            await probe(self._objects, Chance().new_id())
            self._is_probed = True
        if event.get(LOOK):
            async with asyncio.timeout(seconds):
                await self._subscriptions.look(event[LOOK])
            return
        sweeping = Sweeping(seconds=seconds / 2)  # a pass ends soon after its time, not at it
        sweeper = Sweeper(self._objects, log_settings(self._settings), sweeping, due=self._subscriptions.sweep)
        swept = await sweeper.sweep()
        for failure in swept.failed:
            _log.error("the sweeper left something out: %s", failure)

    async def _open(self) -> None:
        """Open the store, once per sandbox, in the loop that it is going to live in."""
        if self._objects is not None:
            return
        settings = self._settings
        objects = await open_objects(settings.store, store_options(settings))
        # Nothing is fetched ahead: it would arrive when the sandbox is frozen. So what is asked for is a page at once.
        chosen = log_settings(settings)
        chosen = msgspec.structs.replace(chosen, runs_ahead=0, block_bytes=chosen.page_bytes)
        log = self._log = Log(objects, chosen)
        delegate = self._note_append if self._relay is not None else None
        self._subscriptions = build_subscriptions(log, settings, "", delegate)
        app: AsgiApp = build_app(log, settings, self._subscriptions)
        self._app = OriginGuard(app, settings.origin_secret) if settings.origin_secret else app
        self._objects = objects

    def _note_append(self, path: str, listeners: tuple[str, ...]) -> None:
        self._appended[path] = listeners

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
        import storage.s3_client

        storage.s3_client.preload()


def _seconds_of(context: Context) -> float:
    return max(0.0, context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS)


def _problem(reply: Reply) -> dict[str, Any]:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return {"statusCode": reply.status, "headers": headers, "body": reply.body.decode(), "isBase64Encoded": False}


@cache
def _function() -> Function:
    return Function(os.environ)


def handler(event: Event, context: Context) -> MutableMapping[str, Any]:
    """Answer a request that came as an event."""
    return _function().handle(event, context)


def sweep(event: Event, context: Context) -> None:
    """Do what is due."""
    _function().sweep(event, context)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    _function()  # while the sandbox is being made, and before its snapshot is taken
