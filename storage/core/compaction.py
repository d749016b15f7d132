"""Say which chunks become one superset, and what it is. Knows nothing of stores, caches or time.

Groups are aligned by index: 64 chunks, then eight groups, then eight of those, until a superset is large enough to be
read at the store's speed. A superset stands at the key of its first chunk and keeps its write id, so whoever sent that
chunk recognises it; everything else it says is what the last one says, so whoever adopts it adopts the whole group.
"""

from collections.abc import Sequence

import msgspec

from storage.core.chunk import Chunk, Kind


class Grouping(msgspec.Struct, frozen=True):
    """How chunks are grouped. Only the sizes are an operator's to choose.

    Supersets of two different alignments would overlap, and what lies inside one may be reclaimed: the counts are the
    same in every process that ever writes to a bucket.
    """

    chunks: int = 64
    groups: int = 8
    superset_bytes: int = 8 * 1024 * 1024  # one that has reached this is not made part of a larger one
    cut_bytes: int = 1024 * 1024  # how far apart in one of JSON the places are that its metadata tells, at least

    @property
    def limit_bytes(self) -> int:
        """The most that a superset can hold; chunks that are larger together are read well enough as they are."""
        return self.groups * self.superset_bytes


class Link(msgspec.Struct, frozen=True):
    """A chunk or a superset, as one object of the chain. All of it was learned from one answer of the store."""

    position: int  # of its key and of its first byte
    next: int
    first: int  # index of the first chunk in it
    last: int
    at_ms: int  # when the last of them was committed
    kind: Kind
    size: int  # bytes of the body
    etag: str  # empty where it is not known
    content_type: str


def link_of(chunk: Chunk, size: int, etag: str, content_type: str) -> Link:
    """Return a chunk as a link. `size` is of the whole body."""
    first = chunk.index - chunk.count + 1
    return Link(chunk.position, chunk.next, first, chunk.index, chunk.at_ms, chunk.kind, size, etag, content_type)


class Trail:
    """The links that somebody passed one after the other, as far as they may still become part of a superset."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self.links: list[Link] = []

    def add(self, link: Link) -> None:
        """Go on to the next link; where it does not follow the last one, begin anew."""
        links = self.links
        if links and (links[-1].next != link.position or links[-1].last + 1 != link.first):
            links.clear()
        if link.kind is not Kind.DATA:
            # An empty close is followed at another key than data are, which a superset could not say.
            links.clear()
        elif links or link.first % self._grouping.chunks == 0:
            links.append(link)

    def due(self) -> Sequence[Link]:
        """Return the smallest group that is complete with the last link and not one object yet; empty if there is none.

        What can never become part of a superset is forgotten.
        """
        links = self.links
        if not links:
            return ()
        end = links[-1].last + 1
        span = self._grouping.chunks
        while end % span == 0 and links[0].first <= end - span:
            group = [link for link in links if link.first >= end - span]
            if len(group) > 1 and group[0].first == end - span:
                if is_worth_it(self._grouping, group):
                    return group
                links.clear()
                return ()
            span *= self._grouping.groups
        return ()

    def replace(self, count: int, superset: Link) -> None:
        """Put a superset in the place of the last `count` links."""
        del self.links[len(self.links) - count :]
        self.links.append(superset)


def is_worth_it(grouping: Grouping, group: Sequence[Link]) -> bool:
    """Say whether a complete group becomes a superset, by the sizes of its links."""
    if any(link.size >= grouping.superset_bytes and link.last > link.first for link in group):
        return False
    return sum(link.size for link in group) <= grouping.limit_bytes


def merge(members: Sequence[tuple[Chunk, bytes]], *, is_json: bool, cut_bytes: int = 0) -> tuple[Chunk, bytes]:
    """Return the superset of chunks that follow each other, and its body. Raises ValueError where they do not.

    `cut_bytes`: how far apart its cuts are at least; 0 for none.
    """
    head, tail = members[0][0], members[-1][0]
    at, index = head.position, head.index - head.count + 1
    for chunk, body in members:
        fits = chunk.position == at and chunk.index - chunk.count + 1 == index and chunk.kind is Kind.DATA
        if not fits or len(body) != chunk.next - chunk.position + is_json:
            raise ValueError(f"the chunk at {chunk.position} is not the one that is to follow at {at}")
        at, index = chunk.next, chunk.index + 1
    superset = msgspec.structs.replace(
        tail,
        position=head.position,
        write_id=head.write_id,
        count=index - (head.index - head.count + 1),
        cuts=_cuts([chunk for chunk, _ in members], cut_bytes) if is_json and cut_bytes else (),
    )
    if not is_json:
        return superset, b"".join(body for _, body in members)
    return superset, b"[" + b",".join(memoryview(body)[1:-1] for _, body in members) + b"]"


def _cuts(members: Sequence[Chunk], cut_bytes: int) -> tuple[int, ...]:
    """Choose places where a page may begin or end from those that are known: where chunks begin, and their own cuts."""
    cuts: list[int] = []
    last = members[0].position
    for member in members:
        for position in (member.position, *member.cuts):
            if position - last >= cut_bytes:
                cuts.append(position)
                last = position
    return tuple(cuts)
