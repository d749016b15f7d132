"""Pass work on to the sweeper's function, which has the time for it. The only module that calls Lambda's API."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

LOOK = "look"  # in an event of the sweeper: the streams that were appended to, and who listens to them

_log = logging.getLogger("handler")


class Relay:
    """The sweeper, as the functions that answer requests know it."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._connections = AsyncExitStack()
        self._client: Any = None

    async def send(self, appended: Mapping[str, Sequence[str]]) -> None:
        """Have the sweeper do what appends ask for, and do not wait for it.

        A failure is logged only: the same stands in the store, where the schedule finds it.
        """
        event = json.dumps({LOOK: appended}).encode()
        try:
            client = await self._opened()
            await client.invoke(FunctionName=self._function, InvocationType="Event", Payload=event)
        except Exception as error:
            _log.warning("the sweeper was not told of an append, and will find it by itself: %s", error)

    async def _opened(self) -> Any:
        if self._client is None:
            from aiobotocore.config import AioConfig
            from aiobotocore.session import AioSession

            config = AioConfig(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 2, "mode": "standard"})
            self._client = await self._connections.enter_async_context(
                AioSession().create_client("lambda", config=config)
            )
        return self._client
