"""Write and remove the hints at work that is due. Knows which ones this process has written; see core/due.py."""

from storage.bucket import Bucket, reading
from storage.core.due import PREFIX, Due, Kind, due_at, encode_due, is_over, parse_due
from storage.objects import LIST_LIMIT


class Dues:
    """The objects under `due/`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._written: dict[str, Due] = {}
        self._minute_ms = 0

    def is_written(self, due: Due) -> bool:
        """Say whether this process knows that the hint is there."""
        return encode_due(due) in self._written

    async def ensure(self, at_ms: int, kind: Kind, what: str) -> None:
        """See to it that the hint for a moment (now, if that is over) is there. Raises UnavailableError."""
        now = self._bucket.clock.now_ms()
        due = due_at(max(at_ms, now), kind, what)
        key = encode_due(due)
        if key in self._written:
            return
        await self._bucket.write_once(key, b"{}")
        self._written[key] = due
        if now >= self._minute_ms:
            self._minute_ms = now + 60_000
            self._written = {key: due for key, due in self._written.items() if not is_over(due, now)}

    async def every(self) -> list[Due]:
        """Return all hints, the earliest minute first; those of other kinds are left out. Raises UnavailableError."""
        dues: list[Due] = []
        after = ""
        while True:
            entries = await reading(self._bucket.objects.list(PREFIX, after=after))
            dues += [due for entry in entries if (due := parse_due(entry.key)) is not None]
            if len(entries) < LIST_LIMIT:
                return dues
            after = entries[-1].key

    async def remove(self, due: Due) -> None:
        """Remove a hint whose work is done. Raises UnavailableError."""
        key = encode_due(due)
        self._written.pop(key, None)
        await self._bucket.remove(key)
