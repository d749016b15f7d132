"""Drop the beginning of a stream. Section 4 (Retention), as an extension: an offset before which nothing is kept.

The root says so by compare-and-swap. Readers behind it are told 410; the bytes go later, when no fork and no grace
period holds them. Forks made before keep what they inherited.
"""

import msgspec

from storage.bucket import Bucket
from storage.core.lineage import position_of
from storage.core.offset import Offset
from storage.core.root import Root, State
from storage.errors import ContentionError
from storage.reader import OffsetGone, OffsetInvalid, Page, Reader
from storage.streams import Gone, NotFound, Stream
from storage.tail import Tails


class Retained(msgspec.Struct, frozen=True):
    """Nothing before this position is readable any more."""

    root: Root
    position: int


class Retention:
    """Moves the beginning of streams."""

    def __init__(self, tails: Tails, bucket: Bucket, reader: Reader) -> None:
        self._tails = tails
        self._bucket = bucket
        self._reader = reader

    async def retain(self, stream: Stream, offset: Offset) -> Retained | NotFound | Gone | OffsetGone | OffsetInvalid:
        """Keep what follows `offset` and nothing before it; an offset that was dropped already changes nothing."""
        for attempt in range(self._bucket.settings.tries):
            # The read also says whether the offset lies between two messages.
            page = await self._reader.read(stream, offset, 1, 0.0)
            if isinstance(page, OffsetGone):
                root = stream.root
                position = None if root is None else position_of(root.lineage, offset)
                return page if root is None or position is None else Retained(root, root.retained)
            if not isinstance(page, Page):
                return page
            at = self._bucket.clock.steady()
            found = await self._bucket.read_root(stream.root_key)
            if found is None or found.root.generation != page.root.generation or found.root.state is not State.LIVE:
                stream.forget()
                continue
            if found.root.retained >= page.start:
                stream.set_root(found.root, at)
                return Retained(found.root, found.root.retained)
            root = msgspec.structs.replace(found.root, retained=page.start, write_id=self._bucket.chance.new_id())
            there = (await self._bucket.swap(stream.root_key, found, root)).present
            if there is not None and there.root.write_id == root.write_id:
                stream.set_root(there.root, at)
                return Retained(there.root, page.start)
            await self._bucket.pause(attempt)
        raise ContentionError(f"{stream.path} was changed faster than its beginning could be moved")
