"""A large file appended by several producers while servers are killed, and the check of what came back.

Every piece carries its writer, its number and its length, so that what is read back says by itself whether a piece is
missing, twice, torn or out of order.
"""

import asyncio
import hashlib
import random
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence

import httpx

HEADER = struct.Struct(">BIIQ")  # writer, number, length, the first eight bytes of the payload's hash


class Content:
    """The file, made piece by piece from a seed: lines of varied length, one piece in eight binary."""

    def __init__(self, seed: int, size: int, writers: int) -> None:
        self.size = size
        self.writers = writers
        self._seed = seed

    def pieces(self, writer: int) -> Iterator[bytes]:
        """Yield what one writer appends, in order, until its share of the size is reached."""
        chance = random.Random(f"{self._seed} {writer}")
        left = self.size // self.writers
        number = 0
        while left > 0:
            payload = self._binary(chance) if chance.random() < 0.125 else self._lines(chance)
            yield HEADER.pack(writer, number, len(payload), _mark(payload)) + payload
            left -= len(payload)
            number += 1

    @staticmethod
    def _binary(chance: random.Random) -> bytes:
        return chance.randbytes(chance.randrange(1, 400_000))

    @staticmethod
    def _lines(chance: random.Random) -> bytes:
        alphabet = b"abcdefghijklmnopqrstuvwxyz 0123456789"
        text = bytes(alphabet[byte % 37] for byte in chance.randbytes(2000))
        lines = (text[: chance.randrange(2000)] + b"\n" for _ in range(chance.randrange(1, 300)))
        return b"".join(lines)


def _mark(payload: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "big")


class Account:
    """What the writers have been told so far."""

    def __init__(self) -> None:
        self.acknowledged_bytes = 0
        self.repeated = 0  # pieces that turned out to be there when they were sent again
        self.failed = 0  # requests that broke or were refused for the moment
        self._more = asyncio.Condition()

    async def acknowledge(self, size: int, *, repeated: bool) -> None:
        """Enter an acknowledged piece."""
        async with self._more:
            self.acknowledged_bytes += size
            self.repeated += repeated
            self._more.notify_all()

    async def reaches(self, size: int) -> None:
        """Wait until so many bytes are acknowledged."""
        async with self._more:
            await self._more.wait_for(lambda: self.acknowledged_bytes >= size)


async def write(
    client: httpx.AsyncClient, bases: Sequence[str], content: Content, writer: int, account: Account
) -> None:
    """Append one writer's pieces, each until it is acknowledged, taking the servers in turn."""
    turn = writer
    for number, piece in enumerate(content.pieces(writer)):
        headers = {
            "Content-Type": "application/octet-stream",
            "Producer-Id": f"writer-{writer}",
            "Producer-Epoch": "0",
            "Producer-Seq": str(number),
        }
        while True:
            turn += 1
            try:
                answer = await client.post(bases[turn % len(bases)], content=piece, headers=headers)
            except httpx.TransportError:
                account.failed += 1
                await asyncio.sleep(0.05)
                continue
            if answer.status_code in (200, 204):
                await account.acknowledge(len(piece), repeated=answer.status_code == 204)
                break
            assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            account.failed += 1
            await asyncio.sleep(0.05)


async def kill_on_the_way(
    content: Content, account: Account, times: int, kill: Callable[[int], Awaitable[None]]
) -> None:
    """Call `kill` whenever another share of the file has been acknowledged."""
    for n in range(times):
        await account.reaches(content.size * (n + 1) // (times + 1))
        await kill(n)


async def read_back(client: httpx.AsyncClient, url: str, content: Content) -> None:
    """Read the stream from its start and check it piece by piece against what the writers sent."""
    expected = [content.pieces(writer) for writer in range(content.writers)]
    held, offset, seen = bytearray(), "-1", 0
    while True:
        answer = await client.get(url, params={"offset": offset})
        answer.raise_for_status()
        held += answer.content
        seen = _check(held, expected, seen)
        offset = answer.headers["Stream-Next-Offset"]
        if answer.headers.get("Stream-Up-To-Date") == "true":
            break
    assert not held, f"{len(held)} bytes at the end are no whole piece"
    for writer, pieces in enumerate(expected):
        assert next(pieces, None) is None, f"pieces of writer {writer} are missing at the end"


def _check(held: bytearray, expected: Sequence[Iterator[bytes]], seen: int) -> int:
    at = 0
    while len(held) - at >= HEADER.size:
        writer, number, length, _ = HEADER.unpack_from(held, at)
        end = at + HEADER.size + length
        if end > len(held):
            break
        assert writer < len(expected), f"piece {seen} is torn"
        assert held[at:end] == next(expected[writer], b""), f"writer {writer}: piece {number} is not what comes next"
        at, seen = end, seen + 1
    del held[:at]
    return seen
