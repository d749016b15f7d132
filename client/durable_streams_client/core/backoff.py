"""How long to wait before trying again. Knows neither what failed nor what time it is."""

from email.utils import parsedate_to_datetime

from durable_streams_client.models import Retry


def plan_delay_seconds(retry: Retry, failures: int, chance: float, retry_after_seconds: float | None = None) -> float:
    """Return the wait after the `failures`-th consecutive failure (from 1), `chance` being random in [0, 1).

    At least half of the exponential delay, so that a wait is never next to nothing; `Retry-After` is a lower bound on
    it.
    """
    # The exponent is bounded because 2.0 ** 1024 overflows and a reader may fail for days.
    exponent = min(failures - 1, 64)
    ceiling = min(retry.max_delay_seconds, retry.initial_delay_seconds * retry.multiplier**exponent)
    delay = ceiling * (1 - chance / 2)
    return delay if retry_after_seconds is None else retry_after_seconds + delay


def parse_retry_after(value: str | None, date: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, None where it is absent or unreadable. RFC 9110, 10.2.3.

    The form with a date is measured from the response's own `Date`: the clocks of the two sides need not agree.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    if date is None:
        return None
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):  # unreadable, or one of the two without a zone
        return None
