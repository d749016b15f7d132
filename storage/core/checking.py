"""Judge the objects of a chain, one after the other: is each what its place says it is. Knows no store.

Goes in ascending order of positions. Every chunk is either the next link of the chain or lies inside the last one, and
then holds the same bytes.
"""

from collections.abc import Iterator
from zlib import crc32

from storage.core.chunk import Chunk, Kind
from storage.core.cuts import are_cuts
from storage.core.offset import WIDTH
from storage.core.root import Root, media_type


def checksum(body: bytes) -> str:
    """Return what a chunk's metadata says of its bytes, so that one that has changed is found."""
    return f"{crc32(body):08x}"


class Chain:
    """What was seen of a generation so far."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._generation = root.generation
        self._is_json = root.is_json
        self._low = root.own.low
        self.reached: int | None = None  # where the chain goes on; None before its first link
        self._index = 0
        self._top: Chunk | None = None
        self._payload = b""  # of the top
        self._closed = False
        self._buried = False

    @property
    def tail(self) -> int:
        """The position behind the last byte."""
        return self._low if self._top is None else self._top.next

    def judge(self, key: int, chunk: Chunk, body: bytes, metadata: dict[str, str], content_type: str) -> Iterator[str]:
        """Take the next object in, and yield what is wrong with it."""
        yield from self._judge_alone(key, chunk, body, metadata, content_type)
        top = self._top
        if top is not None and top.position < key < top.next:
            yield from self._judge_inside(top, chunk, body)
            return
        yield from self._judge_place(key, chunk)
        self._top, self._payload = chunk, self._payload_of(body)
        self.reached = chunk.successor
        self._index = chunk.index + 1
        self._closed = chunk.closed
        self._buried = chunk.kind is Kind.TOMBSTONE

    def _payload_of(self, body: bytes) -> bytes:
        return body[1:-1] if self._is_json else body

    def _judge_alone(
        self, key: int, chunk: Chunk, body: bytes, metadata: dict[str, str], content_type: str
    ) -> Iterator[str]:
        said = metadata.get("crc")
        if said is not None and said != checksum(body):
            yield f"its bytes have changed: their checksum is {checksum(body)}, and was {said}"
        if metadata["next"][:WIDTH] != f"{self._generation:0{WIDTH}d}":
            yield f"it names {metadata['next']} as what follows, which is of another generation"
        length = chunk.next - chunk.position
        there = len(body) if not self._is_json else len(body) - 1 if chunk.kind is Kind.DATA else 0
        if there != length:
            yield f"it says that it holds {length} positions, and its body has {there}"
        expected = self._root.config.content_type
        if chunk.kind is Kind.DATA and media_type(content_type) != media_type(expected):
            yield f"its content type is {content_type}, and the stream's is {expected}"
        if self._is_json and chunk.kind is Kind.DATA and body[:1] + body[-1:] != b"[]":
            yield "it is not an array"
        if chunk.cuts and not are_cuts(body, [cut - chunk.position for cut in chunk.cuts]):
            yield "it names places where no message begins"
        if chunk.kind is not Kind.DATA and (length or chunk.count != 1):
            yield f"it is a {chunk.kind.value}, and says that it holds something"
        if chunk.kind is Kind.CLOSE and not chunk.closed:
            yield "it is a close, and says that the stream is open"

    def _judge_inside(self, top: Chunk, chunk: Chunk, body: bytes) -> Iterator[str]:
        if chunk.next > top.next or chunk.kind is not Kind.DATA:
            yield f"it lies across the end of the superset at {top.position}, which is at {top.next}"
            return
        if not top.index - top.count < chunk.index - chunk.count + 1 <= chunk.index <= top.index:
            yield f"its index {chunk.index} is none of the superset's at {top.position}"
        low = chunk.position - top.position
        payload = self._payload_of(body)
        if self._payload[low : low + len(payload)] != payload:
            yield f"the superset at {top.position} holds other bytes in its place"
        if chunk.index == top.index and (
            (chunk.next, chunk.closed, chunk.closer, chunk.sequence, chunk.producers, chunk.table, chunk.at_ms)
            != (top.next, top.closed, top.closer, top.sequence, top.producers, top.table, top.at_ms)
        ):
            yield f"the superset at {top.position} ends with it, and tells of another state"

    def _judge_place(self, key: int, chunk: Chunk) -> Iterator[str]:
        if self.reached is None:
            if key > max(self._root.retained, self._low):
                yield f"the chain begins with it, and should begin at {self._low}"
            elif key == self._low and chunk.index - chunk.count + 1 != 0:
                yield f"it is the first chunk, and its index is {chunk.index - chunk.count + 1}"
            if self._root.first and key == self._low and chunk.write_id != self._root.creation:
                yield "the stream was created with another first chunk"
            return
        if key > self.reached:
            yield f"nothing stands at {self.reached}, where the chain goes on before it"
        elif chunk.index - chunk.count + 1 != self._index:
            yield f"its index is {chunk.index - chunk.count + 1}, and {self._index} chunks are before it"
        if self._buried:
            yield "it follows a tombstone"
        elif self._closed and chunk.kind is not Kind.TOMBSTONE:
            yield "it follows the end of a closed stream"
