"""What an alert says, in a mail and on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latchgate.domain.alerts import ALL, OWN_AMOUNT
from latchgate.domain.money import format_usd
from latchgate.services.mail import Letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latchgate.storage.statements import AnyRow

_NAMES = {"credit": "credit", "account_limit": "account’s limit", "key_limit": "key’s limit"}
_PERIODS = {"none": "", "day": " for the day", "week": " for the week", "month": " for the month"}


def name_of(kind: str, period: str) -> str:
    """What an alert is about: ``account’s limit for the day``."""
    return f"{_NAMES[kind]}{_PERIODS[period]}"


def sentence(kind: str, period: str, threshold: int, limit_nanos: int, left_nanos: int) -> str:
    """What has happened, with the figures of that moment."""
    left = f"${format_usd(max(0, left_nanos))}"
    if kind == "credit":
        if threshold == ALL:
            return f"Your credit is used up, or as good as: {left} is left."
        if threshold == OWN_AMOUNT:
            return f"Your credit is below the amount that you chose: {left} is left."
        return f"{threshold} % of what was last added to your credit is spent: {left} is left."
    name, limit = name_of(kind, period), f"${format_usd(limit_nanos)}"
    if threshold == ALL:
        return f"Your {name}, {limit}, is used up, or as good as: {left} is left."
    return f"{threshold} % of your {name}, {limit}, is spent: {left} is left."


def letter(to: str, mail_id: str, alerts: Sequence[AnyRow], base_url: str) -> Letter:
    """The mail about what was passed together."""
    said = [
        sentence(row.kind, row.period, row.threshold, row.limit_nanos, row.left_nanos)
        for row in alerts
    ]
    is_end = any(row.threshold == ALL for row in alerts)
    about = sorted({_NAMES[row.kind] for row in alerts})
    subject = f"Your {' and '.join(about)} {'is used up' if is_end else 'runs low'}"
    if len(about) > 1:
        subject = "Your limits are used up" if is_end else "Your limits run low"
    what_then = (
        "Calls that no longer fit run smaller, or are refused."
        if is_end
        else "Your apps go on as before until it is used up."
    )
    lines = "\n".join(said)
    return Letter(
        to,
        subject.replace("’", "'"),
        f"""{lines.replace("’", "'")}

{what_then}

See and change your limits: {base_url}/limits
Add credit: {base_url}/billing

You can choose when you get this mail, and whether, under Limits.
""",
        id=mail_id,
    )
