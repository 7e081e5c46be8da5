"""The configuration is checked whole, and every mistake is named with what is allowed."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.config import ConfigError, Settings, load, read
from latchgate.config.declare import MASK, Setting, plain
from latchgate.config.document import shown
from latchgate.config.settings import ALL, SECTIONS

EMPTY = Path("/nowhere")


def _problems(toml: str, tmp_path: Path, environ: dict[str, str] | None = None) -> str:
    (tmp_path / "latchgate.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ=environ or {})
    return "\n".join(caught.value.problems)


def test_an_empty_configuration_is_a_working_one() -> None:
    settings = load(EMPTY, environ={})
    assert settings == Settings(data_dir=EMPTY)
    assert settings.signup.gift_nanos == 5_000_000_000
    assert settings.server.base_url == "http://localhost:8000"


def test_the_later_source_wins_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "latchgate.toml").write_text("[server]\nport = 1\nhost = '::1'\n[journal]\n")
    reading = read(
        tmp_path,
        environ={"LATCHGATE_SERVER_PORT": "2", "LATCHGATE_SIGNUP_GIFT": "0.25"},
        overrides={"server.port": 3, "server.host": None},
    )
    assert reading.settings.server.port == 3
    assert reading.settings.server.host == "::1"
    assert reading.settings.signup.gift_nanos == 250_000_000
    assert reading.sources == {
        "server.port": "command line",
        "server.host": "latchgate.toml",
        "signup.gift": "LATCHGATE_SIGNUP_GIFT",
    }


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    toml = """
        [server]
        port = 99999
        prot = 1
        [signup]
        gift = 5.0
        mode = "opne"
        [sevrer]
        [journal]
        interval_ms = true
    """
    told = _problems(toml, tmp_path, {"LATCHGATE_LOG_LEVLE": "info"})
    assert "server.port = 99999 must be a whole number from 0 to 65535 (unit: TCP port)" in told
    assert "there is no setting server.prot. Did you mean server.port?" in told
    assert "signup.gift = 5.0 is wrong" in told or "signup.gift = 5.0 must be written" in told
    assert 'signup.mode = "opne" must be one of "open", "invite", "closed"' in told
    assert "there is no section [sevrer]. Did you mean server?" in told
    assert "journal.interval_ms" in told
    assert "LATCHGATE_LOG_LEVLE. Did you mean LATCHGATE_LOG_LEVEL?" in told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LATCHGATE_SERVER_PORT", "-1"),
        ("LATCHGATE_SERVER_PORT", "8e3"),
        ("LATCHGATE_SERVER_PORT", "9" * 5000),
        ("LATCHGATE_SERVER_PORT", "８０"),  # digits of another script
        ("LATCHGATE_SERVER_HOST", ""),
        ("LATCHGATE_SERVER_HOST", "a b"),
        ("LATCHGATE_SERVER_PUBLIC_URL", "keys.example.com"),
        ("LATCHGATE_SERVER_PUBLIC_URL", "https://keys.example.com/path"),
        ("LATCHGATE_SERVER_PUBLIC_URL", "https://user@keys.example.com"),
        ("LATCHGATE_SERVER_PUBLIC_URL", "javascript:alert(1)"),
        ("LATCHGATE_SERVER_PUBLIC_URL", "http://[::1"),
        ("LATCHGATE_SERVER_ALLOWED_HOSTS", "a.example,*"),
        ("LATCHGATE_SERVER_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("LATCHGATE_SERVER_TLS_KEY", "/nowhere/key.pem"),
        ("LATCHGATE_SIGNUP_GIFT", "-5"),
        ("LATCHGATE_SIGNUP_GIFT", "5e2"),
        ("LATCHGATE_SIGNUP_GIFT", "nan"),
        ("LATCHGATE_SIGNUP_GIFT", "0.0000000001"),
        ("LATCHGATE_EMBEDDED_INPUT_PRICE", "0.1234567"),
        ("LATCHGATE_EMBEDDED_ENABLED", "maybe"),
        ("LATCHGATE_EMBEDDED_MODEL_NAME", "a model\r\n"),
        ("LATCHGATE_MAIL_SENDER", "nobody"),
        ("LATCHGATE_MAIL_SENDER", "a@b>\r\nBcc: x@y"),
        ("LATCHGATE_MAIL_MODE", "smtp"),
        ("LATCHGATE_SESSIONS_IDLE_DAYS", "91"),
        ("LATCHGATE_STORAGE_URL", "latchgate.db"),
        ("LATCHGATE_STORAGE_URL", "sqlite:///latchgate.db"),
        ("LATCHGATE_STORAGE_URL", "postgresql+psycopg://db.example/latchgate"),
        ("LATCHGATE_STORAGE_URL", "postgresql://db.example"),
        ("LATCHGATE_STORAGE_URL", "postgresql:///latchgate"),
        ("LATCHGATE_STORAGE_URL", "postgresql://db.example:port/latchgate"),
        ("LATCHGATE_STORAGE_URL", "postgresql://db.example/latchgate?password=hidden"),
        ("LATCHGATE_STORAGE_URL", "postgresql://db.example/a b"),
    ],
)
def test_a_bad_value_is_one_clear_refusal(variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(EMPTY, environ={variable: value})
    (problem,) = caught.value.problems
    setting = variable.removeprefix("LATCHGATE_").lower().replace("_", ".", 1)
    assert setting in problem
    assert len(problem) < 400


@pytest.mark.parametrize("written", ["[server", "a\x00b", "[server]\nport = 1\nport = 2\n", "\xff"])
def test_a_file_that_is_not_toml_is_one_clear_refusal(written: str, tmp_path: Path) -> None:
    (tmp_path / "latchgate.toml").write_bytes(written.encode("latin-1"))
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path, environ={})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, environ={}, file=tmp_path / "other.toml")


def test_a_secret_is_never_repeated() -> None:
    bad = "hunter2\nhunter2"
    with pytest.raises(ConfigError) as caught:
        load(EMPTY, environ={"LATCHGATE_MAIL_SMTP_PASSWORD": bad})
    assert "hunter2" not in str(caught.value)
    environ = {"LATCHGATE_MAIL_SMTP_PASSWORD": "hunter2", "LATCHGATE_MAIL_SMTP_USER": "ada"}
    reading = read(EMPTY, environ=environ)
    assert "hunter2" not in repr(reading)
    by_name = {row["setting"]: row for row in shown(reading)}
    assert by_name["mail.smtp_password"]["value"] == MASK


KEY, SECRET = "sk_test_hunter2", "whsec_hunter2"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"SECRET_KEY": KEY}, "go together"),
        ({"WEBHOOK_SECRET": SECRET}, "go together"),
        ({"SECRET_KEY": KEY, "WEBHOOK_SECRET": "hunter2"}, "stripe.webhook_secret must be"),
        ({"SECRET_KEY": "pk_hunter2", "WEBHOOK_SECRET": SECRET}, "stripe.secret_key must be"),
        ({"API_BASE": "ftp://stripe"}, "stripe.api_base"),
        ({"AMOUNT_MIN": "20", "AMOUNT_MAX": "10"}, "must not be more than stripe.amount_max"),
    ],
)
def test_payments_have_both_secrets_or_none(said: dict[str, str], why: str) -> None:
    environ = {f"LATCHGATE_STRIPE_{name}": value for name, value in said.items()}
    with pytest.raises(ConfigError) as caught:
        load(EMPTY, environ=environ)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_payments_are_on_with_both_secrets_which_are_never_shown() -> None:
    assert not load(EMPTY, environ={}).stripe.is_on
    environ = {"LATCHGATE_STRIPE_SECRET_KEY": KEY, "LATCHGATE_STRIPE_WEBHOOK_SECRET": SECRET}
    reading = read(EMPTY, environ=environ)
    assert reading.settings.stripe.is_on
    assert "hunter2" not in repr(reading)
    assert "hunter2" not in str(shown(reading))


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example.com", False),
    ],
)
def test_what_only_this_machine_can_reach_is_known(host: str, *, is_loopback: bool) -> None:
    assert load(EMPTY, environ={"LATCHGATE_SERVER_HOST": host}).server.is_loopback is is_loopback


def test_the_base_url_is_what_people_type() -> None:
    def base_url(**overrides: object) -> str:
        paths = {f"server.{name}": value for name, value in overrides.items()}
        return load(EMPTY, environ={}, overrides=paths).server.base_url

    assert base_url(port=80) == "http://localhost"
    assert base_url(host="2001:db8::1", port=9) == "http://[2001:db8::1]:9"
    assert base_url(public_url="https://keys.example.com/") == "https://keys.example.com"


def test_every_setting_says_what_it_is() -> None:
    for row in ALL:
        assert row.description.endswith("."), row.path
        assert row.kind.name, row.path
        if re.search(r"_(ms|bytes|days|tokens|timeout)", row.attribute):
            assert row.unit, f"{row.path} counts something, so it has a unit"


def test_every_default_is_itself_allowed(tmp_path: Path) -> None:
    lines = []
    for section in SECTIONS:
        lines.append(f"[{section}]")
        lines += [
            f"{row.path.partition('.')[2]} = {row.default_text}"
            for row in ALL
            if row.section == section
        ]
    toml = "\n".join(lines)
    assert tomllib.loads(toml)
    (tmp_path / "latchgate.toml").write_text(toml)
    assert load(tmp_path, environ={}) == Settings(data_dir=tmp_path)


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load(EMPTY, environ={})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.server.port = 1  # type: ignore[misc]


@given(st.sampled_from(ALL), st.text(max_size=40))
def test_no_text_makes_it_break(row: Setting, value: str) -> None:
    with contextlib.suppress(ConfigError):
        load(EMPTY, environ={row.variable: value})


@given(st.text())
def test_text_is_written_so_that_toml_reads_it_back(value: str) -> None:
    printable = "".join(char for char in value if char.isprintable())
    assert tomllib.loads(f"x = {plain(printable)}") == {"x": printable}


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://lg:p%40ss@db.example/keys", f"postgresql://lg:{MASK}@db.example/keys"),
        ("postgresql://lg:a@b@db.example/keys", f"postgresql://lg:{MASK}@db.example/keys"),
        ("postgresql://lg@/keys?host=/run/pg", "postgresql://lg@/keys?host=/run/pg"),
        (
            "postgresql://db.example:5433/keys?sslmode=verify-full",
            "postgresql://db.example:5433/keys?sslmode=verify-full",
        ),
    ],
)
def test_a_database_is_shown_without_its_password(url: str, seen: str) -> None:
    reading = read(EMPTY, environ={"LATCHGATE_STORAGE_URL": url})
    assert reading.settings.storage.url == url
    assert {row["setting"]: row["value"] for row in shown(reading)}["storage.url"] == seen
    assert "p%40ss" not in repr(reading.settings)


def test_a_refused_database_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        load(EMPTY, environ={"LATCHGATE_STORAGE_URL": "mysql://lg:hidden@db.example/keys"})
    assert "hidden" not in str(caught.value)
