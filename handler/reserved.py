"""What is the server's own: everything below `/__ds/`. Section 6 reserves the name. Knows Starlette and the log."""

import asyncio
import logging

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from handler.body import AsgiApp
from handler.core import names
from handler.core.problems import BASE, CORS, NOT_STORED, Reply, header, reply_preflight, reply_problem
from storage.log import Log
from storage.objects import StoreError

HEALTH_SECONDS = 5.0  # what a load balancer waits at most, by habit

_log = logging.getLogger("handler")


def reserved_routes(log: Log) -> AsgiApp:
    """Return the application below `/__ds/`."""

    async def health(request: Request) -> Response:
        """Say that the process lives, and whether its store answers."""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await log.objects.head("health")
        except (StoreError, TimeoutError) as error:
            _log.warning("the store does not answer a health check: %s", error or "no answer in time")
            return _response(_reply_health(503, "unreachable"))
        return _response(_reply_health(200, "reachable"))

    return Starlette(
        routes=[Route(f"/{names.RESERVED}/health", health, methods=["GET", "HEAD"])],
        exception_handlers={HTTPException: _refuse, 404: _refuse, 405: _refuse},
    )


def _reply_health(status: int, store: str) -> Reply:
    body = msgspec.json.encode({"status": "ok" if status == 200 else "unavailable", "store": store})
    return Reply(status, [*BASE, NOT_STORED, header(names.CONTENT_TYPE, names.JSON_TYPE)], body)


async def _refuse(request: Request, error: Exception) -> Response:
    if request.method == "OPTIONS":
        return _response(reply_preflight())
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return _response(reply_problem(405, "method-not-allowed", "This has no such method.", "method"))
    sentence = f"There is nothing here: a path with a {names.RESERVED} segment is the server's own, never a stream's."
    return _response(reply_problem(404, "not-found", sentence, "path"))


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.raw_headers = [
        *(pair for pair in reply.headers if pair[0] != b"content-length"),
        *CORS,
        header(names.CONTENT_LENGTH, str(len(reply.body))),
    ]
    return response
