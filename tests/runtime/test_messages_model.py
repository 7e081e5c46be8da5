"""Anthropic's SDK against the real embedded model: llama.cpp's own messages, metered exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anthropic
import pytest
from anthropic.types import MessageParam

from latchgate.config import EmbeddedSettings
from latchgate.domain.endpoints import SPEAKS_EMBEDDED
from latchgate.runtime.child import ModelChild
from latchgate.runtime.embedded import chat_spec
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, running_gateway

pytestmark = [pytest.mark.model, pytest.mark.anyio, pytest.mark.usefixtures("only_model")]

SETTINGS = EmbeddedSettings(parallel=2, context_tokens=2048, threads=1)
HELLO: list[MessageParam] = [{"role": "user", "content": "Tell me about the sea."}]
#: The same model, once asked in its own messages and once by way of chat completions.
NATIVE, ADAPTED = "native", "adapted"


@asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[tuple[Gateway, anthropic.AsyncAnthropic]]:
    """A gateway in front of the embedded model, and the SDK in front of the gateway."""
    model = ModelChild(chat_spec(SETTINGS, data_dir=folder), data_dir=folder)
    address = await model.start()
    try:
        await model.wait_ready(30)
        async with running_gateway(folder, idle_s=60) as gateway:
            for name, speaks in ((NATIVE, SPEAKS_EMBEDDED), (ADAPTED, ("chat",))):
                await gateway.catalog.add_upstream(
                    name, base_url=address.base_url, api_key=address.api_key, speaks=speaks
                )
                await gateway.catalog.add_model(
                    name,
                    upstream=name,
                    upstream_model=SETTINGS.model_name,
                    tier="standard",
                    context_tokens=1024,
                    output_tokens_max=512,
                    terms=ModelTerms(100_000, 20_000, 400_000),
                )
            url = f"http://127.0.0.1:{gateway.port}"
            async with anthropic.AsyncAnthropic(
                base_url=url, api_key=gateway.secret, max_retries=0
            ) as sdk:
                yield gateway, sdk
    finally:
        await model.stop()


async def _assert_charged(gateway: Gateway, said: anthropic.types.Message) -> None:
    """The newest usage event is what the SDK was told, by the model's own count."""
    call = (await gateway.events())[0]
    usage = said.usage
    cached = usage.cache_read_input_tokens or 0
    assert (call.outcome, call.counted_by) == ("answered", "upstream")
    assert (call.input_tokens, call.cached_tokens) == (usage.input_tokens + cached, cached)
    assert call.output_tokens == usage.output_tokens > 0
    assert call.charge_nanos > 0


async def test_the_embedded_model_is_metered_as_the_sdk_is_told(tmp_path: Path) -> None:
    async with _house(tmp_path) as (gateway, sdk):
        counted = await sdk.messages.count_tokens(model=NATIVE, messages=HELLO)
        for model in (NATIVE, ADAPTED):
            said = await sdk.messages.create(model=model, max_tokens=12, messages=HELLO)
            assert said.stop_reason == "max_tokens"
            assert said.content[0].type == "text"
            assert said.model == model
            await _assert_charged(gateway, said)
            assert (await gateway.events())[0].input_tokens == counted.input_tokens

            async with sdk.messages.stream(
                model=model, max_tokens=16, messages=HELLO, system="You are a sailor."
            ) as stream:
                texts = [text async for text in stream.text_stream]
                said = await stream.get_final_message()
            assert said.content[0].type == "text"
            assert "".join(texts) == said.content[0].text != ""
            assert said.usage.output_tokens == 16
            await _assert_charged(gateway, said)

        with pytest.raises(anthropic.BadRequestError, match="context window") as refused:
            await sdk.messages.create(
                model=NATIVE, max_tokens=5, messages=[{"role": "user", "content": "sea " * 3000}]
            )
        assert refused.value.error_code == "context_length_exceeded"
        assert (await gateway.audit()).findings == ()
