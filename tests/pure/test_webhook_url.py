"""Where webhooks may go: section 12.8."""

import pytest

from handler.core.webhook_url import Reach, UrlRejected, judge_url, may_connect

REFUSED = [
    "",
    "nonsense",
    "ftp://x.example/",
    "https://",
    "https:///path",
    "https://x.example:0/",
    "https://x.example:port/",
    "https://user:secret@x.example/",
    "https://user@x.example/",
    "http://x.example/",
    "http://10.0.0.1/hook",
    "https://10.0.0.1/",
    "https://172.16.3.4/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[::]/",
    "https://[ff02::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[2002:a00:1::]/",
    "https://[64:ff9b::a00:1]/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://127.1/",
    "https://x.example/ y",
    "https://x.example\\@10.0.0.1/",
    "https://bücher.example/",
    "https://x.example/" + "a" * 2048,
]
LOOPBACK = [
    "http://localhost:9000/hook",
    "http://LOCALHOST/",
    "http://127.0.0.1:1/",
    "http://127.8.9.10/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://a.localhost/",
]


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize("allow_loopback", [True, False])
def test_no_webhook_goes_to(url: str, allow_loopback: bool) -> None:
    with pytest.raises(UrlRejected):
        judge_url(url, allow_loopback=allow_loopback)


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback_is_for_servers_in_development_only(url: str) -> None:
    assert judge_url(url, allow_loopback=True) is Reach.LOOPBACK
    with pytest.raises(UrlRejected):
        judge_url(url, allow_loopback=False)


@pytest.mark.parametrize(
    "url", ["https://x.example/hook?a=b", "https://93.184.215.14:8443/", "https://[2606:4700::1]/"]
)
def test_a_public_https_url_is_accepted(url: str) -> None:
    assert judge_url(url, allow_loopback=False) is Reach.PUBLIC


@pytest.mark.parametrize(
    ("reach", "host", "expected"),
    [
        (Reach.PUBLIC, "93.184.215.14", True),
        (Reach.PUBLIC, "127.0.0.1", False),
        (Reach.PUBLIC, "10.1.2.3", False),
        (Reach.PUBLIC, "169.254.169.254", False),
        (Reach.PUBLIC, "::ffff:192.168.0.1", False),
        (Reach.PUBLIC, "fe80::1%eth0", False),
        (Reach.PUBLIC, "a name", False),
        (Reach.LOOPBACK, "127.0.0.1", True),
        (Reach.LOOPBACK, "::1", True),
        (Reach.LOOPBACK, "93.184.215.14", False),
        (Reach.LOOPBACK, "10.0.0.1", False),
    ],
)
def test_the_address_that_is_connected_to_is_the_one_that_counts(reach: Reach, host: str, expected: bool) -> None:
    assert may_connect(reach, host) is expected
