"""Subscriptions as workers use them: claim, acknowledge, release. Section 7. Foreseen answers are values."""

from collections.abc import Mapping, Sequence

import msgspec

from storage.bucket import Bucket
from storage.core.lease import (
    AlreadyClaimed,
    Credential,
    InvalidOffset,
    NoPendingWork,
    Refusal,
    WrongKind,
    acknowledged,
    claimed,
    judge_ack,
    judge_claim,
    judge_holder,
)
from storage.core.subscription import Cursor, Kind, Phase, Subscription, stream_path, subscription_key
from storage.core.wake import Seen, idle, with_tails
from storage.errors import AmbiguousWriteError, ContentionError, LogError
from storage.subscriptions.records import Found
from storage.subscriptions.registry import NoSubscription
from storage.subscriptions.runner import Runner
from storage.subscriptions.wakes import Wakes


class Ack(msgspec.Struct, frozen=True):
    """A callback, an ack or a release. `acks`: pairs of a stream and an offset, as the worker wrote them."""

    wake_id: str | None
    generation: int | None
    acks: tuple[tuple[str, str], ...] = ()
    done: bool = False


class Acknowledged(msgspec.Struct, frozen=True):
    """Applied. `next_wake`: another wake is in flight already."""

    next_wake: bool


class Leases:
    """The wakes that workers hold."""

    def __init__(self, bucket: Bucket, wakes: Wakes, runner: Runner) -> None:
        self._bucket = bucket
        self._wakes = wakes
        self._runner = runner

    async def claim(
        self, root: str, id_: str, worker: str
    ) -> Subscription | NoSubscription | AlreadyClaimed | NoPendingWork | WrongKind:
        """Give a worker the lease. Section 7.2. Raises NameTooLong, LogError."""
        key = subscription_key(root, id_)
        attempt_id = self._bucket.chance.new_id()
        for attempt in range(self._bucket.settings.tries):
            found = await self._found(key)
            if found is None:
                return NoSubscription()
            there = found.subscription
            if there.wake is not None and there.wake.attempt == attempt_id and there.wake.phase is Phase.CLAIMED:
                return there  # a change of unknown outcome was ours
            refusal = judge_claim(there, self._bucket.clock.now_ms())
            if refusal is not None:
                return refusal
            seen = await self._wakes.places.seen(root, there.links)
            tails = {path: stream.tail for path, stream in seen.items() if isinstance(stream, Seen)}
            new = claimed(with_tails(there, seen), tails, worker, attempt_id, self._bucket.clock.now_ms())
            if isinstance(new, NoPendingWork):
                if there.wake is None:
                    if await self._runner.finish(key):
                        continue  # this process was about to link a stream that was appended to
                    return new
                # A wake whose work is gone must not keep the next one from being announced.
                new = idle(there)
            try:
                saved = await self._wakes.save(found, new)
            except AmbiguousWriteError:
                saved = None
            if saved is not None and saved.subscription.wake is not None:
                return saved.subscription
            if saved is None:
                await self._bucket.pause(attempt)
        raise self._contention(key)

    async def acknowledge(
        self, root: str, id_: str, kind: Kind, credential: Credential | None, ack: Ack
    ) -> Acknowledged | NoSubscription | Refusal | InvalidOffset:
        """Apply a worker's acks; end its lease, or extend it. Sections 7.1 and 7.2. Raises NameTooLong, LogError."""
        key = subscription_key(root, id_)
        for attempt in range(self._bucket.settings.tries):
            found = await self._found(key)
            if found is None:
                return NoSubscription()
            there = found.subscription
            refusal = judge_holder(there, kind, credential, ack.wake_id, ack.generation, self._bucket.clock.now_ms())
            if refusal is not None:
                return refusal
            cursors = await self._judge_acks(there, ack.acks)
            if isinstance(cursors, InvalidOffset):
                return cursors
            new = acknowledged(there, cursors, done=ack.done, now_ms=self._bucket.clock.now_ms())
            if await self._wakes.save(found, new) is not None:
                return Acknowledged(ack.done and await self._next_wake(key))
            await self._bucket.pause(attempt)
        raise self._contention(key)

    async def release(
        self, root: str, id_: str, credential: Credential | None, ack: Ack
    ) -> Acknowledged | NoSubscription | Refusal:
        """End a worker's lease; nothing is acknowledged. Section 7.2. Raises NameTooLong, LogError."""
        nothing = Ack(ack.wake_id, ack.generation, (), done=True)
        outcome = await self.acknowledge(root, id_, Kind.PULL_WAKE, credential, nothing)
        assert not isinstance(outcome, InvalidOffset)
        return outcome

    async def _judge_acks(
        self, there: Subscription, acks: Sequence[tuple[str, str]]
    ) -> Mapping[str, Cursor] | InvalidOffset:
        assert there.wake is not None
        cursors: dict[str, Cursor] = {}
        for path, token in acks:
            known = there.wake.snapshot.get(path)
            place: Cursor | None
            tail: Cursor | None
            link = there.links.get(path)
            if known is not None and known.token == token:
                place, tail = known, known  # a tail that the wake named: no need to read it again
            elif link is not None:
                place, tail = await self._wakes.places.place(stream_path(there.root, path), token)
            else:
                place, tail = None, None
            refusal = judge_ack(link, path, place, tail)
            if refusal is not None:
                return refusal
            assert place is not None
            if path not in cursors or cursors[path].position <= place.position:
                cursors[path] = place
        return cursors

    async def _next_wake(self, key: str) -> bool:
        try:
            return await self._wakes.look(key)
        except LogError:
            self._runner.notice(key)  # what was acknowledged stays so; the rest is tried until it is done
            return False

    async def _found(self, key: str) -> Found | None:
        found = await self._wakes.records.read(key)
        return None if found is None or found.subscription.deleted else found

    def _contention(self, key: str) -> ContentionError:
        return ContentionError(f"{key} was changed by others {self._bucket.settings.tries} times in a row")
