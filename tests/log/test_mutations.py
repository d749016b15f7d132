"""The suite notices each mistake that the model lists for what is built here."""

import pytest

from tests.log.mutations import MUTATIONS, Edit, Mutation, Survived, check_all, make, race


def test_every_mistake_is_noticed() -> None:
    assert check_all(MUTATIONS) == []


def test_a_mutation_whose_text_is_gone_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    stale = Mutation("stale", race("x"), (Edit("storage/tail.py", "what nobody ever wrote there", ""),))
    with pytest.raises(Survived, match="0 times, not once"):
        make(stale, tmp_path_factory.mktemp("copy"))


def test_a_change_that_is_no_mistake_survives() -> None:
    harmless = Mutation(
        "harmless",
        race("a_writer_whose_stream_was_deleted_elsewhere_is_told_so"),
        (Edit("storage/tail.py", "STEPS_BEFORE_JUMP = 16", "STEPS_BEFORE_JUMP = 17"),),
    )
    [survivor] = check_all([harmless])
    assert survivor.startswith("harmless: nobody noticed")
