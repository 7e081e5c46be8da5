"""Guards what a key's terms permit, what is looser than what, and what may be typed for them."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latchgate.clock import DAY_US
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.key_terms import (
    ADDRESSES_MAX,
    MODELS_MAX,
    OPEN,
    SCOPES,
    KeyTerms,
    parse_addresses,
    parse_expiry,
    parse_models,
    parse_scope,
)
from latchgate.services.key_terms import TermsAsked, written_expiry

NOW_US = int(datetime(2026, 11, 26, tzinfo=UTC).timestamp()) * 1_000_000

networks = st.one_of(
    st.ip_addresses(v=4).flatmap(
        lambda ip: st.integers(0, 32).map(lambda bits: ip_network(f"{ip}/{bits}", strict=False))
    ),
    st.ip_addresses(v=6).flatmap(
        lambda ip: st.integers(0, 128).map(lambda bits: ip_network(f"{ip}/{bits}", strict=False))
    ),
)
terms = st.builds(
    KeyTerms,
    expires_us=st.none() | st.integers(1, 40),
    models=st.frozensets(st.sampled_from("abc")),
    scope=st.sampled_from(SCOPES),
    addresses=st.lists(
        st.sampled_from(
            [ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32")]
        ),
        unique=True,
        max_size=3,
    ).map(tuple),
)
ADDRESSES = ("10.1.2.3", "10.2.0.1", "192.0.2.1", "2001:db8::1", "2001:db9::1")


@given(before=terms, after=terms)
def test_terms_are_looser_exactly_if_they_permit_something_that_was_not(
    before: KeyTerms, after: KeyTerms
) -> None:
    moments = [0, 20, 40, 10**18]
    moments += [at + more for t in (before, after) if (at := t.expires_us) for more in (-1, 0)]
    is_more = (
        any(before.has_expired(at) and not after.has_expired(at) for at in moments)
        or any(after.permits_model(m) and not before.permits_model(m) for m in "abcd")
        or any(after.permits_act(a) and not before.permits_act(a) for a in ("call", "report"))
        or any(after.permits_address(a) and not before.permits_address(a) for a in ADDRESSES)
    )
    if is_more:
        assert after.is_looser_than(before)
    assert not before.is_looser_than(before)
    assert not after.is_looser_than(OPEN)


@given(before=terms, after=terms)
def test_each_way_to_loosen_is_seen_alone(before: KeyTerms, after: KeyTerms) -> None:
    if after.is_looser_than(before):
        assert not before.is_looser_than(after) or after != before


@given(st.lists(networks, min_size=1, max_size=6, unique=True), st.ip_addresses())
@example([IPv4Network("0.0.0.0/0")], IPv6Address("::ffff:0:0"))
def test_an_address_is_permitted_exactly_if_a_network_of_the_list_has_it(
    listed: list[IPv4Network], address: object
) -> None:
    bound = KeyTerms(addresses=tuple(listed))
    # An IPv4 caller on a socket for both families is the IPv4 caller that he is.
    meant = getattr(address, "ipv4_mapped", None) or address
    assert bound.permits_address(str(address)) == any(meant in network for network in listed)


def test_an_ipv4_caller_is_known_on_a_socket_for_both_families() -> None:
    bound = KeyTerms(addresses=parse_addresses(["192.0.2.0/24", "::ffff:198.51.100.7"]))
    assert bound.permits_address("::ffff:192.0.2.9")
    assert bound.permits_address("198.51.100.7")
    assert not bound.permits_address("::ffff:203.0.113.9")


@pytest.mark.parametrize("text", ["", "unknown", "192.0.2.1, 10.0.0.1", "fe80::1%eth0x", "1"])
def test_what_is_no_address_is_refused_by_any_list_and_taken_without_one(text: str) -> None:
    assert not KeyTerms(addresses=parse_addresses(["192.0.2.0/24"])).permits_address(text)
    assert OPEN.permits_address(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.0.0.1/8", "Write 10.0.0.0/8"),
        ("2001:db8::1/32", "Write 2001:db8::/32"),
        ("fe80::1%eth0", "no address"),
        ("010.1.1.1", "no address"),
        ("example.com", "no address"),
        ("10.0.0.0/33", "no address"),
        ("10.0.0.0/-1", "no address"),
        ("' OR 1=1--", "no address"),
        ("1\x00", "no address"),
        ("1" * 10_000, "no address"),
    ],
)
def test_a_mistyped_address_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        parse_addresses([text])
    assert refused.value.param == "addresses"
    assert len(refused.value.public) < 300


def test_lists_are_bounded_and_written_once() -> None:
    found = parse_addresses([" 192.0.2.7 ", "192.0.2.7/32", "", "192.0.2.0/24"])
    assert KeyTerms(addresses=found).address_texts == ["192.0.2.7", "192.0.2.0/24"]
    assert parse_models([" m ", "m", ""]) == {"m"}
    with pytest.raises(InvalidRequest, match=f"at most {ADDRESSES_MAX}"):
        parse_addresses(str(ip_address(number)) for number in range(ADDRESSES_MAX + 1))
    with pytest.raises(InvalidRequest, match=f"at most {MODELS_MAX}"):
        parse_models(str(number) for number in range(MODELS_MAX + 1))
    for name in ("x" * 129, "a\x00b"):
        with pytest.raises(InvalidRequest):
            parse_models([name])
    with pytest.raises(InvalidRequest, match="inference"):
        parse_scope("admin")


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31T18:00:00+02:00", datetime(2027, 1, 31, 16, tzinfo=UTC)),
        (" 2026-11-26 ", datetime(2026, 11, 27, tzinfo=UTC)),
    ],
)
def test_a_day_is_good_until_its_end_and_a_moment_until_it_comes(
    text: str, expires: datetime
) -> None:
    expires_us = parse_expiry(text, NOW_US)
    assert expires_us == int(expires.timestamp()) * 1_000_000
    bound = KeyTerms(expires_us=expires_us)
    assert bound.has_expired(expires_us)
    assert not bound.has_expired(expires_us - 1)
    assert parse_expiry(written_expiry(bound), NOW_US) == expires_us


@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "2026-11-25",
        "2026-11-26T00:00:00Z",
        "2099-01-01",
        "2027-01-31T18:00:00",
        "9999-12-31",
        "2027-02-30",
        "2027-1-1",
        "1e99",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_an_expiry_that_is_past_too_far_or_no_date_is_refused(text: str) -> None:
    """Row 105."""
    with pytest.raises(InvalidRequest) as refused:
        parse_expiry(text, NOW_US)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "expires_at")


def test_what_is_not_asked_for_stays_and_what_is_empty_goes() -> None:
    before = KeyTerms(NOW_US + DAY_US, frozenset("m"), "inference", parse_addresses(["10.0.0.1"]))
    assert TermsAsked().over(before, NOW_US) == before
    assert TermsAsked("", (), "all", ()).over(before, NOW_US) == OPEN
    late_us = NOW_US + 5 * DAY_US
    again = TermsAsked(expires_at=written_expiry(before))
    assert again.over(before, late_us) == before, "an old date that is left as it is is no mistake"
