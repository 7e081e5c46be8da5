"""Admin keys by the command line, and a running server that takes them where it should alone."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.cli.test_story import ADA, PASSWORD, Operator

OPS = "ops@example.com"


def test_an_admin_key_is_made_listed_used_and_revoked(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "data")
    operator.asks("account", "create", OPS, "--operator", "--password-stdin", stdin=PASSWORD)
    operator.asks("account", "create", ADA, "--password-stdin", stdin=PASSWORD)
    create = ("admin-key", "create", OPS, "--name", "Desk")
    assert "is no operator" in operator.types("admin-key", "create", ADA, "--scope", "read", code=1)
    assert "read, accounts" in operator.types(*create, "--scope", "write", code=2)
    with operator.serving():
        made = operator.asks(
            *create, "--scope", "read", "--scope", "money", "--expires", "2030-12-31"
        )
        assert (made["scopes"], made["expires_at"]) == (["read", "money"], "2031-01-01T00:00:00Z")
        bearer = {"authorization": f"Bearer {made['secret']}"}
        with httpx.Client(base_url=operator.asks("status")["url"], headers=bearer) as client:
            found = client.get("/api/admin/accounts", params={"q": ADA}).json()["data"]
            assert [row["email"] for row in found] == [ADA]
            health = client.get("/api/admin/health").json()
            assert {"journal", "drain", "database"} <= {one["name"] for one in health["checks"]}
            elsewhere = client.get("/v1/models")
            assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (
                401,
                "invalid_api_key",
            )
            listed = operator.asks("admin-key", "list")["admin_keys"]
            assert [(row["id"], row["last_used_from"]) for row in listed] == [
                (made["id"], "127.0.0.1")
            ]
            assert made["secret"] not in operator.types("admin-key", "list")
            operator.types("admin-key", "revoke", made["id"])
            assert client.get("/api/admin/key").status_code == 401
        log = (operator.data.parent / "serve.log").read_text()
        assert made["secret"][21:53] not in log


def test_a_disabled_upstreams_models_are_not_on_offer_until_it_is_enabled(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "data")
    operator.asks("account", "create", ADA, "--password-stdin", stdin=PASSWORD)
    operator.asks("upstream", "add", "lab", "--base-url", "http://127.0.0.1:9/v1")
    prices = ("--input-price", "1", "--output-price", "1", "--context", "100")
    operator.asks("model", "add", "m", "--upstream", "lab", *prices)
    bearer = {"authorization": f"Bearer {operator.asks('key', 'create', ADA)['secret']}"}
    with (
        operator.serving(),
        httpx.Client(base_url=operator.asks("status")["url"], headers=bearer) as client,
    ):

        def offered() -> list[str]:
            return [model["id"] for model in client.get("/v1/models").json()["data"]]

        assert offered() == ["m"]
        for _ in range(2):
            assert not operator.asks("upstream", "disable", "lab")["is_enabled"]
        assert offered() == []
        asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        called = client.post("/v1/chat/completions", json=asked)
        assert (called.status_code, called.json()["error"]["code"]) == (404, "model_not_found")
        (model,) = operator.asks("model", "list")["models"]
        assert (model["name"], model["is_offered"]) == ("m", False)
        assert "a model m already" in operator.types(
            "model", "add", "m", "--upstream", "lab", *prices, code=1
        )
        operator.types("upstream", "enable", "lab")
        assert offered() == ["m"]
    assert "no such upstream" in operator.types("upstream", "disable", "nobody", code=1)


def test_what_is_done_once_by_its_name_is_done_once(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "data")
    operator.asks("account", "create", ADA, "--password-stdin", "--credit", "0", stdin=PASSWORD)
    add = ("credit", "add", ADA, "1.00", "--once", "march")
    assert operator.asks(*add) == operator.asks(*add)
    assert operator.asks("account", "show", ADA)["credit_usd"] == "1.00"
    assert "Another posting" in operator.types(
        "credit", "add", ADA, "2.00", "--once", "march", code=1
    )
    code = ("code", "create", "1.00", "--once", "march")
    batch = operator.asks(*code)["id"]
    assert batch in operator.types(*code, code=1)


def test_what_operators_look_at_and_change_on_the_pages_can_be_typed(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "data")
    operator.asks("account", "create", ADA, "--password-stdin", "--credit", "3", stdin=PASSWORD)
    found = operator.asks("account", "find", "ADA")
    assert [row["credit_left_usd"] for row in found["accounts"]] == ["3.00"]
    assert "no such account" in operator.types("account", "find", "nobody@")
    events = operator.asks("account", "events", ADA)["events"]
    assert [event["action"] for event in events] == ["account.create"]
    mails = operator.asks("mail", "switch", ADA, "new_app", "off")
    assert [mails[what] for what in ("new_app", "new_address", "limits")] == [False, True, True]
    for _ in range(2):
        mails = operator.asks("mail", "switch", ADA, "limits", "off")
    assert [mails[what] for what in ("new_app", "limits", "credit")] == [False, False, True]
    assert operator.asks("mail", "list", ADA) == mails
    assert operator.asks("mail", "switch", ADA, "new_app", "on")["new_app"]
    operator.types("mail", "switch", ADA, "security", "off", code=2)
    assert operator.asks("books")["outstanding_usd"] == "3.00"
    assert "3.00" in operator.types("books")
    operator.asks("upstream", "add", "lab", "--base-url", "http://127.0.0.1:9/v1")
    assert not operator.asks("upstream", "test", "lab", code=1)["works"]
    assert "can't be reached" in operator.types("upstream", "test", "lab", code=1)
    operator.types("upstream", "key", "lab", stdin=b"another-key-0815\n")
    written = [event["action"] for event in operator.asks("events")["events"]]
    assert written == ["upstream.credential", "upstream.add"]
    assert "upstream.add" in operator.types("events")
    (lab,) = operator.asks("upstream", "list")["upstreams"]
    assert lab["has_credential"]
