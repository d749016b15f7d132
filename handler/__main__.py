"""The command `durable-streams-server`. Knows arguments, exit codes and what people are told."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from handler.maintenance import add_commands
from handler.maintenance import run as run_maintenance
from handler.settings import OPTIONS, PREFIX, BadSetting, ServerSettings, read_settings

NAME = "durable-streams-server"

_EPILOGUE = f"""\
Every option is also an environment variable: --long-poll-timeout is {PREFIX}LONG_POLL_TIMEOUT. The command line wins.
Durations are written 500ms, 30s, 2m; sizes 512KiB, 16MiB.

examples:
  {NAME} serve
  {NAME} serve --store s3://my-bucket/streams --region eu-central-1
  {NAME} serve --store s3://my-bucket --endpoint-url http://localhost:9000 --workers 2
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Durable Streams: append-only streams over HTTP, kept in an object store."
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve streams",
        description="Serve streams over HTTP until it is told to stop.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in OPTIONS:
        default = getattr(ServerSettings(), option.name)
        if isinstance(default, bool):
            serve.add_argument(
                option.flag, dest=option.name, action=argparse.BooleanOptionalAction, default=None, help=option.help
            )
        else:
            note = f" (default: {_shown(option.name, default)})" if default not in ("", 0.0) else ""
            serve.add_argument(option.flag, dest=option.name, metavar=option.metavar, help=option.help + note)
    add_commands(commands)
    return parser


def _shown(name: str, default: object) -> str:
    if isinstance(default, float):
        return f"{default / 86_400:g}d" if default >= 86_400 else f"{default:g}s"
    if isinstance(default, int) and default >= 1024 * 1024:
        return f"{default // (1024 * 1024)}MiB"
    return str(default)


def _version() -> str:
    try:
        return version("durable-streams-s3")
    except PackageNotFoundError:
        return "(not installed)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 stopped, 1 could not run, 2 wrong arguments."""
    given = _parser().parse_args(arguments)
    try:
        settings = read_settings(vars(given), os.environ)
    except BadSetting as error:
        sys.stderr.write(f"{NAME}: {error}\n")
        return 2
    if given.command != "serve":
        return run_maintenance(given, settings)
    from handler.local import serve  # loads the server, which --help and --version can do without

    try:
        return serve(settings)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
