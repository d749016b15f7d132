"""Objects in an S3 bucket, or below a prefix of one. Knows what the SDK answers; knows nothing of streams.

The SDK sends every request once, and so does the HTTP library under it: whether to send a write again is for the
caller to decide, who can recognise his own. Reads are tried again here, since nothing but time is lost by that.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar, assert_never

import aiohttp
from botocore import exceptions as sdk

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
from storage.s3_client import open_client
from storage.s3_refusals import READ_ATTEMPTS, WHAT_TO_DO, pause_before, refusal

if TYPE_CHECKING:
    from aiobotocore.response import StreamingBody
    from types_aiobotocore_s3 import S3Client

_Answer = TypeVar("_Answer")
Entries = list[Entry]  # within the class, `list` is the verb


class S3Objects:
    """A store in a bucket, bound to the loop that it was opened in."""

    def __init__(
        self, client: "S3Client", bucket: str, prefix: str, connections: AsyncExitStack, attempt_seconds: float
    ):
        """Use `open`; `prefix` is empty or ends with a slash."""
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._connections = connections
        self._attempt_seconds = attempt_seconds  # the SDK's own timeouts do not run while a request is being sent

    @classmethod
    async def open(cls, bucket: str, prefix: str, options: StoreOptions) -> Self:
        """Open a client with the credentials of the SDK's usual chain. Sends nothing.

        Raises ValueError for an endpoint URL that is none.
        """
        connections = AsyncExitStack()
        client = await open_client(options, connections)
        return cls(client, bucket, prefix, connections, options.connect_timeout + options.read_timeout)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        if length == 0:
            return await self._nothing_of(key)

        async def attempt() -> Object:
            head, arriving = await self._ask(key, start, length)
            async with arriving as stream:
                return Object(body=await stream.read(), head=head)

        try:
            return await self._read("get", key, attempt)
        except _BeyondTheEnd:
            return await self._nothing_of(key)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        if length == 0:
            return arrived(await self._nothing_of(key))
        try:
            found = await self._read("get", key, lambda: self._ask(key, start, length))
        except _BeyondTheEnd:
            return arrived(await self._nothing_of(key))
        return None if found is None else Arriving(found[0], self._parts(key, found[1]))

    async def _ask(self, key: str, start: int, length: int | None) -> tuple[Head, "StreamingBody"]:
        """Send for an object, and return as soon as the store has begun to answer."""
        if start == 0 and length is None:
            response = await self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return _head(response, response["ContentLength"]), response["Body"]
        asked = f"bytes={start}-{'' if length is None else start + length - 1}"
        response = await self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=asked)
        return _head(response, int(response["ContentRange"].rpartition("/")[2])), response["Body"]

    async def _parts(self, key: str, arriving: "StreamingBody") -> AsyncGenerator[bytes]:
        try:
            async with arriving as stream:
                async for part, _ in stream.content.iter_chunks():  # as they were received: not put together
                    yield part
        except Exception as error:
            raise self._told(error, "get", key, writing=False) from error

    async def _nothing_of(self, key: str) -> Object | None:
        head = await self.head(key)
        return None if head is None else Object(body=b"", head=head)

    async def head(self, key: str) -> Head | None:
        async def attempt() -> Head:
            response = await self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            return _head(response, response["ContentLength"])

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
        asked: dict[str, Any] = {}
        match condition:
            case IfAbsent():
                asked["IfNoneMatch"] = "*"
            case IfMatch():
                asked["IfMatch"] = condition.etag
            case Always():
                pass
            case _:
                assert_never(condition)
        if cache_control:
            asked["CacheControl"] = cache_control
        if metadata:
            asked["Metadata"] = metadata
        try:
            async with asyncio.timeout(self._attempt_seconds):
                response = await self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + key, Body=body, ContentType=content_type, **asked
                )
        except Exception as error:
            if isinstance(error, sdk.ClientError):
                # There is nothing to match at an absent key: 404, where 412 was to be expected.
                absent = isinstance(condition, IfMatch) and _status(error) == 404 and _code(error) != "NoSuchBucket"
                if absent or _status(error) == 412:
                    return None
            raise self._told(error, "put", key, writing=True) from error
        return response["ETag"]

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        limit = min(limit, LIST_LIMIT)
        entries: Entries = []
        while len(entries) < limit:  # a page may be shorter than asked for and still not be the last one
            last = entries[-1].key if entries else after
            page, more = await self._page(prefix, last, limit - len(entries))
            entries += page
            if not more or not page:
                break
        return entries

    async def _page(self, prefix: str, after: str, limit: int) -> tuple[Entries, bool]:
        async def attempt() -> tuple[Entries, bool]:
            asked: dict[str, Any] = {"StartAfter": self._prefix + after} if after else {}
            response = await self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + prefix, MaxKeys=limit, **asked
            )
            cut = len(self._prefix)
            page = [
                Entry(line["Key"][cut:], line["ETag"], line["Size"], _milliseconds(line["LastModified"]))
                for line in response.get("Contents", ())
            ]
            return page, response["IsTruncated"]

        found = await self._read("list", prefix, attempt)
        if found is None:
            raise StoreRefused(f"{self.name}: list of {prefix!r}: {WHAT_TO_DO['NoSuchBucket']}")
        return found

    async def delete(self, key: str) -> None:
        try:
            async with asyncio.timeout(self._attempt_seconds):
                await self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
        except Exception as error:
            if isinstance(error, sdk.ClientError) and _code(error) == "NoSuchKey":
                return
            raise self._told(error, "delete", key, writing=True) from error

    async def aclose(self) -> None:
        await self._connections.aclose()

    async def _read(self, verb: str, key: str, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """Return what the attempt returns, tried again where that may help; None where there is no such object."""
        for number in range(READ_ATTEMPTS):
            if number:
                await asyncio.sleep(pause_before(number))
            try:
                async with asyncio.timeout(self._attempt_seconds):
                    return await attempt()
            except Exception as error:
                if isinstance(error, sdk.ClientError):
                    if _status(error) == 416:
                        raise _BeyondTheEnd from error
                    if _status(error) == 404 and _code(error) != "NoSuchBucket":
                        return None
                told = self._told(error, verb, key, writing=False)
                if number == READ_ATTEMPTS - 1 or not isinstance(told, StoreUnavailable):
                    raise told from error
        raise AssertionError("the last attempt returns or raises")

    def _told(self, error: Exception, verb: str, key: str, *, writing: bool) -> Exception:
        """Return what an error of the SDK means to the caller; one that is not the SDK's comes back as it is."""
        where = f"{self.name}: {verb} of {key!r}"
        match error:
            case sdk.ClientError():
                said = error.response.get("Error", {}).get("Message", "")
                return refusal(where, _status(error), _code(error), said, writing=writing)
            case sdk.NoCredentialsError() | sdk.PartialCredentialsError() | sdk.CredentialRetrievalError():
                return StoreRefused(
                    f"{where}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({error})"
                )
            case sdk.ParamValidationError() | sdk.EndpointProviderError() | sdk.ProfileNotFound():
                return StoreRefused(f"{where}: {error}")
            case sdk.SSLError():
                return StoreRefused(f"{where}: no secure connection: {error}")
            case sdk.BotoCoreError() | aiohttp.ClientError() | TimeoutError() | OSError():
                said = str(error) or f"no answer within {self._attempt_seconds:g} s"
                if not writing or not _may_have_been_sent(error):
                    return StoreUnavailable(f"{where}: {said}")
                return OutcomeUnknown(f"{where}: {said}")
            case _:
                return error


class _BeyondTheEnd(Exception):
    """A range was asked for that begins at or beyond the object's end."""


def _may_have_been_sent(error: Exception) -> bool:
    """Return whether bytes may have left: False only where there never was a connection."""
    if isinstance(error, sdk.ConnectTimeoutError | sdk.ProxyConnectionError):
        return False
    # The SDK says "could not connect" of a reset in mid-request too; the cause tells which it was.
    cause = error.kwargs.get("error") if isinstance(error, sdk.EndpointConnectionError) else error
    return not isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _status(error: "sdk.ClientError") -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: "sdk.ClientError") -> str:
    return error.response.get("Error", {}).get("Code", "")


def _head(response: Any, size: int) -> Head:
    return Head(
        etag=response["ETag"],
        size=size,
        modified_ms=_milliseconds(response["LastModified"]),
        content_type=response.get("ContentType", ""),
        metadata=response.get("Metadata", {}),
    )


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
