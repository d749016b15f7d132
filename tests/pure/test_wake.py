"""What becomes of a wake: section 7, a row a test."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.subscription import Config, Cursor, Kind, Link, Phase, Subscription, Wake
from storage.core.wake import (
    ATTEMPT_MS,
    TAKEOVER_MS,
    Due,
    Seen,
    advanced,
    delivered,
    failed,
    idle,
    is_attempt,
    judge_due,
    linked,
    minted,
    next_look_ms,
    pending,
    retry_ms,
    sent_again,
    unlinked,
    with_tails,
)

NOW = 1_000_000
LEASE = 5_000


def place(position: int, incarnation: int = 7) -> Cursor:
    return Cursor(incarnation, position, f"{incarnation:016d}_{position:016d}")


def subscription(kind: Kind = Kind.WEBHOOK, wake: Wake | None = None, **links: Link) -> Subscription:
    config = Config(kind, "*", (), "https://x" if kind is Kind.WEBHOOK else None, "wake", LEASE, None)
    there = links or {"a": Link(False, place(0)), "b": Link(True, place(0))}
    return Subscription("r", "s", "i", "w", config, "http://h", 0, 4, there, wake)


TAILS = {"a": place(9), "b": place(0)}


def in_flight(kind: Kind = Kind.WEBHOOK) -> Subscription:
    return minted(subscription(kind), TAILS, "a", "one", NOW)


def wake_of(there: Subscription) -> Wake:
    assert there.wake is not None
    return there.wake


# -- streams


def test_a_stream_is_pending_when_its_tail_is_beyond_its_cursor() -> None:
    assert pending(subscription(), TAILS) == ["a"]
    assert pending(subscription(), {}) == []


def test_a_recreated_stream_begins_anew() -> None:
    there = with_tails(subscription(a=Link(False, place(9))), {"a": Seen(Cursor(8, 0, "-1"), place(3, 8))})
    assert there.links["a"].cursor == Cursor(8, 0, "-1")
    assert pending(there, {"a": place(3, 8)}) == ["a"]


def test_a_cursor_before_what_is_retained_moves_to_what_is() -> None:
    there = with_tails(subscription(a=Link(False, place(2))), {"a": Seen(place(5), place(9))})
    assert there.links["a"].cursor == place(5)


def test_a_stream_that_is_gone_loses_its_glob_link_and_keeps_its_explicit_one() -> None:
    assert list(with_tails(subscription(), {"a": None, "b": None}).links) == ["b"]
    assert list(with_tails(subscription(), {}).links) == ["a", "b"]


def test_an_explicit_link_takes_precedence_and_leaves_the_glob_link_behind() -> None:
    there = linked(subscription(), "a", place(5), explicit=True)
    assert there.links["a"] == Link(True, place(0))
    assert linked(there, "a", place(5), explicit=False).links["a"].explicit
    assert unlinked(there, "a").links["a"] == Link(False, place(0))
    nested = linked(there, "x/y", place(5), explicit=True)
    assert "x/y" not in unlinked(nested, "x/y").links
    assert unlinked(nested, "unknown").links == nested.links


# -- time


def test_what_is_due_follows_from_the_phase_and_the_time() -> None:
    rows = [
        (None, 0, Due.TAILS),
        (Wake("w", "a", Phase.SENDING, "x", {}, NOW, NOW + 10), NOW + TAKEOVER_MS - 1, Due.NOTHING),
        (Wake("w", "a", Phase.SENDING, "x", {}, NOW, NOW + 9_999), NOW + TAKEOVER_MS, Due.AGAIN),
        (Wake("w", "a", Phase.SENDING, "x", {}, NOW, NOW), NOW + TAKEOVER_MS, Due.OVER),
        (Wake("w", "a", Phase.SENDING, "x", {}, NOW, None), NOW + TAKEOVER_MS, Due.AGAIN),
        (Wake("w", "a", Phase.RETRYING, "x", {}, NOW, NOW - 5), NOW - 1, Due.NOTHING),
        (Wake("w", "a", Phase.RETRYING, "x", {}, NOW, NOW - 5), NOW, Due.OVER),
        (Wake("w", "a", Phase.RETRYING, "x", {}, NOW, NOW + 5), NOW, Due.AGAIN),
        (Wake("w", "a", Phase.SENT, "x", {}, None, NOW), NOW - 1, Due.NOTHING),
        (Wake("w", "a", Phase.SENT, "x", {}, None, NOW), NOW, Due.OVER),
        (Wake("w", "a", Phase.SENT, "x", {}, None, None), NOW, Due.NOTHING),
        (Wake("w", "a", Phase.CLAIMED, "x", {}, None, NOW), NOW, Due.OVER),
    ]
    for wake, now, expected in rows:
        assert judge_due(subscription(wake=wake), now) is expected, (wake, now)


def test_somebody_looks_again_when_something_is_due_and_not_before() -> None:
    assert next_look_ms(subscription()) is None
    assert next_look_ms(msgspec.structs.replace(subscription(), scans=(5, 9))) == 5
    assert next_look_ms(in_flight()) == NOW + LEASE + TAKEOVER_MS
    assert next_look_ms(failed(in_flight(), NOW, 0.5)) == NOW + 1_000
    assert next_look_ms(delivered(in_flight(), done=False, now_ms=NOW)) == NOW + LEASE
    assert next_look_ms(delivered(in_flight(Kind.PULL_WAKE), done=False, now_ms=NOW)) is None


@given(st.sampled_from(list(Phase)), st.integers(0, 50), st.none() | st.integers(0, 50))
def test_at_the_time_of_the_next_look_something_is_due(phase: Phase, timer: int, lease: int | None) -> None:
    timed = timer if phase in (Phase.SENDING, Phase.RETRYING) else None
    there = subscription(wake=Wake("w", "a", phase, "x", {}, timed, lease))
    look = next_look_ms(there)
    if look is not None:
        assert judge_due(there, look) is not Due.NOTHING
        assert judge_due(there, look - 1) is Due.NOTHING


# -- a wake's way


def test_a_new_wake_has_a_new_generation_and_a_snapshot_of_the_tails() -> None:
    there = in_flight()
    assert there.generation == 5
    assert wake_of(there) == Wake("w_one", "a", Phase.SENDING, "one", TAILS, NOW + LEASE, NOW + LEASE)
    pull = wake_of(in_flight(Kind.PULL_WAKE))
    assert (pull.timer_ms, pull.lease_ms) == (NOW + ATTEMPT_MS, None)


def test_a_synchronous_done_acknowledges_the_snapshot_and_no_more() -> None:
    there = delivered(failed(in_flight(), NOW, 0.5), done=True, now_ms=NOW + 1)
    assert there.wake is None
    assert there.failures == 0
    assert there.links["a"].cursor == place(9)
    assert pending(there, {"a": place(12)}) == ["a"]


def test_a_done_after_the_lease_has_ended_acknowledges_nothing() -> None:
    there = delivered(in_flight(), done=True, now_ms=NOW + LEASE)
    assert wake_of(there).phase is Phase.SENT
    assert there.links["a"].cursor == place(0)


def test_a_failed_delivery_is_tried_again_under_the_same_wake() -> None:
    there = failed(failed(in_flight(), NOW, 0.5), NOW, 0.5)
    assert (there.failures, wake_of(there).phase, wake_of(there).timer_ms) == (2, Phase.RETRYING, NOW + 2_000)
    again = sent_again(there, "two", NOW + 2_000)
    assert (wake_of(again).id, wake_of(again).attempt, again.generation) == ("w_one", "two", 5)
    assert wake_of(again).timer_ms == NOW + LEASE
    assert is_attempt(again, "w_one", "two")
    assert not is_attempt(again, "w_one", "one")
    assert not is_attempt(there, "w_one", "one")
    assert not is_attempt(idle(again), "w_one", "two")


@pytest.mark.parametrize(("failures", "base"), [(1, 1_000), (2, 2_000), (6, 32_000), (7, 60_000), (500, 60_000)])
def test_retries_back_off_from_one_second_to_sixty_with_a_fifth_of_jitter(failures: int, base: int) -> None:
    assert retry_ms(failures, 0.0) == base * 0.8
    assert retry_ms(failures, 0.5) == base
    assert retry_ms(failures, 1.0) == base * 1.2


def test_cursors_only_move_forward() -> None:
    there = subscription(a=Link(False, place(5)))
    assert advanced(there, {"a": place(4)}).links["a"].cursor == place(5)
    assert advanced(there, {"a": place(6)}).links["a"].cursor == place(6)
    assert advanced(there, {"a": place(1, 8)}).links["a"].cursor == place(1, 8)
    assert advanced(there, {"a": place(99, 6)}).links["a"].cursor == place(5)
    assert advanced(there, {"gone": place(1)}).links == there.links
