"""Guards which addresses may be a model server: no form of a link-local one, and no secrets."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.upstream_urls import URL_CHARS_MAX, checked_base_url
from latchgate.upstream.target import Target

HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
    st.text("abc019-.", min_size=1, max_size=80),
)
URLS = st.one_of(
    st.text(),
    st.text(max_size=80).map("http://{}".format),
    st.builds("{}://{}{}".format, st.sampled_from(["http", "https", "HTTP"]), HOSTS, st.text()),
    st.builds("http://{}:{}/v1".format, HOSTS, st.integers(-1, 70_000)),
)


def _refusal(url: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        checked_base_url(url)
    assert caught.value.code == "upstream_url_not_allowed"
    assert caught.value.param == "base_url"
    return caught.value.public


def _kept(url: str) -> str | None:
    try:
        return checked_base_url(url)
    except InvalidRequest as refusal:
        assert refusal.param == "base_url"  # noqa: PT017 (a refusal may be the right answer)
        return None


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://localhost:8080///", "http://localhost:8080"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://[::ffff:127.0.0.1]:8080", "http://[::ffff:127.0.0.1]:8080"),
        ("http://10.1.2.3/v1", "http://10.1.2.3/v1"),
        ("http://192.168.1.2:1234/v1", "http://192.168.1.2:1234/v1"),
        ("https://api.example.com/openai/v1", "https://api.example.com/openai/v1"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://xn--bcher-kva.example/v1", "https://xn--bcher-kva.example/v1"),
        ("http://model_server:8000", "http://model_server:8000"),
        ("http://169.253.255.255", "http://169.253.255.255"),
        ("http://169.255.0.0", "http://169.255.0.0"),
    ],
)
def test_a_model_server_is_kept_as_it_was_given(typed: str, kept: str) -> None:
    assert checked_base_url(typed) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://169.254.169.254:80/latest/meta-data",
        "https://169.254.169.254/v1",
        "http://169.254.170.2/v2/credentials",
        "http://169.254.0.0",
        "http://169.254.255.255",
        "http://[fe80::1]",
        "http://[FE80::1]:8080/v1",
        "http://[fe80::a9fe:a9fe%eth0]",
        "http://[fe80::a9fe:a9fe%25eth0]",
        "http://[febf:ffff::1]",
    ],
)
def test_a_link_local_address_is_never_a_model_server(url: str) -> None:
    assert "Link-local" in _refusal(url)


@given(st.one_of(st.ip_addresses(network="169.254.0.0/16"), st.ip_addresses(network="fe80::/10")))
def test_no_link_local_address_is_a_model_server(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    host = str(address) if address.version == 4 else f"[{address}]"
    assert "Link-local" in _refusal(f"http://{host}:8000/v1")


@pytest.mark.parametrize(
    "host",
    [
        "2852039166",
        "0xa9fea9fe",
        "0XA9FEA9FE",
        "025177524776",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "169.254.0xa9.254",
        "169.254.43518",
        "169.16689662",
    ],
)
def test_a_link_local_address_is_seen_in_every_spelling_that_look_ups_read(host: str) -> None:
    assert _refusal(f"http://{host}/v1")


@pytest.mark.parametrize(
    "host", ["[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[0:0:0:0:0:FFFF:A9FE:A9FE]"]
)
def test_a_link_local_address_is_seen_inside_an_ipv6_one(host: str) -> None:
    assert _refusal(f"http://{host}/v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://ada@example.com/v1",
        "http://ada:hunter2@example.com/v1",
        "http://:hunter2@example.com/v1",
        "http://@example.com/v1",
        "http://:@example.com/v1",
        "http://127.0.0.1@169.254.169.254/",
        "http://example.com\\@example.org/",
        "http://example.com/v1?key=hunter2",
        "http://example.com?key=hunter2",
        "http://example.com/v1#hunter2",
        "http://example.com#@example.org",
    ],
)
def test_a_base_url_carries_no_user_query_or_fragment_and_no_secret_is_repeated(url: str) -> None:
    public = _refusal(url)
    assert "no user, password, query or fragment" in public
    assert "hunter2" not in public


@pytest.mark.parametrize("url", ["http://example.com/v1?", "http://example.com#", "http://a/?#"])
def test_an_empty_query_or_fragment_is_not_kept_either(url: str) -> None:
    assert not set(_kept(url) or "") & {"?", "#"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/v1",
        "/v1",
        "http:",
        "http:/",
        "http://",
        "http:///v1",
        "http:example.com",
        "http://:8080",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com:70",
        "unix:///run/model.sock",
        "ws://example.com",
        "javascript:alert(1)",
        "http://example.com:0",
        "http://example.com:65536",
        "http://example.com:-1",
        "http://example.com:80:81",
        "http://example.com:http",
        "http://example.com:8_0",
        "http://[::1",
        "http://::1]",
        "http://[not-an-address]",
        "http://example.com/ v1",
        " http://example.com",
        "http://example.com\n",
        "http://exa\tmple.com",
        "http://example.com/\r\nX-Other:1",
        "http://example.com/\x00",
        "http://１69.254.169.254",
        "http://bücher.example",
        "http://exam\u3002ple",
        "http://example.com/\ud800",
    ],
)
def test_what_is_no_plain_http_url_is_refused(url: str) -> None:
    assert "base URL" in _refusal(url)


def test_the_longest_url_is_taken_and_one_more_character_is_not() -> None:
    longest = "http://example.com/".ljust(URL_CHARS_MAX, "v")
    assert checked_base_url(longest) == longest
    assert "at most 500" in _refusal(longest + "v")


@pytest.mark.parametrize("port", [21, 22, 23, 25, 53, 465, 587, 3306, 5432, 6379, 11211, 27017])
def test_a_port_of_another_kind_of_service_is_refused(port: int) -> None:
    assert str(port) in _refusal(f"http://127.0.0.1:{port}/v1")
    assert str(port) in _refusal(f"http://127.0.0.1:0{port}/v1")


@pytest.mark.parametrize(
    "host", ["a..b", ".example.com", "b" * 64, "b" * 64 + ".example.com", "x[::1]", "[::1]x"]
)
def test_a_host_that_cannot_be_looked_up_is_refused(host: str) -> None:
    assert _refusal(f"http://{host}/v1")


@given(URLS)
def test_any_text_is_a_target_or_refused_without_another_exception(text: str) -> None:
    kept = _kept(text)
    if kept is not None:
        target = Target.parse("x", kept, None)
        assert target.host
        assert 0 < target.port < 65536
        assert target.head.count(b"\r\n") == 1
        assert checked_base_url(kept) == kept


def test_a_server_that_speaks_messages_alone_finds_its_credential_where_it_looks() -> None:
    url = "https://claude.example.com/v1"
    target = Target.parse("x", url, "sk-up", speaks=["messages"])
    assert target.head.decode().splitlines() == [
        "host: claude.example.com",
        "authorization: Bearer sk-up",
        "x-api-key: sk-up",
    ]
    assert target.speaks == {"messages"}
    assert b"x-api-key" not in Target.parse("x", url, None, speaks=["messages"]).head
    assert b"x-api-key" not in Target.parse("x", url, "sk-up", speaks=["chat", "messages"]).head
