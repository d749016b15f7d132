"""What workers may do: sections 7.2 and 7.3."""

import msgspec
import pytest

from storage.core.lease import (
    AlreadyClaimed,
    Credential,
    Fenced,
    InvalidOffset,
    NoPendingWork,
    TokenExpired,
    TokenInvalid,
    WrongKind,
    acknowledged,
    claimed,
    judge_ack,
    judge_claim,
    judge_holder,
)
from storage.core.subscription import Kind, Link, Phase, Subscription
from storage.core.wake import delivered, failed
from tests.pure.test_wake import LEASE, NOW, TAILS, in_flight, place, subscription, wake_of

GOOD = Credential("subscription/r/s", "i", 5, NOW + 60_000)


def held() -> Subscription:
    there = claimed(subscription(Kind.PULL_WAKE), TAILS, "w1", "one", NOW)
    assert isinstance(there, Subscription)
    return there


def test_a_claim_mints_a_wake_where_none_is_in_flight() -> None:
    there = held()
    assert (there.generation, wake_of(there).holder, wake_of(there).lease_ms) == (5, "w1", NOW + LEASE)
    assert wake_of(there).phase is Phase.CLAIMED


def test_a_claim_takes_the_wake_that_was_announced() -> None:
    announced = delivered(in_flight(Kind.PULL_WAKE), done=False, now_ms=NOW)
    there = claimed(announced, {"a": place(12)}, "w1", "two", NOW)
    assert isinstance(there, Subscription)
    assert (there.generation, wake_of(there).id, wake_of(there).snapshot) == (5, "w_one", {"a": place(12)})


def test_a_claim_after_the_lease_has_ended_is_a_new_generation() -> None:
    assert judge_claim(held(), NOW + LEASE - 1) == AlreadyClaimed("w1", 5)
    assert judge_claim(held(), NOW + LEASE) is None
    there = claimed(held(), TAILS, "w2", "two", NOW + LEASE)
    assert isinstance(there, Subscription)
    assert (there.generation, wake_of(there).id, wake_of(there).holder) == (6, "w_two", "w2")


def test_there_is_nothing_to_claim_without_pending_work() -> None:
    assert claimed(subscription(Kind.PULL_WAKE), {"a": place(0)}, "w1", "one", NOW) == NoPendingWork()


def test_webhooks_are_not_claimed() -> None:
    assert judge_claim(subscription(), NOW) == WrongKind(Kind.WEBHOOK)
    assert judge_claim(subscription(Kind.PULL_WAKE), NOW) is None


@pytest.mark.parametrize(
    ("credential", "wake_id", "generation", "expected"),
    [
        (GOOD, "w_one", 5, None),
        (None, "w_one", 5, TokenInvalid()),
        (msgspec.structs.replace(GOOD, subject="subscription/r/t"), "w_one", 5, TokenInvalid()),
        (msgspec.structs.replace(GOOD, expires_ms=NOW), "w_one", 5, TokenExpired()),
        (msgspec.structs.replace(GOOD, generation=4), "w_one", 5, Fenced(5)),
        (msgspec.structs.replace(GOOD, incarnation="earlier"), "w_one", 5, Fenced(5)),
        (GOOD, "w_one", 4, Fenced(5)),
        (GOOD, "w_one", None, Fenced(5)),
        (GOOD, "w_two", 5, Fenced(5)),
        (GOOD, None, 5, Fenced(5)),
    ],
)
def test_everything_must_fit_the_wake_in_flight(
    credential: Credential | None, wake_id: str | None, generation: int | None, expected: object
) -> None:
    assert judge_holder(held(), Kind.PULL_WAKE, credential, wake_id, generation, NOW) == expected


def test_nobody_holds_what_is_idle_unclaimed_over_or_of_the_other_kind() -> None:
    def judge(there: Subscription, now: int = NOW, kind: Kind = Kind.PULL_WAKE) -> object:
        return judge_holder(there, kind, GOOD, "w_one", 5, now)

    assert judge(held(), NOW + LEASE) == Fenced(5)
    assert judge(delivered(in_flight(Kind.PULL_WAKE), done=False, now_ms=NOW)) == Fenced(5)
    assert judge(acknowledged(held(), {}, done=True, now_ms=NOW)) == Fenced(5)
    assert judge(in_flight()) == WrongKind(Kind.WEBHOOK)
    assert judge(in_flight(), kind=Kind.WEBHOOK) is None


def test_an_ack_without_done_extends_the_lease_and_keeps_the_claim() -> None:
    there = acknowledged(held(), {"a": place(4)}, done=False, now_ms=NOW + 100)
    assert (wake_of(there).lease_ms, wake_of(there).holder) == (NOW + 100 + LEASE, "w1")
    assert there.links["a"].cursor == place(4)


def test_an_ack_with_done_ends_the_wake() -> None:
    there = acknowledged(held(), {"a": place(9)}, done=True, now_ms=NOW)
    assert there.wake is None
    assert there.links["a"].cursor == place(9)


def test_a_callback_proves_that_a_delivery_arrived() -> None:
    there = acknowledged(failed(in_flight(), NOW, 0.5), {}, done=False, now_ms=NOW)
    assert (wake_of(there).phase, wake_of(there).timer_ms, there.failures) == (Phase.SENT, None, 0)
    during = acknowledged(in_flight(), {}, done=False, now_ms=NOW)
    assert (wake_of(during).phase, wake_of(during).timer_ms) == (Phase.SENDING, NOW + LEASE)


def test_an_ack_lies_between_the_cursor_and_the_tail() -> None:
    link = Link(False, place(4))
    assert judge_ack(link, "a", place(4), place(9)) is None
    assert judge_ack(link, "a", place(9), place(9)) is None
    assert judge_ack(link, "a", place(3, 6), place(9)) is None  # of an incarnation that is gone: nothing to move
    assert judge_ack(link, "a", place(5), None) is None
    for refused in (
        judge_ack(None, "a", place(4), place(9)),
        judge_ack(link, "a", None, place(9)),
        judge_ack(link, "a", place(3), place(9)),
        judge_ack(link, "a", place(10), place(9)),
    ):
        assert isinstance(refused, InvalidOffset)
