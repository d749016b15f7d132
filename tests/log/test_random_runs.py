"""Several processes on one bucket, interleaved by seeds, with faults: thousands of runs, each judged call by call."""

import pytest

from tests.log.runs import play

RUNS = {
    "appends": 700,
    "producers": 700,
    "spilled": 300,
    "lifecycle": 800,
    "creations": 800,
    "expiry": 500,
    "readers": 400,
}


@pytest.mark.parametrize("name", RUNS)
def test_every_answer_was_right_at_some_moment_of_its_call(name: str) -> None:
    for seed in range(RUNS[name]):
        play(name, seed)


def test_a_run_is_the_same_every_time() -> None:
    assert [play("readers", seed).world.story() for seed in range(20)] == [
        play("readers", seed).world.story() for seed in range(20)
    ]
