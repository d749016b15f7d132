"""Create a stream: the root's compare-and-swap decides. Section 5.1; the states are drawn in core/root.py.

Without a first chunk the root goes straight to `live`. With one (a body, or created closed) it goes to `creating`, the
chunk is written under the new generation, and then it goes to `live`: a stream is never visible without its data, and
no two creators share a generation. One that loses leaves an orphan under a generation of its own.
"""

import msgspec

from storage.core import keys
from storage.core.admission import Append, Draft, Tail, first_tail, tail_after
from storage.core.chunk import encode_chunk
from storage.core.lineage import Segment
from storage.core.root import Config, Root, State, media_type, next_generation
from storage.errors import AmbiguousWriteError, ContentionError, UnavailableError
from storage.objects import OutcomeUnknown
from storage.streams import Gone, Stream
from storage.tail import Tails, Versioned

TAKEOVER_PAUSES = 4  # looks at somebody else's creation before taking over


class Creation(msgspec.Struct, frozen=True):
    """What a PUT asks for. `payload` is the body, or a JSON body's messages joined by commas."""

    config: Config
    payload: bytes = b""
    closed: bool = False


class Description(msgspec.Struct, frozen=True):
    """What a stream is at one moment."""

    root: Root
    tail: Tail


class Created(msgspec.Struct, frozen=True):
    """The stream was created by this call."""

    stream: Description


class Existed(msgspec.Struct, frozen=True):
    """A stream of the same configuration was there. Section 5.1: idempotent."""

    stream: Description


class Differs(msgspec.Struct, frozen=True):
    """A stream is there, and `field` (a header's name) is not as asked for."""

    field: str
    present: str


Outcome = Created | Existed | Differs | Gone


class Creator:
    """Creates streams."""

    def __init__(self, tails: Tails) -> None:
        self._tails = tails

    async def create(self, stream: Stream, creation: Creation) -> Outcome:
        """Create the stream unless it is there. Raises LogError."""
        tails = self._tails
        creation_id = tails.chance.new_id()
        waited = 0
        for attempt in range(tails.settings.tries):
            present = await self._present(stream)
            root = None if present is None else present.root
            if root is not None and root.state is State.LIVE:
                return self._compare(stream, root, creation)
            if root is not None and root.state is State.SOFT:
                return Gone()
            if root is not None and root.state is State.CREATING and waited < TAKEOVER_PAUSES:
                waited += 1
                await tails.pause(attempt)
                continue
            made = await self._make(stream, creation, creation_id, present)
            if made is not None:
                return Created(made)
            await tails.pause(attempt)
        raise ContentionError(f"other creators of {stream.path} were faster {tails.settings.tries} times in a row")

    async def _present(self, stream: Stream) -> Versioned | None:
        """Return the root as it is now; a live one has a tail that is known to be its tail."""
        tails = self._tails
        for _ in range(tails.settings.tries):
            at = tails.clock.steady()
            found = await tails.read_root(stream.root_key)
            stream.set_root(None if found is None else found.root, at)
            if found is None or found.root.state is not State.LIVE:
                return found
            # A tombstone that its writer did not live to enter into the root is entered now; so is an expiry.
            if await tails.live(stream) is not None:
                continue
            await tails.confirm(stream)
            if stream.tail is not None and not stream.tail.deleted and stream.root is not None:
                return Versioned(stream.root, found.etag)
        raise ContentionError(f"{stream.path} was deleted and created again faster than it could be read")

    @staticmethod
    def _compare(stream: Stream, root: Root, creation: Creation) -> Outcome:
        tail = stream.tail
        assert tail is not None
        asked, there = creation.config, root.config
        if media_type(asked.content_type) != media_type(there.content_type):
            return Differs("Content-Type", there.content_type)
        if asked.ttl_seconds != there.ttl_seconds:
            return Differs("Stream-TTL", _or_none(there.ttl_seconds))
        if asked.expires_at_ms != there.expires_at_ms:
            return Differs("Stream-Expires-At", _or_none(there.expires_at))
        if creation.closed != tail.closed:
            return Differs("Stream-Closed", "true" if tail.closed else "none")
        return Existed(Description(root, tail))

    async def _make(
        self, stream: Stream, creation: Creation, creation_id: str, present: Versioned | None
    ) -> Description | None:
        """Try once; None if somebody came in between and nothing of this try can ever be seen."""
        tails = self._tails
        at, now = tails.clock.steady(), tails.clock.now_ms()
        generation = next_generation(now, *([] if present is None else [present.root.generation]))
        first = bool(creation.payload) or creation.closed
        live = Root(
            generation=generation,
            state=State.LIVE,
            creation=creation_id,
            write_id=tails.chance.new_id(),
            born=True,
            first=first,
            created_ms=now,
            config=creation.config,
            lineage=(Segment(stream.path, generation, 0, None),),
        )
        tail = first_tail(generation, 0)
        base = present
        if first:
            claim = msgspec.structs.replace(live, state=State.CREATING, write_id=tails.chance.new_id(), born=False)
            claimed = await self._swap(stream.root_key, present, claim)
            base = claimed.present
            if base is None or not _is_of(base.root, live) or base.root.state is not State.CREATING:
                return None
            written = await self._first_chunk(stream.path, creation, live, tail)
            if written is None:
                return None
            tail = written
        entered = await self._swap(stream.root_key, base, live)
        there = None if entered.present is None else entered.present.root
        if there is None or not _is_of(there, live):
            if entered.unknown and (there is None or there.generation > generation):
                raise AmbiguousWriteError(f"{stream.path} may have been created, and been replaced since")
            return None
        if not there.born:
            return None  # a sweeper fenced it before it was live
        stream.set_root(there, at)
        stream.set_tail(tail, at, is_end=True)
        return Description(live, tail)

    async def _first_chunk(self, path: str, creation: Creation, live: Root, tail: Tail) -> Tail | None:
        """Write what the stream begins with; None if another creation's chunk stands there."""
        tails = self._tails
        media = media_type(creation.config.content_type)
        draft = Draft(tail, media, live.created_ms)
        draft.admit(Append(creation.payload, media_type=media, close=creation.closed))
        chunk = draft.chunk(live.creation)
        key = keys.chunks_of_generation(path, live.generation) + keys.complement(tail.key)
        metadata = encode_chunk(chunk, live.generation)
        try:
            winner = await tails.settle(key, draft.body(), metadata, creation.config.content_type)
        except AmbiguousWriteError as error:
            raise UnavailableError(f"{path} was not created: {error}") from error  # no one can see `creating`
        return tail_after(live.generation, chunk, {}) if winner is None else None

    async def _swap(self, key: str, base: Versioned | None, new: Root) -> "_Swapped":
        """Change the root from `base` to `new`, and say what stands there afterwards."""
        tails = self._tails
        unknown = False
        for attempt in range(tails.settings.tries):
            try:
                etag = await tails.put_root(key, new, None if base is None else base.etag)
                if etag is not None:
                    return _Swapped(Versioned(new, etag), False)
            except OutcomeUnknown:
                unknown = True
            except UnavailableError as error:
                if unknown:
                    raise AmbiguousWriteError(str(error)) from error
                raise
            try:
                found = await tails.read_root(key)
            except UnavailableError as error:
                if unknown:
                    raise AmbiguousWriteError(str(error)) from error
                raise
            if (None if found is None else found.etag) != (None if base is None else base.etag):
                return _Swapped(found, unknown)
            await tails.pause(attempt)
        if unknown:
            raise AmbiguousWriteError(f"the write of {key} was not confirmed")
        raise ContentionError(
            f"the write of {key} was refused {tails.settings.tries} times, and nothing stands in its way"
        )


class _Swapped(msgspec.Struct, frozen=True):
    present: Versioned | None
    unknown: bool  # the write may have happened and have been replaced since


def _is_of(root: Root, creation: Root) -> bool:
    """Say whether a root is of this creation: equal clocks give two creators one number, never one id."""
    return root.generation == creation.generation and root.creation == creation.creation


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)
