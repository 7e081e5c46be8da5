"""Guards moments as operators write them: UTC unless they say otherwise, and nothing guessed."""

from __future__ import annotations

import pytest

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.moments import parse_moment

_DAY_S = 1_801_353_600  # 2027-01-31


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("2027-01-31", _DAY_S),
        ("2027-01-31T18:00", _DAY_S + 64_800),
        (" 2027-01-31T18:00:01 ", _DAY_S + 64_801),
        ("2027-01-31T18:00:00Z", _DAY_S + 64_800),
        ("2027-01-31T18:00:00+02:00", _DAY_S + 57_600),
        ("1970-01-01", 0),
    ],
)
def test_a_moment_is_read_as_it_stands(text: str, at_s: int) -> None:
    assert parse_moment(text, param="from") == at_s * 1_000_000


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "31.01.2027", "2027-02-30", "1969-12-31", "2027-01-31T25:00", "1" * 500,
     "9999-12-31T23:59:59-23:59", "2027-01-31\x00"],
)  # fmt: skip
def test_what_is_no_moment_is_refused_beside_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_moment(text, param="from")
    assert refused.value.param == "from"
