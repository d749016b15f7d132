"""How a producer fails: what it says, what it keeps, and what it does not send again."""

from typing import Any

import pytest
from durable_streams_client import AmbiguousWrite, BadRequest, ConnectionFailed, Fenced, Limits, Unavailable
from durable_streams_client.core.exchange import Lost, Reply
from durable_streams_client.core.producer import ProducerCore

from tests.sdk.simulated import PATIENT
from tests.sdk.test_producer_core import Shell, SimulatedServer, make_core


def pipelined(count: int, **options: Any) -> Shell:
    """Return a shell with an established epoch and `count` batches on their way."""
    shell = Shell(make_core(Limits(linger_seconds=0, max_batch_items=1, max_in_flight=8), **options), SimulatedServer())
    shell.core.add(b"first", 0.0)
    shell.settle()
    for number in range(count):
        shell.core.add(b"<%d>" % number, 0.0)
    while shell.take():
        pass
    return shell


def answer(shell: Shell, number: int, outcome: Any) -> None:
    """Answer the request that is at this place among those on their way."""
    flow, _ = shell.sent.pop(number)
    shell.advance(flow, outcome)


def test_an_empty_id_is_none() -> None:
    with pytest.raises(ValueError, match="producer_id"):
        ProducerCore("", "", epoch=0, seq=0, auto_claim=False, limits=Limits(), pace=PATIENT)
    with pytest.raises(ValueError, match="linger_seconds"):
        Limits(linger_seconds=-1)


def test_when_one_batch_is_lost_for_good_those_behind_it_are_told_and_not_written() -> None:
    shell = pipelined(3, retries=0)
    answer(shell, 0, Reply(503, {}))
    assert isinstance(shell.core.failure, Unavailable)
    assert shell.core.settled == (1, 1)
    assert not shell.core.is_settled(4)
    answer(shell, 0, Lost("reset", sent=True))
    answer(shell, 0, Reply(409, {"producer-expected-seq": "1"}))
    shell.release_turns()
    assert shell.core.is_settled(4)
    assert shell.core.idle
    assert shell.core.settled == (1, 1)
    assert sorted(message for _, lost in shell.core.news for message in lost) == [b"<0>", b"<1>", b"<2>"]
    kinds = {lost[0]: type(error) for error, lost in shell.core.news}
    assert kinds == {b"<0>": Unavailable, b"<1>": ConnectionFailed, b"<2>": Unavailable}
    assert shell.server.bodies == [b"first"]


def test_what_waits_is_told_when_the_producer_fails() -> None:
    shell = pipelined(1, retries=0)
    shell.core.add(b"waiting", 0.0)
    answer(shell, 0, Reply(503, {}))
    assert [lost for _, lost in shell.core.news] == [[b"<0>"], [b"waiting"]]
    assert shell.core.buffered_bytes == 0


def test_a_batch_in_doubt_that_another_ones_failure_ends_is_told_as_ambiguous() -> None:
    shell = pipelined(2)
    answer(shell, 1, Lost("reset", sent=True))  # sent again
    answer(shell, 0, Reply(403, {"producer-epoch": "9"}))
    assert isinstance(shell.core.failure, Fenced)
    answer(shell, 0, Reply(503, {}))
    assert [(type(error), lost) for error, lost in shell.core.news] == [(Fenced, [b"<0>"]), (AmbiguousWrite, [b"<1>"])]


def test_an_error_says_if_an_earlier_copy_may_have_been_written() -> None:
    shell = pipelined(1, retries=1)
    answer(shell, 0, Lost("reset", sent=True))
    answer(shell, 0, Reply(503, {}))
    assert shell.core.failure is not None
    assert "may have been written" in shell.core.failure.__notes__[0]


def test_a_batch_in_doubt_is_not_numbered_again() -> None:
    shell = pipelined(2)
    answer(shell, 1, Lost("reset", sent=True))
    answer(shell, 0, Reply(400, {}, b"not acceptable"))
    answer(shell, 0, Reply(409, {"producer-expected-seq": "1"}))
    shell.settle()
    assert isinstance(shell.core.failure, AmbiguousWrite)
    assert shell.server.bodies == [b"first"]


def test_two_refusals_in_flight_leave_one_hole() -> None:
    shell = pipelined(3)
    answer(shell, 0, Reply(400, {}, b"not acceptable"))
    answer(shell, 0, Reply(400, {}, b"not acceptable"))
    shell.settle()
    assert shell.core.failure is None
    assert shell.server.bodies == [b"first", b"<2>"]
    told = shell.core.take_errors()
    assert isinstance(told, ExceptionGroup)
    assert [type(error) for error in told.exceptions] == [BadRequest, BadRequest]
    assert shell.core.take_errors() is None


def test_two_batches_that_are_fenced_claim_one_epoch() -> None:
    shell = pipelined(2, auto_claim=True)
    answer(shell, 0, Reply(403, {"producer-epoch": "4"}))
    shell.server.epoch = 4
    answer(shell, 0, Reply(403, {"producer-epoch": "4"}))
    shell.settle()
    assert shell.core.epoch == 5
    assert shell.server.bodies == [b"first", b"<0>", b"<1>"]


def test_there_is_no_epoch_after_the_last_one() -> None:
    shell = pipelined(1, auto_claim=True)
    answer(shell, 0, Reply(403, {"producer-epoch": str(2**53 - 1)}))
    assert isinstance(shell.core.failure, Fenced)


def test_a_refusal_after_the_producer_failed_is_told_as_lost() -> None:
    shell = pipelined(2, retries=0)
    answer(shell, 0, Reply(404, {}))
    failure = shell.core.failure
    answer(shell, 0, Reply(400, {}))
    assert shell.core.failure is failure
    assert [lost for _, lost in shell.core.news] == [[b"<0>"], [b"<1>"]]


def test_a_close_that_is_refused_is_the_end_of_the_producer() -> None:
    shell = pipelined(0)
    flow = shell.core.deliver(shell.core.take_last(None))
    shell.advance(flow, None)
    assert shell.sent[0][1].content is None
    answer(shell, 0, Reply(400, {}))
    assert isinstance(shell.core.failure, BadRequest)


def test_batches_are_not_taken_while_others_wait_for_new_numbers() -> None:
    shell = pipelined(2)
    answer(shell, 0, Reply(400, {}, b"not acceptable"))
    shell.core.add(b"later", 0.0)
    assert not shell.take()
    shell.settle()
    assert shell.server.bodies == [b"first", b"<1>", b"later"]


def test_a_batch_that_waits_for_its_new_number_when_the_producer_fails_is_not_sent() -> None:
    shell = pipelined(3)
    answer(shell, 0, Reply(400, {}, b"not acceptable"))
    answer(shell, 1, Reply(503, {}))
    answer(shell, 0, Reply(409, {"producer-expected-seq": "1"}))
    while shell.release_turns():
        pass
    answer(shell, 0, Reply(404, {}))
    while shell.release_turns():
        pass
    assert shell.core.idle
    assert not shell.sent
    assert sorted(message for _, lost in shell.core.news for message in lost) == [b"<0>", b"<1>", b"<2>"]
