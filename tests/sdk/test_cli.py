"""The command line, run as a program: pipes, files, terminals and exit codes."""

import http.server
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from durable_streams_client import Client
from durable_streams_client.cli import main
from durable_streams_client.cli_state import State

from tests.sdk.servers import ServerProcess, wait_until

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
PROGRAM = [sys.executable, "-m", "durable_streams_client.cli"]


def environment(server: ServerProcess) -> dict[str, str]:
    return {**os.environ, "DURABLE_STREAMS_URL": server.url, "PYTHONWARNINGS": "error"}


@pytest.fixture
def run(own_server: ServerProcess) -> Run:
    """Run a command against our server; its output is a pipe."""

    def run(*arguments: str, stdin: bytes = b"", status: int = 0, **variables: str) -> Any:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            timeout=60,
            env={**environment(own_server), **variables},
            check=False,
        )
        assert done.returncode == status, (done.returncode, done.stderr.decode())
        return done

    return run


def test_a_file_of_json_lines_comes_back_as_it_was(run: Run, path: str) -> None:
    lines = b"".join(json.dumps({"n": number, "text": "ü\u2028"}).encode() + b"\n" for number in range(3000))
    run("create", path, "--json")
    run("append", path, stdin=b"\n" + lines)
    assert run("read", path).stdout == lines
    assert run("read", path, "-n", "2").stdout == b"".join(lines.splitlines(keepends=True)[:2])
    assert json.loads(run("read", path, "--format", "raw").stdout) == [json.loads(line) for line in lines.splitlines()]


def test_bytes_come_back_as_they_were_whole_or_line_by_line(run: Run, path: str) -> None:
    data = bytes(range(256)) * 1000
    for number, how in enumerate(("--whole", "--lines")):
        run("create", f"{path}-{number}")
        run("append", f"{path}-{number}", how, stdin=data)
        assert run("read", f"{path}-{number}").stdout == data


def test_what_is_not_json_is_refused_before_it_is_sent(run: Run, path: str) -> None:
    run("create", path, "--json")
    failed = run("append", path, stdin=b'{"a":1}\n{"a":\n', status=2)
    assert b"one JSON value" in failed.stderr
    run("append", path, "--whole", stdin=b'{\n"a": [1]}')
    assert run("read", path, "-n", "9").stdout.splitlines()[-1] == b'{ "a": [1]}'


def test_an_append_with_a_state_file_goes_on_where_it_was_and_doubles_nothing(
    run: Run, path: str, tmp_path: Path, own_server: ServerProcess
) -> None:
    state_file = str(tmp_path / "state")
    lines = [b"%d\n" % number for number in range(12_000)]
    run("create", path, "--json")
    run("append", path, "--state", state_file, stdin=b"".join(lines[:7000]))
    run("append", path, "--state", state_file, stdin=b"".join(lines[:7000]))
    # A run that died after the server had its batch and before it could write that down.
    state = State(state_file, own_server.url + path)
    fields = state.load()
    fields.pop("url")
    assert (fields["done"], fields["sending"]) == (7000, 0)
    state.store(**{**fields, "seq": fields["seq"] - 1, "done": 5000, "sending": 2000})
    run("append", path, "--state", state_file, stdin=b"".join(lines))
    assert run("read", path).stdout == b"".join(lines)
    run("append", path, "--state", state_file, stdin=b"".join(lines[:10]), status=0)
    assert run("read", path).stdout == b"".join(lines)


def test_a_state_file_of_another_stream_is_refused(run: Run, path: str, tmp_path: Path) -> None:
    state_file = str(tmp_path / "state")
    run("create", path, "--json")
    run("append", path, "--state", state_file, stdin=b"1\n")
    run("create", f"{path}-other", "--json")
    assert b"belongs to" in run("append", f"{path}-other", "--state", state_file, stdin=b"1\n", status=2).stderr
    Path(state_file).write_text("[]")
    assert b"no state" in run("append", path, "--state", state_file, stdin=b"1\n", status=2).stderr


def test_a_read_with_a_state_file_goes_on_in_the_middle_of_a_batch(run: Run, path: str, tmp_path: Path) -> None:
    state_file = str(tmp_path / "position")
    run("create", path, "--json")
    run("append", path, *map(str, range(10)))
    assert run("read", path, "--state", state_file, "-n", "4").stdout.split() == [b"0", b"1", b"2", b"3"]
    assert run("read", path, "--state", state_file, "-n", "2").stdout.split() == [b"4", b"5"]
    run("append", path, "10")
    assert run("read", path, "--state", state_file).stdout.split() == [b"6", b"7", b"8", b"9", b"10"]
    assert run("read", path, "--state", state_file).stdout == b""
    assert run("read", path, "--from", "now").stdout == b""


def test_tail_prints_what_comes_until_it_is_interrupted(run: Run, path: str, own_server: ServerProcess) -> None:
    run("create", path, "--json")
    run("append", path, "0")
    command = [*PROGRAM, "tail", path]
    with (
        Client(own_server.url) as client,
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(own_server)) as tail,
    ):
        stream = client.stream(path)
        assert tail.stdout is not None
        lines: list[bytes] = []
        number = 0
        os.set_blocking(tail.stdout.fileno(), False)

        def arrived() -> bool:
            # It says nothing when it has begun to wait, so messages are sent until one arrives.
            nonlocal number
            number += 1
            stream.append(str(number))
            lines.append((tail.stdout and tail.stdout.read()) or b"")
            return bool(b"".join(lines))

        try:
            wait_until(arrived)
            tail.send_signal(signal.SIGINT)
            assert tail.wait(timeout=20) == 0
        finally:
            tail.kill()
        rest = tail.stdout.read() or b""
    received = [int(line) for line in (b"".join(lines) + rest).split()]
    assert received == list(range(received[0], received[0] + len(received)))
    assert received[0] > 0


def test_following_ends_with_the_stream(run: Run, path: str) -> None:
    run("create", path, "--type", "text/plain", "--data", "all", "--closed")
    assert run("read", path, "--follow").stdout == b"all"


def test_head_close_fork_and_delete_print_what_scripts_need(run: Run, path: str, own_server: ServerProcess) -> None:
    assert run("create", path, "--json", "--ttl", "60").stdout.decode().strip() == own_server.url + path
    offset = run("append", path, "1").stdout.decode().strip()
    run("append", path, "2")
    assert f"offset: {offset}" not in run("head", path).stdout.decode()
    assert run("fork", path, f"{path}-f", "--offset", offset).stdout.decode().strip() == f"{own_server.url}{path}-f"
    assert run("read", f"{path}-f").stdout == b"1\n"
    final = run("close", f"{path}-f", '{"end":true}').stdout.decode().strip()
    fields = dict(line.split(": ", 1) for line in run("head", f"{path}-f").stdout.decode().splitlines())
    assert fields["offset"] == final
    assert fields["closed"] == "true"
    assert fields["content-type"] == "application/json"
    assert fields["ttl-seconds"] == "60"
    run("delete", f"{path}-f")
    run("read", f"{path}-f", status=3)


def test_exit_codes_tell_scripts_what_to_do(run: Run, path: str) -> None:
    run("read", path, status=3)
    run("create", path, "--json")
    run("create", path, status=4)
    run("close", path)
    run("append", path, "1", status=5)
    run("head", path, "--url", "http://127.0.0.1:9", "--timeout", "0.5", status=7)
    run("head", path, "--header", "nonsense", status=2)
    run("head", path, DURABLE_STREAMS_URL="", status=2)
    run("nonsense", status=2)
    run("create", path, "--ttl", "1", "--expires-at", "2030-01-01T00:00:00Z", status=2)


def test_a_reader_of_the_output_may_leave_early(run: Run, path: str, own_server: ServerProcess) -> None:
    run("create", path)
    run("append", path, stdin=b"x" * 5_000_000)  # more than a pipe holds
    command = " ".join([*PROGRAM, "read", path, "; echo status $? >&2"])
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -c 10"],
        capture_output=True,
        timeout=60,
        env=environment(own_server),
        check=True,
    )
    assert done.stdout == b"x" * 10
    assert done.stderr == b"status 141\n"


def test_a_terminal_gets_indented_json_and_no_control_characters(
    run: Run, path: str, own_server: ServerProcess
) -> None:
    run("create", path, "--json")
    run("append", path, '{"a":["\\u001b[31m","\x9b31m","ü"]}')
    shown = run_on_terminal(own_server, "read", path)
    assert json.loads(shown) == {"a": ["\x1b[31m", "\x9b31m", "ü"]}
    assert "\n" in shown.strip()
    assert not {"\x1b", "\x9b"} & set(shown)
    run("create", f"{path}-t", "--type", "text/plain", "--data", "red \x1b[31m \xff\ttab\nline")
    assert run_on_terminal(own_server, "read", f"{path}-t") == "red \\x1b[31m ÿ\ttab\nline"


def run_on_terminal(server: ServerProcess, *arguments: str) -> str:
    """Run a command whose output is a terminal, and return what that is sent."""
    controller, terminal = pty.openpty()
    try:
        with subprocess.Popen([*PROGRAM, *arguments], stdout=terminal, env=environment(server)) as program:
            assert program.wait(timeout=30) == 0
        os.close(terminal)
        output = b""
        while True:
            try:
                piece = os.read(controller, 65536)
            except OSError:  # Linux's way to say that nobody is left at the other end
                break
            output += piece
    finally:
        os.close(controller)
    return output.decode().replace("\r\n", "\n")


def test_the_token_is_sent_as_a_bearer_and_never_printed(path: str) -> None:
    seen: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = subprocess.run(
            [*PROGRAM, "head", path],
            capture_output=True,
            timeout=30,
            check=False,
            env={
                **os.environ,
                "DURABLE_STREAMS_URL": f"http://127.0.0.1:{server.server_port}",
                "DURABLE_STREAMS_TOKEN": "secret",
            },
        )
        thread.join()
    assert done.returncode == 6
    assert seen == ["Bearer secret"]
    assert b"secret" not in done.stderr + done.stdout


def test_a_server_that_lists_streams_is_listed_page_by_page(path: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            assert query["prefix"] == ["a"]
            first = "after" not in query
            page = {"streams": [{"path": "/a1" if first else "/a2"}], "next": "/a1" if first else None}
            body = json.dumps(page).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run([*PROGRAM, "ls", "/a", "--url", url], capture_output=True, timeout=30, check=True)
        server.shutdown()
        thread.join()
    assert done.stdout == b"/a1\n/a2\n"


def test_help_names_every_command_variable_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    overview = shown()
    for word in ("create", "append", "read", "tail", "head", "close", "delete", "fork", "ls", "bench"):
        assert f"\n    {word} " in overview
        assert "usage:" in shown(word)
    for word in ("DURABLE_STREAMS_URL", "DURABLE_STREAMS_TOKEN", "exit status"):
        assert word in overview


def test_the_bench_measures_and_cleans_up(run: Run, own_server: ServerProcess) -> None:
    figures = json.loads(run("bench", own_server.url, "--messages", "500", "--rounds", "1", "--json").stdout)
    assert figures["messages"] == 500
    assert all(figure > 0 for figure in figures["per_second"]["this client"].values())


def test_the_example_writes_and_reads(own_server: ServerProcess) -> None:
    example = Path(__file__).parents[2] / "examples" / "client.py"
    with httpx.Client() as http:
        path = f"{own_server.url}/example-{time.time_ns()}"
        arguments = [sys.executable, str(example), path, "--count", "20"]
        done = subprocess.run([*arguments, "--mode", "both"], capture_output=True, timeout=60, check=True)
        assert len(done.stdout.splitlines()) == 20
        assert http.head(path).status_code == 200
        position = json.loads(done.stdout.splitlines()[9])["position"]
        resumed = [*arguments[:3], "--count", "10", "--mode", "consume", "--offset", position]
        again = subprocess.run(resumed, capture_output=True, timeout=60, check=True)
        assert again.stdout.splitlines() == done.stdout.splitlines()[10:]
