"""Premium models are the owner's choice: off at first, and both switches bind the next call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from latchgate.domain.errors import InvalidRequest
from latchgate.services.audit_log import AuditLog
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import ACCOUNT, CALLER, Gateway, running_gateway

if TYPE_CHECKING:
    from tests.support.gateway import Reply

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]


async def _offer_premium(gateway: Gateway) -> None:
    await gateway.catalog.add_model(
        "best",
        upstream="fake",
        upstream_model="up-best",
        tier="premium",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(1_000_000, 200_000, 4_000_000),
    )


async def _switch(gateway: Gateway, what: str, *, is_on: bool) -> None:
    await gateway.limits.set_premium(ACCOUNT, what, is_on=is_on, caller=CALLER)


async def _ask(gateway: Gateway) -> Reply:
    return await gateway.chat(model="best", max_tokens=5)


async def _listed(gateway: Gateway) -> list[str]:
    reply = await gateway.request("GET", "/v1/models")
    return [model["id"] for model in json.loads(reply.body)["data"]]


async def test_a_new_account_calls_no_premium_model_and_is_told_where_to_switch(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        await _offer_premium(gateway)
        reply = await _ask(gateway)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (
            404,
            "model_not_found",
            "model",
        )
        assert "Switch premium models on under Limits in the console" in reply.error["message"]
        assert await _listed(gateway) == ["m"]
        assert await gateway.events() == []


async def test_either_switch_refuses_the_next_call_and_both_allow_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await _offer_premium(gateway)
        assert (await _ask(gateway)).status == 404
        await _switch(gateway, "account", is_on=True)
        assert (await _ask(gateway)).status == 200
        assert sorted(await _listed(gateway)) == ["best", "m"]
        await _switch(gateway, "key", is_on=False)
        assert (await _ask(gateway)).status == 404
        await _switch(gateway, "account", is_on=False)
        await _switch(gateway, "key", is_on=True)
        assert (await _ask(gateway)).status == 404
        assert (await gateway.chat()).status == 200  # what is not premium goes on


async def test_a_fresh_key_finds_its_switch_as_the_old_one_had_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await _offer_premium(gateway)
        await _switch(gateway, "account", is_on=True)
        await _switch(gateway, "key", is_on=False)
        fresh = await gateway.api_keys.create(ACCOUNT, "fresh", caller=CALLER, replace=True)
        gateway.secret = fresh.secret
        assert (await _ask(gateway)).status == 404
        await gateway.api_keys.revoke(ACCOUNT, fresh.view.id, CALLER)
        gateway.secret = (await gateway.api_keys.create(ACCOUNT, "", caller=CALLER)).secret
        assert (await _ask(gateway)).status == 404
        await _switch(gateway, "key", is_on=True)
        assert (await _ask(gateway)).status == 200


async def test_switching_is_in_the_audit_log_once_for_each_change(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for is_on in (True, True, False):
            await _switch(gateway, "account", is_on=is_on)
        await _switch(gateway, "key", is_on=False)
        events = await AuditLog(gateway.store).list_recent(ACCOUNT)
        switched = [event.action for event in events if "premium" in event.action]
        assert sorted(switched) == ["account.premium_off", "account.premium_on", "key.premium_off"]
        with pytest.raises(InvalidRequest):
            await _switch(gateway, "everything", is_on=True)
        standing = await gateway.limits.standing(ACCOUNT)
        assert standing.premium == {"account": False, "key": False}
