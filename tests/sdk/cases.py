"""Run the public client cases through an adapter. Sections 10 to 14 of the README beside them.

Stricter than the suite's own runner, which lets a failure pass where the case expects no value: here an operation
must succeed unless its expectation says otherwise, in `setup` too.
"""

import copy
import json
import queue
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

Values = dict[str, Any]

COMMAND_SECONDS = 30.0

FLAGS = {
    "long-poll": "longPoll",
    "dynamic-headers": "dynamicHeaders",
    "retry-options": "retryOptions",
    "batch-items": "batchItems",
    "strict-zero-validation": "strictZeroValidation",
}

# Where the cases lean on the leniency of the suite's runner, according to the README: an error passes, the store keys
# do nothing.
MAY_FAIL = frozenset({"offset-zero-start", "read-future-offset"})
SETUP_MAY_FAIL = frozenset({"sse-base64-empty-payload"})

COPIED_FIELDS = {
    "create": ("contentType", "ttlSeconds", "expiresAt", "closed", "data", "headers"),
    "connect": ("headers",),
    "head": ("headers",),
    "delete": ("headers",),
    "close": ("data", "contentType"),
    "read": ("live", "timeoutMs", "maxChunks", "waitForUpToDate", "headers"),
    "idempotent-append": ("producerId", "headers"),
    "idempotent-append-batch": ("producerId", "maxInFlight", "headers"),
    "idempotent-close": ("producerId", "headers"),
    "idempotent-detach": ("producerId", "headers"),
    "set-dynamic-header": ("name", "valueType", "initialValue"),
    "set-dynamic-param": ("name", "valueType", "initialValue"),
    "clear-dynamic": (),
    "validate": ("target",),
}


@dataclass(frozen=True)
class Case:
    """One case of one suite, with what it requires of the client."""

    suite: str
    name: str
    requires: tuple[str, ...]
    test: Values

    @property
    def id(self) -> str:
        return f"{self.suite}/{self.name}"


def load_cases(folder: Path) -> Iterator[Case]:
    """Read every case under a folder."""
    for path in sorted(folder.rglob("*.yaml")):
        suite = yaml.safe_load(path.read_text())
        for test in suite["tests"]:
            requires = (*suite.get("requires", ()), *test.get("requires", ()))
            yield Case(suite["id"], test["id"], requires, test)


class CaseFailure(AssertionError):
    """What a case expects did not happen."""


class AdapterProcess:
    """An adapter as a program of its own: one line out, one line back."""

    def __init__(self, server_url: str, *, asynchronous: bool) -> None:
        arguments = [sys.executable, "-m", "tests.sdk.adapter", *(["--async"] if asynchronous else [])]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._pump, daemon=True).start()
        self.features: Values = self.call({"type": "init", "serverUrl": server_url})["features"]

    def _pump(self) -> None:
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, b""):
            self._lines.put(line)

    def send(self, command: Values) -> None:
        """Send a command, escaped as the suite does it."""
        assert self._process.stdin is not None
        text = json.dumps(command, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> Values:
        """Wait for the answer to the command sent before."""
        result = json.loads(self._lines.get(timeout=COMMAND_SECONDS))
        assert isinstance(result, dict)
        return result

    def call(self, command: Values) -> Values:
        """Send a command and wait for its answer."""
        self.send(command)
        return self.receive()

    def shut_down(self) -> int:
        """End it the orderly way; return its exit status."""
        self.call({"type": "shutdown"})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        status = self._process.wait(timeout=5)
        self._process.stdin.close()
        self._process.stdout.close()
        return status


class CaseRunner:
    """Carry out one case: its variables, and the read that is pending in the background if there is one."""

    def __init__(self, case: Case, adapter: AdapterProcess, server_url: str, http: httpx.Client) -> None:
        self._case = case
        self._adapter = adapter
        self._server_url = server_url
        self._http = http
        self._variables: Values = {}
        self._pending: str | None = None

    def run(self) -> None:
        """Run setup, operations and cleanup. Raise CaseFailure at the first thing that is not as expected."""
        try:
            for operation in self._case.test.get("setup", ()):
                result = self._perform(operation)
                if self._case.name not in SETUP_MAY_FAIL:
                    self._require_success(operation, result)
                self._store(operation.get("expect", {}), result)
            for operation in self._case.test["operations"]:
                self._step(operation)
        finally:
            if self._pending is not None:
                self._adapter.receive()
            for operation in self._case.test.get("cleanup", ()):
                self._perform(operation)

    def _step(self, operation: Values) -> None:
        result = self._perform(operation)
        expect = operation.get("expect", {})
        if result is None or operation.get("background"):
            return
        self._store(expect, result)
        if not result["success"] and self._case.name in MAY_FAIL:
            return
        if expects_failure(expect) and not result.get("raw"):
            if result["success"]:
                raise CaseFailure(f"{operation} should have failed: {result}")
        else:
            self._require_success(operation, result)
        for failure in compare(expect, result):
            raise CaseFailure(f"{operation}: {failure}: {result}")

    def _require_success(self, operation: Values, result: Values | None) -> None:
        partial = "failIndices" in operation.get("expect", {})
        if result is not None and not result.get("success") and not partial:
            raise CaseFailure(f"{operation} failed: {result}")

    def _store(self, expect: Values, result: Values | None) -> None:
        if result is None or not result.get("success"):
            return
        if "storeOffsetAs" in expect and "offset" in result:
            self._variables[expect["storeOffsetAs"]] = result["offset"]
        if "storeDataAs" in expect:
            self._variables[expect["storeDataAs"]] = joined_data(result)
        if "storeAs" in expect:
            self._variables[expect["storeAs"]] = result

    def _fill(self, text: str) -> str:
        """Put variables in. Section 11."""

        def look_up(match: re.Match[str]) -> str:
            name = match.group(1)
            if name == "randomUUID":
                return str(uuid.uuid4())
            value: Any = self._variables
            for part in name.split("."):
                value = value[part]
            return str(value)

        return re.sub(r"\$\{([^}]+)\}", look_up, text)

    def _perform(self, operation: Values) -> Values | None:
        action = operation["action"]
        match action:
            case "wait":
                time.sleep(operation["ms"] / 1000)
            case "set":
                self._variables[operation["name"]] = self._fill(operation["value"])
            case "assert":
                self._check(operation)
            case "await":
                result, self._pending = self._adapter.receive(), None
                return result
            case "inject-error":
                fields = {name: value for name, value in operation.items() if name not in ("action", "expect")}
                body = {"count": 1, **fields, "path": self._fill(fields["path"])}
                self._http.post(f"{self._server_url}/_test/inject-error", json=body).raise_for_status()
            case "clear-errors":
                self._http.delete(f"{self._server_url}/_test/inject-error")
            case "server-append" | "server-close":
                return self._request(operation)
            case "append":
                return self._adapter.call(self._append_command(operation, operation))
            case "append-batch":
                results = [self._adapter.call(self._append_command(operation, item)) for item in operation["items"]]
                succeeded = [result["success"] for result in results]
                return {"type": "append", "success": all(succeeded), "status": 200 if all(succeeded) else 207,
                        "succeeded": succeeded}  # fmt: skip
            case _:
                return self._command(operation)
        return None

    def _command(self, operation: Values) -> Values | None:
        action = operation["action"]
        command: Values = {"type": action}
        if action == "create":
            path = self._fill(operation["path"]) if "path" in operation else f"/test-stream-{uuid.uuid4()}"
            if "as" in operation:
                self._variables[operation["as"]] = path
            command["path"] = path
        elif "path" in operation:
            command["path"] = self._fill(operation["path"])
        for name in COPIED_FIELDS[action]:
            if name in operation:
                command[name] = copy.deepcopy(operation[name])
        if "offset" in operation:
            command["offset"] = self._fill(operation["offset"])
        if action.startswith("idempotent"):
            command["epoch"] = operation.get("epoch", 0)
            command["autoClaim"] = operation.get("autoClaim", False)
            if "data" in operation:
                command["data"] = self._fill(operation["data"])
            if "items" in operation:
                command["items"] = [self._fill(item["data"]) for item in operation["items"]]
        if operation.get("background") and "as" in operation:
            self._adapter.send(command)
            self._pending = operation["as"]
            return None
        return self._adapter.call(command)

    def _append_command(self, operation: Values, item: Values) -> Values:
        command: Values = {"type": "append", "path": self._fill(operation["path"])}
        if item.get("binaryData"):
            command |= {"data": item["binaryData"], "binary": True}
        elif "json" in item:
            command["data"] = json.dumps(item["json"], separators=(",", ":"), ensure_ascii=False)
        else:
            command |= {"data": self._fill(item.get("data", "")), "binary": False}
        if "seq" in item:
            command["seq"] = item["seq"]
        if "headers" in operation:
            command["headers"] = operation["headers"]
        return command

    def _request(self, operation: Values) -> Values:
        """What the runner asks of the server itself. Section 14."""
        url = self._server_url + self._fill(operation["path"])
        headers = {name: str(value) for name, value in operation.get("headers", {}).items()}
        if operation["action"] == "server-close":
            headers["Stream-Closed"] = "true"
            if "data" in operation and "contentType" in operation:
                headers["content-type"] = operation["contentType"]
            response = self._http.post(url, headers=headers, content=operation.get("data", "").encode())
            final_offset = response.headers.get("Stream-Next-Offset", "")
            return {"type": "close", "success": True, "finalOffset": final_offset}
        head = self._http.head(url)
        headers["content-type"] = head.headers.get("content-type", "application/octet-stream")
        for field, name in PRODUCER_HEADERS.items():
            if field in operation:
                headers[name] = str(operation[field])
        response = self._http.post(url, headers=headers, content=self._fill(operation["data"]).encode())
        result: Values = {
            "type": "append",
            "success": True,
            "raw": True,
            "status": response.status_code,
            "duplicate": response.status_code == 204,
        }
        if "Stream-Next-Offset" in response.headers:
            result["offset"] = response.headers["Stream-Next-Offset"]
        for field, name in REPORTED_HEADERS.items():
            if name in response.headers:
                result[field] = int(response.headers[name])
        return result

    def _check(self, operation: Values) -> None:
        def filled(form: str, *names: str) -> list[str]:
            return [self._fill(operation[form][name]) for name in names]

        if "equals" in operation:
            left, right = filled("equals", "left", "right")
            assert left == right, operation
        if "notEquals" in operation:
            left, right = filled("notEquals", "left", "right")
            assert left != right, operation
        if "contains" in operation:
            value, substring = filled("contains", "value", "substring")
            assert substring in value, operation
        if "matches" in operation:
            (value,) = filled("matches", "value")
            assert re.search(operation["matches"]["pattern"], value), operation


PRODUCER_HEADERS = {"producerId": "Producer-Id", "producerEpoch": "Producer-Epoch", "producerSeq": "Producer-Seq"}
REPORTED_HEADERS = {
    "producerEpoch": "Producer-Epoch",
    "producerSeq": "Producer-Seq",
    "producerExpectedSeq": "Producer-Expected-Seq",
    "producerReceivedSeq": "Producer-Received-Seq",
}


def joined_data(result: Values) -> str:
    """Return all data of a read."""
    return "".join(chunk["data"] for chunk in result.get("chunks", ()))


def expects_failure(expect: Values) -> bool:
    """Tell whether an expectation is one of an error. A raw answer (`server-append`) is a success with any status."""
    return (
        expect.get("status", 0) >= 400
        or any(key in expect for key in ("errorCode", "messageContains", "errorContains"))
        or expect.get("error") is True
        or expect.get("valid") is False
    )


def compare(expect: Values, result: Values) -> Iterator[str]:
    """Yield every expectation that a result does not meet. Section 13."""
    data, message = joined_data(result), result.get("message", "")
    for key, wanted in expect.items():
        match key:
            case "errorCode":
                holds = result.get("errorCode") == wanted
            case "messageContains":
                holds = all(part.lower() in message.lower() for part in wanted)
            case "errorContains":
                holds = wanted in message
            case "valid" | "success":
                holds = result["success"] is wanted
            case "error":
                holds = result["success"] is not wanted
            case "allSucceed":
                holds = result["success"] is wanted
            case "succeedIndices":
                holds = all(result["succeeded"][index] for index in wanted)
            case "failIndices":
                holds = not any(result["succeeded"][index] for index in wanted)
            case "data":
                holds = data == wanted
            case "dataContains":
                holds = wanted in data
            case "dataContainsAll":
                holds = all(part in data for part in wanted)
            case "dataExact":
                holds = [chunk["data"] for chunk in result["chunks"]] == wanted
            case "chunkCount":
                holds = len(result["chunks"]) == wanted
            case "minChunks":
                holds = len(result["chunks"]) >= wanted
            case "hasOffset":
                holds = bool(result.get("offset")) is wanted
            case "headersSent" | "paramsSent":
                holds = wanted.items() <= result.get(key, {}).items()
            case "storeOffsetAs" | "storeDataAs" | "storeAs" | "maxChunks":
                holds = True
            case "status":
                holds = result.get("status", wanted) == wanted
            case _:
                holds = type(result.get(key)) is type(wanted) and result.get(key) == wanted
        if not holds:
            yield f"{key} is not {wanted!r}"
