"""Objects in an S3 bucket through obstore, which is Rust below Python: the optional second driver.

The only module that knows obstore; knows nothing of streams. Like the first driver it sends every request once and
tries reads again here. What obstore does its own way, and what is done about it:

* It tells statuses and codes in the text of its errors only, and calls a 409 "already exists", which it is not.
* A prefix matches whole segments, so the rest of one is filtered here; a page is of 1,000 keys, whatever the limit.
* Its threads wake the loop and are in Python for a moment longer, which must not be the process's last: native_threads.
* It has its own idea of where credentials come from, without profiles or a sandbox that was restored from a snapshot.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, assert_never

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError, PreconditionError
from obstore.store import S3Store

from storage.objects import (
    LIST_LIMIT,
    LONGEST_KEY_BYTES,
    NO_METADATA,
    Always,
    Arriving,
    Condition,
    Entry,
    Head,
    IfAbsent,
    IfMatch,
    KeyRefused,
    Object,
    OutcomeUnknown,
    StoreRefused,
    StoreUnavailable,
    arrived,
)
from storage.opening import StoreOptions
from storage.s3_refusals import READ_ATTEMPTS, WHAT_TO_DO, pause_before, refusal

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta, PutMode
    from obstore.store import S3Config, S3Credential

# The chain behind it renews what expires within 10 minutes, and obstore asks again for what expires within 5.
CREDENTIALS_FOR = timedelta(minutes=9)
PART_BYTES = 256 * 1024  # handed over at least, of a body that is read while it arrives
WHOLE_REQUEST = timedelta(minutes=5)  # however steadily the bytes drip; the read timeout is of each pause between them

_NOT_METADATA = {"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language"}
_STATUS = re.compile(r"Server returned non-2xx status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_REDIRECTED = "Received redirect without LOCATION"  # what S3 answers in a region that the bucket is not in
_NEVER_SENT = "kind: Connect,"  # there was no connection, or no address to connect to

_Answer = TypeVar("_Answer")
Entries = list[Entry]  # within the class, `list` is the verb


class ObstoreObjects:
    """A store in a bucket. Its connections live in threads of obstore's own, so it is bound to no loop."""

    def __init__(self, store: S3Store, bucket: str, prefix: str):
        """Use `open`; `prefix` is empty or ends with a slash."""
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._store = store
        self._prefix = prefix

    @classmethod
    async def open(cls, bucket: str, prefix: str, options: StoreOptions) -> Self:
        """Open a client with the credentials of the SDK's usual chain. Sends nothing.

        Raises ValueError for an endpoint URL that is none.
        """
        config: S3Config = {
            "region": options.region
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or "us-east-1",
            "virtual_hosted_style_request": options.addressing == "virtual"
            or (options.addressing == "auto" and options.endpoint_url is None),
            "disable_bulk_delete": True,  # which not every store has, and which is a POST with rights of its own
        }
        if options.endpoint_url is not None:
            if "://" not in options.endpoint_url:
                raise ValueError(f"{options.endpoint_url!r} is no URL")
            config["endpoint"] = _endpoint(options.endpoint_url, bucket, virtual=options.addressing == "virtual")
        else:
            config["unsigned_payload"] = True  # under TLS, hashing the body for the signature protects nothing more
        store = S3Store(
            bucket,
            config=config,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=options.connect_timeout),
                "read_timeout": timedelta(seconds=options.read_timeout),
                "timeout": WHOLE_REQUEST,
                "pool_max_idle_per_host": str(options.pool_size),
                "user_agent": "durable-streams-s3",
            },
            retry_config={"max_retries": 0},
            credential_provider=None if "AWS_ACCESS_KEY_ID" in os.environ else _Chain(),
        )
        return cls(store, bucket, prefix)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        async def attempt() -> Object:
            result = await self._ask(key, start, length)
            return Object(body=(await result.bytes_async()).to_bytes(), head=_head(result))

        if length == 0:
            return await self._nothing_of(key)
        try:
            return await self._read("get", key, attempt)
        except _BeyondTheEnd:
            return await self._nothing_of(key)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        if length == 0:
            return arrived(await self._nothing_of(key))
        try:
            result = await self._read("get", key, lambda: self._ask(key, start, length))
        except _BeyondTheEnd:
            return arrived(await self._nothing_of(key))
        return None if result is None else Arriving(_head(result), self._parts(key, result))

    async def _ask(self, key: str, start: int, length: int | None) -> "GetResult":
        """Send for an object, and return as soon as the store has begun to answer."""
        options: GetOptions = {}
        if length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        return await obstore.get_async(self._store, self._prefix + key, options=options)

    async def _parts(self, key: str, result: "GetResult") -> AsyncGenerator[bytes]:
        try:
            async for part in result.stream(min_chunk_size=PART_BYTES):
                yield part
        except Exception as error:
            raise self._told(error, "get", key, writing=False) from error

    async def _nothing_of(self, key: str) -> Object | None:
        head = await self.head(key)
        return None if head is None else Object(body=b"", head=head)

    async def head(self, key: str) -> Head | None:
        async def attempt() -> Head:
            # What is called `head` there returns no metadata.
            return _head(await obstore.get_async(self._store, self._prefix + key, options={"head": True}))

        return await self._read("head", key, attempt)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition,
        *,
        content_type: str = "application/octet-stream",
        cache_control: str = "",
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> str | None:
        if len(self._prefix) + len(key) > LONGEST_KEY_BYTES:
            raise KeyRefused(f"{self.name}: put of {key!r}: {WHAT_TO_DO['KeyTooLongError']}")
        mode: PutMode
        match condition:
            case IfAbsent():
                mode = "create"
            case IfMatch():
                mode = {"e_tag": condition.etag}
            case Always():
                mode = "overwrite"
            case _:
                assert_never(condition)
        attributes = {**metadata, "Content-Type": content_type}
        if cache_control:
            attributes["Cache-Control"] = cache_control
        try:
            result = await obstore.put_async(
                self._store, self._prefix + key, body, attributes=attributes, mode=mode, use_multipart=False
            )
        except (AlreadyExistsError, PreconditionError) as error:
            if _status(error) in (304, 404, 412) and _code(error) != "NoSuchBucket":
                return None
            raise self._told(error, "put", key, writing=True) from error
        except Exception as error:
            raise self._told(error, "put", key, writing=True) from error
        return result["e_tag"] or ""

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        limit = min(limit, LIST_LIMIT)
        wanted = self._prefix + prefix
        folder, slash, rest = wanted.rpartition("/")
        start = self._prefix + after if after else ""
        if rest:
            start = max(start, _just_before(wanted))

        async def attempt() -> Entries:
            entries: Entries = []
            pages = obstore.list(self._store, folder + slash, offset=start or None, chunk_size=limit)
            with suppress(StopAsyncIteration):
                while len(entries) < limit:
                    for line in await anext(pages):
                        if line["path"].startswith(wanted):
                            entries.append(_entry(line, len(self._prefix)))
                        elif line["path"] > wanted:
                            return entries[:limit]
            return entries[:limit]

        found = await self._read("list", prefix, attempt)
        return [] if found is None else found

    async def delete(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, self._prefix + key)
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise self._told(error, "delete", key, writing=True) from error
        except Exception as error:
            raise self._told(error, "delete", key, writing=True) from error

    async def aclose(self) -> None:
        """Do nothing: the connections are closed when the store is let go of."""

    async def _read(self, verb: str, key: str, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """Return what the attempt returns, tried again where that may help; None where there is no such object."""
        for number in range(READ_ATTEMPTS):
            if number:
                await asyncio.sleep(pause_before(number))
            try:
                return await attempt()
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise self._told(error, verb, key, writing=False) from error
                return None
            except Exception as error:
                if _status(error) == 416:
                    raise _BeyondTheEnd from error
                told = self._told(error, verb, key, writing=False)
                if number == READ_ATTEMPTS - 1 or not isinstance(told, StoreUnavailable):
                    raise told from error
        raise AssertionError("the last attempt returns or raises")

    def _told(self, error: Exception, verb: str, key: str, *, writing: bool) -> Exception:
        """Return what an error of obstore's means to the caller; one that is not obstore's comes back as it is."""
        where = f"{self.name}: {verb} of {key!r}"
        text = str(error)
        status = _status(error)
        if status:
            message = _MESSAGE.search(text)
            return refusal(where, status, _code(error), message[1] if message else "", writing=writing)
        said = text.partition("\n\nDebug source:")[0]
        if _CREDENTIALS in text:
            return StoreRefused(f"{where}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({said})")
        if isinstance(error, InvalidPathError | ValueError):
            return StoreRefused(f"{where}: no key for this store: {said}")
        if not isinstance(error, BaseError | OSError):
            return error
        if writing and _NEVER_SENT not in text:
            return OutcomeUnknown(f"{where}: {said}")
        return StoreUnavailable(f"{where}: {said}")


class _BeyondTheEnd(Exception):
    """A range was asked for that begins at or beyond the object's end."""


_CREDENTIALS = "External AWS credential provider"  # how obstore calls `_Chain` when it fails


class _Chain:
    """The SDK's usual chain of credentials, asked when there are none in the environment.

    Profiles are there, and so is what Lambda gives a function that was restored from a snapshot.
    """

    def __init__(self) -> None:
        self._found: Any = None

    def __call__(self) -> "S3Credential":
        """Return credentials that are good for a while. Called in threads of obstore's; raises where there are none."""
        if self._found is None:
            from botocore.session import Session

            self._found = Session().get_credentials()
        if self._found is None:
            raise LookupError("the chain has none")
        frozen = self._found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_FOR,
        }


def _endpoint(url: str, bucket: str, *, virtual: bool) -> str:
    """Return the URL as obstore wants it: with the bucket in the host's name where the store expects it there."""
    scheme, _, rest = url.rstrip("/").partition("://")
    return f"{scheme}://{bucket}.{rest}" if virtual else f"{scheme}://{rest}"


def _just_before(text: str) -> str:
    """Return a text that sorts below the one given, with few keys in between."""
    return text[:-1] + chr(ord(text[-1]) - 1) + "~"


def _status(error: Exception) -> int:
    text = str(error)
    found = _STATUS.search(text)
    return int(found[1]) if found else 301 if _REDIRECTED in text else 0


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _head(result: "GetResult") -> Head:
    meta, attributes = result.meta, result.attributes
    return Head(
        etag=meta["e_tag"] or "",
        size=meta["size"],
        modified_ms=_milliseconds(meta["last_modified"]),
        content_type=attributes.get("Content-Type", ""),
        metadata={name: value for name, value in attributes.items() if name not in _NOT_METADATA},
    )


def _entry(line: "ObjectMeta", cut: int) -> Entry:
    return Entry(line["path"][cut:], line["e_tag"] or "", line["size"], _milliseconds(line["last_modified"]))


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
