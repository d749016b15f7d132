"""Read and change subscriptions in the store. Knows the compare-and-swap and its unknown outcomes; decides nothing."""

import msgspec

from storage.bucket import Bucket, reading
from storage.core.subscription import DamagedSubscription, Subscription, decode_subscription, encode_subscription
from storage.errors import AmbiguousWriteError, ContentionError, DamageError, UnavailableError
from storage.objects import IfAbsent, IfMatch, OutcomeUnknown, StoreError


class Found(msgspec.Struct, frozen=True):
    """A subscription and the ETag it was read, or written, under."""

    subscription: Subscription
    etag: str


class Records:
    """The objects under `subscription/`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def read(self, key: str) -> Found | None:
        """Return what is there, a deleted one too. Raises UnavailableError, DamageError."""
        found = await reading(self._bucket.objects.get(key))
        if found is None:
            return None
        try:
            return Found(decode_subscription(found.body), found.head.etag)
        except DamagedSubscription as error:
            raise DamageError(f"{key} is not a subscription: {error}") from error

    async def swap(self, base: Found | None, new: Subscription) -> Found | None:
        """Change a subscription from `base` to `new`, under a fresh write id; None if another change came first.

        Raises UnavailableError and ContentionError (nothing written), AmbiguousWriteError (its fate is unknown, and
        another change has come since).
        """
        bucket, key = self._bucket, new.key
        new = msgspec.structs.replace(new, write_id=bucket.chance.new_id())
        condition = IfAbsent() if base is None else IfMatch(base.etag)
        body = encode_subscription(new)
        unknown = False
        for attempt in range(bucket.settings.tries):
            try:
                etag = await bucket.objects.put(key, body, condition, content_type="application/json")
                if etag is not None:
                    return Found(new, etag)
            except OutcomeUnknown:
                unknown = True
            except StoreError as error:
                raise _failed(key, unknown, error) from error
            try:
                there = await self.read(key)
            except UnavailableError as error:
                raise _failed(key, unknown, error) from error
            if there is not None and there.subscription.write_id == new.write_id:
                return there
            if (None if there is None else there.etag) != (None if base is None else base.etag):
                if unknown:
                    raise AmbiguousWriteError(f"the write of {key} may have happened, and been replaced since")
                return None
            await bucket.pause(attempt)
        if unknown:
            raise AmbiguousWriteError(f"the write of {key} was not confirmed")
        raise ContentionError(f"the write of {key} was refused {bucket.settings.tries} times for no reason to be seen")


def _failed(key: str, unknown: bool, failure: Exception) -> AmbiguousWriteError | UnavailableError:
    if unknown:
        return AmbiguousWriteError(f"the write of {key} was not confirmed: {failure}")
    return UnavailableError(str(failure))
