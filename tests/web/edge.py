"""CloudFront's functions as the template has them, run in node; a CDN in front of a bucket that runs them."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.web.processes import REPOSITORY

SCRIPT = REPOSITORY / "tests" / "node" / "edge.mjs"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags, each as a mapping of its name to what it is put before."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return {suffix: loader.construct_scalar(node)}
        case yaml.SequenceNode():
            return {suffix: loader.construct_sequence(node, deep=True)}
        case _:
            assert isinstance(node, yaml.MappingNode)
            return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


def template() -> dict[str, Any]:
    """Return the deployment's template."""
    found = yaml.load((REPOSITORY / "template.yaml").read_text(), Loader=_Loader)
    assert isinstance(found, dict)
    return found


def functions(*, streaming: bool = False) -> dict[str, str]:
    """Return the code of each edge function by its name in the template."""
    codes = {}
    for name, resource in template()["Resources"].items():
        if resource["Type"] == "AWS::CloudFront::Function":
            code = resource["Properties"]["FunctionCode"]
            if isinstance(code, dict):
                code = code["Sub"][0].replace("${HasStreaming}", "true" if streaming else "false")
            codes[name] = code
    return codes


class Edge:
    """A node process that runs edge functions."""

    def __init__(self, *, streaming: bool = False) -> None:
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        self._process = subprocess.Popen([node, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tell({"functions": functions(streaming=streaming)})

    def run(self, function: str, event: Any) -> Any:
        """Return what a function returns for an event."""
        self._tell({"function": function, "event": event})
        return self._hear()

    def serve(self, origin: str) -> str:
        """Serve chunks from an origin as CloudFront would; return the URL of the CDN."""
        self._tell({"serve": {"origin": origin, "request": "ChunkRequest", "response": "ChunkResponse"}})
        url = self._hear()["url"]
        assert isinstance(url, str)
        return url

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _tell(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def edge(*, streaming: bool = False) -> Iterator[Edge]:
    """Run an edge for a test."""
    process = Edge(streaming=streaming)
    try:
        yield process
    finally:
        process.close()
