"""The port through which a log tells of its commits. Knows nothing of who listens."""

from collections.abc import Awaitable
from typing import Protocol


class Observer(Protocol):
    """Hears of every group of appends, and of streams created with a body. Both methods are called in the hot path."""

    def before(self, path: str) -> Awaitable[None] | None:
        """Return what must be waited for before anything is committed to a stream; None, as a rule, for nothing."""
        ...

    def after(self, path: str) -> None:
        """Hear that something was committed to a stream, before anybody is answered."""
        ...
