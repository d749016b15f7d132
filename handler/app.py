"""The ASGI application: streams at every path, and what is the server's own below `/__ds/`.

Stream requests take a short way: no routing, no request or response objects, one pass over the headers. Measured on
appends, that is 1.9 times the rate of a Starlette route. It works below any prefix that it is mounted under.
"""

import inspect
import logging
import time
from urllib.parse import quote

import msgspec

from handler.auth import Access, Asked, Authorize
from handler.body import AsgiApp, ClientGone, Receive, Scope, Send, TooLarge, read_body
from handler.core import names
from handler.core.caching import CacheRules
from handler.core.cursor import cursor_at, jitter_of
from handler.core.fields import Unacceptable
from handler.core.problems import (
    CORS,
    Reply,
    header,
    reply_error,
    reply_method_not_allowed,
    reply_path_too_long,
    reply_preflight,
    reply_problem,
    reply_unacceptable,
)
from handler.core.requests import (
    parse_any_path,
    parse_append,
    parse_create,
    parse_headers,
    parse_path,
    parse_read,
    parse_retain,
)
from handler.core.responses import (
    Reading,
    reply_appended,
    reply_created,
    reply_deleted,
    reply_head,
    reply_read,
    reply_retained,
)
from handler.core.subscription_requests import parse_control
from handler.live import Live, LiveSettings
from handler.subscriptions import SubscriptionService
from storage.core.keys import PATH_BYTES
from storage.errors import LogError
from storage.log import Log, PathTooLong

_log = logging.getLogger("handler")

# In a scope: how long this request may wait at most, where whoever runs the application knows. Not of ASGI.
WAIT_SECONDS = "durable_streams.wait_seconds"

_INTERNAL = reply_problem(500, "internal-error", "The server failed at this request; its log says how.")
_REPLY_401 = reply_problem(
    401,
    "unauthenticated",
    "Authorization is missing or not known here; send a bearer token.",
    names.AUTHORIZATION,
    header(names.WWW_AUTHENTICATE, "Bearer"),
)
_REPLY_403 = reply_problem(403, "forbidden", "This is not allowed to you.", names.AUTHORIZATION)


class AppSettings(msgspec.Struct, frozen=True):
    """What an operator can choose about the application. Sizes in bytes."""

    max_body_bytes: int = 16 * 1024 * 1024  # an append is one object, and is held in memory on its way
    public_url: str = ""  # what clients see the application's root as; by default what their requests say
    chunks_url: str = ""  # where a CDN serves chunk objects to everybody; readers are told to fetch history there
    trust_proxy: bool = False  # X-Forwarded-Host and X-Forwarded-Proto are believed
    cache: CacheRules = CacheRules()
    live: LiveSettings = LiveSettings()


def create_app(
    log: Log,
    settings: AppSettings | None = None,
    authorize: Authorize | None = None,
    subscriptions: SubscriptionService | None = None,
) -> "StreamsApp":
    """Return the ASGI application over a log, which stays the caller's to close; `subscriptions` does so too.

    `authorize`: asked for every request but a preflight, the health check and what has a token of its own, see
    handler/auth.py.
    """
    return StreamsApp(log, settings or AppSettings(), authorize, subscriptions)


class StreamsApp:
    """An ASGI application."""

    def __init__(
        self, log: Log, settings: AppSettings, authorize: Authorize | None, subscriptions: SubscriptionService | None
    ) -> None:
        self._log = log
        self._settings = settings
        self._authorize = authorize
        self._live = Live(log, settings.live)
        self._reserved: AsgiApp | None = None
        self._subscriptions = subscriptions

    def drain(self) -> None:
        """Answer all who wait for a stream to grow, and let nobody wait any more: the server is about to stop."""
        self._live.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await _answer_other(scope, receive, send)
            return
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        path = parse_path(raw_path, scope.get("root_path", ""))
        method = scope["method"]
        headers: dict[bytes, bytes] = {}
        try:
            headers = parse_headers(scope["headers"])
            if path is None:
                path = parse_any_path(raw_path, scope.get("root_path", ""))
                reply = await self._answer_reserved(method, path, headers, scope, receive, send)
            else:
                reply = await self._reply(method, path, headers, scope, receive, send)
        except Unacceptable as error:
            reply = reply_unacceptable(error)
        except LogError as error:
            reply = reply_error(error)
            level = {400: logging.INFO, 503: logging.WARNING}.get(reply.status, logging.ERROR)
            _log.log(level, "%s %s: %s", method, path, error)
        except PathTooLong:
            reply = reply_path_too_long(PATH_BYTES)
        except TooLarge:
            reply = self._reply_too_large()
        except ClientGone:
            return
        except Exception:
            _log.exception("%s %s failed", method, path)
            reply = _INTERNAL
        if reply is None:
            return
        answer = reply.headers
        if method == "GET" or method == "HEAD" or (b"origin" in headers and method != "OPTIONS"):
            answer = answer + CORS
        await send({"type": "http.response.start", "status": reply.status, "headers": answer})
        if method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        body = reply.body
        for part in reply.more:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body = part
        await send({"type": "http.response.body", "body": body})

    async def _reply(
        self, method: str, path: str, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> Reply | None:
        if self._authorize is not None and method != "OPTIONS":
            refused = await self._judge(method, path, headers)
            if refused is not None:
                return refused
        if method == "POST":
            body = await read_body(headers, receive, self._settings.max_body_bytes)
            append = parse_append(headers, body)
            return reply_appended(await self._log.append_located(path, append), has_body=bool(body))
        if method == "GET":
            return await self._read(path, headers, scope, receive, send)
        if method == "HEAD":
            return reply_head(await self._log.head(path))
        if method == "PUT":
            return await self._create(path, headers, scope, receive)
        if method == "DELETE":
            return reply_deleted(await self._log.delete(path))
        if method == "PATCH":
            return reply_retained(await self._log.retain(path, parse_retain(headers)))
        if method == "OPTIONS":
            return reply_preflight()
        return reply_method_not_allowed(method)

    async def _read(
        self, path: str, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> Reply | None:
        read = parse_read(headers, scope["query_string"])
        if read.live == names.LIVE_SSE:
            return await self._live.sse(path, read, receive, send, private=self._authorize is not None)
        cursor = ""
        if read.live:
            waited = await self._live.long_poll(path, read, receive, scope.get(WAIT_SECONDS))
            if waited is None:
                return None
            outcome = waited
            cursor = cursor_at(time.time(), read.cursor, jitter_of(path, read.token, read.cursor or ""))
        else:
            outcome = await self._log.read(path, read.offset)
        now_ms = time.time_ns() // 1_000_000
        reading = Reading(
            self._settings.cache,
            now_ms,
            cursor,
            private=self._authorize is not None,
            chunks_url=self._settings.chunks_url,
        )
        return reply_read(outcome, read, reading)

    async def _create(self, path: str, headers: dict[bytes, bytes], scope: Scope, receive: Receive) -> Reply:
        body = await read_body(headers, receive, self._settings.max_body_bytes)
        creation = parse_create(headers, body, scope.get("root_path", ""))
        if creation.fork is not None and self._authorize is not None:
            refused = await self._judge("GET", creation.fork.source, headers)
            if refused is not None:
                return refused
        return reply_created(await self._log.create(path, creation), f"{self._base(headers, scope)}/{path}")

    def _base(self, headers: dict[bytes, bytes], scope: Scope) -> str:
        """Return what the client sees the application's root as, without a slash at its end."""
        if self._settings.public_url:
            return self._settings.public_url.rstrip("/")
        scheme = scope.get("scheme", "http")
        host = headers.get(b"host", b"").decode("latin-1")
        if self._settings.trust_proxy:
            scheme = _first(headers, b"x-forwarded-proto") or scheme
            host = _first(headers, b"x-forwarded-host") or host
        if not host:
            server = scope.get("server") or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{quote(scope.get('root_path', ''))}"

    async def _judge(self, method: str, path: str, headers: dict[bytes, bytes]) -> Reply | None:
        """Ask the hook; return what the request is refused with, if it is."""
        assert self._authorize is not None
        access = self._authorize(Asked(method, path, headers))
        if inspect.isawaitable(access):
            access = await access
        if access is Access.ALLOWED:
            return None
        return _REPLY_403 if access is Access.FORBIDDEN else _REPLY_401

    async def _answer_reserved(
        self, method: str, path: str, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> Reply | None:
        """Return the answer; None where it has been sent."""
        control = parse_control(path)
        is_open = path == f"{names.RESERVED}/health" or (control is not None and control.has_own_token)
        if self._authorize is not None and method != "OPTIONS" and not is_open:
            refused = await self._judge(method, f"/{path}", headers)
            if refused is not None:
                return refused
        if control is not None and self._subscriptions is not None:
            base = self._base(headers, scope)
            return await self._subscriptions.answer(control, method, headers, scope["query_string"], receive, base)
        if self._reserved is None:
            # Loaded by the first who asks: a function's start would pay for a framework that few requests need.
            from handler.reserved import reserved_routes

            self._reserved = reserved_routes(self._log)
        await self._reserved(scope, receive, send)
        return None

    def _reply_too_large(self) -> Reply:
        limit = self._settings.max_body_bytes
        sentence = f"The body is too large; accepted are at most {limit} bytes in one request."
        return reply_problem(413, "body-too-large", sentence, "body")


def _first(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").partition(",")[0].strip()


async def _answer_other(scope: Scope, receive: Receive, send: Send) -> None:
    """Take part in a lifespan, which has nothing to start or stop here; refuse everything else."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    raise RuntimeError(f"no ASGI scope of type {scope['type']!r} is served here")
