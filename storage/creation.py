"""Create a stream: the root's compare-and-swap decides. Section 5.1; the states are drawn in core/root.py.

Without a first chunk or a source the root goes straight to `live`. With one (a body, created closed, a fork) it goes to
`creating`, the fork's marker and the chunk are written under the new generation, and then it goes to `live`: a stream
is never visible without its data, and no two creators share a generation. One that loses leaves an orphan of its own.
"""

import msgspec

from storage.bucket import Versioned
from storage.cache import Cached
from storage.core import keys
from storage.core.admission import Append, Draft, InvalidBody, Tail, first_tail, tail_after
from storage.core.chunk import Kind, encode_chunk
from storage.core.json_mode import InvalidJson, parse_payload
from storage.core.lineage import Lineage, fork_at
from storage.core.offset import Offset
from storage.core.root import Config, Origin, Root, State, media_type, next_generation
from storage.errors import AmbiguousWriteError, ContentionError, UnavailableError
from storage.forks import Departure, Fork, Forks, Refusal
from storage.objects import Head
from storage.streams import Gone, Stream
from storage.tail import Tails

TAKEOVER_PAUSES = 4  # looks at somebody else's creation before taking over


class Creation(msgspec.Struct, frozen=True):
    """What a PUT asks for. `payload` is the body, or a JSON body's messages joined by commas.

    A fork may leave the content type (empty) to its source; then `payload` is the body as it came.
    """

    config: Config
    payload: bytes = b""
    closed: bool = False
    fork: Fork | None = None


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


Outcome = Created | Existed | Differs | Gone | Refusal | InvalidBody


class Creator:
    """Creates streams."""

    def __init__(self, tails: Tails, forks: Forks) -> None:
        self._tails = tails
        self._forks = forks

    async def create(self, stream: Stream, creation: Creation) -> Outcome:
        """Create the stream unless it is there. Raises LogError."""
        tails = self._tails
        creation_id = tails.bucket.chance.new_id()
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
                await tails.bucket.pause(attempt)
                continue
            departure = None
            asked = creation
            if creation.fork is not None:
                found = await self._forks.depart(creation.fork, creation.config)
                if not isinstance(found, Departure):
                    return found
                departure = found
                inherited = self._inherit(creation, found)
                if isinstance(inherited, InvalidBody):
                    return inherited
                asked = inherited
            made = await self._make(stream, asked, creation_id, present, departure)
            if made is not None:
                return Created(made)
            await tails.bucket.pause(attempt)
        raise ContentionError(f"other creators of {stream.path} were faster {tails.settings.tries} times in a row")

    async def _present(self, stream: Stream) -> Versioned | None:
        """Return the root as it is now; a live one has a tail that is known to be its tail."""
        tails = self._tails
        for _ in range(tails.settings.tries):
            at = tails.clock.steady()
            found = await tails.bucket.read_root(stream.root_key)
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
    def _inherit(creation: Creation, departure: Departure) -> Creation | InvalidBody:
        payload = creation.payload
        if not creation.config.content_type and departure.root.is_json and payload:
            try:
                payload = parse_payload(payload)
            except InvalidJson as error:
                return InvalidBody(str(error))
        return msgspec.structs.replace(creation, config=departure.config, payload=payload)

    @staticmethod
    def _compare(stream: Stream, root: Root, creation: Creation) -> Outcome:
        tail = stream.tail
        assert tail is not None
        asked, there, fork, origin = creation.config, root.config, creation.fork, root.origin
        if (None if fork is None else fork.source) != (None if origin is None else origin.path):
            return Differs("Stream-Forked-From", "none" if origin is None else f"/{origin.path}")
        if not (fork and not asked.content_type) and media_type(asked.content_type) != media_type(there.content_type):
            return Differs("Content-Type", there.content_type)
        if fork is not None and origin is not None:
            differs = _compare_place(fork, root, origin)
            if differs is not None:
                return differs
        named = asked.ttl_seconds is not None or asked.expires_at_ms is not None
        # A fork that named no lifetime has its source's, and a repeated request names none either.
        if fork is None or origin is None or named or origin.own_lifetime:
            if asked.ttl_seconds != there.ttl_seconds:
                return Differs("Stream-TTL", _or_none(there.ttl_seconds))
            if asked.expires_at_ms != there.expires_at_ms:
                return Differs("Stream-Expires-At", _or_none(there.expires_at))
        if creation.closed != tail.closed:
            return Differs("Stream-Closed", "true" if tail.closed else "none")
        return Existed(Description(root, tail))

    async def _make(
        self,
        stream: Stream,
        creation: Creation,
        creation_id: str,
        present: Versioned | None,
        departure: Departure | None,
    ) -> Description | None:
        """Try once; None if somebody came in between and nothing of this try can ever be seen."""
        tails, bucket = self._tails, self._tails.bucket
        at = tails.clock.steady()
        live = self._root(stream.path, creation, creation_id, present, departure)
        generation = live.generation
        tail = first_tail(generation, live.own.low)
        base = present
        taken_over = present is not None and present.root.state is State.CREATING
        if live.first or departure is not None or taken_over:
            claim = msgspec.structs.replace(live, state=State.CREATING, write_id=bucket.chance.new_id(), born=False)
            base = (await bucket.swap(stream.root_key, present, claim)).present
            if base is None or not _is_of(base.root, live) or base.root.state is not State.CREATING:
                return None
            if present is not None and taken_over:
                await tails.release(stream.path, present.root)  # it can never become live any more
            if departure is not None and not await self._forks.keep(departure, stream.path, generation):
                await self._withdraw(stream, base)
                return None
            if live.first:
                written = await self._first_chunk(stream.path, creation, live, tail)
                if written is None:
                    return None
                tail = written
        entered = await bucket.swap(stream.root_key, base, live)
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

    def _root(
        self,
        path: str,
        creation: Creation,
        creation_id: str,
        present: Versioned | None,
        departure: Departure | None,
    ) -> Root:
        now = self._tails.clock.now_ms()
        earlier = [] if present is None else [present.root.generation]
        inherited: Lineage = ()
        start = retained = 0
        if departure is not None:
            inherited, start, retained = departure.root.lineage, departure.position, departure.root.retained
        generation = next_generation(now, *earlier, *(segment.generation for segment in inherited))
        return Root(
            generation=generation,
            state=State.LIVE,
            creation=creation_id,
            write_id=self._tails.bucket.chance.new_id(),
            born=True,
            first=bool(creation.payload) or creation.closed,
            created_ms=now,
            config=creation.config,
            lineage=fork_at(inherited, start, path, generation),
            origin=None if departure is None else departure.origin,
            retained=retained,
        )

    async def _withdraw(self, stream: Stream, base: Versioned) -> None:
        """Fence a fork whose source was deleted while it was made, then let go of the source."""
        root = msgspec.structs.replace(base.root, state=State.DELETED, write_id=self._tails.bucket.chance.new_id())
        await self._tails.bucket.swap(stream.root_key, base, root)
        await self._tails.release(stream.path, root)

    async def _first_chunk(self, path: str, creation: Creation, live: Root, tail: Tail) -> Tail | None:
        """Write what the stream begins with; None if another creation's chunk stands there."""
        tails = self._tails
        media = media_type(creation.config.content_type)
        draft = Draft(tail, media, live.created_ms)
        draft.admit(Append(creation.payload, media_type=media, close=creation.closed))
        chunk = draft.chunk(live.creation)
        prefix = keys.chunks_of_generation(path, live.generation)
        key = prefix + keys.complement(tail.key)
        body = draft.body()
        metadata = encode_chunk(chunk, live.generation)
        try:
            settled = await tails.bucket.settle(key, body, metadata, creation.config.content_type, tails.clock.steady())
        except AmbiguousWriteError as error:
            raise UnavailableError(f"{path} was not created: {error}") from error  # no one can see `creating`
        if isinstance(settled, Head):
            return None
        if chunk.kind is Kind.DATA:
            entry = Cached(chunk, body, settled, creation.config.content_type, len(body))
            tails.cache.put(key, entry)
            tails.compactor.committed(prefix, entry)
        return tail_after(live.generation, chunk, {})


def _is_of(root: Root, creation: Root) -> bool:
    """Say whether a root is of this creation: equal clocks give two creators one number, never one id."""
    return root.generation == creation.generation and root.creation == creation.creation


def _compare_place(fork: Fork, root: Root, origin: Origin) -> Differs | None:
    """Compare where a fork leaves its source; a request that does not name the place matches any."""
    if fork.offset is None:
        return None
    anchor = fork.offset.position if isinstance(fork.offset, Offset) else root.retained
    if (anchor, fork.sub_offset) == (origin.anchor, origin.sub_offset):
        return None
    field = "Stream-Fork-Offset" if anchor != origin.anchor else "Stream-Fork-Sub-Offset"
    return Differs(field, str(origin.anchor if anchor != origin.anchor else origin.sub_offset))


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)
