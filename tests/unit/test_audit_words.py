"""What the security page says of the audit log: each event in people's words."""

from __future__ import annotations

import pytest

from latchgate.console.activity import ACTIONS, what_was_done
from latchgate.services.audit_log import AuditEventView


def _event(action: str, target: str = "", **details: object) -> AuditEventView:
    return AuditEventView("", 0, "usr_x", action, target, "", "", details)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (
            _event("limit.set", "account_limit/day", amount_nanos=2_000_000_000),
            "Account’s limit for each day set to $2.00",
        ),
        (
            _event("limit.set", "key_limit/none", amount_nanos=0),
            "Key’s limit in all set to $0.00",
        ),
        (
            _event("limit.set", "key_limit/month", amount_nanos=None),
            "Key’s limit for each month taken away",
        ),
        (_event("credit.add", "pst_1", amount_nanos=5), "Credit added: $0.000000005"),
        (_event("key.create", "key_1", name="Desk", replaces=None), "Key created: Desk"),
        (_event("account.time_zone", "Asia/Tokyo"), "Time zone changed: Asia/Tokyo"),
        (_event("session.open", "ses_1"), "Logged in"),
        (_event("something.new", "x"), "something.new"),
    ],
    ids=lambda value: value.action if isinstance(value, AuditEventView) else "",
)
def test_an_event_says_what_was_done_and_to_what(event: AuditEventView, says: str) -> None:
    assert what_was_done(event) == says


def test_no_event_is_without_words() -> None:
    assert all(words and words[0].isupper() for words in ACTIONS.values())
