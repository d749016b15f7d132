"""The template: clean to both linters, built by SAM for the processor that it names, and true to what it promises."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handler.settings import OPTIONS, PREFIX
from tests.install_sam import find_sam
from tests.install_web_adapter import LAYER
from tests.web.edge import template
from tests.web.processes import REPOSITORY

TEMPLATE = REPOSITORY / "template.yaml"
FUNCTIONS = ("Streams", "Streaming", "Sweeper")
OF_THE_FUNCTION_ONLY = {f"{PREFIX}SWEEPER"}


@pytest.fixture
def resources() -> dict[str, Any]:
    found = template()["Resources"]
    assert isinstance(found, dict)
    return found


def run_sam(*arguments: str) -> str:
    sam = find_sam()
    if sam is None:
        pytest.skip("the SAM CLI is not to be had: run `python tests/install_sam.py`")
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}
    ran = subprocess.run(
        [str(sam), *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_cfn_lint_finds_nothing() -> None:
    lint = str(Path(sys.executable).with_name("cfn-lint"))
    ran = subprocess.run([lint, str(TEMPLATE)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_sam_finds_the_template_valid() -> None:
    assert "is a valid SAM Template" in run_sam("validate", "--lint")


def test_sam_builds_functions_for_the_processor_that_the_template_names(tmp_path: Path) -> None:
    run_sam("build", "--build-dir", str(tmp_path))
    for name in FUNCTIONS:
        folder = tmp_path / name
        assert (folder / "handler" / "aws.py").exists()
        machines = {file.read_bytes()[18] for file in folder.rglob("*.so")}
        assert machines == {0xB7}, "a library is for another processor than arm64"
        assert any("cpython-313" in file.name for file in folder.rglob("*.so"))
    assert (tmp_path / "Streaming" / "run.sh").stat().st_mode & 0o111
    assert (tmp_path / "Streaming" / "uvicorn").is_dir()


def test_every_variable_is_one_that_the_server_reads(resources: dict[str, Any]) -> None:
    known = {option.variable for option in OPTIONS} | OF_THE_FUNCTION_ONLY
    given = set(template()["Globals"]["Function"]["Environment"]["Variables"])
    for name in FUNCTIONS:
        given |= set(resources[name]["Properties"].get("Environment", {}).get("Variables", {}))
    assert {name for name in given if name.startswith(PREFIX)} <= known


def test_every_parameter_is_described() -> None:
    for name, parameter in template()["Parameters"].items():
        assert parameter["Description"], name
        assert "Default" in parameter, f"{name} would be asked for"


def test_a_chunk_or_a_root_written_without_a_condition_is_refused_by_the_bucket(resources: dict[str, Any]) -> None:
    statements = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    enforced = next(each for each in statements if each.get("Sid") == "NoWriteWithoutACondition")
    assert (enforced["Effect"], enforced["Principal"], enforced["Action"]) == ("Deny", "*", "s3:PutObject")
    assert enforced["Resource"] == [{"Sub": "${Bucket.Arn}/chunk/*"}, {"Sub": "${Bucket.Arn}/root/*"}]
    # Both absent at once: a compaction's If-Match is a condition too.
    assert enforced["Condition"] == {"Null": {"s3:if-none-match": "true", "s3:if-match": "true"}}


def test_only_chunks_can_be_read_through_the_cdn(resources: dict[str, Any]) -> None:
    statements = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed = [each["If"][1] for each in statements if "If" in each] + [
        each for each in statements if each.get("Effect") == "Allow"
    ]
    assert [each["Resource"] for each in allowed] == [{"Sub": "${Bucket.Arn}/chunk/*"}]
    assert allowed[0]["Action"] == "s3:GetObject"
    assert all(resources["Bucket"]["Properties"]["PublicAccessBlockConfiguration"].values())


def test_the_function_that_answers_requests_cannot_delete_what_the_log_stands_on(resources: dict[str, Any]) -> None:
    for name in ("Streams", "Streaming"):
        for statement in resources[name]["Properties"]["Policies"][0]["Statement"]:
            actions = statement["Action"]
            assert not any("*" in action for action in ([actions] if isinstance(actions, str) else actions))
            if "s3:DeleteObject" in actions:
                places = [place["Sub"].partition("/")[2] for place in statement["Resource"]]
                assert not {"root/*", "chunk/*", "key/*", "*"} & set(places)


def test_the_function_that_streams_leaves_the_house_to_the_sweeper_and_has_the_adapter_that_is_tested(
    resources: dict[str, Any],
) -> None:
    streaming = resources["Streaming"]["Properties"]
    assert streaming["Environment"]["Variables"]["DURABLE_STREAMS_HOUSEKEEPING"] == "no"
    (layer,) = streaming["Layers"]
    assert layer["Sub"].endswith(f":layer:LambdaAdapterLayerArm64:{LAYER}")


def test_errors_are_not_kept_so_that_a_new_stream_is_seen(resources: dict[str, Any]) -> None:
    errors = resources["Cdn"]["Properties"]["DistributionConfig"]["CustomErrorResponses"]
    kept = {each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in errors}
    assert kept[404] == kept[403] == kept[400] == kept[503] == 0
    policy = resources["StreamCache"]["Properties"]["CachePolicyConfig"]
    asked = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert asked["QueryStringsConfig"]["QueryStrings"] == ["offset", "live", "cursor"]
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)


def test_no_wait_is_cut_off_by_what_is_in_front(resources: dict[str, Any]) -> None:
    longest = template()["Parameters"]["MaxWaitSeconds"]["MaxValue"]
    origins = resources["Cdn"]["Properties"]["DistributionConfig"]["Origins"]
    assert longest < origins[0]["CustomOriginConfig"]["OriginReadTimeout"]
    assert longest < template()["Globals"]["Function"]["Timeout"]
