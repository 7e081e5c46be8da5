"""What an installation's condition means: each finding in a sentence, with what to do.

The same for ``latchgate doctor`` and for the operator's page of health.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FINE, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, how it ended, and a sentence, with what to do if that was not well."""

    name: str
    outcome: str
    says: str


Answer = dict[str, Any]
DRAIN_LAG_S_MAX = 60.0
POST_S_MAX = 1.0
#: How far clocks may be apart, in seconds.
CLOCKS_APART_S = 2.0
AHEAD_S_MAX = 60.0
#: No clock of a machine that this can run on is before it (2024).
EARLIEST_S = 1_704_067_200
RESTARTS_MAX = 3
_SECOND_US = 1_000_000


# ── a server that runs ──────────────────────────────────────────────────────────────────────────
def live(condition: Answer) -> Iterator[Check]:
    """Journal, drain and embedded models of a server that runs."""
    if condition["journal_failure"]:
        says = (
            f"it can't be written, and paid calls are refused: {condition['journal_failure']};"
            " make room, or mend the disk: the server goes on by itself"
        )
        yield Check("journal", FAILED, says)
    else:
        yield Check("journal", FINE, "charges reach the disk")
    lag_s, waiting = condition["drain_lag_s"], condition["waiting_calls"]
    says = f"{waiting} calls wait for the database, the first for {lag_s:.0f} s"
    if lag_s > DRAIN_LAG_S_MAX:
        says += "; the log says why they are not posted (drain.failed)"
        yield Check("drain", FAILED, says)
    elif condition["last_post_s"] > POST_S_MAX:
        says += f"; the last batch took {condition['last_post_s']:.1f} s: is its disk busy?"
        yield Check("drain", WARNING, says)
    else:
        yield Check("drain", FINE, says)
    for model in condition["embedded"]:
        yield of_embedded(model)


def of_embedded(model: Answer) -> Check:
    """One embedded model."""
    name = f"model {model['model']}"
    if not model["is_up"]:
        says = "its process does not run: see embedded-*.log in the data directory"
        return Check(name, FAILED, f"{says}, and whether there is memory")
    if model["restarts"] >= RESTARTS_MAX:
        says = f"it has died {model['restarts']} times: see embedded-*.log in the data directory"
        return Check(name, WARNING, f"{says}, and give the machine more memory")
    return Check(name, FINE, "it runs")


# ── what is kept ────────────────────────────────────────────────────────────────────────────────
def kept(condition: Answer) -> Iterator[Check]:
    """The database, the clocks, the journals of the dead, and the upstreams."""
    yield _database(condition)
    yield _clock(condition)
    if condition["unposted_calls"]:
        says = f"{condition['unposted_calls']} calls of a server that was killed are in its journal"
        yield Check("recovery", WARNING, f"{says} only: start the server, which posts them")
    for upstream in condition["upstreams"]:
        name = f"upstream {upstream['name']}"
        problem = upstream["problem"]
        yield Check(name, FAILED if problem else FINE, problem or "it answers, and takes its key")


def _database(condition: Answer) -> Check:
    name, revision, newest = "database", condition["revision"], condition["newest_revision"]
    if condition["damage"]:
        says = f"it is damaged: {condition['damage']}; restore a backup (latchgate restore)"
        return Check(name, FAILED, says)
    if revision == newest:
        return Check(name, FINE, f"schema {revision}, the newest")
    if revision is None or revision < newest:
        says = f"schema {revision}, and this version's is {newest}: back up, then start the server"
        return Check(name, WARNING, f"{says}, which brings it up to date")
    says = f"schema {revision} is of a newer version than this one, which knows {newest}"
    return Check(name, FAILED, f"{says}: run the newer version")


def _clock(condition: Answer) -> Check:
    name, now_s = "clock", time.time()
    newest_us, other_us = condition["newest_us"], condition["database_now_us"]
    if now_s < EARLIEST_S or (newest_us or 0) / _SECOND_US > now_s + AHEAD_S_MAX:
        said = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now_s))
        says = f"it says {said} UTC, which is before what has happened already: set it, by NTP"
        return Check(name, FAILED, says)
    apart_s = 0.0 if other_us is None else abs(other_us / _SECOND_US - now_s)
    if apart_s > CLOCKS_APART_S:
        says = f"PostgreSQL's is {apart_s:.0f} s from this machine's: set both by NTP"
        return Check(name, WARNING, says)
    return Check(name, FINE, "it goes forward")


def books(answer: Answer) -> Check:
    """What the audit says."""
    if not answer["agrees"]:
        says = f"{len(answer['findings'])} disagreements: latchgate audit names them"
        return Check("books", FAILED, says)
    return Check("books", FINE, "journal, postings and balances agree")
