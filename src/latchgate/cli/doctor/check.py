"""What a check found: the same as on the operator's page of health."""

from __future__ import annotations

from latchgate.services.health_checks import FAILED, FINE, WARNING, Check

__all__ = ["FAILED", "FINE", "WARNING", "Check"]
