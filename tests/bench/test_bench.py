"""The benchmark runs, errs nowhere, and its books agree. How fast anything was is not asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ROOT, environment

FIGURES = {
    "memory_idle_mib",
    "stream_kib",
    "calls_per_s",
    "calls_cpu_us",
    "latency_p50_ms",
    "latency_p99_ms",
    "events_per_s",
    "events_cpu_us",
    "events_paced_cpu_us",
    "large_p50_ms",
    "large_p99_ms",
    "refused_typo_per_s",
    "refused_key_per_s",
    "refused_credit_per_s",
    "memory_after_mib",
}
OF_THE_GATEWAY_ALONE = {"refused_typo_per_s", "refused_key_per_s", "refused_credit_per_s"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    temporary: Path = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "latchgate.cli", "bench", "--json"),
            *("--seconds", "0.5", "--connections", "8", "--streams", "40"),
        ],
        capture_output=True,
        text=True,
        env=environment(TMPDIR=str(temporary)),
        cwd=ROOT,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(temporary.iterdir()), "it leaves nothing behind"
    return json.loads(done.stdout)


def test_every_figure_is_there(report: Any) -> None:
    rows = {row["key"]: row for row in report["rows"]}
    assert set(rows) == FIGURES
    for key, row in rows.items():
        subjects = {"gateway"} if key in OF_THE_GATEWAY_ALONE else {"gateway", "plain proxy"}
        assert set(row["values"]) == subjects, key
    counted = [key for key in FIGURES if key.endswith("_per_s")]
    assert all(rows[key]["values"]["gateway"] > 0 for key in counted)
    assert (report["connections"], report["streams"]) == (8, 40)
    assert report["machine"]["fdatasync_ms"] > 0


def test_every_answer_was_the_expected_one(report: Any) -> None:
    assert (report["errors"], report["first_error"]) == (0, "")
    assert report["calls"] > 0


def test_the_books_agree_afterwards(report: Any) -> None:
    assert report["audit_agrees"] is True
    assert report["audit_findings"] == []
    assert report["audit_checked"]["usage_events"] > 40
