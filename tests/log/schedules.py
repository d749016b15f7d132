"""Schedules: in order, or by a seed with faults. They know requests and processes; nothing of streams."""

import asyncio
from random import Random

import msgspec

from storage.objects import OutcomeUnknown, StoreUnavailable
from tests.log.world import PART, Process, Request, World


class InOrder:
    """Everything that is under way happens at once: one turn is one round trip. Nothing fails."""

    ROUND_TRIP_SECONDS = 0.01

    def __init__(self) -> None:
        self.round_trips = 0
        self.requests: list[Request] = []

    def turn(self, world: World, timer: float | None) -> None:
        if not world.pending:
            assert timer is not None
            world.now += timer
            return
        if timer is not None and timer < self.ROUND_TRIP_SECONDS:
            world.now += timer
            return
        world.now += self.ROUND_TRIP_SECONDS
        self.round_trips += 1
        for request in list(world.pending):
            self.requests.append(request)
            world.perform(request)

    def jitter(self, seconds: float) -> float:
        return seconds

    def took(self) -> tuple[list[str], int]:
        """Return the verbs of the requests made since the last call, and how many round trips they were."""
        verbs = [request.verb for request in self.requests if request.verb != PART]
        round_trips, self.round_trips = self.round_trips, 0
        self.requests.clear()
        return verbs, round_trips


class Faults(msgspec.Struct):
    """How often at most each thing may go wrong in a run."""

    answer_lost: int = 0  # it happened, and the process is told that nobody knows
    dropped: int = 0  # it did not happen, and the process is told that nobody knows
    late: int = 0  # the process is told that nobody knows, and it happens at any later step
    down: int = 0  # it did not happen, and the process is told so
    crashes: int = 0

    def any_left(self) -> bool:
        return bool(self.answer_lost or self.dropped or self.late or self.down or self.crashes)


class Seeded:
    """Everything by chance: what happens next, how long it takes, what fails."""

    def __init__(self, rng: Random, faults: Faults, *, fault_rate: float = 0.1, slow_answers: float = 0.15) -> None:
        self.rng = rng
        self.faults = faults
        self.fault_rate = fault_rate
        self.slow_answers = slow_answers
        self.weights: dict[Process, float] = {}
        self.late: list[Request] = []  # told to be unknown, to happen later
        self.ticks = rng.choice([(0.0, 0.0, 0.001, 0.003), (0.001, 0.01, 0.05), (0.0, 0.0, 0.0, 0.0005, 0.4)])
        self.timer_weight = rng.choice([0.1, 0.5, 2.0])
        self.late_weight = rng.choice([0.02, 0.1, 0.5])

    def jitter(self, seconds: float) -> float:
        return seconds * (0.5 + self.rng.random() / 2)

    def turn(self, world: World, timer: float | None) -> None:
        rng = self.rng
        if rng.random() < 0.08:  # from time to time somebody stalls, or wakes up
            self.weights[rng.choice(world.processes)] = rng.choice([0.01, 0.1, 1.0, 1.0, 5.0])
        events: list[Request | None] = [*world.pending, *self.late]
        weights = [self.weights.get(request.process, 1.0) for request in world.pending]
        weights += [self.late_weight] * len(self.late)
        if timer is not None:
            events.append(None)
            weights.append(self.timer_weight if world.pending else 1.0)
        [event] = rng.choices(events, weights)
        if event is None:
            assert timer is not None
            world.now += timer
            return
        world.now += rng.choice(self.ticks)
        if event in self.late:
            self.arrive_late(world, event)
        elif event.done:
            world.deliver(event)
        elif rng.random() < self.fault_rate and self.faults.any_left():
            self.fail(world, event)
        elif rng.random() < self.slow_answers:
            world.note(event, "answered later")
            world.take_effect(event)
        else:
            world.perform(event)

    def arrive_late(self, world: World, request: Request) -> None:
        """Let a write that its process gave up on happen now."""
        self.late.remove(request)
        world.take_effect(request)
        world.note(f"late: {request}", request.answer or "nothing")

    def settle(self, world: World) -> None:
        """Let what is still on its way arrive, or get lost."""
        while self.late:
            request = self.rng.choice(self.late)
            if self.rng.random() < 0.7:
                self.arrive_late(world, request)
            else:
                self.late.remove(request)

    def fail(self, world: World, request: Request) -> None:
        """Let something go wrong with a request, if there is something left that may."""
        faults, rng = self.faults, self.rng
        kinds = ["down"] * bool(faults.down) + ["crash"] * (bool(faults.crashes) and len(alive(world)) > 1)
        if request.writes:
            kinds += ["answer_lost"] * bool(faults.answer_lost) + ["dropped"] * bool(faults.dropped)
            kinds += ["late"] * (2 * bool(faults.late))
        if not kinds:
            world.perform(request)
            return
        kind = rng.choice(kinds)
        if kind == "crash":
            faults.crashes -= 1
            lost = [lost for lost in world.crash(request.process) if lost.writes and not lost.done]
            self.late += [request for request in lost if rng.random() < 0.5]
            return
        setattr(faults, kind, getattr(faults, kind) - 1)
        world.note(f"{kind}: {request}")
        if kind == "answer_lost":
            world.take_effect(request)
        elif kind == "late":
            self.late.append(request)
        world.pending.remove(request)
        error = StoreUnavailable if kind == "down" else OutcomeUnknown
        world.fail(request, error(f"simulated: {request}: {kind}"))


def alive(world: World) -> list[Process]:
    """Return the processes that did not crash."""
    return [process for process in world.processes if not process.crashed]


async def until(world: World, seconds: float) -> None:
    """Let time go by."""
    await asyncio.sleep(seconds)


class Holding(InOrder):
    """In order, but requests of a process that begin with a text are held back until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held: str | None = None

    def turn(self, world: World, timer: float | None) -> None:
        kept = [request for request in world.pending if self.holds(request)]
        world.pending = [request for request in world.pending if not self.holds(request)]
        super().turn(world, timer)
        world.pending = kept + world.pending

    def holds(self, request: Request) -> bool:
        return self.held is not None and str(request).startswith(self.held)
