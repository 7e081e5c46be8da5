"""Guards that who asks cannot be changed underway, and that the command line is its own actor."""

from __future__ import annotations

import dataclasses

import pytest

from latchgate.domain.people import CLI, Caller, Identity

ADA = Identity(
    user_id="usr_1",
    email="ada@example.com",
    is_operator=False,
    account_id="acct_1",
    account_state="active",
    session_id="ses_1",
)


def test_the_command_line_asks_from_no_place() -> None:
    assert Caller(actor="cli", ip="", user_agent="") == CLI


@pytest.mark.parametrize("field", ["user_id", "is_operator", "account_id", "account_state"])
def test_an_identity_cannot_be_raised_after_it_was_found(field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(ADA, field, "other")
    assert ADA.account_id == "acct_1"


def test_a_caller_cannot_become_another_or_carry_more() -> None:
    caller = Caller("anonymous", "192.0.2.1", "curl")
    with pytest.raises(dataclasses.FrozenInstanceError):
        caller.actor = "cli"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        caller.is_operator = True  # type: ignore[attr-defined]
    assert caller.actor == "anonymous"


def test_a_caller_who_showed_a_password_keeps_his_place() -> None:
    before = Caller("anonymous", "192.0.2.1", "curl")
    after = before.as_user("usr_1")
    assert after == Caller("usr_1", "192.0.2.1", "curl")
    assert before.actor == "anonymous"
