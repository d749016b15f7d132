"""The command line: `durable-streams`. Knows arguments, environment and exit codes; the work is the library's."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from durable_streams_client import errors
from durable_streams_client.cli_bench import bench
from durable_streams_client.cli_input import append
from durable_streams_client.cli_output import FORMATS, print_stream
from durable_streams_client.models import FOLLOW_RETRY, Retry
from durable_streams_client.sync import Client
from durable_streams_client.wire import VERSION

URL_VARIABLE = "DURABLE_STREAMS_URL"
TOKEN_VARIABLE = "DURABLE_STREAMS_TOKEN"
CDN_VARIABLE = "DURABLE_STREAMS_CDN"

# What a script can tell apart. argparse says 2 itself; 128 + signal is the shell's own convention.
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_CODES: list[tuple[type[Exception], int]] = [
    (errors.StreamClosed, 5),
    (errors.StreamOver, 3),
    (errors.Conflict, 4),
    (errors.Unauthorized, 6),
    (errors.RetryLater, 7),
    (errors.AmbiguousWrite, 8),
    (errors.Fenced, 9),
]

EPILOG = f"""\
A PATH is relative to --url, or a URL itself.

environment:
  {URL_VARIABLE}    the server, such as http://127.0.0.1:4437
  {TOKEN_VARIABLE}  sent as a bearer token
  {CDN_VARIABLE}    a CDN before the server, to catch up through

exit status:
  0 done   1 failed   2 wrong usage   3 no such stream, or gone   4 conflict   5 the stream is closed
  6 not authorised   7 try again later (no connection, 429, 5xx, time up)   8 it is not known whether it was written
  9 fenced by another producer   130 interrupted

examples:
  durable-streams create /logs --type text/plain
  tail -f app.log | durable-streams append /logs
  durable-streams create /events --json && cat events.ndjson | durable-streams append /events --state .events
  durable-streams read /events | jq .
  durable-streams tail /events --state .position
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of everything."""
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("connection")
    group.add_argument("--url", default=os.environ.get(URL_VARIABLE, ""), help=f"base URL [${URL_VARIABLE}]")
    group.add_argument("--token", default=os.environ.get(TOKEN_VARIABLE), help=f"bearer token [${TOKEN_VARIABLE}]")
    group.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="sent with every request")
    group.add_argument("--cdn", default=os.environ.get(CDN_VARIABLE), metavar="URL", help=f"CDN [${CDN_VARIABLE}]")
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after so long, retries included")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar")

    parser = argparse.ArgumentParser(
        prog="durable-streams",
        description="Append-only streams over HTTP: write them, read them from any offset, follow them live.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Client, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[common], help=text, description=text)
        command.set_defaults(run=run)
        return command

    command = add("create", create, "Create a stream, or make sure that it is there.")
    command.add_argument("path", metavar="PATH")
    command.add_argument("-t", "--type", default="application/octet-stream", help="content type [%(default)s]")
    command.add_argument("--json", dest="type", action="store_const", const="application/json", help="a JSON stream")
    _add_expiry(command)
    command.add_argument("--data", help="first content; with --closed, all of it")
    command.add_argument("--closed", action="store_true", help="created closed")

    command = add("append", append, "Append messages: the arguments, or standard input.")
    command.add_argument("path", metavar="PATH")
    command.add_argument("messages", nargs="*", metavar="MESSAGE", help="none: read standard input")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--lines", action="store_true", help="a message per line of input (the default for JSON streams)")
    how.add_argument(
        "--whole", action="store_true", help="the input as it is (the default for others; JSON: one message)"
    )
    command.add_argument("--state", metavar="FILE", help="remember what is written: run again, it goes on from there")
    command.add_argument("--producer-id", metavar="ID", help="this writer's name across restarts [random]")
    command.add_argument("--epoch", type=int, default=0, help="of the producer: higher than the last time [0]")
    command.add_argument(
        "--claim", action="store_true", help="take the next epoch from the server if it knows a newer one"
    )

    for name, text in (
        ("read", "Print a stream from a position on, up to its tail."),
        ("tail", "Print what is appended from now on (or from a position), until interrupted."),
    ):
        command = add(name, read if name == "read" else tail, text)
        command.add_argument("path", metavar="PATH")
        command.add_argument(
            "--from", dest="start", metavar="POSITION", help="an offset, -1 (beginning), now, or a position"
        )
        if name == "read":
            command.add_argument("-f", "--follow", action="store_true", help="go on with what is appended")
        command.add_argument(
            "--live", choices=("auto", "sse", "long-poll"), default="auto", help="how to follow [auto]"
        )
        command.add_argument("--state", metavar="FILE", help="remember the position: run again, it goes on from there")
        command.add_argument(
            "-n", "--limit", type=int, metavar="N", help="stop after N messages (deliveries, if not JSON)"
        )
        command.add_argument(
            "--format",
            choices=FORMATS,
            help="pretty: indented JSON, control characters shown; lines: a JSON message per line; raw: as it came"
            " [pretty on a terminal, else lines for JSON and raw for others]",
        )

    command = add("head", head, "Print what is known of a stream, without its data.")
    command.add_argument("path", metavar="PATH")
    command = add("close", close, "Close a stream for good, with a last message if there is one.")
    command.add_argument("path", metavar="PATH")
    command.add_argument("message", nargs="?", metavar="MESSAGE")
    command = add("delete", delete, "Delete a stream.")
    command.add_argument("path", metavar="PATH")
    command = add("fork", fork, "Create a stream that begins with another one's data.")
    command.add_argument("path", metavar="SOURCE")
    command.add_argument("target", metavar="TARGET")
    command.add_argument("--offset", help="where they part [the source's tail]")
    command.add_argument("--sub-offset", type=int, default=0, metavar="N", help="messages or bytes past the offset")
    _add_expiry(command)
    command = add("ls", ls, "List streams (an extension of the project's own server).")
    command.add_argument("prefix", nargs="?", default="", metavar="PREFIX")

    command = commands.add_parser(
        "bench", parents=[common], help="Measure writing and reading small JSON messages.",
        description="Measure writing and reading small JSON messages, through a stream that is deleted afterwards.",
    )  # fmt: skip
    command.set_defaults(run=bench)
    command.add_argument("server", nargs="?", metavar="URL", help="the server [--url]")
    command.add_argument("--messages", type=int, default=100_000, metavar="N", help="[%(default)s]")
    command.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="of each; the best one counts [%(default)s]"
    )
    command.add_argument(
        "--compare", action="store_true", help="measure the official client, too: pip install durable-streams"
    )
    command.add_argument("--json", action="store_true", help="print figures as JSON")
    return parser


def _add_expiry(command: argparse.ArgumentParser) -> None:
    expiry = command.add_mutually_exclusive_group()
    expiry.add_argument("--ttl", type=int, metavar="SECONDS", help="expires when neither read nor written for so long")
    expiry.add_argument("--expires-at", metavar="TIME", help="expires then (RFC 3339)")


def create(client: Client, arguments: argparse.Namespace) -> int:
    """Create a stream and print its URL."""
    created = client.stream(arguments.path).create(
        arguments.type,
        data=arguments.data,
        ttl_seconds=arguments.ttl,
        expires_at=arguments.expires_at,
        closed=arguments.closed,
        total_seconds=arguments.timeout,
    )
    print(created.url)
    return 0


def read(client: Client, arguments: argparse.Namespace) -> int:
    """Print a stream up to its tail, or beyond."""
    return print_stream(client.stream(arguments.path), arguments, default_start="-1", follow=arguments.follow)


def tail(client: Client, arguments: argparse.Namespace) -> int:
    """Print what comes."""
    return print_stream(client.stream(arguments.path), arguments, default_start="now", follow=True)


def head(client: Client, arguments: argparse.Namespace) -> int:
    """Print a line per thing that is known."""
    known = client.stream(arguments.path).head(total_seconds=arguments.timeout)
    fields = {
        "offset": known.offset,
        "content-type": known.content_type,
        "closed": str(known.closed).lower(),
        "ttl-seconds": known.ttl_seconds,
        "expires-at": known.expires_at,
        "etag": known.etag,
    }
    for name, value in fields.items():
        if value is not None:
            print(f"{name}: {value}")
    return 0


def close(client: Client, arguments: argparse.Namespace) -> int:
    """Close a stream and print where it ends."""
    messages = [] if arguments.message is None else [arguments.message]
    closed = client.stream(arguments.path).close(*messages, total_seconds=arguments.timeout)
    if closed.offset is not None:
        print(closed.offset)
    return 0


def delete(client: Client, arguments: argparse.Namespace) -> int:
    """Delete a stream."""
    client.stream(arguments.path).delete(total_seconds=arguments.timeout)
    return 0


def fork(client: Client, arguments: argparse.Namespace) -> int:
    """Fork a stream and print the fork's URL."""
    created = client.stream(arguments.path).fork(
        arguments.target,
        offset=arguments.offset,
        sub_offset=arguments.sub_offset,
        ttl_seconds=arguments.ttl,
        expires_at=arguments.expires_at,
        total_seconds=arguments.timeout,
    )
    print(created.url)
    return 0


def ls(client: Client, arguments: argparse.Namespace) -> int:
    """Print paths, one a line."""
    for path in client.list_streams(arguments.prefix, total_seconds=arguments.timeout):
        print(path)
    return 0


def make_client(arguments: argparse.Namespace) -> Client:
    """Return the client that the arguments ask for. Raise ValueError for a header that is none."""
    headers = {}
    if arguments.token:
        headers["Authorization"] = f"Bearer {arguments.token}"
    for line in arguments.header:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"not a header: {line!r}")
        headers[name.strip()] = value.strip()
    # Who follows from a shell wants to go on following, however long the server is away.
    follow_retry = Retry(max_retries=None) if arguments.command == "tail" else FOLLOW_RETRY
    return Client(arguments.url, headers=headers, cdn=arguments.cdn, follow_retry=follow_retry)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        with make_client(arguments) as client:
            status: int = arguments.run(client, arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Keep the interpreter from flushing into the pipe once more.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (ValueError, TypeError) as error:
        print(f"durable-streams: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (errors.DurableStreamError, OSError, ExceptionGroup) as error:
        print(f"durable-streams: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"  {note}", file=sys.stderr)
        return judge_exit(error)


def judge_exit(error: Exception) -> int:
    """Return the exit status that says best what a script can do about an error; of a group, about its first one."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return next((status for kind, status in EXIT_CODES if isinstance(error, kind)), EXIT_FAILED)


if __name__ == "__main__":
    sys.exit(main())
