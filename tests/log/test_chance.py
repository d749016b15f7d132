"""Ids are drawn many at a time; no two are one, across the draws."""

from storage.clock import Chance


def test_no_two_ids_are_the_same_within_and_across_draws() -> None:
    one, other = Chance(), Chance()
    ids = [chance.new_id() for _ in range(1000) for chance in (one, other)]
    assert len(set(ids)) == len(ids)
    assert all(len(id_) == 24 and int(id_, 16) >= 0 for id_ in ids)


def test_a_pause_is_half_to_all_of_what_was_asked_for() -> None:
    pauses = [Chance().jitter(2.0) for _ in range(200)]
    assert all(1.0 <= pause <= 2.0 for pause in pauses)
    assert max(pauses) - min(pauses) > 0.2
