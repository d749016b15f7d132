"""The client of the Durable Streams protocol.

    from durable_streams_client import Client

    with Client("http://127.0.0.1:4437") as client:
        stream = client.stream("/greetings")
        stream.create("application/json")
        stream.append_json({"hello": "world"})
        for greeting in stream.read().json():
            print(greeting)

`AsyncClient` is the same for asyncio. Errors are listed in `durable_streams_client.errors`.
"""

from durable_streams_client import errors
from durable_streams_client.aio import AsyncClient, AsyncProducer, AsyncReader, AsyncStream
from durable_streams_client.core.batch import Batch
from durable_streams_client.core.cdn import Cdn
from durable_streams_client.core.gathering import Limits
from durable_streams_client.errors import *  # noqa: F403  (every error, as `errors.__all__` has it)
from durable_streams_client.models import Appended, Closed, Created, Head, Live, Position, Retry, Timeouts
from durable_streams_client.sync import Client, Producer, Reader, Stream
from durable_streams_client.wire import VERSION

__version__ = VERSION

__all__ = [
    "Appended",
    "AsyncClient",
    "AsyncProducer",
    "AsyncReader",
    "AsyncStream",
    "Batch",
    "Cdn",
    "Client",
    "Closed",
    "Created",
    "Head",
    "Limits",
    "Live",
    "Position",
    "Producer",
    "Reader",
    "Retry",
    "Stream",
    "Timeouts",
    "__version__",
    *errors.__all__,
]
