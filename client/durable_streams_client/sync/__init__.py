"""The client for threads."""

from durable_streams_client.sync.client import Client, Stream
from durable_streams_client.sync.producer import Producer
from durable_streams_client.sync.reader import Reader

__all__ = ["Client", "Producer", "Reader", "Stream"]
