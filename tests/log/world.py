"""A world in which one thing happens at a time, in an order that a seed decides. Knows nothing of streams' rules.

Several processes (a Log each, with its own caches and clock) share one bucket. Every store request waits until the
schedule lets it take effect; answers may come later than effects, or never. The event loop is simulated: its time
stands still unless the schedule moves it, so a run has no sleeps, no threads and no chance but the schedule's.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from storage.clock import Chance, Clock
from storage.log import Log, LogSettings
from storage.objects import LIST_LIMIT, NO_METADATA, Arriving, Condition, Entry, Head, Object
from tests.log.store import Bucket

T = TypeVar("T")

EPOCH_MS = 1_800_000_000_000  # when every world begins
NOBODY = -1
PART = "get-part"  # the verb of a part of an answer, which is no request of its own

caller: ContextVar[int] = ContextVar("caller", default=NOBODY)  # the number of the client's call that is under way


class Stuck(AssertionError):
    """Nothing can happen any more, and somebody still waits."""


class Request:
    """A store request on its way: to the store, or (once `done`) back to the process."""

    __slots__ = ("answer", "done", "effect", "future", "key", "process", "verb", "writes")

    def __init__(self, process: "Process", verb: str, key: str, effect: Callable[[], object], writes: bool) -> None:
        self.process = process
        self.verb = verb
        self.key = key
        self.effect = effect
        self.writes = writes
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.done = False
        self.answer: object = None

    def __str__(self) -> str:
        return f"{self.process.name} {self.verb} {self.key}"


class Schedule(Protocol):
    """Decides what happens next whenever all processes wait."""

    def turn(self, world: "World", timer: float | None) -> None:
        """Make one thing happen; `timer` is how many seconds ahead the next timer is, if there is one."""
        ...

    def jitter(self, seconds: float) -> float:
        """Return a pause of half to all of `seconds`."""
        ...


class Loop(asyncio.BaseEventLoop):
    """An event loop without a machine under it: where it would wait for sockets, the world takes its next turn."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world
        self._selector = self

    def time(self) -> float:
        return self._world.now

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None or timeout > 0:
            self._world.turn(timeout)
        return []

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class World:
    """A bucket, processes, requests under way, and the time."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.now = 0.0
        self.step = 0
        self.bucket = Bucket(self.now_ms)
        self.pending: list[Request] = []
        self.processes: list[Process] = []
        self.trace: list[tuple[int, float, object, object]] = []
        self.authors: dict[str, int] = {}  # which call an id was drawn for
        self.steps_limit = 20_000

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.now * 1000)

    def process(self, settings: LogSettings | None = None, skew_ms: int = 0) -> "Process":
        """Start a process."""
        process = Process(self, f"P{len(self.processes)}", settings or LogSettings(), skew_ms)
        self.processes.append(process)
        return process

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` ends, then end whatever still runs."""
        loop = Loop(self)
        try:
            task = loop.create_task(main)
            try:
                return loop.run_until_complete(task)
            finally:
                self._end(loop)
        finally:
            loop.close()

    def _end(self, loop: Loop) -> None:
        for process in self.processes:
            process.crashed = True
        for _ in range(10):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks))
        raise Stuck("tasks that do not end when they are cancelled")

    def turn(self, timer: float | None) -> None:
        self.step += 1
        if self.step > self.steps_limit:
            raise Stuck(f"no end after {self.steps_limit} steps")
        if timer is None and not self.pending:
            raise Stuck("everybody waits, and nothing is under way")
        self.schedule.turn(self, timer)

    def note(self, what: object, answer: object = None) -> None:
        """Remember what happened, to be told if the run fails."""
        self.trace.append((self.step, self.now, what, answer))

    def story(self) -> str:
        """Return everything that happened, a line each."""
        return "\n".join(
            f"{step:5d} {now:9.3f}  {what}" + ("" if answer is None else f" -> {brief(answer)}")
            for step, now, what, answer in self.trace
        )

    async def send(self, process: "Process", verb: str, key: str, effect: Callable[[], T], writes: bool) -> T:
        """Send a request and wait for its answer; a process that crashed waits for ever."""
        request = Request(process, verb, key, effect, writes)
        (process.lost if process.crashed else self.pending).append(request)
        answer: T = await request.future
        return answer

    # -- what a schedule can let happen

    def take_effect(self, request: Request) -> None:
        """Let a request happen at the store; its answer is under way from now on."""
        request.done = True
        try:
            request.answer = request.effect()
        except Exception as error:
            request.answer = error

    def deliver(self, request: Request) -> None:
        """Let the answer arrive."""
        self.pending.remove(request)
        if isinstance(request.answer, Exception):
            self.fail(request, request.answer)
        elif not request.future.done():
            request.future.set_result(request.answer)

    def perform(self, request: Request) -> None:
        """Let a request happen and be answered."""
        if not request.done:
            self.take_effect(request)
            self.note(request, request.answer or "nothing")
        self.deliver(request)

    def fail(self, request: Request, error: Exception) -> None:
        """Answer with a failure."""
        if not request.future.done():
            request.future.set_exception(error)

    def crash(self, process: "Process") -> list[Request]:
        """End a process between two of its steps; return the requests it had under way, which are pending no more."""
        self.note(f"{process.name} crashes")
        process.crashed = True
        lost = [request for request in self.pending if request.process is process]
        process.lost += lost
        self.pending = [request for request in self.pending if request.process is not process]
        for waiting in process.callers:
            if not waiting.done():
                waiting.set_result(None)
        return lost


class Process:
    """A Log with its own caches and clock."""

    def __init__(self, world: World, name: str, settings: LogSettings, skew_ms: int) -> None:
        self.world = world
        self.name = name
        self.skew_ms = skew_ms
        self.crashed = False
        self.callers: list[asyncio.Future[None]] = []
        self.lost: list[Request] = []  # never answered; kept so that nobody collects who waits for them
        self.ids = 0
        self.log = Log(Port(self), settings, SimulatedClock(self), SimulatedChance(self))

    async def call(self, number: int, work: Coroutine[Any, Any, T]) -> "Ended[T] | None":
        """Do a client's call; None if the process did not live to answer it."""
        token = caller.set(number)
        task = asyncio.create_task(work)
        caller.reset(token)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(_: object) -> None:
            if not ended.done():
                ended.set_result(None)

        task.add_done_callback(end)
        self.callers.append(ended)
        if self.crashed:
            return None
        await ended
        self.callers.remove(ended)
        if not task.done() or task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return Ended(task.result(), None)
        if not isinstance(error, Exception):
            raise error
        return Ended(None, error)


class Ended(Generic[T]):
    """What came of a call: an answer, or a failure."""

    def __init__(self, answer: T | None, error: Exception | None) -> None:
        self.answer = answer
        self.error = error


class SimulatedClock(Clock):
    """A process's clocks: its wall may be wrong, its steady one is the world's."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now_ms(self) -> int:
        return self._process.world.now_ms() + self._process.skew_ms

    def steady(self) -> float:
        return self._process.world.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimulatedChance(Chance):
    """Ids that tell whose they are, as long as real ones."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def new_id(self) -> str:
        process = self._process
        process.ids += 1
        made = f"{process.name.lower()}n{process.ids:021d}"
        process.world.authors[made] = caller.get()
        return made

    def jitter(self, seconds: float) -> float:
        return self._process.world.schedule.jitter(seconds)


class Port:
    """The store port of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._send = process.world.send
        self._bucket = process.world.bucket

    @property
    def name(self) -> str:
        return "simulated:"

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        return await self._send(self._process, "get", key, lambda: self._bucket.get(key, start, length), False)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        found = await self.get(key, start=start, length=length)
        return None if found is None else Arriving(found.head, self._parts(key, found.body))

    async def _parts(self, key: str, body: bytes) -> AsyncGenerator[bytes]:
        size = max(1, -(-len(body) // 3))
        for at in range(0, len(body), size):
            part = body[at : at + size]
            yield await self._send(self._process, PART, key, partial(bytes, part), False)

    async def head(self, key: str) -> Head | None:
        return await self._send(self._process, "head", key, lambda: self._bucket.head(key), False)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition,
        *,
        content_type: str = "application/octet-stream",
        cache_control: str = "",
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> str | None:
        def effect() -> str | None:
            return self._bucket.put(key, body, condition, content_type, metadata)

        return await self._send(self._process, f"put-{type(condition).__name__}", key, effect, True)

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        return await self._send(self._process, "list", prefix, lambda: self._bucket.list(prefix, after, limit), False)

    async def delete(self, key: str) -> None:
        return await self._send(self._process, "delete", key, lambda: self._bucket.delete(key), True)

    async def aclose(self) -> None:
        pass


def brief(answer: object) -> str:
    """Return a store's answer in few words, for a trace."""
    match answer:
        case Object():
            told = {name: text for name, text in answer.head.metadata.items() if name != "at"}
            return f"{answer.body[:300]!r} {told or ''}"
        case Head():
            return f"{answer.size} bytes {dict(answer.metadata)}"
        case list():
            return f"[{', '.join(entry.key for entry in answer)}]"
        case _:
            return repr(answer)
