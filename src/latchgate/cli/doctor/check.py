"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass

FINE, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, how it ended, and a sentence, with what to do if that was not well."""

    name: str
    outcome: str
    says: str
