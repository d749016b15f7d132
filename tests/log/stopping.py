"""One writer stops at its n-th store request; another process goes on. Knows requests; nothing of streams."""

from enum import Enum

from tests.log.world import Process, Request, World


class Stop(Enum):
    """What becomes of the request at which the process stops."""

    BEFORE = "it never happens"
    AFTER = "it happens, and nobody hears of it"
    LATER = "it happens later, when others have gone on"


class Stopping:
    """Everything in order, one request at a time, but for the one at which the victim stops."""

    STEP_SECONDS = 0.01

    def __init__(self, at: int, stop: Stop, later: int = 0) -> None:
        self.at = at  # counted from 1, once there is a victim
        self.stop = stop
        self.later = later  # how many requests others make before the late one happens
        self.victim: Process | None = None
        self.made = 0
        self.struck = False
        self.wrote = False  # the request at which it stopped was a write
        self.others = 0
        self.late: Request | None = None

    def jitter(self, seconds: float) -> float:
        return seconds

    def turn(self, world: World, timer: float | None) -> None:
        if not world.pending:
            assert timer is not None
            world.now += timer
            return
        world.now += self.STEP_SECONDS
        request = world.pending[0]
        if request.process is self.victim:
            self.made += 1
            if self.made == self.at:
                self.strike(world, request)
                return
        elif self.struck:
            self.arrive(world)
            self.others += 1
        world.perform(request)

    def strike(self, world: World, request: Request) -> None:
        self.struck = True
        self.wrote = request.writes
        if self.stop is Stop.AFTER:
            world.note(request, "it happens")
            world.take_effect(request)
        elif self.stop is Stop.LATER:
            self.late = request
        world.crash(request.process)

    def arrive(self, world: World, *, whatever: bool = False) -> None:
        """Let the late request happen, if its time has come."""
        request = self.late
        if request is not None and (whatever or self.others >= self.later):
            self.late = None
            world.take_effect(request)
            world.note(f"late: {request}", request.answer or "nothing")
