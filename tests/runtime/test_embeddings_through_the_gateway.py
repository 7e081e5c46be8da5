"""Embeddings of the embedded model, through the gateway and the official SDK, metered exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.server import ServerProcess

MODEL = "all-minilm-l6-v2"
EMAIL = "ada@example.com"
PASSWORD = "seven quiet violet llamas"

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("only_model")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the embedded models, as ``make run`` starts it."""
    with ServerProcess(tmp_path_factory.mktemp("embeddings") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> OpenAI:
    """The official SDK with a fresh key."""
    server.cli("account", "create", EMAIL, "--password-stdin", stdin=f"{PASSWORD}\n")
    secret = server.cli("key", "create", EMAIL)["secret"]
    return OpenAI(api_key=secret, base_url=f"{server.url}/v1", max_retries=0)


def _spent(server: ServerProcess) -> int:
    return int(server.cli("account", "show", EMAIL)["spent_nanos"])


def test_embeddings_cost_what_their_tokens_cost(server: ServerProcess, client: OpenAI) -> None:
    before = _spent(server)
    found = client.embeddings.create(model=MODEL, input=["a cat on a mat", "prices of wheat"])
    assert [len(item.embedding) for item in found.data] == [384, 384]
    price: Any = next(m for m in server.cli("model", "list")["models"] if m["name"] == MODEL)
    picos = round(float(price["input_price"]) * 1_000_000)
    assert _spent(server) - before == round(found.usage.prompt_tokens * picos / 1000)


def test_numbers_and_base64_say_the_same(client: OpenAI) -> None:
    as_base64 = client.embeddings.create(model=MODEL, input="a cat on a mat")
    as_numbers = client.embeddings.create(
        model=MODEL, input="a cat on a mat", encoding_format="float"
    )
    assert as_base64.data[0].embedding == pytest.approx(as_numbers.data[0].embedding, abs=1e-6)


def test_a_text_over_the_window_is_refused_by_name_and_free(
    server: ServerProcess, client: OpenAI
) -> None:
    before = _spent(server)
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="wheat " * 400)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert _spent(server) == before


def test_each_kind_of_model_is_called_where_it_belongs(client: OpenAI) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    for call in (
        lambda: client.chat.completions.create(model=MODEL, messages=hello),
        lambda: client.embeddings.create(model="smollm2-135m", input="hello"),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            call()
        assert refused.value.code == "model_not_found"


def test_a_text_completion_goes_on_with_its_prompt(client: OpenAI) -> None:
    whole = client.completions.create(model="smollm2-135m", prompt="Once upon a", max_tokens=8)
    assert whole.choices[0].text
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 8
    stream = client.completions.create(
        model="smollm2-135m",
        prompt="Once upon a",
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    usage = [chunk.usage for chunk in stream if chunk.usage is not None]
    assert usage[-1].completion_tokens <= 8
