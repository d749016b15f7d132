"""Carry out the steps of a conversation with an asynchronous httpx client, on asyncio. Decides nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import httpx

from durable_streams_client.aio.guard import Guard
from durable_streams_client.core.exchange import (
    Ahead,
    Flow,
    Hangup,
    Lost,
    Open,
    Opened,
    Pause,
    Receive,
    Reply,
    Request,
    compose_url,
)
from durable_streams_client.models import Timeouts
from durable_streams_client.wire import (
    TRANSIENT,
    AsyncValues,
    Deadline,
    judge_exception,
    judge_overrun,
    lower_headers,
    merge_headers,
    plan_timeout,
    resolve_async,
)

T = TypeVar("T")


class AsyncWire:
    """Carries out steps over an httpx client. One per conversation: it holds the response that is open."""

    def __init__(
        self, http: httpx.AsyncClient, headers: AsyncValues, params: AsyncValues, timeouts: Timeouts, deadline: Deadline
    ) -> None:
        self._http = http
        self._headers = headers
        self._params = params
        self._timeouts = timeouts
        self._deadline = deadline
        self._guard = Guard()
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._ahead: tuple[Request, asyncio.Task[Reply | Lost]] | None = None

    async def run(self, flow: Flow[T]) -> T:
        """Carry out a flow to its end and return its value."""
        outcome = None
        try:
            while True:
                outcome = await self.carry_out(flow.send(outcome))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a Flow[T] returns T
        finally:
            await self.hang_up()

    async def carry_out(self, step: object) -> Any:
        """Carry out one step and return its outcome."""
        match step:
            case Request():
                return await self._answer(step)
            case Ahead(request):
                self._begin_ahead(request)
                return None
            case Open(request):
                return await self._open(request)
            case Receive():
                return await self._receive()
            case Hangup():
                return await self.hang_up()
            case Pause(seconds):
                if self._deadline.cut(seconds) < seconds:
                    return False
                await asyncio.sleep(seconds)
                return True
            case _:
                raise AssertionError(f"not a step of this conversation: {step!r}")

    async def hang_up(self) -> None:
        """Give up the open response, if there is one, and its connection with it."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[1].cancel()
            await asyncio.wait([ahead[1]])
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            await self._guard.carry_out(response.aclose())

    async def _build(self, request: Request) -> tuple[httpx.Request, float | None]:
        timeout, total_seconds = plan_timeout(request, self._timeouts, self._deadline)
        built = self._http.build_request(
            request.method,
            compose_url(request, await resolve_async({} if request.public else self._params)),
            headers=merge_headers(await resolve_async({} if request.public else self._headers), request.headers),
            content=request.content,
            timeout=timeout,
            extensions={"trace": self._guard.trace},
        )
        return built, total_seconds

    def _begin_ahead(self, request: Request) -> None:
        task = asyncio.create_task(self._send(request))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever wants it is told
        self._ahead = request, task

    async def _answer(self, request: Request) -> Reply | Lost:
        ahead = self._ahead
        if ahead is None:
            return await self._send(request)
        if ahead[0] == request:
            self._ahead = None
            return await ahead[1]
        await self.hang_up()
        return await self._send(request)

    async def _send(self, request: Request) -> Reply | Lost:
        if self._deadline.passed():
            return Lost("the time is up", sent=False, out_of_time=True)
        built, total_seconds = await self._build(request)
        try:
            async with asyncio.timeout(total_seconds):
                return await self._guard.carry_out(self._exchange(built))
        except TimeoutError:
            return judge_overrun(self._deadline)
        except TRANSIENT as error:
            return judge_exception(error, self._deadline)

    async def _exchange(self, built: httpx.Request) -> Reply:
        response = await self._http.send(built, stream=True)
        try:
            body = await response.aread()
        finally:
            await response.aclose()
        return Reply(response.status_code, lower_headers(response), body)

    async def _open(self, request: Request) -> Opened | Reply | Lost:
        await self.hang_up()
        if self._deadline.passed():
            return Lost("the time is up", sent=False, out_of_time=True)
        built, _ = await self._build(request)
        try:
            return await self._guard.carry_out(self._begin(built))
        except TRANSIENT as error:
            return judge_exception(error, self._deadline)

    async def _begin(self, built: httpx.Request) -> Opened | Reply:
        response = await self._http.send(built, stream=True)
        # Kept here, so that it is given up even if nobody is there any more to be told of it.
        self._response, self._pieces = response, response.aiter_bytes()
        if response.status_code == 200:
            return Opened(lower_headers(response))
        body = await response.aread()
        self._response = self._pieces = None
        return Reply(response.status_code, lower_headers(response), body)

    async def _receive(self) -> bytes | Lost:
        assert self._pieces is not None, "nothing is open"
        if self._deadline.passed():
            return judge_overrun(self._deadline)
        try:
            async with asyncio.timeout(self._deadline.remaining_seconds()):
                piece = await self._guard.carry_out(self._next_piece(self._pieces))
        except TimeoutError:
            return judge_overrun(self._deadline)
        except TRANSIENT as error:
            return judge_exception(error, self._deadline)
        if not piece:
            await self.hang_up()
        return piece

    @staticmethod
    async def _next_piece(pieces: AsyncIterator[bytes]) -> bytes:
        return await anext(pieces, b"")
