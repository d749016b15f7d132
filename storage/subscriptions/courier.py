"""The port through which webhooks leave: what is to be delivered, and what became of it. Knows nothing of HTTP."""

from typing import Protocol

import msgspec

from storage.core.subscription import ZERO_TOKEN, Cursor, Subscription


class StreamStatus(msgspec.Struct, frozen=True):
    """A linked stream, as workers are told of it. Section 7.1."""

    path: str
    link_type: str
    acked_offset: str
    tail_offset: str
    has_pending: bool


class Delivery(msgspec.Struct, frozen=True):
    """One attempt to deliver a wake."""

    subscription: Subscription
    streams: list[StreamStatus]
    seconds: float  # after which its outcome does not matter any more


class Arrived(msgspec.Struct, frozen=True):
    """The receiver took the wake; `done`: it has finished the work."""

    done: bool


class Refused(msgspec.Struct, frozen=True):
    """The wake did not arrive, or the receiver failed."""

    why: str


class Courier(Protocol):
    """Delivers webhooks."""

    async def deliver(self, delivery: Delivery) -> Arrived | Refused:
        """Deliver once, within `delivery.seconds`."""
        ...


def statuses(subscription: Subscription) -> list[StreamStatus]:
    """Return the subscription's streams as they were when its wake was minted or claimed."""
    wake = subscription.wake
    tails: dict[str, Cursor] = {} if wake is None else wake.snapshot
    lines = []
    for path, link in subscription.links.items():
        tail = tails.get(path)
        lines.append(
            StreamStatus(
                path=path,
                link_type="explicit" if link.explicit else "glob",
                acked_offset=link.cursor.token,
                tail_offset=ZERO_TOKEN if tail is None else tail.token,
                has_pending=tail is not None and tail.position > link.cursor.position,
            )
        )
    return lines
