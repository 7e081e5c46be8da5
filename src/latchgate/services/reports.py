"""What a key holder reads about his account through the API itself, in the shapes that tools know.

`/key` and `/generation` are OpenRouter's, `/organization/…` OpenAI's. All of them sum the rows that
the console's pages sum. Days and hours are UTC; a period costs what these hold, not its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.clock import DAY_US, HOUR_US, SECOND_US, month_start_us, week_start_us
from latchgate.domain.endpoints import CHAT, EMBEDDINGS
from latchgate.domain.errors import InvalidRequest, NotFound
from latchgate.domain.key_terms import OPEN
from latchgate.services.key_terms import facts_of
from latchgate.storage import usage_days
from latchgate.storage.api_keys import find_key
from latchgate.storage.key_terms import terms_of

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.services.billing import InFlight
    from latchgate.services.limits import Limits
    from latchgate.services.usage import UsageService
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

Query = Mapping[str, Sequence[str]]

#: How long a bucket is, how many a page has at most, and how many usually.
_WIDTHS = {"1h": (HOUR_US, 168, 24), "1d": (DAY_US, 31, 7)}
#: Models, and keys, that a report can be limited to.
NAMES_MAX = 50
#: 31 December 9999, in seconds since 1970.
TIME_S_MAX = 253_402_214_400
_NANOS_PER_USD = 1_000_000_000
#: What each report of usage is about.
USAGE_KINDS = {"completions": CHAT, "embeddings": EMBEDDINGS}
#: What results can be parted by, in OpenAI's words, and the columns that these are, if any.
_GROUPS = {
    "model": "model",
    "line_item": "model",
    "api_key_id": "api_key_id",
    "project_id": None,
    "user_id": None,
    "batch": None,
}
_OUTCOMES = {"answered": "stop", "ran_dry": "length", "cut": "error", "failed": "error"}


class Reports:
    """Answers each of the report endpoints for one account."""

    def __init__(
        self, store: Store, clock: Clock, in_flight: InFlight, usage: UsageService, limits: Limits
    ) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight
        self._usage = usage
        self._limits = limits

    async def get(
        self, path: str, account_id: str, key_id: str, label: str, query: Query
    ) -> dict[str, Any]:
        """The report at a path of the API. Raises NotFound and InvalidRequest."""
        match path.strip("/").split("/"):
            case ["key"]:
                return await self.key(account_id, key_id, label)
            case ["generation"]:
                return await self.generation(account_id, query)
            case ["organization", "usage", name] if name in USAGE_KINDS:
                return await self.usage(account_id, USAGE_KINDS[name], query)
            case ["organization", "costs"]:
                return await self.costs(account_id, query)
        raise NotFound("There is no such report.", code="unknown_url")

    async def key(self, account_id: str, key_id: str, label: str) -> dict[str, Any]:
        """What a key may still spend, and what it has spent.

        The limit is the one that the next call would meet first; ``limit_reset`` is its period.
        """
        today_us = self._clock.now_us() // DAY_US * DAY_US
        binding = (await self._limits.standing(account_id)).binding
        spent = [
            (await self._usage.totals(account_id, since_us=since_us, api_key_id=key_id))
            for since_us in (0, today_us, week_start_us(today_us), month_start_us(today_us))
        ]
        total, daily, weekly, monthly = (totals.charge_nanos for totals in spent)
        data = {
            "label": label,
            "limit": _usd(binding.limit_nanos),
            "limit_remaining": _usd(binding.left_nanos),
            "limit_reset": None if binding.period == "none" else binding.period,
            "usage": _usd(total),
            "usage_daily": _usd(daily),
            "usage_weekly": _usd(weekly),
            "usage_monthly": _usd(monthly),
            **await self._terms(key_id),
            "is_free_tier": False,
            "limit_nanos": binding.limit_nanos,
            "limit_remaining_nanos": binding.left_nanos,
            "usage_nanos": total,
        }
        return {"data": data}

    async def _terms(self, key_id: str) -> dict[str, object]:
        row = await self._store.read(find_key, key_id)
        return facts_of(OPEN if row is None else terms_of(row))

    async def generation(self, account_id: str, query: Query) -> dict[str, Any]:
        """One call's receipt. Raises NotFound, for another account's call as for a missing one."""
        ids = query.get("id") or [""]
        call = (await self._usage.get(account_id, ids[0])).usage
        first_us = call.first_byte_us or call.ended_us
        data = {
            "id": call.request_id,
            "model": call.model,
            "service_tier": call.service_tier,
            "app": call.app,
            "streamed": call.is_stream,
            "created_at": datetime.fromtimestamp(call.started_us / SECOND_US, UTC).isoformat(),
            "tokens_prompt": call.input_tokens,
            "tokens_completion": call.output_tokens,
            "native_tokens_cached": call.cached_tokens,
            "total_cost": _usd(call.charge_nanos),
            "usage": _usd(call.charge_nanos),
            "cost_nanos": call.charge_nanos,
            "finish_reason": _OUTCOMES.get(call.outcome),
            "cancelled": call.outcome == "hung_up",
            "outcome": call.outcome,
            "latency": (first_us - call.started_us) // 1000,
            "generation_time": (call.ended_us - call.started_us) // 1000,
        }
        return {"data": data}

    async def usage(self, account_id: str, kind: str, query: Query) -> dict[str, Any]:
        """Tokens and requests by day or hour (``/organization/usage/…``). Raises InvalidRequest."""
        period = _period_of(query, self._clock.now_us(), _WIDTHS)
        rows = await self._rows(account_id, period, kind, query)
        return _page(period, rows, lambda row: _usage_result(row, kind))

    async def costs(self, account_id: str, query: Query) -> dict[str, Any]:
        """Charges by day (``/organization/costs``). Raises InvalidRequest."""
        period = _period_of(query, self._clock.now_us(), {"1d": _WIDTHS["1d"]})
        rows = await self._rows(account_id, period, None, query)
        return _page(period, rows, _cost_result)

    async def _rows(
        self, account_id: str, period: _Period, kind: str | None, query: Query
    ) -> Sequence[AnyRow]:
        report = usage_days.Report(
            since_us=period.first * period.width_us,
            until_us=period.behind * period.width_us,
            is_by_hour=period.width_us == HOUR_US,
            kind=kind,
            by=_groups_of(query),
            models=_names_of(query, "models"),
            api_key_ids=_names_of(query, "api_key_ids"),
        )
        await self._in_flight.settle()
        return await self._store.read(usage_days.sum_report, account_id, report)


@dataclass(frozen=True, slots=True)
class _Period:
    """The days or hours of a page, counted from 1970, and where the next page begins, if any."""

    width_us: int
    first: int
    behind: int
    next_page: str | None


def _period_of(query: Query, now_us: int, widths: Mapping[str, tuple[int, int, int]]) -> _Period:
    """The days or hours that are asked for. Raises InvalidRequest."""
    name = (query.get("bucket_width") or ["1d"])[0]
    if name not in widths:
        raise InvalidRequest(f"Here bucket_width is {' or '.join(widths)}.", param="bucket_width")
    width_us, most, usual = widths[name]
    width_s = width_us // SECOND_US
    count = _integer(query, "limit", usual, 1, most)
    now = now_us // width_us
    start_s = _integer(query, "start_time", (now - count + 1) * width_s, 0, TIME_S_MAX)
    end_s = _integer(query, "end_time", (now + 1) * width_s, 0, TIME_S_MAX)
    if end_s <= start_s:
        raise InvalidRequest("end_time is not behind start_time.", param="start_time")
    behind = min(-(-end_s // width_s), now + 1)
    first = max(start_s // width_s, _integer(query, "page", 0, 0, TIME_S_MAX))
    end = min(behind, first + count)
    return _Period(width_us, first, max(first, end), str(end) if end < behind else None)


def _names_of(query: Query, param: str) -> Sequence[str]:
    """What results are limited to. Raises InvalidRequest."""
    names = [*query.get(param, ()), *query.get(f"{param}[]", ())]
    if len(names) > NAMES_MAX:
        raise InvalidRequest(f"Name {NAMES_MAX} at most.", param=param)
    return names


def _integer(query: Query, name: str, default: int, low: int, high: int) -> int:
    text = (query.get(name) or [str(default)])[0]
    if not (text.isascii() and text.isdigit() and low <= int(text[:20]) <= high):
        raise InvalidRequest(f"'{name}' is a whole number from {low} to {high}.", param=name)
    return int(text)


def _groups_of(query: Query) -> list[str]:
    """What results are parted by; of what an account has only one, there is nothing to part."""
    asked = [*query.get("group_by", ()), *query.get("group_by[]", ())]
    for name in asked:
        if name not in _GROUPS:
            raise InvalidRequest(
                f"Results can be grouped by {', '.join(_GROUPS)}.", param="group_by"
            )
    return [column for name in dict.fromkeys(asked) if (column := _GROUPS[name])]


def _page(
    period: _Period, rows: Sequence[AnyRow], result: Callable[[AnyRow], dict[str, Any]]
) -> dict[str, Any]:
    found: dict[int, list[AnyRow]] = {}
    for row in rows:
        found.setdefault(row.starts_us, []).append(row)
    buckets = [
        {
            "object": "bucket",
            "start_time": number * period.width_us // SECOND_US,
            "end_time": (number + 1) * period.width_us // SECOND_US,
            "results": [result(row) for row in found.get(number * period.width_us, ())],
        }
        for number in range(period.first, period.behind)
    ]
    return {
        "object": "page",
        "data": buckets,
        "has_more": period.next_page is not None,
        "next_page": period.next_page,
    }


def _usage_result(row: AnyRow, kind: str) -> dict[str, Any]:
    name = "completions" if kind == CHAT else "embeddings"
    result = {
        "object": f"organization.usage.{name}.result",
        "input_tokens": row.input_tokens,
        "num_model_requests": row.calls,
        "project_id": None,
        "user_id": None,
        "api_key_id": getattr(row, "api_key_id", None),
        "model": getattr(row, "model", None),
    }
    if kind == CHAT:
        result |= {
            "output_tokens": row.output_tokens,
            "input_cached_tokens": row.cached_tokens,
            "input_audio_tokens": 0,
            "output_audio_tokens": 0,
            "batch": None,
        }
    return result


def _cost_result(row: AnyRow) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": _usd(row.charge_nanos), "currency": "usd"},
        "amount_nanos": row.charge_nanos,
        "line_item": getattr(row, "model", None),
        "project_id": None,
        "api_key_id": getattr(row, "api_key_id", None),
    }


def _usd(nanos: int) -> msgspec.Raw:
    """A JSON number of US dollars, written from the integer, so that no float is in between."""
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), _NANOS_PER_USD)
    return msgspec.Raw(f"{sign}{whole}.{rest:09d}".encode())
