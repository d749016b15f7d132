"""A producer writes every message once and in order, whatever the network does: `core.producer` on a simulated one."""

from typing import Any

import pytest
from durable_streams_client import (
    AmbiguousWrite,
    BadRequest,
    Fenced,
    Limits,
    SequenceConflict,
    StreamClosed,
    Unavailable,
)
from durable_streams_client.core.exchange import Lost, Pace, Pause, Reply, Request, Turn
from durable_streams_client.core.producer import ProducedBatch, ProducerCore
from durable_streams_client.models import Retry
from hypothesis import given, settings
from hypothesis import strategies as st

URL = "http://server.test/stream"


class SimulatedServer:
    """Validate producers' claims as section 5.2.1 says, and keep what was accepted."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.epoch = -1
        self.last_seq = -1
        self.closed_by: tuple[int, int] | None = None

    def handle(self, request: Request) -> Reply:
        """Answer an append."""
        epoch, seq = int(request.headers["Producer-Epoch"]), int(request.headers["Producer-Seq"])
        body = request.content or b""
        if self.closed_by is not None:
            status = 204 if self.closed_by == (epoch, seq) else 409
            return Reply(status, {"stream-closed": "true", "stream-next-offset": self._tail()})
        if epoch < self.epoch:
            return Reply(403, {"producer-epoch": str(self.epoch)})
        if epoch > self.epoch:
            if seq != 0:
                return Reply(400, {}, b"a new epoch must begin with 0")
        elif seq <= self.last_seq:
            return Reply(204, {"stream-next-offset": self._tail()})
        elif seq > self.last_seq + 1:
            expected = {"producer-expected-seq": str(self.last_seq + 1), "producer-received-seq": str(seq)}
            return Reply(409, expected)
        if b"bad" in body:
            return Reply(400, {}, b"not acceptable")
        self.epoch, self.last_seq = epoch, seq
        self.bodies.append(body)
        if "Stream-Closed" in request.headers:
            self.closed_by = epoch, seq
        return Reply(200, {"stream-next-offset": self._tail()})

    def _tail(self) -> str:
        return f"{sum(map(len, self.bodies)):08d}"


class Shell:
    """Carry out deliveries in any interleaving: each step of the world is chosen by the test."""

    def __init__(self, core: ProducerCore, server: SimulatedServer) -> None:
        self.core = core
        self.server = server
        self.now = 0.0
        self.running: list[tuple[ProducedBatch, Any]] = []
        self.sent: list[tuple[Any, Request]] = []  # on their way
        self.turns: list[tuple[Any, Turn]] = []
        self.ghosts: list[Request] = []  # copies that were given up for lost and may still arrive
        self.most_in_flight = 0

    def take(self) -> bool:
        """Begin what is due."""
        batch = self.core.take(self.now)
        if batch is None:
            return False
        flow = self.core.deliver(batch)
        self.running.append((batch, flow))
        self.advance(flow, None)
        self.most_in_flight = max(self.most_in_flight, len(self.sent) + len(self.turns))
        return True

    def advance(self, flow: Any, outcome: Any) -> None:
        """Send an outcome into a flow and put its next step where it belongs."""
        try:
            step = flow.send(outcome)
        except StopIteration:
            return
        match step:
            case Request():
                self.sent.append((flow, step))
            case Turn():
                self.turns.append((flow, step))
            case Pause():
                self.advance(flow, True)

    def release_turns(self) -> bool:
        """Let those go on whose turn it is."""
        due = [entry for entry in self.turns if self.core.is_turn(entry[1])]
        for entry in due:
            self.turns.remove(entry)
            self.advance(entry[0], None)
        return bool(due)

    def settle(self) -> None:
        """Let everything end well."""
        self.core.flushing += 1
        for _ in range(1000):
            while self.take():
                pass
            if self.release_turns():
                continue
            if not self.sent:
                break
            flow, request = self.sent.pop(0)
            self.advance(flow, self.server.handle(request))
        self.core.flushing -= 1
        assert self.core.idle


def make_core(limits: Limits | None = None, *, retries: int | None = None, **options: Any) -> ProducerCore:
    core = ProducerCore(
        URL,
        "p",
        epoch=options.pop("epoch", 0),
        seq=options.pop("seq", 0),
        auto_claim=options.pop("auto_claim", False),
        limits=limits or Limits(linger_seconds=0, max_batch_items=1),
        pace=Pace(Retry(max_retries=retries), lambda: 0.0),
    )
    core.content_type = "application/octet-stream"
    return core


@given(data=st.data(), count=st.integers(0, 14), in_flight=st.integers(1, 5), items=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_every_message_is_written_once_and_in_order_over_a_network_that_loses_delays_and_reorders(
    data: st.DataObject, count: int, in_flight: int, items: int
) -> None:
    server = SimulatedServer()
    core = make_core(Limits(linger_seconds=0, max_batch_items=items, max_in_flight=in_flight))
    shell = Shell(core, server)
    messages = [b"<%d>" % number for number in range(count)]
    coming = list(messages)
    for action in data.draw(
        st.lists(st.sampled_from(["add", "take", "answer", "lose", "keep", "ghost", "fail"]), max_size=60)
    ):
        shell.release_turns()
        if action == "add" and coming:
            core.add(coming.pop(0), shell.now)
        elif action == "take":
            shell.take()
        elif action == "ghost" and shell.ghosts:
            server.handle(shell.ghosts.pop(data.draw(st.integers(0, len(shell.ghosts) - 1))))
        elif shell.sent and action in ("answer", "lose", "keep", "fail"):
            flow, request = shell.sent.pop(data.draw(st.integers(0, len(shell.sent) - 1)))
            if action == "answer":
                shell.advance(flow, server.handle(request))
            elif action == "fail":
                shell.advance(flow, Reply(503, {}))
            elif action == "lose":  # the answer is lost
                server.handle(request)
                shell.advance(flow, Lost("reset", sent=True))
            else:  # the request is lost, or arrives later
                shell.ghosts.append(request)
                shell.advance(flow, Lost("timeout", sent=True))
    for message in coming:
        core.add(message, shell.now)
    shell.settle()
    for request in shell.ghosts:
        server.handle(request)
    assert core.failure is None
    assert b"".join(server.bodies) == b"".join(messages)
    assert shell.most_in_flight <= in_flight
    assert core.settled[0] == count
    assert core.buffered_bytes == 0


@given(data=st.data(), count=st.integers(1, 10), in_flight=st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_a_refused_message_is_reported_and_the_others_are_written_once_and_in_order(
    data: st.DataObject, count: int, in_flight: int
) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    server = SimulatedServer()
    core = make_core(Limits(linger_seconds=0, max_batch_items=1, max_in_flight=in_flight))
    shell = Shell(core, server)
    messages = [b"<%d%s>" % (number, b"bad" if number in bad else b"") for number in range(count)]
    for message in messages:
        core.add(message, shell.now)
    core.flushing += 1
    for _ in range(data.draw(st.integers(0, 30))):
        shell.release_turns()
        shell.take()
        if shell.sent:
            flow, request = shell.sent.pop(data.draw(st.integers(0, len(shell.sent) - 1)))
            shell.advance(flow, server.handle(request))
    core.flushing -= 1
    shell.settle()
    assert core.failure is None
    assert b"".join(server.bodies) == b"".join(message for message in messages if b"bad" not in message)
    assert [type(error) for error in core.errors] == [BadRequest] * len(bad)
    assert sorted(message for _, lost in core.news for message in lost) == sorted(
        message for message in messages if b"bad" in message
    )


@given(data=st.data(), count=st.integers(1, 10), in_flight=st.integers(1, 4), epoch=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_a_producer_that_claims_writes_every_message_once_even_if_it_is_fenced_in_the_middle(
    data: st.DataObject, count: int, in_flight: int, epoch: int
) -> None:
    server = SimulatedServer()
    server.epoch, server.last_seq = epoch, 0
    core = make_core(Limits(linger_seconds=0, max_batch_items=1, max_in_flight=in_flight), auto_claim=True)
    shell = Shell(core, server)
    messages = [b"<%d>" % number for number in range(count)]
    for message in messages:
        core.add(message, shell.now)
    for _ in range(data.draw(st.integers(0, 20))):
        shell.release_turns()
        shell.take()
        if data.draw(st.integers(0, 9)) == 0:
            server.epoch, server.last_seq = server.epoch + 1, 0  # somebody else claims
        if shell.sent:
            flow, request = shell.sent.pop(data.draw(st.integers(0, len(shell.sent) - 1)))
            shell.advance(flow, server.handle(request))
    shell.settle()
    assert core.failure is None
    assert b"".join(server.bodies) == b"".join(messages)
    assert core.epoch > epoch


def test_the_first_batch_of_an_epoch_travels_alone() -> None:
    core = make_core(Limits(linger_seconds=0, max_batch_items=1, max_in_flight=4))
    shell = Shell(core, SimulatedServer())
    for _ in range(6):
        core.add(b"x", 0.0)
    assert shell.take()
    assert not shell.take()
    flow, request = shell.sent.pop()
    shell.advance(flow, shell.server.handle(request))
    assert [shell.take() for _ in range(5)] == [True, True, True, True, False]


def test_a_fenced_producer_that_does_not_claim_stops_and_says_whose_epoch_it_is() -> None:
    server = SimulatedServer()
    server.epoch, server.last_seq = 7, 3
    shell = Shell(make_core(), server)
    for message in (b"a", b"b"):
        shell.core.add(message, 0.0)
    shell.settle()
    failure = shell.core.failure
    assert isinstance(failure, Fenced)
    assert failure.current_epoch == 7
    assert [lost for _, lost in shell.core.news] == [[b"a"], [b"b"]] or [lost for _, lost in shell.core.news] == [
        [b"b"],
        [b"a"],
    ]
    assert server.bodies == []


def test_a_batch_that_may_have_been_written_before_the_fence_is_not_sent_again_under_a_new_epoch() -> None:
    server = SimulatedServer()
    core = make_core(auto_claim=True)
    shell = Shell(core, server)
    core.add(b"a", 0.0)
    shell.take()
    flow, request = shell.sent.pop()
    server.handle(request)
    server.epoch, server.last_seq = 5, 0
    shell.advance(flow, Lost("reset", sent=True))
    shell.settle()
    assert isinstance(core.failure, AmbiguousWrite)
    assert server.bodies == [b"a"]


def test_a_gap_with_nothing_before_it_is_the_end_of_the_producer() -> None:
    server = SimulatedServer()
    server.epoch, server.last_seq = 0, 0
    shell = Shell(make_core(seq=5), server)
    shell.core.add(b"a", 0.0)
    shell.settle()
    assert isinstance(shell.core.failure, SequenceConflict)


def test_what_was_not_written_is_told_once_and_the_final_error_every_time() -> None:
    shell = Shell(make_core(retries=0), SimulatedServer())
    shell.core.add(b"a", 0.0)
    shell.take()
    flow, _ = shell.sent.pop()
    shell.advance(flow, Reply(503, {}))
    assert isinstance(shell.core.take_errors(), Unavailable)
    assert isinstance(shell.core.take_errors(), Unavailable)
    assert shell.core.has_room


def test_closing_takes_the_next_number_and_closing_another_ones_stream_fails() -> None:
    server = SimulatedServer()
    shell = Shell(make_core(), server)
    shell.core.add(b"a", 0.0)
    shell.settle()
    flow = shell.core.deliver(shell.core.take_last(b"end"))
    shell.advance(flow, None)
    flow, request = shell.sent.pop()
    assert (request.headers["Producer-Seq"], request.headers["Stream-Closed"], request.content) == ("1", "true", b"end")
    shell.advance(flow, server.handle(request))
    assert shell.core.take_errors() is None
    late = Shell(make_core(epoch=1), server)
    late.core.add(b"late", 0.0)
    late.settle()
    assert isinstance(late.core.failure, StreamClosed)


def test_an_error_of_the_callers_own_functions_is_kept_like_any_other() -> None:
    shell = Shell(make_core(), SimulatedServer())
    shell.core.add(b"a", 0.0)
    shell.take()
    flow, _ = shell.sent.pop()
    with pytest.raises(StopIteration):
        flow.throw(KeyError("no token"))
    assert isinstance(shell.core.failure, KeyError)


def test_a_flow_that_is_given_up_leaves_the_producer_failed_not_idle_in_good_health() -> None:
    shell = Shell(make_core(), SimulatedServer())
    shell.core.add(b"a", 0.0)
    shell.take()
    shell.sent.pop()[0].close()
    assert isinstance(shell.core.failure, AmbiguousWrite)
    assert shell.core.idle


@pytest.mark.parametrize(
    ("limits", "added", "batches"),
    [
        (Limits(linger_seconds=None, max_batch_items=2), [b"a", b"b", b"c", b"d"], [b"ab", b"cd"]),
        (
            Limits(linger_seconds=None, max_batch_bytes=6),
            [b"aa", b"bb", b"cc", b"dddddddd"],
            [b"aabb", b"cc", b"dddddddd"],
        ),
    ],
)
def test_batches_are_cut_by_count_and_by_size_and_a_larger_message_travels_alone(
    limits: Limits, added: list[bytes], batches: list[bytes]
) -> None:
    server = SimulatedServer()
    shell = Shell(make_core(limits), server)
    for message in added:
        shell.core.add(message, 0.0)
    shell.settle()
    assert server.bodies == batches


def test_a_message_waits_for_company_as_long_as_linger_says() -> None:
    core = make_core(Limits(linger_seconds=0.5))
    assert core.wait_seconds(0.0) is None
    assert core.add(b"a", 10.0)
    assert not core.add(b"b", 10.1)
    assert core.wait_seconds(10.2) == pytest.approx(0.3)
    assert core.take(10.4) is None
    batch = core.take(10.5)
    assert batch is not None
    assert batch.messages == [b"a", b"b"]


def test_a_producer_without_linger_waits_for_a_flush() -> None:
    core = make_core(Limits(linger_seconds=None))
    core.add(b"a", 0.0)
    assert core.wait_seconds(1e9) is None
    core.flushing += 1
    assert core.take(0.0) is not None


def test_room_is_counted_until_messages_are_acknowledged() -> None:
    server = SimulatedServer()
    shell = Shell(make_core(Limits(linger_seconds=0, max_buffered_bytes=4)), server)
    shell.core.add(b"abc", 0.0)
    assert not shell.core.has_room
    shell.settle()
    assert shell.core.has_room


@pytest.mark.parametrize("options", [{"epoch": -1}, {"epoch": 2**53}, {"seq": -1}])
def test_numbers_that_the_protocol_does_not_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        make_core(**options)


@pytest.mark.parametrize("field", ["max_batch_bytes", "max_batch_items", "max_in_flight", "max_buffered_bytes"])
def test_limits_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: 0})
