"""Watch every write that reaches the bucket and keep what the streams are, by the protocol's rules, at each moment.

Every invariant that can be seen in the objects is checked as they are written: the chain is complete, no chunk is
beyond it, roots only move along their states, a chunk's metadata says what its bytes and its callers' requests add up
to. Broken ones are collected in `violations`. The rules of appending are written out here a second time, on purpose.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from storage.core import keys
from storage.core.admission import (
    AlreadyClosed,
    Append,
    Appended,
    MediaTypeDiffers,
    Repeated,
    SequenceRegression,
    StreamClosed,
    TailMoved,
    Verdict,
)
from storage.core.chunk import Chunk, Kind, decode_chunk
from storage.core.offset import Offset, Sentinel
from storage.core.producers import Claim, EpochNotAtZero, SequenceGap, StaleEpoch, decode_table
from storage.core.root import Config, Root, State, decode_root
from storage.creation import Creation
from storage.log import LogSettings
from storage.objects import Object
from tests.log.world import World


class Head(msgspec.Struct, frozen=True):
    """A HEAD request."""


class Delete(msgspec.Struct, frozen=True):
    """A DELETE request."""


class Read(msgspec.Struct, frozen=True):
    """A GET request."""

    offset: Offset | Sentinel
    limit: int
    wait_seconds: float


Verb = Append | Creation | Head | Delete | Read


class Call(msgspec.Struct):
    """One request of a client, and what came of it. Steps are the world's."""

    number: int
    process: str
    path: str
    verb: Verb
    settings: LogSettings
    invoked: int
    invoked_at: float
    responded: int | None = None
    responded_at: float = 0.0
    answer: object = None
    error: Exception | None = None

    @property
    def payload(self) -> bytes:
        return self.verb.payload if isinstance(self.verb, Append | Creation) else b""

    def __str__(self) -> str:
        came = "no answer" if self.responded is None else repr(self.error or self.answer)
        return (
            f"call {self.number} [{self.invoked}..{self.responded}] {self.process} {self.verb} of {self.path}: {came}"
        )


class View(msgspec.Struct, frozen=True):
    """What a path is at one moment, to a client. Generation 0: there is no stream."""

    generation: int = 0
    config: Config | None = None
    position: int = 0
    closed: bool = False
    closer: Claim | None = None
    sequence: str | None = None
    producers: Mapping[str, tuple[int, int]] = {}

    @property
    def media_type(self) -> str:
        return "" if self.config is None else self.config.content_type.split(";")[0]


ABSENT = View()


class Moment(msgspec.Struct, frozen=True):
    """A view, and when it began."""

    step: int
    at: float
    view: View


class Applied(msgspec.Struct, frozen=True):
    """Where a call's payload came to stand."""

    generation: int
    step: int
    position: int  # behind it
    closed: bool


class Generation:
    """One incarnation of a path, as its chunks say."""

    def __init__(self, root: Root) -> None:
        self.number = root.generation
        self.root = root
        self.key = root.own.low
        self.index = 0
        self.view = View(root.generation, root.config, root.own.low)
        self.content = b""  # for JSON each message with a comma behind it
        self.lengths: list[tuple[int, int]] = []  # step, position
        self.born: int | None = None  # the step at which it went live
        self.left: int | None = None  # the step at which its root stopped being live
        self.left_at = float("inf")  # the same as a time
        self.buried: tuple[int, float, str] | None = None  # step, time and write id of the tombstone
        self.closed_alone: tuple[int, int, Claim | None] | None = None  # step, position, who: a close without bytes
        self.first_write_id = ""

    def content_by(self, step: int) -> int:
        """Return the position that the content had reached by a step."""
        return max((position for at, position in self.lengths if at <= step), default=self.root.own.low)


def judge(view: View, append: Append) -> Verdict:
    """Say what an append gets on a stream as it is. Protocol, sections 5.2, 5.2.1 and 5.3."""
    claim = append.claim
    if view.closed:
        if claim is not None and claim == view.closer:
            return Repeated(view.position, True, claim.epoch, claim.seq)
        bare = not append.payload and append.close and claim is None
        return AlreadyClosed(view.position) if bare else StreamClosed(view.position)
    if append.payload and append.media_type != view.media_type:
        return MediaTypeDiffers(view.media_type)
    if claim is not None:
        known = view.producers.get(claim.producer)
        if known is None or claim.epoch > known[0]:
            if claim.seq:
                return SequenceGap(0, claim.seq) if known is None else EpochNotAtZero(claim.epoch, claim.seq)
        elif claim.epoch < known[0]:
            return StaleEpoch(known[0])
        elif claim.seq <= known[1]:
            return Repeated(view.position, False, known[0], known[1])
        elif claim.seq > known[1] + 1:
            return SequenceGap(known[1] + 1, claim.seq)
    if append.expected is not None and append.expected != view.position:
        return TailMoved(view.position)
    if append.sequence is not None and view.sequence is not None and append.sequence <= view.sequence:
        return SequenceRegression(view.sequence)
    length = len(append.payload)
    if length and view.media_type == "application/json":
        length += 1
    return Appended(view.position + length, append.close, claim)


def after(view: View, append: Append, verdict: Appended) -> View:
    """Return what an append that was accepted leaves."""
    claim = append.claim
    return msgspec.structs.replace(
        view,
        position=verdict.position,
        closed=append.close,
        closer=claim if append.close else None,
        sequence=append.sequence or view.sequence,
        producers=view.producers if claim is None else {**view.producers, claim.producer: (claim.epoch, claim.seq)},
    )


_NUMBER = re.compile(rb'\{"n":(\d+)|(\d+)\.')


class Ledger:
    """All streams of a bucket, at every moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.roots: dict[str, Root] = {}
        self.generations: dict[tuple[str, int], Generation] = {}
        self.moments: dict[str, list[Moment]] = {}
        self.applied: dict[int, Applied] = {}
        world.bucket.observe = self.written

    def broken(self, text: str) -> None:
        self.violations.append(f"step {self.world.step}: {text}")

    def written(self, key: str, found: Object | None) -> None:
        """Take note of a write that took effect."""
        kind, segment = key.split("/")[:2]
        path = unquote(segment)
        if found is None:
            if kind != "fork":
                self.broken(f"{key} was deleted")
        elif kind == "root":
            self.root_written(path, decode_root(found.body))
        elif kind == "chunk":
            self.chunk_written(path, key, found)

    def generation_of(self, call: Call) -> int:
        """Return the generation that a call's payload stands in, 0 if in none."""
        applied = self.applied.get(call.number)
        return 0 if applied is None else applied.generation

    def history(self, path: str) -> list[Moment]:
        return self.moments.setdefault(path, [Moment(-1, float("-inf"), ABSENT)])

    def push(self, path: str, view: View) -> None:
        self.history(path).append(Moment(self.world.step, self.world.now, view))

    # -- roots

    def root_written(self, path: str, root: Root) -> None:
        old = self.roots.get(path)
        self.roots[path] = root
        if old is None or root.generation != old.generation:
            if old is not None and root.generation < old.generation:
                self.broken(f"the generation of {path} went down")
            if old is not None and old.state in (State.LIVE, State.SOFT):
                self.broken(f"the root of {path} left generation {old.generation} while it was {old.state.value}")
            if root.state not in (State.CREATING, State.LIVE) or (root.state is State.LIVE and root.first):
                self.broken(f"the root of {path} entered generation {root.generation} as {root.state.value}")
            if (path, root.generation) in self.generations:
                self.broken(f"generation {root.generation} of {path} was used twice")
            self.generations[path, root.generation] = Generation(root)
        else:
            steps = {
                State.CREATING: (State.LIVE, State.DELETED),
                State.LIVE: (State.SOFT, State.DELETED),
                State.SOFT: (State.DELETED,),
                State.DELETED: (),
            }
            if root.state not in steps[old.state]:
                self.broken(f"the root of {path} went from {old.state.value} to {root.state.value}")
            if root.creation != old.creation or root.config != old.config or root.lineage != old.lineage:
                self.broken(f"the root of {path} became another creation's in generation {root.generation}")
            if root.write_id == old.write_id:
                self.broken(f"two versions of the root of {path} have one write id")
        generation = self.generations[path, root.generation]
        if root.state is State.LIVE and old is not None and old.state is State.LIVE:
            self.broken(f"the root of {path} was live and is live again")
        elif root.state is State.LIVE:
            self.went_live(path, generation, root)
        elif generation.born is not None and generation.left is None:
            generation.left, generation.left_at = self.world.step, self.world.now
            if generation.buried is None:
                self.broken(f"the root of {path} says {root.state.value} without a tombstone")

    def went_live(self, path: str, generation: Generation, root: Root) -> None:
        if not root.born:
            self.broken(f"the root of {path} is live and not born")
        if any(each.born is not None and each.root.creation == root.creation for each in self.generations.values()):
            self.broken(f"a creation of {path} took effect twice")
        generation.born = self.world.step
        generation.lengths.append((self.world.step, generation.view.position))
        if generation.first_write_id != (root.creation if root.first else ""):
            self.broken(f"{path} went live without its own first chunk")
        self.push(path, generation.view)

    # -- chunks

    def chunk_written(self, path: str, key: str, found: Object) -> None:
        number, at = keys.parse_chunk_key(key)
        generation = self.generations.get((path, number))
        if generation is None:
            self.broken(f"{key} is of a generation that no root ever named")
            return
        if generation.buried is not None or at != generation.key:
            self.broken(f"{key} (position {at}) is not in the chain, which goes on at {generation.key}")
            return
        chunk = decode_chunk(at, found.head.metadata)
        before = generation.view
        views = self.views_after(path, generation, chunk, found)
        view = views[-1]
        told = (chunk.position, chunk.next, chunk.index, chunk.closed, chunk.sequence)
        fact = (before.position, view.position, generation.index, view.closed, view.sequence)
        if told != fact:
            self.broken(f"{key} says {told} (position, next, index, closed, sequence), and it is {fact}")
        if found.head.metadata["next"] != f"{number:016d}_{chunk.next:016d}":
            self.broken(f"{key} names its next as {found.head.metadata['next']}")
        generation.index += 1
        generation.key = chunk.successor
        generation.view = view
        generation.lengths.append((self.world.step, view.position))
        if at == generation.root.own.low:
            generation.first_write_id = chunk.write_id
        if chunk.kind is Kind.TOMBSTONE:
            generation.buried = (self.world.step, self.world.now, chunk.write_id)
            views = [ABSENT]
        else:
            self.check_producers(path, key, chunk, view)
        root = self.roots[path]
        if root.generation == number and root.state is State.LIVE:
            for each in views:
                self.push(path, each)

    def views_after(self, path: str, generation: Generation, chunk: Chunk, found: Object) -> list[View]:
        view = generation.view
        views: list[View] = []
        is_json = view.media_type == "application/json"
        rest = found.body[1:-1] if is_json else found.body
        if is_json and found.body[:1] + found.body[-1:] != (b"[]" if chunk.kind is not Kind.TOMBSTONE else b""):
            self.broken(f"a chunk of {path} is {found.body[:60]!r}")
        if chunk.kind is Kind.DATA and found.head.content_type != (view.config and view.config.content_type):
            self.broken(f"a chunk of {path} is {found.head.content_type}")
        while rest:
            match = _NUMBER.match(rest)
            call = self.calls[int(match[1] or match[2])] if match else None
            if call is None or not rest.startswith(call.payload):
                self.broken(f"{path} holds bytes that nobody appended: {rest[:60]!r}")
                return [msgspec.structs.replace(view, position=chunk.next)]
            rest = rest[len(call.payload) + is_json :]
            generation.content += call.payload + b"," * is_json
            view = self.apply(path, generation, view, call)
            views.append(view)
        if chunk.closed and not view.closed:
            view = self.close(generation, view, chunk)
            views.append(view)
        return views or [view]

    def apply(self, path: str, generation: Generation, view: View, call: Call) -> View:
        if call.number in self.applied and isinstance(call.verb, Append):
            self.broken(f"call {call.number} was appended twice")
        if call.path != path:
            self.broken(f"call {call.number} is of {call.path} and stands in {path}")
        append = call.verb
        if isinstance(append, Creation):
            append = Append(append.payload, media_type=view.media_type, close=append.closed)
            if view.position:
                self.broken(f"the body of creation {call.number} is not the first of {path}")
        assert isinstance(append, Append)
        verdict = judge(view, append)
        if not isinstance(verdict, Appended):
            self.broken(f"call {call.number} was appended, and should have got {verdict}")
            length = len(append.payload) + (view.media_type == "application/json")
            verdict = Appended(view.position + length, append.close, append.claim)
        self.applied[call.number] = Applied(generation.number, self.world.step, verdict.position, verdict.closed)
        return after(view, append, verdict)

    def close(self, generation: Generation, view: View, chunk: Chunk) -> View:
        append = Append(b"", close=True, claim=chunk.closer)
        verdict = judge(view, append)
        generation.closed_alone = (self.world.step, view.position, chunk.closer)
        if not isinstance(verdict, Appended):
            self.broken(f"the stream was closed by {chunk.closer}, which should have got {verdict}")
            return msgspec.structs.replace(view, closed=True, closer=chunk.closer)
        return after(view, append, verdict)

    def check_producers(self, path: str, key: str, chunk: Chunk, view: View) -> None:
        table = dict(chunk.producers)
        if chunk.table:
            state_key = keys.states_of_generation(path, view.generation) + chunk.table
            found = self.world.bucket.objects.get(state_key)
            if found is None:
                self.broken(f"{key} names the table {state_key}, which is not there")
                return
            table = {**decode_table(found.body), **table}
        told = {producer: (record.epoch, record.seq) for producer, record in table.items()}
        if told != view.producers or chunk.closer != view.closer:
            self.broken(f"{key} says producers {told}, closer {chunk.closer}; they are {view.producers}, {view.closer}")
