"""Print a stream: readable on a terminal, exact into a pipe.

What it prints is somebody else's, so a terminal is protected.
"""

import argparse
import json
import re
import sys
from typing import BinaryIO

from durable_streams_client.cli_state import Progress, State
from durable_streams_client.core.batch import Batch, is_json, load_json
from durable_streams_client.models import Live, Position
from durable_streams_client.sync import Stream

FORMATS = ("pretty", "lines", "raw")
LIVE: dict[str, Live] = {"auto": True, "sse": "sse", "long-poll": "long-poll"}

# Stream contents are untrusted (section 12.3), and to a terminal control characters are commands. Tab and newline are
# not.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPES = re.compile(r"[\x7f-\x9f]")  # those that JSON does not escape anyway


def print_stream(stream: Stream, arguments: argparse.Namespace, *, default_start: str, follow: bool) -> int:
    """Print from a position on, remembering the position if asked to."""
    state = State(arguments.state, stream.url)
    stored = state.load().get("position")
    start = Position.parse(arguments.start or stored or default_start)
    live = LIVE[arguments.live] if follow else False
    # A bar between lines of output would only be in the way.
    quiet = arguments.quiet or sys.stdout.isatty()
    printed = 0
    with (
        stream.read(start, live=live, total_seconds=arguments.timeout) as reader,
        Progress(wanted=not quiet) as progress,
    ):
        try:
            for batch in reader.batches():
                limit = None if arguments.limit is None else arguments.limit - printed
                count, position = print_batch(batch, choose_format(arguments.format, batch), sys.stdout.buffer, limit)
                printed += count
                progress.advance(len(batch.data))
                sys.stdout.buffer.flush()
                # Stored only after it is printed: what is lost with the program is printed again, never skipped.
                state.store(position=str(position))
                if arguments.limit is not None and printed >= arguments.limit:
                    break
        except KeyboardInterrupt:
            if not follow:
                raise
    return 0


def choose_format(wanted: str | None, batch: Batch) -> str:
    """Return how to print, where nobody said it."""
    if wanted is not None:
        return wanted
    if sys.stdout.isatty():
        return "pretty"
    return "lines" if is_json(batch.content_type) else "raw"


def print_batch(batch: Batch, form: str, out: BinaryIO, limit: int | None) -> tuple[int, Position]:
    """Print up to `limit` messages; return how many, and the position after them."""
    if not batch.data:
        return 0, batch.end
    if not is_json(batch.content_type):
        out.write(show_text(batch.data).encode() if form == "pretty" else batch.data)
        return 1, batch.end
    if form == "raw" and limit is None:
        out.write(batch.data)
        return len(batch.messages()), batch.end
    messages = batch.messages()
    taken = messages if limit is None else messages[:limit]
    for message in taken:
        out.write(show_json(message).encode() if form == "pretty" else flatten(message))
        out.write(b"\n")
    if len(taken) == len(messages):
        return len(taken), batch.end
    return len(taken), Position(batch.start.offset, batch.start.skip + len(taken))


def flatten(message: bytes) -> bytes:
    """Return a message on one line. Raw line ends in JSON stand between its tokens only, where a space is the same."""
    return message.replace(b"\r", b" ").replace(b"\n", b" ")


def show_json(message: bytes) -> str:
    """Return a message indented, control characters escaped."""
    text = json.dumps(load_json(message), indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        text = json.dumps(load_json(message), indent=2)
    return _ESCAPES.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def show_text(data: bytes) -> str:
    """Return data as text in which control characters, and what is not UTF-8, can be seen and do nothing."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
