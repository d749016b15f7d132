"""A stream's server as a function, and a driver of conversations that fails steps as it is told. No sockets, no
clock, no sleep.

The stream holds bytes or JSON messages; its offsets are fixed-width numbers, as servers like to mint them.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from durable_streams_client.core.batch import Batch
from durable_streams_client.core.exchange import (
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
)
from durable_streams_client.models import Retry

PATIENT = Pace(Retry(max_retries=None), lambda: 0.5)
IMPATIENT = Pace(Retry(max_retries=3), lambda: 0.5)


def token(position: int) -> str:
    """Return an offset."""
    return f"{position:016d}"


@dataclass
class SimulatedStream:
    """What a server keeps of one stream, and how it answers reads. `page` bounds how many units one answer holds."""

    units: list[bytes] = field(default_factory=list)  # messages (JSON), or pieces of bytes
    json: bool = False
    closed: bool = False
    page: int = 3
    cursor: int = 100
    content_type: str = ""

    def __post_init__(self) -> None:
        self.content_type = self.content_type or ("application/json" if self.json else "application/octet-stream")

    def body(self, units: list[bytes]) -> bytes:
        """Return units as a body."""
        return b"[" + b",".join(units) + b"]" if self.json else b"".join(units)

    def _position(self, offset: str) -> int:
        if offset == "now":
            return len(self.units)
        return 0 if offset == "-1" else int(offset)

    def answer(self, request: Request) -> Reply:
        """Answer a catch-up or long-poll request at once, a wait having run out."""
        position = self._position(request.params["offset"])
        units = self.units[position : position + self.page]
        end = position + len(units)
        headers = {"content-type": self.content_type, "stream-next-offset": token(end)}
        if end == len(self.units):
            headers["stream-up-to-date"] = "true"
            if self.closed:
                headers["stream-closed"] = "true"
        if "live" in request.params:
            self.cursor = max(self.cursor, int(request.params.get("cursor", 0))) + 1
            headers["stream-cursor"] = str(self.cursor)
            if not units:
                return Reply(204, headers)
        return Reply(200, headers, self.body(units))

    def events(self, request: Request) -> tuple[Opened, bytes]:
        """Answer an SSE request: everything there is, in batches of `page`, and the news of being up to date."""
        position = self._position(request.params["offset"])
        encoded = not (self.json or self.content_type.startswith("text/"))
        text = b""
        while True:
            units = self.units[position : position + self.page]
            position += len(units)
            # Several data events before one control event, as the reference server sends them.
            for unit in units:
                data = base64.b64encode(unit) if encoded else self.body([unit])
                text += b"event: data\ndata:" + data.replace(b"\n", b"\ndata:") + b"\n\n"
            at_tail = position == len(self.units)
            control: dict[str, Any] = {"streamNextOffset": token(position)}
            if at_tail and self.closed:
                control["streamClosed"] = True
            else:
                self.cursor += 1
                control |= {"streamCursor": str(self.cursor)} | ({"upToDate": True} if at_tail else {})
            text += b"event: control\ndata:" + json.dumps(control).encode() + b"\n\n"
            if at_tail:
                break
        headers = {"content-type": "text/event-stream"}
        if encoded:
            headers["stream-sse-data-encoding"] = "base64"
        return Opened(headers), text


Serve = Callable[[Request], Reply | Lost]
ServeEvents = Callable[[Request], Opened | Reply | Lost]


class Driver:
    """Carry out a reading flow against functions, and note what was asked and how long was waited."""

    def __init__(
        self,
        serve: Serve,
        serve_events: Callable[[Request], tuple[Opened | Reply | Lost, list[Any]]],
        *,
        grants_pauses: bool = True,
    ) -> None:
        self._serve = serve
        self._grants_pauses = grants_pauses
        self._serve_events = serve_events
        self._pieces: list[Any] = []
        self._ahead: tuple[Request, Reply | Lost] | None = None
        self.requests: list[Request] = []
        self.ahead: list[Request] = []
        self.pauses: list[float] = []
        self.open = False
        self.seconds = 0.0

    def clock(self) -> float:
        """Return a time that passes with every step."""
        self.seconds += 2.0
        return self.seconds

    def run(self, flow: Flow[None], *, until: Callable[[list[Batch]], bool], steps: int = 10_000) -> list[Batch]:
        """Run until enough was delivered, or the flow ends."""
        batches: list[Batch] = []
        outcome: Any = None
        for _ in range(steps):
            try:
                step = flow.send(outcome)
            except StopIteration:
                return batches
            outcome = None
            match step:
                case Batch():
                    batches.append(step)
                    if until(batches):
                        flow.close()
                        return batches
                case Ahead(request):
                    self.ahead.append(request)
                    self._ahead = request, self._serve(request)
                case Request():
                    self.requests.append(step)
                    ahead, self._ahead = self._ahead, None
                    outcome = ahead[1] if ahead is not None and ahead[0] == step else self._serve(step)
                case Open(request):
                    self.requests.append(request)
                    outcome, self._pieces = self._serve_events(request)
                    self.open = isinstance(outcome, Opened)
                case Receive():
                    assert self.open, "nothing is open"
                    outcome = self._pieces.pop(0) if self._pieces else b""
                    self.open = isinstance(outcome, bytes) and bool(outcome)
                case Hangup():
                    self.open, self._ahead = False, None
                case Pause(seconds):
                    self.pauses.append(seconds)
                    outcome = self._grants_pauses
                case _:
                    raise AssertionError(f"not a step of a read: {step!r}")
        raise AssertionError("the read makes no progress")


def run_to_end(flow: Flow[Any], outcomes: list[Any]) -> tuple[Any, list[Any]]:
    """Run a flow over outcomes given beforehand; pauses are granted. Return its value and the steps it took."""
    steps: list[Any] = []
    outcome: Any = None
    waiting = iter(outcomes)
    try:
        while True:
            step = flow.send(outcome)
            steps.append(step)
            outcome = True if isinstance(step, Pause) else next(waiting)
    except StopIteration as stop:
        return stop.value, steps
