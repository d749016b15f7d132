"""Compaction and the sweeper against appends, reads, forks and deletions: seeded lives of months, with faults."""

from collections.abc import Callable

import pytest

from storage import reclaim, sweep
from storage.core import sweeping
from storage.core.root import Root, State
from storage.core.sweeping import Covered
from tests.log.history import HistoryStation, play
from tests.log.verdicts import Violation

RUNS = {"history": 100, "stale tails": 150, "lives": 120, "forks": 120, "spilled": 50, "retention": 120}


@pytest.mark.parametrize("name", RUNS)
def test_nothing_that_can_be_needed_is_merged_wrongly_or_deleted(name: str) -> None:
    merged = reclaimed = purged = 0
    for seed in range(RUNS[name]):
        ledger = play(name, seed).history
        merged, reclaimed, purged = merged + ledger.supersets, reclaimed + ledger.reclaimed, purged + ledger.purged
    # The runs prove nothing unless all of this happens in them.
    assert min(merged, reclaimed) > RUNS[name]
    assert purged or name not in ("history", "lives", "forks")


def test_intermediates_deleted_at_once_are_found_out() -> None:
    def at_once(station: HistoryStation) -> None:
        station.grace_seconds = 0.0
        station.history.judges_age = False  # only what comes of it counts

    found = first_violations("stale tails", at_once)
    assert any("is not in the chain" in violation for violation in found), found


def test_a_sweeper_that_takes_the_newest_chunk_too_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(covered: Covered, newest: str, aged_before_ms: int) -> bool:
        return sweeping.is_reclaimable(covered, "", aged_before_ms)

    monkeypatch.setattr(reclaim, "is_reclaimable", wrong)
    assert any("it was the newest" in violation for violation in first_violations("history"))


def test_a_sweeper_that_takes_what_forks_depend_on_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(root: Root, generation: int) -> bool:
        return generation < root.generation or root.state in (State.SOFT, State.DELETED)

    async def never(generation: object) -> bool:
        return False

    monkeypatch.setattr(sweep, "is_dead", wrong)
    monkeypatch.setattr(reclaim.Generation, "has_forks", never)
    assert any("from a generation that" in violation or "holds" in violation for violation in first_violations("forks"))


def first_violations(name: str, change: Callable[[HistoryStation], None] = lambda station: None) -> list[str]:
    """Return what is found first in some runs of something that is wrong."""
    found: list[str] = []
    for seed in range(150):
        try:
            play(name, seed, change)
        except Violation as violation:
            found.append(str(violation).split("\n")[0])
            if len(found) == 3:
                break
    return found
