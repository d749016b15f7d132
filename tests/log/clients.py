"""Clients of a simulated world: each does one call after another, and writes down what it was told."""

import asyncio
from random import Random
from typing import Any

from storage.core.admission import Append, Appended
from storage.core.offset import Offset, Sentinel
from storage.core.producers import Claim
from storage.core.root import Config
from storage.creation import Creation
from storage.log import Log, Page
from tests.log.ledger import Call, Delete, Head, Ledger, Read, Verb
from tests.log.mixes import Mix
from tests.log.verdicts import Violation, judge_calls
from tests.log.world import Process, World

PATH = "s"


class Station:
    """A world with a ledger, and the calls made in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger(world)

    async def call(self, process: Process, verb: Verb, path: str = PATH) -> Call:
        """Make a call and write down what came of it."""
        ledger, world = self.ledger, self.world
        number = len(ledger.calls)
        call = Call(number, process.name, path, verb, process.log.settings, world.step, world.now)
        ledger.calls.append(call)
        world.note(f"call {number}: {process.name} {verb}")
        ended = await process.call(number, do(process.log, path, verb))
        if ended is not None:
            call.responded, call.responded_at = world.step, world.now
            call.answer, call.error = ended.answer, ended.error
            world.note(f"call {number}: {process.name} is told {call.error or call.answer!r}")
        return call

    def payload(self, media_type: str, padding: int = 0) -> bytes:
        """Return the payload of the next call: its number can be told from it."""
        number = len(self.ledger.calls)
        if media_type == "application/json":
            return b'{"n":%d%s}' % (number, b" " * padding)
        return b"%d.%s;" % (number, b"x" * padding)

    def verify(self) -> None:
        """Raise Violation if anything was wrong. Nothing may be under way any more."""
        wrong = self.ledger.violations + judge_calls(self.ledger)
        if wrong:
            raise Violation("\n".join(wrong))

    async def read_back(self) -> None:
        """Read every stream with fresh eyes, and with those of every process that still lives."""
        processes = [process for process in self.world.processes if not process.crashed]
        for process in [*processes, self.world.process()]:
            for path in list(self.ledger.moments):
                await self.call(process, Read(Sentinel.START, 1 << 20, 0.0), path)
                await self.call(process, Head(), path)


async def do(log: Log, path: str, verb: Verb) -> Any:
    """Make the call that a verb stands for."""
    match verb:
        case Append():
            return await log.append(path, verb)
        case Creation():
            return await log.create(path, verb)
        case Head():
            return await log.head(path)
        case Delete():
            return await log.delete(path)
        case Read():
            return await log.read(path, verb.offset, limit=verb.limit, wait_seconds=verb.wait_seconds)


# What a Mix has a weight for.
CALLS = "append", "produce", "retry", "read", "wait", "head", "close", "append_and_close", "delete", "create", "nap"


class Client:
    """Draws one call after another."""

    def __init__(self, station: Station, mix: Mix, rng: Random, producers: list[str], config: Config) -> None:
        self.station = station
        self.mix = mix
        self.rng = rng
        self.producers = producers
        self.config = config
        self.media_type = config.content_type.split(";")[0]
        self.seen: Offset | None = None
        self.epochs: dict[str, int] = {}
        self.next: dict[str, int] = {}
        self.claims: list[Claim] = []
        self.sequence = rng.randrange(5)

    async def live(self, calls: int) -> None:
        """Make so many calls."""
        weights = {name: getattr(self.mix, name) for name in CALLS}
        for _ in range(calls):
            processes = [process for process in self.station.world.processes if not process.crashed]
            [kind] = self.rng.choices(list(weights), list(weights.values()))
            await self.one(kind, self.rng.choice(processes))

    async def one(self, kind: str, process: Process) -> None:
        station, rng = self.station, self.rng
        payload = station.payload(self.media_type, rng.choice([0, 0, 3, 40]))
        match kind:
            case "append":
                await self.append(process, Append(payload, self.media_type, sequence=self.draw_sequence()))
            case "produce":
                await self.produce(process, self.draw_claim(), payload)
            case "retry" if self.claims:
                await self.produce(process, rng.choice(self.claims[-3:]), payload)
            case "retry":
                await self.append(process, Append(payload, "text/other"))
            case "read" | "wait":
                wait = rng.choice([0.5, 3.0]) if kind == "wait" else 0.0
                offset: Offset | Sentinel = rng.choice([Sentinel.START, Sentinel.NOW, self.seen or Sentinel.START])
                if kind == "wait" and self.seen is not None:
                    offset = self.seen
                call = await station.call(process, Read(offset, rng.choice([1, 30, 1 << 20]), wait))
                if isinstance(call.answer, Page) and call.answer.root.config == self.config:
                    self.seen = Offset(call.answer.root.generation, call.answer.end)
            case "head":
                await station.call(process, Head())
            case "close":
                claim = self.draw_claim() if rng.random() < 0.5 else None
                await self.append(process, Append(b"", close=True, claim=claim))
            case "append_and_close":
                claim = self.draw_claim() if rng.random() < 0.5 else None
                await self.append(process, Append(payload, self.media_type, close=True, claim=claim))
            case "delete":
                await station.call(process, Delete())
            case "create":
                shape = rng.choice([(b"", False), (payload, False), (payload, False), (payload, True), (b"", True)])
                await station.call(process, Creation(self.config, *shape))
            case "nap":
                ttl = self.mix.ttl_seconds or 1
                await asyncio.sleep(ttl * rng.choice([0.15, 0.5, 1.0, 1.2]))

    def draw_sequence(self) -> str | None:
        if self.rng.random() < 0.8:
            return None
        self.sequence += self.rng.choice([0, 1, 1, 2])
        return f"{self.sequence:03d}"

    def draw_claim(self) -> Claim:
        rng = self.rng
        producer = rng.choice(self.producers)
        if rng.random() < 0.05:
            self.epochs[producer] = self.epochs.get(producer, 0) + 1
            self.next[producer] = 0
        claim = Claim(producer, self.epochs.get(producer, 0), self.next.get(producer, 0))
        self.claims.append(claim)
        return claim

    async def produce(self, process: Process, claim: Claim, payload: bytes) -> None:
        await self.append(process, Append(payload, self.media_type, claim=claim))

    async def append(self, process: Process, append: Append) -> None:
        call = await self.station.call(process, append)
        if isinstance(call.answer, Appended):
            claim = append.claim
            if claim is not None and claim.epoch == self.epochs.get(claim.producer, 0):
                self.next[claim.producer] = max(self.next.get(claim.producer, 0), claim.seq + 1)
