"""Append what comes in on standard input, through a producer; with a state file, each line once over any number of
runs.

With a state file the batches are cut here, and what the next one will be is written down before it is sent: the
producer's id, its number, and how many messages it holds. A run that died in between sends the same messages under
the same number again, and the server tells a copy from news (section 5.2.1).
"""

import argparse
import os
import stat
import sys
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from durable_streams_client.cli_state import Progress, State
from durable_streams_client.core.batch import is_json
from durable_streams_client.core.gathering import Limits
from durable_streams_client.sync import Client, Producer, Stream

PIECE_BYTES = 64 * 1024
# With a state file: what is sent at a time, and written down before and after.
CHUNK_ITEMS = 5_000
CHUNK_BYTES = 1024 * 1024


def append(client: Client, arguments: argparse.Namespace) -> int:
    """Append the arguments in one request, or else standard input."""
    stream = client.stream(arguments.path)
    if arguments.messages:
        if arguments.state or arguments.lines or arguments.whole:
            raise ValueError("--state, --lines and --whole are for standard input")
        appended = stream.append(*arguments.messages, total_seconds=arguments.timeout)
        if appended.offset is not None:
            print(appended.offset)
        return 0
    content_type = stream.head(total_seconds=arguments.timeout).content_type
    messages = read_messages(
        sys.stdin.buffer,
        json=is_json(content_type),
        lines=arguments.lines or (is_json(content_type) and not arguments.whole),
        same_pieces=arguments.state is not None,
    )
    with Progress(wanted=not arguments.quiet, total=measure_input()) as progress:
        if arguments.state is not None:
            append_with_state(stream, arguments, messages, progress)
        else:
            with make_producer(stream, arguments) as producer:
                for message in messages:
                    producer.append(message)
                    progress.advance(len(message))
                producer.flush(total_seconds=arguments.timeout)
    return 0


def read_messages(source: BinaryIO, *, json: bool, lines: bool, same_pieces: bool) -> Iterator[bytes]:
    """Yield messages. Lines of a JSON stream come without their ends, and without empty ones; elsewhere every byte
    counts.

    `same_pieces`: cut the same input at the same places, rather than send what is there as soon as it is.
    """
    if lines:
        for line in source:
            message = line.strip() if json else line
            if message:
                yield message
    elif json:
        yield source.read()
    else:
        while piece := source.read(PIECE_BYTES) if same_pieces else os.read(source.fileno(), PIECE_BYTES):
            yield piece


def make_producer(stream: Stream, arguments: argparse.Namespace) -> Producer:
    """Return the producer that the arguments ask for."""
    return stream.producer(arguments.producer_id, epoch=arguments.epoch, auto_claim=arguments.claim)


def append_with_state(
    stream: Stream, arguments: argparse.Namespace, messages: Iterator[bytes], progress: Progress
) -> None:
    """Append what earlier runs did not.

    `done` messages are settled, `sending` more were about to be, under number `seq`.
    """
    state = State(arguments.state, stream.url)
    stored = state.load()
    producer_id = stored.get("producer_id") or arguments.producer_id or uuid.uuid4().hex
    epoch, seq = stored.get("epoch", arguments.epoch), stored.get("seq", 0)
    done, sending = stored.get("done", 0), stored.get("sending", 0)
    for message in islice(messages, done):
        progress.advance(len(message))
    # One batch at a time, cut by flush alone.
    limits = Limits(linger_seconds=None, max_in_flight=1, max_batch_bytes=2**62, max_batch_items=2**62)
    with stream.producer(producer_id, epoch=epoch, seq=seq, limits=limits) as producer:
        while True:
            chunk = list(islice(messages, sending)) if sending else take_chunk(messages)
            if len(chunk) < sending:
                raise ValueError(
                    f"the input is shorter than before: {done + len(chunk)} messages, not {done + sending}"
                )
            if not chunk:
                return
            position = {"producer_id": producer_id, "epoch": epoch}
            state.store(**position, seq=seq, done=done, sending=len(chunk))
            for message in chunk:
                producer.append(message)
            producer.flush(total_seconds=arguments.timeout)
            done, sending, seq = done + len(chunk), 0, seq + 1
            state.store(**position, seq=seq, done=done, sending=0)
            progress.advance(sum(map(len, chunk)))


def take_chunk(messages: Iterator[bytes]) -> list[bytes]:
    """Return the next messages, as many as travel well together."""
    chunk: list[bytes] = []
    size = 0
    for message in messages:
        chunk.append(message)
        size += len(message)
        if len(chunk) >= CHUNK_ITEMS or size >= CHUNK_BYTES:
            break
    return chunk


def measure_input() -> int | None:
    """Return how many bytes standard input holds, if it is a file."""
    status = os.fstat(sys.stdin.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
