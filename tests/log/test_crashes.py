"""A writer stops at every store request it makes: before it happens, after it, or with the effect landing later.

Later is every later point while another process goes on. Whatever the others are told must be right, and they must
never be stuck.
"""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from storage.core.admission import Append
from storage.core.offset import Sentinel
from storage.core.producers import Claim
from storage.core.root import Config
from storage.creation import Creation
from tests.log.clients import PATH, Station
from tests.log.ledger import Call, Delete, Head, Read, Verb
from tests.log.stopping import Stop, Stopping
from tests.log.verdicts import Violation
from tests.log.world import World

TEXT = "text/plain"
BODY = b"?"  # stands for a payload that tells its call
LONG = "long".ljust(400, "g")  # four producers with such ids need a table of their own

CREATE = Creation(Config(TEXT))
CREATE_BODY = Creation(Config(TEXT), BODY)
APPEND = Append(BODY, TEXT)
CLOSE = Append(b"", close=True)
READ = Read(Sentinel.START, 1 << 20, 0.0)


class Wait(msgspec.Struct, frozen=True):
    """Let time go by."""

    seconds: float


def produce(producer: str, seq: int, *, close: bool = False, payload: bytes = BODY) -> Append:
    return Append(payload, TEXT, close=close, claim=Claim(producer, 0, seq))


class Case(msgspec.Struct, frozen=True):
    """What happened before, what the writer that stops wanted, and what the others do afterwards."""

    before: tuple[Verb | Wait, ...]
    wanted: Verb
    then: tuple[Verb, ...]
    warm: bool = True  # the writer that stops did what happened before; else somebody else did


MANY = tuple(produce(f"{LONG}{n}", 0) for n in range(6))
AGAIN = (READ, Head(), CREATE_BODY, APPEND, READ, Delete(), APPEND, CREATE, produce("p", 0), READ)
ON = (READ, APPEND, produce("q", 0), READ, CLOSE, APPEND, Delete(), CREATE_BODY, APPEND, READ)

CASES = {
    "create": Case((), CREATE, AGAIN),
    "create with a body": Case((), CREATE_BODY, AGAIN),
    "create closed": Case((), Creation(Config(TEXT), closed=True), AGAIN),
    "create closed with a body": Case((), Creation(Config(TEXT), BODY, closed=True), AGAIN),
    "create of JSON with a body": Case(
        (), Creation(Config("application/json"), BODY), (READ, CREATE_BODY, Delete(), CREATE)
    ),
    "create over a deleted one": Case((CREATE_BODY, APPEND, Delete()), CREATE, AGAIN),
    "create with a body over a deleted one": Case((CREATE_BODY, Delete()), CREATE_BODY, AGAIN),
    "create over an expired one": Case((Creation(Config(TEXT, ttl_seconds=10)), Wait(12.0)), CREATE, AGAIN),
    "create with a body over an expired one": Case(
        (Creation(Config(TEXT, ttl_seconds=10), BODY), Wait(12.0)), CREATE_BODY, AGAIN
    ),
    "append": Case((CREATE,), APPEND, ON),
    "append cold": Case((CREATE_BODY, APPEND), APPEND, ON, warm=False),
    "append of a producer": Case((CREATE, produce("p", 0)), produce("p", 1), (produce("p", 1), produce("p", 2), *ON)),
    "append of a producer, cold": Case((CREATE,), produce("p", 0), (produce("p", 0), produce("p", 1), *ON), warm=False),
    "append of a producer that spills": Case((CREATE, *MANY[:4]), MANY[4], (MANY[4], MANY[3], MANY[5], *ON)),
    "append of a producer to a spilled table": Case(
        (CREATE, *MANY[:5]), produce(f"{LONG}1", 1), (produce(f"{LONG}1", 1), MANY[1], *ON), warm=False
    ),
    "append and close": Case((CREATE,), Append(BODY, TEXT, close=True), ON),
    "append and close of a producer": Case(
        (CREATE,), produce("p", 0, close=True), (produce("p", 0, close=True), *ON), warm=False
    ),
    "close": Case((CREATE_BODY,), CLOSE, (CLOSE, *ON)),
    "close of a producer": Case(
        (CREATE,), produce("p", 0, close=True, payload=b""), (produce("p", 0, close=True, payload=b""), *ON)
    ),
    "delete": Case((CREATE_BODY, APPEND), Delete(), (APPEND, READ, Delete(), CREATE, APPEND, READ, Delete(), READ)),
    "delete cold": Case((CREATE,), Delete(), (READ, CREATE_BODY, APPEND, READ, Delete(), CREATE), warm=False),
    "delete of a closed one": Case((CREATE, CLOSE), Delete(), (CLOSE, Delete(), CREATE_BODY, APPEND, READ)),
    "delete of an expired one": Case((Creation(Config(TEXT, ttl_seconds=10)), Wait(12.0)), Delete(), AGAIN),
    "a read that finds an expired one": Case((Creation(Config(TEXT, ttl_seconds=10)), Wait(12.0)), READ, AGAIN),
    "a read that touches": Case((Creation(Config(TEXT, ttl_seconds=10)), Wait(2.0)), READ, (READ, *ON)),
}


def run(case: Case, schedule: Stopping) -> bool:
    """Play a case; say whether the writer stopped, or ended before it came to that."""
    world = World(schedule)
    station = Station(world)
    victim, _ = world.process(), world.process()

    async def do(process: int, verb: Verb | Wait) -> Call | None:
        if isinstance(verb, Wait):
            await asyncio.sleep(verb.seconds)
            return None
        if isinstance(verb, Append | Creation) and verb.payload:
            media_type = TEXT if isinstance(verb, Append) else verb.config.content_type
            verb = msgspec.structs.replace(verb, payload=station.payload(media_type))
        return await station.call(world.processes[process], verb, PATH)

    async def main() -> None:
        for verb in case.before:
            await do(0 if case.warm else 1, verb)
        schedule.victim = victim
        await do(0, case.wanted)
        if not victim.crashed:
            return
        for verb in case.then:
            call = await do(1, verb)
            if call is not None and call.error is not None:
                raise Violation(f"the others are stuck: {call}")
        schedule.arrive(world, whatever=True)
        await station.read_back()

    try:
        world.run(main())
        station.verify()
    except AssertionError as error:
        told = f"stopped at request {schedule.at}: {schedule.stop.value} (after {schedule.later} more)"
        raise Violation(f"{error}\n\n{told}\n{world.story()}") from error
    return schedule.struck


def ways(case: Case) -> Iterator[Stopping]:
    """Yield every way to stop, one request after the other, until there are no more requests."""
    at = 0
    while True:
        at += 1
        first = Stopping(at, Stop.BEFORE)
        yield first
        if not first.struck:
            return
        if not first.wrote:
            continue  # a read that nobody hears of is no different
        yield Stopping(at, Stop.AFTER)
        later = 0
        while True:
            late = Stopping(at, Stop.LATER, later)
            yield late
            if late.others <= later:
                break
            later += 1


@pytest.mark.parametrize("name", CASES)
def test_a_writer_may_stop_anywhere_and_the_others_go_on(name: str) -> None:
    stops = [schedule for schedule in ways(CASES[name]) if run(CASES[name], schedule)]
    assert {schedule.stop for schedule in stops} == set(Stop)
