"""What is paid for a request, by list price. Knows prices; nothing of what makes the requests.

United States (N. Virginia), before free tiers and discounts, as listed in June 2025. S3 Standard; Lambda on arm64;
CloudFront for viewers in North America and Europe. Storage and data transfer to viewers are not in here: they depend
on how much there is, and not on how it is done.
"""

from collections.abc import Mapping

import msgspec

LISTED = "us-east-1, June 2025"
MILLION = 1_000_000

STORE: Mapping[str, float] = {  # dollars per million requests
    "put": 5.00,
    "list": 5.00,
    "get": 0.40,
    "head": 0.40,
    "delete": 0.00,
}
FUNCTION_REQUEST = 0.20  # per million
FUNCTION_SECOND = 0.0000133334 * MILLION  # per million GB-seconds
CDN_REQUEST = 1.00  # per million HTTPS requests
CDN_FUNCTION = 0.10  # per million invocations of a CloudFront Function, which names the object


class Workload(msgspec.Struct, frozen=True):
    """What a workload did, as it was counted."""

    name: str
    unit: str  # what one operation is
    operations: float
    requests: Mapping[str, int]  # of the store, by verb
    function_requests: float = 0.0  # per operation
    function_gb_seconds: float = 0.0  # per operation
    cdn_requests: float = 0.0  # per operation

    def per_million(self, verb: str) -> float:
        """Return how many requests a million operations make."""
        return self.requests.get(verb, 0) / self.operations * MILLION

    @property
    def store_dollars(self) -> float:
        """What the store's requests of a million operations cost."""
        return sum(self.per_million(verb) * STORE[verb] for verb in STORE) / MILLION

    @property
    def other_dollars(self) -> float:
        """What functions and the CDN cost for a million operations."""
        function = self.function_requests * FUNCTION_REQUEST + self.function_gb_seconds * FUNCTION_SECOND
        return function + self.cdn_requests * (CDN_REQUEST + CDN_FUNCTION)


def tabulate(workloads: list[Workload]) -> str:
    """Return the bill as text."""
    verbs = ["put", "list", "get", "head", "delete"]
    head = ["per million", *(verb.upper() for verb in verbs), "store", "function, CDN", "together"]
    rows = [head]
    for each in workloads:
        counts = [_count(each.per_million(verb)) for verb in verbs]
        store, other = each.store_dollars, each.other_dollars
        rows.append([f"{each.name} ({each.unit})", *counts, f"${store:.2f}", f"${other:.2f}", f"${store + other:.2f}"])
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*lines, "", f"List prices: {LISTED}. Requests of the store are counted, not estimated."]) + "\n"


def _count(per_million: float) -> str:
    return "-" if not per_million else f"{per_million:,.0f}"
