"""Guards ``/metrics``: it is nobody's until the operator has given it a token."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ServerProcess

TOKEN = "prometheus-may-read-this"


def _get(server: ServerProcess, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{server.url}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that has a token."""
    data = tmp_path_factory.mktemp("metrics") / "data"
    with ServerProcess(data, "--no-embedded-model", LATCHGATE_METRICS_TOKEN=TOKEN) as running:
        yield running


def test_there_is_no_such_page_unless_the_operator_asks_for_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--no-embedded-model") as closed:
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN}"}):
            status, body = _get(closed, **headers)
            assert status == 404
            assert "latchgate_" not in body


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"],
)
def test_it_is_only_for_who_has_the_token(server: ServerProcess, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    status, body = _get(server, **headers)
    assert status == 401
    assert "latchgate_" not in body
    assert TOKEN not in body


def test_who_has_it_reads_the_figures(server: ServerProcess) -> None:
    assert _get(server, "/nowhere")[0] == 404
    status, body = _get(server, Authorization=f"Bearer {TOKEN}")
    assert status == 200
    assert 'latchgate_refusals_total{code="not_found",plane="console"}' in body
    assert "process_cpu_seconds_total" in body
    assert TOKEN not in body
    assert TOKEN not in server.log.read_text()
    assert TOKEN not in str(server.cli("config", "show"))


def test_a_token_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    for token in ("short", "with spaces in it, but long"):
        weak = ServerProcess(tmp_path / "data", LATCHGATE_METRICS_TOKEN=token)
        with pytest.raises(AssertionError, match="at least 20"):
            weak.start()
        assert token not in weak.log.read_text()
