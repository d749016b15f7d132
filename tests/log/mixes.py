"""What the clients of random runs do, as weights, and under which circumstances. Knows nothing of how they do it."""

from collections.abc import Sequence

import msgspec


class Mix(msgspec.Struct, frozen=True):
    """What clients do, as weights, and under which circumstances."""

    append: float = 3.0
    produce: float = 3.0
    retry: float = 1.0
    read: float = 2.0
    wait: float = 0.5
    head: float = 0.5
    close: float = 0.2
    append_and_close: float = 0.2
    delete: float = 0.0
    create: float = 0.0
    nap: float = 0.0
    exists: float = 1.0  # how often the stream is there at the beginning
    processes: Sequence[int] = (2, 2, 3)
    clients: Sequence[int] = (2, 3, 4)
    calls: Sequence[int] = (2, 3, 4, 5)
    long_ids: float = 0.1  # how often producers' ids are so long that their table spills
    json: float = 0.3
    ttl_seconds: int | None = None
    skew_ms: Sequence[int] = (0, 0, 1, -700, 4000)
    faults: float = 0.7  # how often there are any
    tries: Sequence[int] = (12, 12, 4, 2)


MIXES = {
    "appends": Mix(),
    "producers": Mix(append=0.5, produce=5.0, retry=4.0, close=0.3, append_and_close=0.4, delete=0.2, create=0.3),
    "spilled": Mix(append=0.3, produce=6.0, retry=2.0, long_ids=1.0, read=0.5, calls=(4, 6, 8)),
    "spilled lifecycle": Mix(
        append=0.3, produce=5.0, retry=1.0, delete=0.7, create=1.2, long_ids=1.0, calls=(4, 6, 8), processes=(1, 2)
    ),
    "lifecycle": Mix(delete=0.8, create=1.2, exists=0.5),
    "creations": Mix(
        append=0.5, produce=0.3, retry=0.3, read=0.7, wait=0.1, create=3.0, delete=1.0, exists=0.2, clients=(2, 3, 4)
    ),
    "expiry": Mix(ttl_seconds=10, nap=2.0, skew_ms=(0,), create=0.5, exists=0.9, faults=0.5),
    "readers": Mix(append=2.0, read=3.0, wait=3.0, delete=0.3, create=0.4, processes=(1, 2), clients=(4, 5)),
}
