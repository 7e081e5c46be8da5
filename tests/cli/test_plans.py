"""Guards `latchgate plan`: what is named changes, what is empty is as configured."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_story import ADA, PASSWORD, Operator


def test_a_plan_is_made_changed_given_and_shown(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "data")
    operator.asks("account", "create", "first@example.com", "--password-stdin", stdin=PASSWORD)
    made = operator.asks(
        *("plan", "create", "team", "--gift", "7.50", "--no-premium"),
        *("--requests-per-minute", "90", "--credit-line", "2"),
    )
    assert (made["gift_usd"], made["has_premium"], made["requests_per_minute"]) == (
        *("7.50", False),
        90,
    )
    new = ("account", "create", ADA, "--password-stdin")
    operator.types(*new, "--plan", "no-such", stdin=PASSWORD, code=1)
    account = operator.asks(*new, "--plan", "team", stdin=PASSWORD)
    assert (account["credit_usd"], account["credit_line_usd"]) == ("7.50", "2.00")
    assert operator.asks("account", "show", ADA)["plan"] == "team"
    changed = operator.asks("plan", "set", "team", "--requests-per-minute", "", "--premium")
    assert (changed["requests_per_minute"], changed["has_premium"]) == (None, True)
    assert (changed["gift_usd"], changed["credit_line_usd"]) == ("7.50", "2.00")
    assert "default" in operator.types("plan", "assign", ADA, "default")
    assert operator.asks("account", "show", ADA)["credit_line_usd"] == "0.00"
    assert [plan["accounts"] for plan in operator.asks("plan", "list")["plans"]] == [2, 0]
    assert "team" in operator.types("plan", "show", "team")
    operator.types("plan", "create", "team", code=1)
    operator.types("plan", "show", "no-such", code=1)
    operator.types("plan", "set", "team", "--tokens-per-minute", "x", code=2)
    operator.types("plan", "set", "default", "--gift", "1", code=2)
    assert operator.asks("audit")["agrees"]
