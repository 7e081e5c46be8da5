"""Guards `latchgate key terms`: what is named changes, what is empty goes, and the rest stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_story import ADA, PASSWORD, Operator


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator with one account."""
    found = Operator(tmp_path / "data")
    found.asks("account", "create", ADA, "--password-stdin", stdin=PASSWORD)
    return found


def test_terms_are_set_shown_and_inherited(operator: Operator) -> None:
    key_id = operator.asks("key", "create", ADA)["id"]
    terms = ("key", "terms", key_id)
    facts = ("expires_at", "scope", "models", "addresses")
    bound = operator.asks(
        *terms,
        *("--expires", "2030-01-31"),
        *("--scope", "inference"),
        *("--address", "192.0.2.0/24", "--address", "2001:db8::1"),
    )
    expected = ["2030-02-01T00:00:00Z", "inference", [], ["192.0.2.0/24", "2001:db8::1"]]
    assert [bound[name] for name in facts] == expected
    assert "192.0.2.0/24" in operator.types(*terms)
    assert "192.0.2.0/24" in operator.types("key", "list", ADA, "--json")
    assert "10.0.0.0/8" in operator.types(*terms, "--address", "10.0.0.1/8", code=2)
    assert "no-such" in operator.types(*terms, "--model", "no-such", code=2)
    operator.types(*terms, "--expires", "yesterday", code=2)
    operator.types(*terms, "--scope", "admin", code=2)
    kept = operator.asks("key", "create", ADA, "--replace", "--name", "heir")
    assert [kept[name] for name in facts] == [None, *expected[1:]], "but for its date of expiry"
    other = operator.asks("key", "create", ADA, "--replace", "--scope", "read_only")
    assert [other[name] for name in facts] == [None, "read_only", [], []]
    assert operator.asks(*terms, "--expires", "", "--address", "")["expires_at"] is None
    assert operator.asks(*terms)["addresses"] == []
