"""Settings by one rule: a flag, a variable of the same name, and one sentence where a value cannot be used."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.__main__ import main
from handler.settings import (
    OPTIONS,
    BadSetting,
    ServerSettings,
    parse_bool,
    parse_duration,
    parse_size,
    read_settings,
)


def test_every_setting_is_an_option_and_every_option_a_setting() -> None:
    fields = {field.name for field in msgspec.structs.fields(ServerSettings)}
    assert {option.name for option in OPTIONS} == fields


def test_nothing_said_is_the_defaults() -> None:
    assert read_settings({}, {}) == ServerSettings()
    assert read_settings({"port": None}, {"PORT": "1", "DURABLE_STREAMS_PORT": ""}) == ServerSettings()


def test_a_flag_and_a_variable_have_one_name() -> None:
    (option,) = [option for option in OPTIONS if option.name == "long_poll_timeout"]
    assert option.flag == "--long-poll-timeout"
    assert option.variable == "DURABLE_STREAMS_LONG_POLL_TIMEOUT"
    assert read_settings({}, {option.variable: "500ms"}).long_poll_timeout == 0.5


def test_the_command_line_wins() -> None:
    assert read_settings({"port": "1"}, {"DURABLE_STREAMS_PORT": "2"}).port == 1
    assert read_settings({"access_log": False}, {"DURABLE_STREAMS_ACCESS_LOG": "true"}).access_log is False


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("500ms", 0.5), ("2m", 120.0), ("1.5h", 5400.0), ("365d", 31_536_000.0)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 year", "1e3s", "1.2.3s", "٣s", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("512KiB", 524_288), ("16MiB", 16_777_216), ("1GB", 10**9), ("1.5 KB", 1500)]
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "0", "-1", "1PB", "1kib"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as 16MiB"):
        parse_size(text)


@given(st.text(max_size=12))
def test_no_text_is_anything_but_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_bool):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0


def test_a_switch_in_the_environment_is_true_or_false() -> None:
    assert [parse_bool(text) for text in ("true", "1", "Yes", "on")] == [True] * 4
    assert [parse_bool(text) for text in ("false", "0", "No", "off")] == [False] * 4
    with pytest.raises(ValueError, match="true or false"):
        parse_bool("perhaps")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("port", "70000", "a whole number from 0 to 65535"),
        ("port", "x", "a whole number from 0 to 65535"),
        ("workers", "0", "a whole number from 1 to 256"),
        ("addressing", "both", "auto or path or virtual"),
        ("endpoint_url", "localhost:9000", "a URL that begins with http:// or https://"),
        ("max_body", "lots", "a size such as 16MiB"),
        ("sse_timeout", "1", "a duration such as 30s"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_option_and_what_is_accepted(
    name: str, value: str, accepted: str
) -> None:
    (option,) = [option for option in OPTIONS if option.name == name]
    with pytest.raises(BadSetting) as by_flag:
        read_settings({name: value}, {})
    with pytest.raises(BadSetting) as by_variable:
        read_settings({}, {option.variable: value})
    assert option.flag in str(by_flag.value)
    assert option.variable in str(by_variable.value)
    for error in (by_flag.value, by_variable.value):
        assert repr(value) in str(error)
        assert accepted in str(error)


def test_several_processes_do_not_share_a_store_in_memory() -> None:
    with pytest.raises(BadSetting, match="--workers must be 1"):
        read_settings({"workers": "2", "store": "memory:"}, {})


def test_a_url_is_taken_without_the_slash_at_its_end() -> None:
    assert read_settings({"public_url": "https://a.example/b/"}, {}).public_url == "https://a.example/b"


# -- the command


def test_the_command_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("durable-streams-server ")


def test_the_help_names_every_option_and_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for option in OPTIONS:
        assert option.flag in text
    assert "DURABLE_STREAMS_LONG_POLL_TIMEOUT" in text
    assert "(default: 4437)" in text
    assert "(default: 16MiB)" in text
    assert "(default: 30s)" in text


def test_a_wrong_value_ends_the_command_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "x"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "durable-streams-server: --port 'x' cannot be used; accepted is a whole number from 0 to 65535"
    ]
