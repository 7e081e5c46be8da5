"""Bad input gets one line with a hint on stderr, exit code 2, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latchgate.cli.main import BAD_INPUT, NOBODY_READS, main

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture(autouse=True)
def _data_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATCHGATE_DATA", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("acount", "Did you mean 'account'?"),
        ("account crate ada@example.com", "Did you mean 'create'?"),
        ("key create ada@example.com --replac", "Did you mean --replace?"),
        ("account show", "Missing argument"),
        ("account show a@example.com b", "unexpected extra argument"),
        ("account", "Missing command. See: latchgate account --help"),
        ("serve --port eighty", "port"),
        ("serve --port 99999", "must be a whole number from 0 to 65535"),
        ("serve --host 0.0.0.0", "--insecure-http"),
        ("serve --host :: --port 0", "--insecure-http"),
        ("serve --config /nowhere/latchgate.toml", "cannot be read"),
        ("config show --config /nowhere/latchgate.toml", "cannot be read"),
        ("account create ada@example.com", "--password-stdin"),
        ("account list", "There is no data directory"),
        ("key create ada@example.com --now", "--now goes with --replace"),
        ("model add m --upstream u --input-price 1 --output-price 1", "--context"),
        ("model add m --upstream u --input-price 1 --output-price 1 --context x", "context"),
        ("credit add ada@example.com -5", "No such option"),
        ("limit set ada@example.com app day 5", "'app' is not one of 'account', 'key'"),
        ("limit premium ada@example.com key perhaps", "'perhaps' is not one of 'on', 'off'"),
    ],
)
def test_a_mistake_is_one_line_with_a_hint(
    typed: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert all(line.startswith("latchgate: ") for line in err.splitlines())
    assert len(err.splitlines()) <= 2


def test_a_wrong_setting_stops_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATCHGATE_SERVER_PROT", "1")
    (tmp_path / "latchgate.toml").write_text("[log]\nlevel = 'loud'\n")
    assert main(["config", "show", "--data", str(tmp_path)]) == BAD_INPUT
    err = capsys.readouterr().err
    assert "LATCHGATE_SERVER_PORT" in err
    assert "log.level" in err


def test_help_and_version_are_not_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert main(["--help"]) == 0
    assert main(["account", "create", "--help"]) == 0
    assert main(["version"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("secret", "told"),
    [(b"", "There is no password"), (b"\xff\xfe\n", "not UTF-8"), (b"x" * 5000, "longer than")],
)
def test_a_bad_secret_on_standard_input_is_refused_and_not_repeated(
    secret: bytes, told: str, tmp_path: Path
) -> None:
    done = _run(tmp_path, "account", "create", "a@example.com", "--password-stdin", stdin=secret)
    assert done.returncode == BAD_INPUT
    assert told in done.stderr.decode()
    assert b"xxxx" not in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "latchgate.cli", "config", "show", "--json"]
    try:
        done = subprocess.run(
            command,
            stdout=write_end,
            stderr=subprocess.PIPE,
            env=_environment(tmp_path),
            check=False,
            timeout=60,
        )
    finally:
        os.close(write_end)
    assert done.returncode in {0, NOBODY_READS}
    assert done.stderr == b""


def _environment(data: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE, "LATCHGATE_DATA": str(data)}


def _run(data: Path, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "latchgate.cli", *args],
        input=stdin,
        capture_output=True,
        env=_environment(data),
        check=False,
        timeout=60,
    )
