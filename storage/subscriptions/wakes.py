"""Look at subscriptions: link what was found, mint wakes, deliver them, enter what became of it. Sections 7 and 7.3.

Any process may look at any subscription at any time; the compare-and-swap decides who does what there is to do. What
is to be done is decided in core/wake.py. A wake that is minted or tried again here is delivered here, at once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from hashlib import sha256

import msgspec

from storage.bucket import Bucket
from storage.core.admission import Append, Appended, MediaTypeDiffers, Repeated, Verdict
from storage.core.due import Kind as DueKind
from storage.core.glob import literal_prefix
from storage.core.producers import Claim, StaleEpoch
from storage.core.subscription import PREFIX, Kind, Subscription, is_matched, relative_path, stream_path
from storage.core.wake import (
    Due,
    Seen,
    delivered,
    failed,
    idle,
    is_attempt,
    judge_due,
    linked,
    minted,
    next_look_ms,
    pending,
    sent_again,
    with_tails,
)
from storage.errors import AmbiguousWriteError, ContentionError, LogError
from storage.listing import every_path
from storage.log import Log
from storage.streams import Gone, NotFound
from storage.subscriptions.courier import Arrived, Courier, Delivery, Refused, statuses
from storage.subscriptions.dues import Dues
from storage.subscriptions.interest import Interest
from storage.subscriptions.places import Places
from storage.subscriptions.records import Found, Records

log_ = logging.getLogger(__name__)


class Wakes:
    """Does the work of subscriptions. `set_timer` hears when a subscription must be looked at again."""

    def __init__(
        self, log: Log, bucket: Bucket, courier: Courier, set_timer: Callable[[str, int | None], None]
    ) -> None:
        self.bucket = bucket
        self.records = Records(bucket)
        self.dues = Dues(bucket)
        self.interest = Interest(bucket, self.records)
        self.places = Places(log)
        self._log = log
        self._courier = courier
        self._set_timer = set_timer
        self._deliveries: set[asyncio.Task[None]] = set()

    # -- changing

    async def save(self, base: Found | None, new: Subscription) -> Found | None:
        """Change a subscription; None if another change came first. What it leaves to be done is hinted at before."""
        look = next_look_ms(new)
        if not new.deleted:
            # An idle one too: the process may not live to look at the tails after it.
            now = self.bucket.clock.now_ms()
            await self.dues.ensure(now if look is None else look, DueKind.SUBSCRIPTION, new.key.removeprefix(PREFIX))
        found = await self.records.swap(base, new)
        if found is not None:
            self.interest.learn(found.subscription, found.etag)
            self._set_timer(new.key, look)
        return found

    # -- looking

    async def look(self, key: str, paths: Iterable[str] = ()) -> bool:
        """Do what there is to do for a subscription; `paths`: streams that were appended to. Raises LogError.

        Return whether a wake is in flight afterwards.
        """
        attempt_id = self.bucket.chance.new_id()
        wanted = list(paths)
        for attempt in range(self.bucket.settings.tries):
            found = await self.records.read(key)
            if found is None or found.subscription.deleted:
                self._set_timer(key, None)
                return False
            there = found.subscription
            if there.wake is not None and is_attempt(there, there.wake.id, attempt_id):
                self._send(there)  # a change of unknown outcome was ours
                return True
            new, is_ours = await self._judge(there, wanted, attempt_id)
            if new is None:
                self._set_timer(key, next_look_ms(there))
                return there.wake is not None
            try:
                saved = await self.save(found, new)
            except AmbiguousWriteError:
                saved = None
            if saved is not None and is_ours:
                self._send(saved.subscription)
                return True
            if saved is not None and (new.wake is not None or there.wake is None):
                return new.wake is not None
            # Lost; or its wake was cleared, and the tails that were read before that prove nothing.
            if saved is None:
                await self.bucket.pause(attempt)
        raise ContentionError(f"{key} was changed by others {self.bucket.settings.tries} times in a row")

    async def _judge(self, there: Subscription, paths: list[str], attempt: str) -> tuple[Subscription | None, bool]:
        """Return what the subscription becomes, None for what it is, and whether a delivery has to follow."""
        now = self.bucket.clock.now_ms()
        due = judge_due(there, now)
        new = idle(there) if due is Due.OVER else there
        found = dict.fromkeys(path for stream in paths if (path := relative_path(there.root, stream)) is not None)
        if there.scans and there.scans[0] <= now:
            found.update(dict.fromkeys(await self.matched(there)))
            new = msgspec.structs.replace(new, scans=tuple(at for at in there.scans if at > now))
        unlinked = [path for path in found if path not in there.links and is_matched(there.config, path)]
        all_tails = due in (Due.TAILS, Due.OVER)
        seen = await self.places.seen(there.root, [*there.links, *unlinked] if all_tails else unlinked)
        for path in unlinked:
            stream = seen[path]
            if stream is not None:
                new = linked(new, path, stream.start, explicit=False)
        if due is Due.AGAIN:
            return sent_again(new, attempt, now), True
        if all_tails:
            new = with_tails(new, seen)
            tails = {path: stream.tail for path, stream in seen.items() if isinstance(stream, Seen)}
            waiting = pending(new, tails)
            if waiting:
                first = next((path for path in found if path in waiting), waiting[0])
                return minted(new, tails, first, attempt, now), True
        unchanged = new.wake is there.wake and new.scans == there.scans and new.links.keys() == there.links.keys()
        return (None if unchanged else new), False

    async def matched(self, subscription: Subscription) -> list[str]:
        """Return the paths that the pattern matches, of streams that exist or have existed. Raises LogError."""
        root, config = subscription.root, subscription.config
        if config.pattern is None:
            return []
        prefix = stream_path(root, literal_prefix(config.pattern))
        return [
            relative
            for path in await every_path(self.bucket, prefix)
            if (relative := relative_path(root, path)) is not None and is_matched(config, relative)
        ]

    # -- delivering

    def _send(self, subscription: Subscription) -> None:
        task = asyncio.create_task(self._deliver(subscription))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, subscription: Subscription) -> None:
        wake, key = subscription.wake, subscription.key
        assert wake is not None
        answer: Arrived | Refused
        try:
            if subscription.config.kind is Kind.WEBHOOK:
                seconds = ((wake.timer_ms or 0) - self.bucket.clock.now_ms()) / 1000
                answer = await self._courier.deliver(Delivery(subscription, statuses(subscription), max(0.1, seconds)))
            else:
                answer = await self._announce(subscription, wake.stream)
        except Exception as error:
            log_.exception("the delivery of %s failed unforeseen", key)
            answer = Refused(f"{type(error).__name__}: {error}")
        if isinstance(answer, Refused):
            log_.warning("%s, generation %d: %s", key, subscription.generation, answer.why)
        try:
            await self._enter(key, wake.id, wake.attempt, answer)
        except LogError as error:
            # The attempt's own deadline stands in the store: whoever looks then tries again.
            log_.warning("%s: the outcome of a delivery could not be entered: %s", key, error)

    async def _enter(self, key: str, wake_id: str, attempt_id: str, answer: Arrived | Refused) -> None:
        for attempt in range(self.bucket.settings.tries):
            found = await self.records.read(key)
            if found is None or not is_attempt(found.subscription, wake_id, attempt_id):
                return
            now = self.bucket.clock.now_ms()
            if isinstance(answer, Arrived):
                new = delivered(found.subscription, done=answer.done, now_ms=now)
            else:
                new = failed(found.subscription, now, self.bucket.chance.jitter(2.0) - 1.0)
            if await self.save(found, new) is not None:
                if new.wake is None:
                    await self.look(key)
                return
            await self.bucket.pause(attempt)

    async def _announce(self, subscription: Subscription, stream: str) -> Arrived | Refused:
        """Append the wake event, once per generation however often it is tried. Section 7.2."""
        event = {
            "type": "wake",
            "subscription_id": subscription.name,
            "stream": stream,
            "generation": subscription.generation,
            "ts": self.bucket.clock.now_ms(),
        }
        path = stream_path(subscription.root, subscription.config.wake_stream or "")
        # An idempotent producer of the wake stream, whose epoch is the generation: a repeated append is a duplicate.
        producer = f"subscription-{sha256(subscription.key.encode()).hexdigest()[:32]}"
        append = Append(
            msgspec.json.encode(event), "application/json", claim=Claim(producer, subscription.generation, 0)
        )
        verdict: Verdict | NotFound | Gone
        try:
            verdict = await self._log.append(path, append)
            if isinstance(verdict, MediaTypeDiffers):
                lines = msgspec.structs.replace(append, payload=append.payload + b"\n", media_type=verdict.expected)
                verdict = await self._log.append(path, lines)
        except LogError as error:
            return Refused(f"the wake event could not be appended: {error}")
        if isinstance(verdict, (Appended, Repeated, StaleEpoch)):
            return Arrived(done=False)
        return Refused(f"the wake stream {path} does not take events: {type(verdict).__name__}")

    async def settle(self) -> None:
        """Wait until the deliveries under way have arrived or failed."""
        while self._deliveries:
            await asyncio.wait(list(self._deliveries))

    async def aclose(self, seconds: float) -> None:
        """Let the deliveries under way end, but no longer than `seconds`; the store remembers the others."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=seconds)
        for task in list(self._deliveries):
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        await self.interest.aclose()
