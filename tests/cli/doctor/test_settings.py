"""Guards what the doctor says of the configuration, each fault made for real."""

from __future__ import annotations

import datetime as dt
import socket
from contextlib import closing
from pathlib import Path

import pytest

from latchgate.cli.doctor import settings
from tests.cli.doctor.examining import DAY, Capture, certificate, checks_of, expect


def test_a_wrong_setting(data: Path, capsys: Capture) -> None:
    (data / "latchgate.toml").write_text("[log]\nlevel = 'loud'\n")
    expect(checks_of(data, capsys), "configuration", "failed")


def test_a_secret_in_a_file_that_others_may_read(data: Path, capsys: Capture) -> None:
    file = data / "latchgate.toml"
    file.write_text("[log]\nlevel = 'info'\n")
    file.chmod(0o644)
    expect(checks_of(data, capsys), "configuration file", "ok")
    file.write_text("[metrics]\ntoken = 'twenty-letters-and-more'\n")
    found = checks_of(data, capsys)
    expect(found, "configuration file", "failed", "metrics.token", f"chmod 0600 {file}")
    assert "twenty-letters" not in str(found)


@pytest.mark.parametrize(
    ("ends_in", "outcome"), [(-DAY, "failed"), (3 * DAY, "warning"), (90 * DAY, "ok")]
)
def test_a_certificate_that_ends(
    ends_in: dt.timedelta,
    outcome: str,
    data: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in certificate(data.parent, ends_in).items():
        monkeypatch.setenv(name, value)
    words = () if outcome == "ok" else ("renew it",)
    expect(checks_of(data, capsys), "certificate", outcome, *words)


def test_a_certificate_with_another_ones_key(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "other"):
        (data.parent / folder).mkdir()
    ours, others = (certificate(data.parent / name, 90 * DAY) for name in ("one", "other"))
    monkeypatch.setenv("LATCHGATE_SERVER_TLS_CERTIFICATE", ours["LATCHGATE_SERVER_TLS_CERTIFICATE"])
    monkeypatch.setenv("LATCHGATE_SERVER_TLS_KEY", others["LATCHGATE_SERVER_TLS_KEY"])
    expect(checks_of(data, capsys), "certificate", "failed", "of one certificate")


PUBLIC = {"LATCHGATE_SERVER_PUBLIC_URL": "https://keys.example.com"}
DANGERS: dict[str, tuple[dict[str, str], str, str, str]] = {
    "no TLS": ({"LATCHGATE_SERVER_HOST": "0.0.0.0"}, "exposure", "failed", "tls_certificate"),
    "no TLS, meant so": (
        {"LATCHGATE_SERVER_HOST": "0.0.0.0", "LATCHGATE_SERVER_INSECURE_HTTP": "true"},
        "exposure",
        "warning",
        "tls_certificate",
    ),
    "links past TLS": (
        {"LATCHGATE_SERVER_PUBLIC_URL": "http://keys.example.com"},
        "public address",
        "warning",
        "make it https",
    ),
    "gifts for anybody": (PUBLIC, "sign-up", "warning", "signup.gift"),
    "mails for nobody": (PUBLIC, "mail", "warning", "mail.mode"),
    "charges on no disk": (
        {"LATCHGATE_JOURNAL_SYNC": "interval"},
        "journal.sync",
        "warning",
        "always",
    ),
    "much talk": ({"LATCHGATE_LOG_LEVEL": "debug"}, "log.level", "warning", "info"),
}


@pytest.mark.parametrize(("variables", "name", "outcome", "word"), DANGERS.values(), ids=DANGERS)
def test_a_setting_that_somebody_may_regret(
    variables: dict[str, str],
    name: str,
    outcome: str,
    word: str,
    data: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    expect(checks_of(data, capsys), name, outcome, word)


def test_a_mail_server_that_is_not_there_or_reads_along(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        monkeypatch.setenv("LATCHGATE_MAIL_MODE", "smtp")
        monkeypatch.setenv("LATCHGATE_MAIL_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("LATCHGATE_MAIL_SMTP_PORT", str(listener.getsockname()[1]))
        expect(checks_of(data, capsys), "mail", "ok")
        monkeypatch.setenv("LATCHGATE_MAIL_SMTP_SECURITY", "none")
        expect(checks_of(data, capsys), "mail", "warning", "mail.smtp_security")
    expect(checks_of(data, capsys), "mail", "failed", "mail.smtp_host")


def test_a_collector_of_traces_that_is_not_there(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("LATCHGATE_TRACES_ENDPOINT", f"http://127.0.0.1:{port}")
        expect(checks_of(data, capsys), "traces", "ok")
    expect(checks_of(data, capsys), "traces", "warning", "traces.endpoint")


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://x", "http://", "http://a:b@c/"])
def test_a_collector_that_is_no_address(
    endpoint: str, data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATCHGATE_TRACES_ENDPOINT", endpoint)
    expect(checks_of(data, capsys), "configuration", "failed")


def test_weights_that_are_none(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "weights.gguf").write_bytes(b"no weights")
    monkeypatch.setenv("LATCHGATE_EMBEDDED_ENABLED", "true")
    monkeypatch.setenv("LATCHGATE_EMBEDDED_MODEL_PATH", str(data / "weights.gguf"))
    found = checks_of(data, capsys)
    expect(found, "embedded model", "failed", "weights.gguf")
    expect(found, "embeddings model", "ok")
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda _name: None)
    expect(checks_of(data, capsys), "embeddings model", "failed", "make setup")
