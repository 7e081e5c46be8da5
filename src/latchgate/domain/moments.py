"""Moments as operators write them: always UTC, whatever clock hangs on their wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from latchgate.domain.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHARS_MAX = 40


def parse_moment(text: str, *, param: str) -> int:
    """A moment in microseconds: a day (its first moment), or a day and a time.

    Without a zone it is UTC, as ``2027-01-31T18:00`` or as browsers write it. Raises
    InvalidRequest with ``param``.
    """
    try:
        moment = datetime.fromisoformat(text.strip() if len(text) <= _CHARS_MAX else "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        at_us = (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        at_us = -1
    if at_us < 0:
        raise InvalidRequest(
            "A moment is a day such as 2027-01-31, or one with a time in UTC, such as "
            "2027-01-31T18:00.",
            param=param,
        )
    return at_us
