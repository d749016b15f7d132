"""Carry out the steps of a conversation with a blocking httpx client. Decides nothing."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

import httpx

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
    Deadline,
    SyncValues,
    judge_exception,
    judge_overrun,
    lower_headers,
    merge_headers,
    plan_timeout,
    resolve,
)

T = TypeVar("T")


class Wire:
    """Carries out steps over an httpx client. One per conversation: it holds the response that is open."""

    def __init__(
        self, http: httpx.Client, headers: SyncValues, params: SyncValues, timeouts: Timeouts, deadline: Deadline
    ) -> None:
        self._http = http
        self._headers = headers
        self._params = params
        self._timeouts = timeouts
        self._deadline = deadline
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] | None = None
        self._ahead: tuple[Request, Future[Reply | Lost]] | None = None

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow to its end and return its value."""
        outcome = None
        try:
            while True:
                outcome = self.carry_out(flow.send(outcome))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a Flow[T] returns T
        finally:
            self.hang_up()

    def carry_out(self, step: object) -> Any:
        """Carry out one step and return its outcome."""
        match step:
            case Request():
                return self._answer(step)
            case Ahead(request):
                return self._begin_ahead(request)
            case Open(request):
                return self._open(request)
            case Receive():
                return self._receive()
            case Hangup():
                return self.hang_up()
            case Pause(seconds):
                if self._deadline.cut(seconds) < seconds:
                    return False
                time.sleep(seconds)
                return True
            case _:
                raise AssertionError(f"not a step of this conversation: {step!r}")

    def hang_up(self) -> None:
        """Give up the open response, if there is one, and its connection with it."""
        self._ahead = None  # its thread reads it to its end, so that the connection can be used again
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            response.close()

    def _build(self, request: Request) -> tuple[httpx.Request, float | None]:
        timeout, total_seconds = plan_timeout(request, self._timeouts, self._deadline)
        built = self._http.build_request(
            request.method,
            compose_url(request, resolve({} if request.public else self._params)),
            headers=merge_headers(resolve({} if request.public else self._headers), request.headers),
            content=request.content,
            timeout=timeout,
        )
        return built, total_seconds

    def _begin_ahead(self, request: Request) -> None:
        if self._deadline.passed():
            return
        answer: Future[Reply | Lost] = Future()
        self._ahead = request, answer
        try:
            built, total_seconds = self._build(request)  # here: it may call functions of the caller's
        except Exception as error:
            answer.set_exception(error)  # what was brought already is handed out first
            return

        def carry_out() -> None:
            try:
                answer.set_result(self._exchange(built, total_seconds))
            except BaseException as error:
                answer.set_exception(error)

        try:
            Thread(target=carry_out, name="durable-streams-ahead", daemon=True).start()
        except RuntimeError:  # there are too many, or the interpreter is about to end
            self._ahead = None

    def _answer(self, request: Request) -> Reply | Lost:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == request:
            return ahead[1].result()
        return self._send(request)

    def _send(self, request: Request) -> Reply | Lost:
        if self._deadline.passed():
            return Lost("the time is up", sent=False, out_of_time=True)
        return self._exchange(*self._build(request))

    def _exchange(self, built: httpx.Request, total_seconds: float | None) -> Reply | Lost:
        attempt = Deadline(total_seconds or None)
        try:
            response = self._http.send(built, stream=True)
            try:
                pieces = []
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    if attempt.passed():
                        return judge_overrun(self._deadline)
            finally:
                response.close()
        except TRANSIENT as error:
            return judge_exception(error, self._deadline)
        return Reply(response.status_code, lower_headers(response), b"".join(pieces))

    def _open(self, request: Request) -> Opened | Reply | Lost:
        self.hang_up()
        if self._deadline.passed():
            return Lost("the time is up", sent=False, out_of_time=True)
        built, _ = self._build(request)
        try:
            response = self._http.send(built, stream=True)
            if response.status_code == 200:
                self._response, self._pieces = response, response.iter_bytes()
                return Opened(lower_headers(response))
            try:
                body = response.read()
            finally:
                response.close()
        except TRANSIENT as error:
            return judge_exception(error, self._deadline)
        return Reply(response.status_code, lower_headers(response), body)

    def _receive(self) -> bytes | Lost:
        assert self._pieces is not None, "nothing is open"
        if self._deadline.passed():
            return judge_overrun(self._deadline)
        try:
            piece = next(self._pieces, b"")
        except TRANSIENT as error:
            return judge_exception(error, self._deadline)
        if not piece:
            self.hang_up()
        return piece
