"""What an operator can choose about the log. Knows the defaults and why they are what they are."""

import msgspec

from storage.core.compaction import Grouping


class LogSettings(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds."""

    page_bytes: int = 4 * 1024 * 1024  # a page of a read; below Lambda's 6 MB for a response
    whole_chunks: bool = False  # end a page where a chunk ends if it can, for readers who go on with the objects
    group_bytes: int = 8 * 1024 * 1024  # what one chunk takes of the appends that wait
    cache_bytes: int = 64 * 1024 * 1024  # chunks kept by a process; they are immutable
    block_bytes: int = 1024 * 1024  # a larger chunk is not held whole
    run_bytes: int = 32 * 1024 * 1024  # fetched of it by one request, ahead of whoever reads a long history
    runs_ahead: int = 2  # such requests under way for a reader, besides the one that he reads from; 0: none at all
    ahead_bytes: int = 4 * 1024 * 1024  # held of each, ahead of the reader
    grouping: Grouping = Grouping()  # what becomes one object, in the end
    cached_streams: int = 10_000  # tails kept by a process
    parallel_gets: int = 16  # chunks fetched at once for one page
    root_cache_seconds: float = 2.0  # how long a read that does not reach the tail may miss a deletion elsewhere
    tail_seconds: float = 3600.0  # an older tail is read again; far below the grace of invariant 6
    probe_seconds: float = 0.1  # first pause between two probes for the readers that wait for one stream
    probe_limit_seconds: float = 1.0  # the longest pause; the pauses grow while nothing comes
    producer_idle_seconds: float = 7 * 86_400.0  # a producer not heard of for so long may be forgotten; 0: never
    tries: int = 12  # sends of one write, or lost races of one group, before giving up
    backoff_seconds: float = 0.02  # first pause between tries; doubles, with jitter
    backoff_limit_seconds: float = 1.0
