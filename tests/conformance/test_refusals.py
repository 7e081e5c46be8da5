"""Guards that every client understands a no, and that nobody pays for one."""

from __future__ import annotations

import pytest

from tests.conformance.callers import Caller
from tests.conformance.clients import MESSAGES, Client, that, that_talk
from tests.conformance.driving import Refused

#: The classes that the SDKs' own errors have for a status; LangChain's are named after OpenAI's.
KINDS = {
    401: {"AuthenticationError"},
    404: {"NotFoundError", "ModelNotFoundError"},
    402: {"PaymentRequiredError"},
    429: {"RateLimitError"},
    502: {"InternalServerError", "BadGatewayError", "APIError"},
    503: {"InternalServerError", "ServiceUnavailableError", "APIError"},
    529: {"OverloadedError", "InternalServerError"},
}
#: What says nothing of the kind: a replay, a command line, and the AI SDK's one class for all.
PLAIN_KINDS = {"Answered", "Failed", "APICallError"}


def _check(refused: Refused | None, client: Client, status: int, code: str) -> None:
    assert refused is not None, "the client took it for an answer"
    assert refused.status == status, refused
    assert refused.kind.removeprefix("OpenAI") in KINDS[status] | PLAIN_KINDS, refused
    if client.shows_code and refused.code is not None:
        assert refused.code in {code, str(status)}, refused
    assert "secret cause" not in refused.message


def _no_money(client: Client) -> int:
    """The status of a refusal for money; Anthropic's clients know one of their own."""
    return 402 if client.endpoint == MESSAGES else 429


@pytest.mark.column("wrong key")
@that_talk()
def test_a_wrong_key_is_refused_once(caller: Caller, client: Client, word: str) -> None:
    before = caller.house.outside.requests
    secret = caller.customer.secret
    key = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    result = caller.ask(word, "player", key=key)
    _check(result.refused, client, 401, "invalid_api_key")
    assert caller.house.outside.requests - before == 1, "no client tries a wrong key again"


@pytest.mark.column("no credit")
@that_talk()
def test_without_credit_it_is_refused_once(caller: Caller, client: Client, word: str) -> None:
    poor = caller.house.customer("poor", credit="0.00")
    before = caller.house.outside.requests
    result = caller.ask(word, "player", key=poor.secret)
    _check(result.refused, client, _no_money(client), "credit_balance_exhausted")
    assert result.refused is not None
    assert "credit" in result.refused.message.lower()
    assert caller.house.outside.requests - before == client.tries_of_a_hopeless_call
    assert not caller.house.calls(poor)


@pytest.mark.column("limit")
@that_talk()
def test_beyond_a_limit_it_is_refused_once(caller: Caller, client: Client, word: str) -> None:
    house = caller.house
    thrifty = house.customer("thrifty")
    house.server.cli("limit", "set", thrifty.email, "account", "day", "0.000000001")
    before = house.outside.requests
    result = caller.ask(word, "player", key=thrifty.secret)
    _check(result.refused, client, _no_money(client), "organization_spend_limit_exceeded")
    assert result.refused is not None
    assert "limit" in result.refused.message
    assert house.outside.requests - before == client.tries_of_a_hopeless_call
    assert not house.calls(thrifty)


@pytest.mark.column("rate limit")
@that_talk()
def test_too_fast_it_is_told_how_long_to_wait(caller: Caller, client: Client, word: str) -> None:
    house = caller.house
    hasty = house.customer(f"hasty-{client.id}")
    house.server.cli("limit", "rate", hasty.email, "--requests-per-minute", "1")
    first = caller.ask(word, "player", key=hasty.secret, retries=0)
    assert first.refused is None, first.refused
    before = house.outside.requests
    second = caller.ask(word, "player", key=hasty.secret, retries=0)
    if client.always_waits:
        assert second.refused is None, second.refused
        assert house.outside.requests - before > 1, "it was refused, and tried again in time"
        return
    _check(second.refused, client, 429, "rate_limit_exceeded")
    assert second.refused is not None
    assert second.refused.retry_after is not None
    assert 0 < int(second.refused.retry_after) <= 60
    assert "Try again in" in second.refused.message


@pytest.mark.column("unknown model")
@that_talk()
def test_an_unknown_model_is_said_to_be_one(caller: Caller, client: Client, word: str) -> None:
    result = caller.ask(word, "no-such-model")
    _check(result.refused, client, 404, "model_not_found")


def _soothe(caller: Caller, word: str) -> None:
    """An upstream that fails five times in a row is left alone for a while: here, never that."""
    assert caller.ask(word, "player").refused is None


@pytest.mark.column("upstream's errors")
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("breaks", 502, "upstream_error"),
        ("locks-us-out", 502, "upstream_auth_failed"),
        ("is-full", 503, "server_is_overloaded"),
    ],
)
@that_talk()
def test_an_upstreams_failure_is_an_error_and_free(
    caller: Caller, client: Client, word: str, model: str, status: int, code: str
) -> None:
    _soothe(caller, word)
    known = caller.calls_known()
    result = caller.ask(word, model, retries=0)
    if status == 503 and client.endpoint == MESSAGES:
        status = 529
    _check(result.refused, client, status, code)
    calls = caller.house.calls(caller.customer)
    assert not any(call["charge_nanos"] for call in calls[: len(calls) - known])


@pytest.mark.column("upstream's errors")
@that("stream")
def test_a_stream_that_breaks_off_is_an_error(caller: Caller, client: Client, word: str) -> None:
    _soothe(caller, word)
    known = caller.calls_known()
    result = caller.ask(word, "breaks-off", retries=0)
    assert result.refused is not None, "the client took half an answer for a whole one"
    assert "secret cause" not in result.refused.message
    [call] = caller.house.calls_after(caller.customer, known)
    assert call["outcome"] == "failed"
