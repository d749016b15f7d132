"""What an operator can choose, by one rule: `--long-poll-timeout` is `DURABLE_STREAMS_LONG_POLL_TIMEOUT`.

A value on the command line wins over the environment. Knows no argument parser, no store and no server.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

PREFIX = "DURABLE_STREAMS_"


class BadSetting(ValueError):
    """A value that cannot be read; the text names the option, what is wrong and what is accepted."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 4437  # section 13.1
    workers: int = 1
    store: str = "sqlite:streams.db"
    s3_driver: str = "aioboto3"
    endpoint_url: str = ""
    region: str = ""
    addressing: str = "auto"
    pool_size: int = 64
    long_poll_timeout: float = 30.0
    sse_timeout: float = 60.0
    shutdown_timeout: float = 15.0
    max_body: int = 16 * 1024 * 1024
    page_size: int = 4 * 1024 * 1024
    cache_size: int = 64 * 1024 * 1024
    history_max_age: float = 31_536_000.0
    tail_max_age: float = 0.0
    public_url: str = ""
    chunks_url: str = ""
    trust_proxy: bool = False
    bearer_token: str = ""
    loopback_webhooks: str = "auto"
    origin_secret: str = ""
    access_log: bool = False
    sweep_interval: float = 300.0
    housekeeping: bool = True


class Option(msgspec.Struct, frozen=True):
    """One field of ServerSettings, as people write it."""

    name: str
    read: Callable[[str], Any]
    metavar: str
    help: str

    @property
    def flag(self) -> str:
        """How it is written on a command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """How it is called in the environment."""
        return PREFIX + self.name.upper()


_UNITS_OF_TIME = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNITS_OF_SIZE = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_duration(text: str) -> float:
    """Return seconds. Raises ValueError."""
    number, unit = _split_unit(text)
    if unit not in _UNITS_OF_TIME:
        raise ValueError("a duration such as 30s, 500ms or 2m")
    return number * _UNITS_OF_TIME[unit]


def parse_size(text: str) -> int:
    """Return bytes. Raises ValueError."""
    number, unit = _split_unit(text)
    if (unit or "B") not in _UNITS_OF_SIZE or number < 1:
        raise ValueError("a size such as 16MiB, 512KiB or 1000000")
    return int(number * _UNITS_OF_SIZE[unit or "B"])


def _split_unit(text: str) -> tuple[float, str]:
    text = text.strip()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        return 0.0, "?"
    return float(number), text[len(number) :].strip()


def parse_bool(text: str) -> bool:
    """Return what a switch in the environment says. Raises ValueError."""
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off", ""):
        return False
    raise ValueError("true or false")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text.strip().isdecimal() and text.isascii() and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"a whole number from {low} to {high}")

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text in words:
            return text
        raise ValueError(" or ".join(words))

    return read


def _http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or any(character.isspace() for character in text):
        raise ValueError("a URL that begins with http:// or https://")
    return text.rstrip("/")


def _place(text: str) -> str:
    """Return a URL, or a path on whatever host the server is seen as."""
    return _http_url(text) if not text.startswith("/") or text.startswith("//") else text.rstrip("/")


OPTIONS = (
    Option("host", str, "ADDRESS", "the address to listen on; 0.0.0.0 for all of the machine's"),
    Option("port", _whole(0, 65_535), "PORT", "the port to listen on; 0 takes a free one, which the banner names"),
    Option("workers", _whole(1, 256), "N", "processes that serve the port and share the store"),
    Option("store", str, "URL", "where the streams are: sqlite:file.db, s3://bucket/optional/prefix, or memory:"),
    Option(
        "s3_driver", _one_of("aioboto3", "obstore"), "NAME", "the client for S3: aioboto3, or obstore where installed"
    ),
    Option("endpoint_url", _http_url, "URL", "of an S3 store that is not Amazon's, such as http://localhost:9000"),
    Option("region", str, "NAME", "of the bucket; by default what the AWS settings say"),
    Option("addressing", _one_of("auto", "path", "virtual"), "STYLE", "of buckets in URLs: auto, path or virtual"),
    Option("pool_size", _whole(1, 10_000), "N", "connections to an S3 store that a process keeps at most"),
    Option("long_poll_timeout", parse_duration, "TIME", "how long a long-poll waits for data"),
    Option("sse_timeout", parse_duration, "TIME", "how long an event stream lasts before its reader comes back"),
    Option("shutdown_timeout", parse_duration, "TIME", "what requests under way are given when the server stops"),
    Option("max_body", parse_size, "SIZE", "the largest request body"),
    Option("page_size", parse_size, "SIZE", "of what one read answers, about"),
    Option("cache_size", parse_size, "SIZE", "of the chunks that a process keeps in memory"),
    Option("history_max_age", parse_duration, "TIME", "how long caches may keep pages that can never change"),
    Option("tail_max_age", parse_duration, "TIME", "how long they may keep pages that end at the tail, 60s at most"),
    Option("public_url", _http_url, "URL", "what clients see the server as; by default what their requests say"),
    Option(
        "chunks_url",
        _place,
        "URL",
        "where a CDN serves chunk objects; readers fetch history there, unasked for tokens",
    ),
    Option("trust_proxy", parse_bool, "", "believe X-Forwarded-Host and X-Forwarded-Proto"),
    Option("bearer_token", str, "TOKEN", "ask for this bearer token; several, separated by commas, are all accepted"),
    Option("origin_secret", str, "SECRET", "answer only to requests with this X-Origin-Secret, which the CDN adds"),
    Option(
        "loopback_webhooks",
        _one_of("auto", "yes", "no"),
        "WHEN",
        "send webhooks to this machine too, over http: auto does where the server listens on loopback",
    ),
    Option("access_log", parse_bool, "", "write a line for every request"),
    Option(
        "sweep_interval", parse_duration, "TIME", "between passes that reclaim what nobody can need any more; 0s: none"
    ),
    Option(
        "housekeeping",
        parse_bool,
        "",
        "try the store at start, and do in the background what is due; no: another process of the deployment does",
    ),
)


def read_settings(arguments: Mapping[str, str | bool | None], environment: Mapping[str, str]) -> ServerSettings:
    """Return the settings. `arguments`: by field name, None where the command line has none. Raises BadSetting."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = arguments.get(option.name)
        called = option.flag
        if given is None and environment.get(option.variable):
            given, called = environment[option.variable], option.variable
        if given is None:
            continue
        try:
            values[option.name] = given if isinstance(given, bool) else option.read(given)
        except ValueError as error:
            raise BadSetting(f"{called} {given!r} cannot be used; accepted is {error}") from None
    settings = ServerSettings(**values)
    if settings.workers > 1 and settings.store in ("memory:", "sqlite::memory:"):
        raise BadSetting("--workers must be 1 with a store in memory: each process would have a store of its own")
    return settings
