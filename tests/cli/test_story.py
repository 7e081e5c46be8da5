"""The operator's story, with a server running on the directory and without: the answers agree."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from latchgate.cli.main import main

SOURCE = str(Path(__file__).parents[2] / "src")
PASSWORD = b"correct horse battery staple 4711\n"
ADA = "ada@example.com"


class Operator:
    """Types commands at one data directory; each runs in this process, as ``main`` would."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def types(self, *args: str, stdin: bytes = b"", code: int = 0) -> str:
        """Run a command, expect an exit code, and return what it printed (errors when refused)."""
        out, err = io.StringIO(), io.StringIO()
        typed = io.TextIOWrapper(io.BytesIO(stdin))
        with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "stdin", typed):
            found = main([*args, "--data", str(self.data)])
        assert found == code, err.getvalue()
        return err.getvalue() if code and err.getvalue() else out.getvalue()

    def asks(self, *args: str, stdin: bytes = b"", code: int = 0) -> Any:
        """The same, as JSON."""
        return json.loads(self.types(*args, "--json", stdin=stdin, code=code))

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """A server on the directory, without a model, on a port of the system's choice."""
        command = [sys.executable, "-m", "latchgate.cli", "serve", "--no-embedded-model"]
        command += ["--port", "0", "--data", str(self.data)]
        environ = {**os.environ, "PYTHONPATH": SOURCE}
        log = self.data.parent / "serve.log"
        with (
            log.open("ab") as written,
            subprocess.Popen(command, env=environ, stdout=written, stderr=written) as server,
        ):
            try:
                deadline_s = time.monotonic() + 30
                while not (self.data / "control.sock").exists():
                    assert server.poll() is None, log.read_text()
                    assert time.monotonic() < deadline_s, log.read_text()
                    time.sleep(0.05)
                yield server
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(30)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "data")


@pytest.mark.parametrize("is_running", [False, True], ids=["directly", "through the server"])
def test_the_whole_story(operator: Operator, *, is_running: bool) -> None:
    if not is_running:
        _accounts_and_credit(operator)
        _keys(operator)
        _models(operator)
        return
    with operator.serving():
        assert stat.S_IMODE((operator.data / "control.sock").stat().st_mode) == 0o600
        assert operator.asks("status")["running"] is True
        _accounts_and_credit(operator)
        _keys(operator)
        _models(operator)
    assert operator.asks("status")["running"] is False
    assert operator.asks("account", "show", ADA)["credit_nanos"] == 7_500_000_000


def _accounts_and_credit(operator: Operator) -> None:
    made = operator.asks(
        "account", "create", ADA, "--password-stdin", "--credit", "5.00", stdin=PASSWORD
    )
    assert (made["email"], made["credit_nanos"]) == (ADA, 5_000_000_000)
    assert operator.asks("credit", "add", ADA, "2.50", "--note", "thanks")["posting"]
    shown = operator.asks("account", "show", ADA)
    figures = {name: shown[f"{name}_nanos"] for name in ("credit", "spent", "held", "available")}
    assert figures == {
        "credit": 7_500_000_000,
        "spent": 0,
        "held": 0,
        "available": 7_500_000_000,
    }
    assert shown["available_usd"] == "7.50"
    history = operator.asks("credit", "history", ADA)["postings"]
    assert [posting["amount_usd"] for posting in history] == ["2.50", "5.00"]
    _refunds_and_codes(operator)
    assert history[0]["note"] == "thanks"
    for verb in ("log-out", "reset-factors"):
        assert operator.asks("account", verb, ADA)["email"] == ADA
        assert ADA in operator.types("account", verb, ADA)
    assert operator.asks("account", "suspend", ADA)["state"] == "suspended"
    assert operator.asks("account", "resume", ADA)["state"] == "active"
    switched = operator.asks("limit", "premium", ADA, "account", "on")
    assert switched["premium"] == {"account": True, "key": True}
    assert operator.asks("account", "show", ADA)["is_premium_on"] is True
    assert "off for the key" in operator.types("limit", "premium", ADA, "key", "off")
    listed = operator.asks("limit", "list", ADA)
    assert listed["premium"] == {"account": True, "key": False}
    assert [row["email"] for row in operator.asks("account", "list")["accounts"]] == [ADA]
    assert ADA in operator.types("account", "list")
    assert operator.asks("audit")["agrees"] is True


def _refunds_and_codes(operator: Operator) -> None:
    """What is given here is taken again, so that the sums of the story stay."""
    refunded = operator.asks("credit", "refund", ADA, "1.00", "--reason", "An hour of silence")
    assert refunded["posting"]["kind"] == "refund"
    taken = operator.asks("credit", "correct", ADA, "--take", "1.50", "--reason", "Too much")
    assert taken["posting"]["amount_usd"] == "-1.50"
    added = operator.asks("credit", "correct", ADA, "--add", "0.50", "--reason", "Too little")
    assert added["available_usd"] == "7.50"
    printed = operator.types(
        *("code", "create", "5.00", "--number", "3", "--expires", "2030-12-31"),
        *("--note", "Fair, spring"),
    ).splitlines()
    assert printed[0] == "code,amount_usd,expires_at,batch,number"
    rows = [line.split(",") for line in printed[1:]]
    assert [(row[1], row[2], row[4]) for row in rows] == [
        ("5.00", "2031-01-01T00:00:00Z", str(number)) for number in (1, 2, 3)
    ]
    assert len({row[0] for row in rows}) == 3
    (batch,) = operator.asks("code", "list")["batches"]
    assert (batch["id"], batch["codes"], batch["redeemed"]) == (rows[0][3], 3, 0)
    assert operator.asks("code", "withdraw", batch["id"])["withdrawn_at"] is not None
    assert operator.asks("statement", "close") == {"closed": 0}
    assert operator.asks("statement", "list", ADA) == {"statements": [], "next": None}
    assert operator.asks("payment", "list", ADA) == {"payments": [], "next": None}
    assert operator.asks("payment", "held") == {"payments": []}
    assert operator.asks("payment", "auto", ADA) == {"email": ADA, "state": "off"}
    assert operator.asks("payment", "auto-off", ADA)["state"] == "off"
    for typed, code in (
        (("statement", "show", ADA, "stm_none"), 1),
        (("code", "create", "5.00", "--expires", "tomorrow"), 2),
        (("code", "create", "5.00", "--expires", "2020-01-01"), 2),
        (("code", "create", "5.00", "--number", "10001"), 2),
        (("code", "create", "-5"), 2),
        (("code", "withdraw", "cbt_none"), 1),
        (("credit", "refund", ADA, "1.00", "--reason", " "), 2),
        (("credit", "correct", ADA, "--reason", "x"), 2),
        (("credit", "correct", ADA, "--add", "1", "--take", "1", "--reason", "x"), 2),
    ):
        operator.types(*typed, code=code)


def _keys(operator: Operator) -> None:
    first = operator.asks("key", "create", ADA, "--name", "laptop")
    assert first["secret"].startswith("sk-lg-")
    assert (first["name"], first["state"]) == ("laptop", "live")
    assert "--replace" in operator.types("key", "create", ADA, code=1)
    second = operator.asks("key", "create", ADA, "--replace")
    assert (second["state"], second["replaces"]) == ("pending", first["id"])
    third = operator.asks("key", "create", ADA, "--replace", "--now")
    assert third["state"] == "live"
    listed = operator.types("key", "list", ADA, "--json")
    states = {row["id"]: row["state"] for row in json.loads(listed)["keys"]}
    assert states[third["id"]] == "live"
    assert states[first["id"]] not in {"live", "pending"}
    for key in (first, second, third):
        assert key["secret"] not in listed
        assert key["secret"] not in operator.types("key", "list", ADA)
    assert operator.asks("key", "revoke", third["id"])["state"] == "revoked"
    operator.types("key", "revoke", third["id"], code=1)
    _secret_is_nowhere(operator.data, third["secret"])


def _upstreams_that_speak_otherwise(operator: Operator) -> None:
    add = ("upstream", "add", "talker", "--base-url", "https://talk.example.com/v1")
    assert "embeddings." in operator.types(*add, "--speaks", "chat,song", code=2)
    spoken = ["--speaks", "messages, chat", "--speaks", "chat"]
    assert operator.asks(*add, *spoken)["speaks"] == ["chat", "messages"]
    assert "messages" in operator.types("upstream", "list")
    model = ("model", "add", "m", "--upstream", "talker", "--context", "9", "--input-price", "1")
    told = operator.types(*model, "--kind", "embeddings", code=2)
    assert "can't answer for a model of kind embeddings" in told
    assert "output_price is missing" in operator.types(*model, code=2)
    seeing = operator.asks(*model, "--output-price", "1", "--images")
    assert seeing["takes_images"] is True
    assert "chat, images" in operator.types("model", "list")
    operator.asks("model", "remove", "m")
    operator.asks("upstream", "remove", "talker")


def _models(operator: Operator) -> None:
    url = "https://models.example.com/v1"
    added = operator.asks("upstream", "add", "far", "--base-url", url, "--api-key-stdin",
                          "--calls-at-once", "8",
                          stdin=b"sk-upstream-credential-000\n")  # fmt: skip
    assert added["calls_at_once"] == 8
    assert added["has_credential"] is True
    assert added["speaks"] == ["chat", "completions", "embeddings"]
    prices = ["--input-price", "0.15", "--output-price", "0.60"]
    model = operator.asks("model", "add", "fast", "--upstream", "far", "--context", "128000",
                          "--max-output", "16384", *prices)  # fmt: skip
    assert (model["input_price"], model["output_price"]) == ("0.15", "0.60")
    assert (model["kind"], model["takes_images"]) == ("chat", False)
    priced = operator.asks("model", "price", "fast", "--input-price", "1", "--output-price", "2")
    assert (priced["input_price"], priced["price_version"]) == ("1.00", model["price_version"] + 1)
    assert (priced["priority_input_price"], priced["priority_output_price"]) == ("2.00", "4.00")
    priced = operator.asks("model", "price", "fast", "--input-price", "1", "--output-price", "2",
                           "--priority-percent", "350")  # fmt: skip
    assert (priced["priority_input_price"], priced["priority_output_price"]) == ("3.50", "7.00")
    assert "fast" in operator.types("model", "list")
    operator.types("upstream", "remove", "far", code=1)
    vectors = operator.asks("model", "add", "vectors", "--upstream", "far", "--context", "512",
                            "--kind", "embeddings", "--input-price", "0.02")  # fmt: skip
    assert (vectors["kind"], vectors["output_price"], vectors["output_tokens_max"]) == (
        "embeddings",
        "0.00",
        0,
    )
    operator.types("model", "price", "vectors", "--input-price", "1", "--output-price", "1", code=2)
    operator.asks("model", "remove", "vectors")
    operator.asks("model", "remove", "fast")
    operator.asks("upstream", "remove", "far")
    _upstreams_that_speak_otherwise(operator)
    assert operator.asks("upstream", "list")["upstreams"] == []
    _secret_is_nowhere(operator.data, "sk-upstream-credential-000")


def _secret_is_nowhere(data: Path, secret: str) -> None:
    for path in data.parent.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (["account", "show", "nobody@example.com"], 1),
        (["key", "revoke", "key_00000000000000000000000000"], 1),
        (["key", "revoke", "'; DROP TABLE api_keys; --"], 1),
        (["credit", "add", ADA, "0"], 2),
        (["credit", "add", ADA, "5e2"], 2),
        (["credit", "add", ADA, "1000000000000000000"], 2),
        (["credit", "history", ADA, "--before", "nonsense"], 2),
        (["key", "create", ADA, "--name", "x" * 65], 2),
        (["upstream", "add", "near", "--base-url", "http://169.254.169.254/v1"], 2),
        (["upstream", "add", "near", "--base-url", "https://user:p@host/v1"], 2),
        (
            [
                "upstream",
                "add",
                "near",
                "--base-url",
                "https://m.example.com/v1",
                "--calls-at-once",
                "0",
            ],
            2,
        ),
        (
            [
                "upstream",
                "add",
                "near",
                "--base-url",
                "https://m.example.com/v1",
                "--calls-at-once",
                "100001",
            ],
            2,
        ),
        (["upstream", "remove", "none"], 1),
        (["model", "remove", "none"], 1),
        (["model", "price", "none", "--input-price", "-1", "--output-price", "1"], 2),
        (
            [
                "model",
                "price",
                "none",
                "--input-price",
                "1",
                "--output-price",
                "1",
                "--priority-percent",
                "99",
            ],
            2,
        ),
    ],
)
def test_what_is_refused_changes_nothing(typed: list[str], code: int, refused_at: Operator) -> None:
    before = refused_at.asks("account", "show", ADA)
    told = refused_at.types(*typed, code=code)
    assert told.startswith("latchgate: ")
    assert len(told.splitlines()) == 1
    assert refused_at.asks("account", "show", ADA) == before


@pytest.fixture(scope="module")
def refused_at(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    operator = Operator(tmp_path_factory.mktemp("refused") / "data")
    operator.types("account", "create", ADA, "--password-stdin", stdin=PASSWORD)
    return operator


def test_a_closed_month_is_printed_as_csv(operator: Operator) -> None:
    eve = "eve@example.com"
    operator.types("account", "create", eve, "--password-stdin", stdin=PASSWORD)
    shown = operator.asks("account", "show", eve)
    with closing(sqlite3.connect(operator.data / "latchgate.db")) as conn, conn:
        for table, column in (("accounts", "id"), ("postings", "account_id")):
            conn.execute(
                f"UPDATE {table} SET created_us = created_us - ? WHERE {column} = ?",
                (40 * 86_400_000_000, shown["account_id"]),
            )
    assert operator.asks("statement", "close")["closed"] in {1, 2}
    first = operator.asks("statement", "list", eve)["statements"][-1]
    assert (first["opening_nanos"], first["closing_usd"]) == (0, "5.00")
    printed = operator.types("statement", "show", eve, first["id"]).splitlines()
    assert [line.split(",")[0] for line in printed] == [
        *("line", "opening balance", "gift", "closing balance")
    ]
    assert operator.asks("statement", "show", eve, first["id"])["credit_usd"] == "5.00"
    assert operator.asks("audit")["agrees"] is True


def test_an_account_is_made_once(refused_at: Operator) -> None:
    refused_at.types("account", "create", ADA, "--password-stdin", stdin=PASSWORD, code=1)


def test_a_new_account_starts_with_the_gift(refused_at: Operator) -> None:
    assert refused_at.asks("account", "show", ADA)["credit_nanos"] == 5_000_000_000


def test_an_invitation_is_an_address(refused_at: Operator) -> None:
    made = refused_at.asks("invite", "create", "bob@example.com")
    assert made["url"].startswith("http://localhost:8000/")
    assert made["email"] == "bob@example.com"


def test_the_doctor_finds_a_directory_that_others_may_read(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.types("account", "create", ADA, "--password-stdin", stdin=PASSWORD)
    monkeypatch.setenv("LATCHGATE_EMBEDDED_ENABLED", "false")
    monkeypatch.setenv("LATCHGATE_SERVER_PORT", "0")
    assert operator.asks("doctor")["well"] is True
    operator.data.chmod(0o755)
    found = operator.asks("doctor", code=1)
    assert found["well"] is False
    (check,) = [row for row in found["checks"] if row["outcome"] == "failed"]
    assert "chmod 0700" in check["says"]


def test_it_runs_as_a_program_of_its_own(refused_at: Operator) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "latchgate.cli", "account", "list", "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": SOURCE, "LATCHGATE_DATA": str(refused_at.data)},
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [row["email"] for row in json.loads(done.stdout)["accounts"]] == [ADA]
