"""Open the store that a URL names. Knows which backend has which scheme, and loads no more than that one."""

from pathlib import Path
from urllib.parse import unquote

import msgspec

from storage.objects import Objects

ACCEPTED = "sqlite:///absolute/path.db, sqlite:relative/path.db, memory: or s3://bucket/optional/prefix"


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach an S3 store; the other backends need none of it. Times are of one attempt, in seconds."""

    driver: str = "aioboto3"  # or "obstore", an optional extra: several times the requests per second
    endpoint_url: str | None = None  # of a store that is not Amazon's, such as http://localhost:9000
    region: str | None = None  # by default from the SDK's own settings, then us-east-1
    addressing: str = "auto"  # "path", "virtual", or "auto": path where there is an endpoint URL
    pool_size: int = 64  # connections; one stream rarely has more than two requests under way
    connect_timeout: float = 3.0
    read_timeout: float = 20.0  # an 8 MiB chunk over a line of 4 Mbit/s takes as long


DEFAULT_OPTIONS = StoreOptions()


async def open_objects(url: str, options: StoreOptions = DEFAULT_OPTIONS) -> Objects:
    """Open the store, within the loop that is going to use it.

    Raises ValueError for a URL that names none, StoreRefused or StoreUnavailable for a file that cannot be opened.
    """
    scheme, colon, rest = url.partition(":")
    if url == "sqlite::memory:":  # as others spell it
        url, scheme, rest = "memory:", "memory", ""
    if colon and scheme == "sqlite" and (path := _file_path(rest)):
        from storage.sqlite import SqliteObjects

        return await SqliteObjects.open(Path(path))
    if colon and scheme == "memory" and not rest:
        from storage.sqlite import SqliteObjects

        return await SqliteObjects.open_memory()
    if colon and scheme == "s3" and (place := _bucket_and_prefix(rest)):
        bucket, prefix = place
        if options.driver == "obstore":
            from storage.native_threads import let_out_at_exit
            from storage.s3_obstore import ObstoreObjects

            let_out_at_exit()
            return await ObstoreObjects.open(bucket, prefix, options)
        if options.driver != "aioboto3":
            raise ValueError(f"{options.driver!r} is no driver for S3; there are aioboto3 and obstore")
        from storage.s3 import S3Objects

        return await S3Objects.open(bucket, prefix, options)
    raise ValueError(f"{url!r} names no store; accepted are {ACCEPTED}")


def _file_path(rest: str) -> str:
    """Return the path after `sqlite:`, empty where there is none or where a host stands in its place."""
    if rest.startswith("//"):
        if not rest.startswith("///"):  # sqlite://streams.db would be the host "streams.db"
            return ""
        rest = rest[2:]
    return "" if rest.endswith("/") else unquote(rest)


def _bucket_and_prefix(rest: str) -> tuple[str, str] | None:
    if not rest.startswith("//"):
        return None
    bucket, _, prefix = rest[2:].partition("/")
    if len(bucket) < 3 or set(bucket) & set("?#@ "):  # three characters: the least that S3 allows
        return None
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""
