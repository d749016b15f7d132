"""The client for asyncio."""

from durable_streams_client.aio.client import AsyncClient, AsyncStream
from durable_streams_client.aio.producer import AsyncProducer
from durable_streams_client.aio.reader import AsyncReader

__all__ = ["AsyncClient", "AsyncProducer", "AsyncReader", "AsyncStream"]
