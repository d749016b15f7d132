"""Messages in batches: what a reader is handed, and how JSON is framed on the wire (section 9.1). Knows no requests.

Parsing is `json.loads` in meaning. Where msgspec is installed it parses first, being several times as fast, and
whatever it refuses (numbers beyond a double, lone surrogates) goes to `json.loads` for judgement: what both accept,
they read alike.
"""

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from durable_streams_client.core import names
from durable_streams_client.errors import MalformedReply
from durable_streams_client.models import Position

Loads = Callable[[bytes], Any]

_fast_loads: Loads | None
try:
    import msgspec
except ImportError:  # pragma: no cover  (the extra `fast`)
    _fast_loads = None
else:
    _fast_loads = msgspec.json.decode

# One encoder for all: json.dumps builds another for every call that is not plain. NaN is not JSON: refused, not sent.
_encode_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
_scan_message = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\n\r]*")


def is_json(content_type: str | None) -> bool:
    """Tell whether a content type has messages of its own, whatever its parameters. Section 9.1."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() == names.JSON_TYPE


def is_text(content_type: str | None) -> bool:
    """Tell whether SSE carries this type as lines of text, which are not exact. Section 5.8."""
    return content_type is not None and content_type.strip().lower().startswith("text/")


def encode_json(value: object) -> bytes:
    """Return a value as compact JSON. Raise ValueError (NaN, infinity) or TypeError for what JSON cannot say."""
    text = _encode_compact(value)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate is no UTF-8, but JSON can escape it
        return _encode_ascii(value).encode()


def frame_json(messages: Iterable[bytes]) -> bytes:
    """Return messages, each of them JSON text, as the array that servers flatten by one level. Section 9.1.2."""
    return b"[" + b",".join(messages) + b"]"


def check_json(text: bytes) -> None:
    """Raise ValueError unless this is exactly one JSON value, which cannot spill over into its neighbours."""
    try:
        load_json(text)
    except ValueError as error:
        raise ValueError(f"a message of a JSON stream must be one JSON value: {error}") from error


def load_json(data: bytes) -> Any:
    """Return the value of JSON text. Raise ValueError if it is none."""
    if _fast_loads is not None:
        with suppress(Exception):  # whatever it objects to, json.loads is the judge
            return _fast_loads(data)
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_messages(data: bytes) -> list[Any]:
    """Return the messages of a JSON delivery, an array or nothing at all. Raise MalformedReply for anything else."""
    if not data:
        return []
    try:
        value = load_json(data)
    except ValueError as error:
        raise MalformedReply(f"a JSON stream delivered what is not JSON: {error}") from error
    if not isinstance(value, list):
        raise MalformedReply("a JSON stream delivered what is not an array")
    return value


def split_messages(data: bytes) -> list[bytes]:
    """Return the messages of a JSON delivery byte for byte as they stand in it.

    Raise MalformedReply like parse_messages.
    """
    if not data:
        return []
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedReply(f"a JSON stream delivered what is not UTF-8: {error}") from error
    messages = []
    position = _skip_space(text, 0)
    closing = len(text.rstrip(" \t\n\r")) - 1
    if closing <= position or text[position] != "[" or text[closing] != "]":
        raise MalformedReply("a JSON stream delivered what is not an array")
    position = _skip_space(text, position + 1)
    while position < closing:
        try:
            _, end = _scan_message(text, position)
        except (ValueError, RecursionError) as error:
            raise MalformedReply(f"a JSON stream delivered what is not JSON: {error}") from error
        messages.append(text[position:end].encode())
        position = _skip_space(text, end)
        if position < closing:
            if text[position] != ",":
                raise MalformedReply("a JSON stream delivered messages without a comma between them")
            position = _skip_space(text, position + 1)
            if position == closing:
                raise MalformedReply("a JSON stream delivered a comma with nothing after it")
    return messages


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None  # it matches nothing, too
    return match.end()


def join_deliveries(deliveries: list[bytes], *, json: bool) -> bytes:
    """Return several deliveries as one: bytes one after another, arrays as one array.

    Nothing and `[]` both become nothing.
    """
    if not json:
        return b"".join(deliveries)
    inner = []
    for delivery in deliveries:
        array = delivery.strip()
        if not (array.startswith(b"[") and array.endswith(b"]") and len(array) > 1):
            raise MalformedReply("a JSON stream delivered what is not an array")
        if messages := array[1:-1].strip():
            inner.append(messages)
    return frame_json(inner) if inner else b""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one delivery brought: `data` stands between the positions `start` and `end`, and `end` is where to resume.

    `data` of a JSON stream is the text of an array. It is empty where a delivery only told that the reader caught up
    (`up_to_date`) or that the stream ends here (`closed`).
    """

    data: bytes
    start: Position
    end: Position
    up_to_date: bool
    closed: bool
    content_type: str

    def json(self) -> list[Any]:
        """Return the messages parsed.

        Raise MalformedReply if they are not JSON, TypeError if the stream is of another type.
        """
        self._require_json()
        return parse_messages(self.data)

    def messages(self) -> list[bytes]:
        """Return the messages byte for byte; on a stream without messages of its own, all that was delivered is one."""
        if is_json(self.content_type):
            return split_messages(self.data)
        return [self.data] if self.data else []

    def text(self) -> str:
        """Return the data decoded from UTF-8.

        A character may be cut at the end of a batch: readers' `text()` joins them.
        """
        return self.data.decode()

    def _require_json(self) -> None:
        if not is_json(self.content_type):
            raise TypeError(f"the stream is {self.content_type}, not {names.JSON_TYPE}")


def drop_prefix(batch: Batch) -> Batch:
    """Return a batch without what its start says was taken before: `start.skip` messages or bytes.

    Where the delivery is shorter than that, nothing of it remains and the rest of the skip stays due: servers may cut
    pages elsewhere than they did before.
    """
    skip = batch.start.skip
    if not skip or not batch.data:
        return batch
    if is_json(batch.content_type):
        messages = split_messages(batch.data)
        taken = min(skip, len(messages))
        data = frame_json(messages[taken:]) if taken < len(messages) else b""
    else:
        taken = min(skip, len(batch.data))
        data = batch.data[taken:]
    end = Position(batch.end.offset, skip - taken)
    return Batch(data, batch.start, end, batch.up_to_date, batch.closed, batch.content_type)
