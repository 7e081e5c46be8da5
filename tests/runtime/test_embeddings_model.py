"""The embedded embeddings model is real: its vectors mean something, and its limits are told."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import math
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tokenizers import Tokenizer

from latchgate.config import EmbeddedSettings
from latchgate.domain.embedded import EMBEDDINGS_WINDOW_TOKENS
from latchgate.runtime.child import ChildAddress, ModelChild
from latchgate.runtime.embedded import (
    EMBEDDINGS_LOG_NAME,
    embeddings_spec,
    find_embeddings_files,
)
from latchgate.runtime.embeddings_api import (
    CLS,
    INPUTS_MAX,
    REQUEST_TOKENS_MAX,
    SEP,
    TEXT_CHARS_MAX,
    VOCABULARY_TOKENS,
)
from latchgate.runtime.encoder import DIMENSIONS
from latchgate.runtime.weights import (
    EMBEDDINGS_TOKENIZER,
    EMBEDDINGS_WEIGHTS,
    MEMORY_NAME,
    ModelUnavailable,
    verify_packaged,
)

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("only_model")]

SETTINGS = EmbeddedSettings(embeddings_threads=1)
#: One token each, so that lengths can be told by counting.
WORDS = ("cat", "river", "music", "seven", "house", "winter", "paper", "green")


def _words(count: int, *, first: int = 0) -> str:
    return " ".join(WORDS[(first + place) % len(WORDS)] for place in range(count))


class _Running:
    """A child whose loop runs in a thread, asked by plain HTTP."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.child = ModelChild(embeddings_spec(SETTINGS, data_dir=folder), data_dir=folder)
        self.address = asyncio.run_coroutine_threadsafe(self.child.start(), self.loop).result(60)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.child.stop(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def ask(self, inputs: object, **fields: object) -> dict[str, object]:
        status, answer = self.send({"model": "any", "input": inputs, **fields})
        assert status == 200, answer
        return answer

    def refusal(self, inputs: object, **fields: object) -> tuple[int, object, object]:
        status, answer = self.send({"model": "any", "input": inputs, **fields})
        error = answer["error"]
        assert isinstance(error, dict)
        assert set(error) == {"message", "type", "param", "code"}
        return status, error["code"], error["param"]

    def send(self, body: object, **how: str) -> tuple[int, dict[str, object]]:
        return _send(self.address, json.dumps(body).encode(), **how)

    def vectors(self, inputs: object) -> list[list[float]]:
        return _numbers(self.ask(inputs))


def _send(
    address: ChildAddress,
    body: bytes,
    *,
    method: str = "POST",
    path: str = "/embeddings",
    api_key: str | None = None,
) -> tuple[int, dict[str, object]]:
    url = urlsplit(address.base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=120)
    headers = {"authorization": f"Bearer {api_key or address.api_key}"}
    try:
        connection.request(method, url.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def _numbers(answer: dict[str, object]) -> list[list[float]]:
    data = answer["data"]
    assert isinstance(data, list)
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [entry["embedding"] for entry in data]


def _likeness(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Running]:
    running = _Running(tmp_path_factory.mktemp("embeddings"))
    yield running
    running.stop()


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────
def test_texts_that_mean_alike_are_nearer_than_others(model: _Running) -> None:
    cat, kitten, shares, market, pasta = model.vectors(
        [
            "A cat sleeps on the sofa.",
            "The kitten is napping on the couch.",
            "Share prices fell sharply on Monday.",
            "The stock market dropped at the start of the week.",
            "Boil the pasta for ten minutes.",
        ]
    )
    assert _likeness(cat, kitten) > 0.5
    assert _likeness(shares, market) > 0.5
    for other in (shares, market, pasta):
        assert _likeness(cat, other) < 0.3
    assert _likeness(shares, pasta) < 0.3


def test_a_vector_has_length_one(model: _Running) -> None:
    for vector in model.vectors(["one", _words(200), "?", " ", "日本語 \U0001f600"]):
        assert len(vector) == DIMENSIONS
        assert math.isclose(_likeness(vector, vector), 1.0, abs_tol=1e-5)


def test_base64_says_exactly_what_the_numbers_say(model: _Running) -> None:
    texts = ["one", _words(40)]
    packed = model.ask(texts, encoding_format="base64")["data"]
    assert isinstance(packed, list)
    for entry, vector in zip(packed, _numbers(model.ask(texts)), strict=True):
        raw = base64.b64decode(entry["embedding"], validate=True)
        assert raw == struct.pack(f"<{DIMENSIONS}f", *vector)


def test_company_does_not_change_a_vector(model: _Running) -> None:
    texts = [_words(count, first=count) for count in (1, 60, 3, 254, 17, 17, 128, 2)]
    together = model.vectors(texts)
    with ThreadPoolExecutor(len(texts)) as people:
        at_once = list(people.map(lambda text: model.vectors([text])[0], texts))
    for text, *others in zip(texts, together, at_once, strict=True):
        alone = model.vectors(text)[0]
        for other in others:
            assert max(abs(a - b) for a, b in zip(alone, other, strict=True)) < 1e-5


def test_token_ids_are_the_text_that_they_came_from(model: _Running) -> None:
    _, path = find_embeddings_files(data_dir=Path("/nowhere"))
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    ids = tokenizer.encode("The kitten is napping.", add_special_tokens=False).ids
    assert tokenizer.encode("").ids == [CLS, SEP]
    assert tokenizer.get_vocab_size() == VOCABULARY_TOKENS
    text = model.vectors("The kitten is napping.")
    assert model.vectors(ids) == text
    assert model.vectors([ids, ids]) == text + text


def test_nothing_is_cut_without_a_word(model: _Running) -> None:
    """The tokenizer's file would cut at 128 tokens."""
    long = _words(EMBEDDINGS_WINDOW_TOKENS - 2)
    end = long[: -len(long.split()[-1])] + "zebra"
    assert max(abs(a - b) for a, b in zip(*model.vectors([long, end]), strict=True)) > 1e-4


# ── counts and limits ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("inputs", "tokens"),
    [
        ("cat", 3),
        (["cat", "cat river"], 7),
        ([2054], 3),
        ([[2054], [2054, 2055]], 7),
        (_words(EMBEDDINGS_WINDOW_TOKENS - 2), EMBEDDINGS_WINDOW_TOKENS),
        ([2054] * (EMBEDDINGS_WINDOW_TOKENS - 2), EMBEDDINGS_WINDOW_TOKENS),
        (["cat"] * INPUTS_MAX, 3 * INPUTS_MAX),
    ],
)
def test_usage_counts_every_token_those_around_a_text_included(
    model: _Running, inputs: object, tokens: int
) -> None:
    answer = model.ask(inputs, encoding_format="base64")
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert (answer["object"], answer["model"]) == ("list", "all-minilm-l6-v2")


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        (_words(EMBEDDINGS_WINDOW_TOKENS - 1), "context_length_exceeded"),
        (["cat", _words(EMBEDDINGS_WINDOW_TOKENS - 1)], "context_length_exceeded"),
        ([2054] * (EMBEDDINGS_WINDOW_TOKENS - 1), "context_length_exceeded"),
        ("x" * (TEXT_CHARS_MAX + 1), "context_length_exceeded"),
        ([_words(250)] * (REQUEST_TOKENS_MAX // 252 + 1), "max_tokens_per_request"),
        (["cat"] * (INPUTS_MAX + 1), "invalid_value"),
        ("", "invalid_value"),
        ([], "invalid_value"),
        (["cat", ""], "invalid_value"),
        ([[2054], []], "invalid_value"),
        (["cat", 2054], "invalid_value"),
        (["cat", [2054]], "invalid_value"),
        ([-1], "invalid_value"),
        ([VOCABULARY_TOKENS], "invalid_value"),
        ([2**70], "invalid_value"),
        ([True], "invalid_value"),
        ([1.5], "invalid_value"),
        (None, "invalid_value"),
        ({"text": "cat"}, "invalid_value"),
    ],
)
def test_what_cannot_be_done_is_refused(model: _Running, inputs: object, code: str) -> None:
    status, told, _ = model.refusal(inputs)
    assert (status, told) == (400, code)


def test_fields_have_their_bounds(model: _Running) -> None:
    assert model.ask("cat", dimensions=DIMENSIONS, user="ada")["object"] == "list"
    assert model.refusal("cat", dimensions=256) == (400, "invalid_value", "dimensions")
    assert model.refusal("cat", encoding_format="hex")[0] == 400
    assert model.refusal("cat", stream=True)[0] == 400
    assert _send(model.address, b"{")[0] == 400
    assert _send(model.address, b'{"model": "m", "input": "\\ud800"}')[0] == 400


def test_only_its_parent_may_ask(model: _Running) -> None:
    body = {"model": "any", "input": "cat"}
    assert model.send(body, api_key="wrong")[0] == 401
    assert model.send(body, path="/chat/completions")[0] == 404
    assert model.send(body, method="GET")[0] == 404


# ── many at once ────────────────────────────────────────────────────────────────────────────────
def test_a_small_request_is_not_behind_a_large_one(model: _Running) -> None:
    with ThreadPoolExecutor(1) as other:
        large = other.submit(model.ask, [_words(120)] * 300, encoding_format="base64")
        _wait_until_busy(model)
        assert model.ask("cat")["object"] == "list"
        assert not large.done()
        assert large.result()["usage"] == {"prompt_tokens": 36_600, "total_tokens": 36_600}


def test_little_is_computed_for_somebody_who_has_hung_up(model: _Running) -> None:
    texts = [_words(250)] * 100
    before = _processor_ticks(model)
    model.ask(texts)
    whole = _processor_ticks(model) - before

    url = urlsplit(model.address.base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0)
    headers = {"authorization": f"Bearer {model.address.api_key}"}
    body = json.dumps({"model": "any", "input": texts})
    before = _processor_ticks(model)
    connection.request("POST", f"{url.path}/embeddings", body, headers)
    _wait_until_busy(model)
    connection.close()
    assert _wait_until_idle(model) - before < whole / 2


def _processor_ticks(model: _Running) -> int:
    fields = Path(f"/proc/{model.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _wait_until_busy(model: _Running, timeout_s: float = 60) -> None:
    """Until the child computes: it uses a core for longer than reading a body does."""
    before, deadline = _processor_ticks(model), time.monotonic() + timeout_s
    while _processor_ticks(model) - before < 30:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _wait_until_idle(model: _Running, timeout_s: float = 120) -> int:
    """Until the child uses no core any more; what it had used by then."""
    deadline, last = time.monotonic() + timeout_s, -1
    while (used := _processor_ticks(model)) != last:
        assert time.monotonic() < deadline, "an idle model server uses a core"
        last = used
        time.sleep(0.5)
    return used


# ── its life ────────────────────────────────────────────────────────────────────────────────────
def test_it_dies_and_comes_back_with_the_same_vectors(tmp_path: Path) -> None:
    async def story() -> None:
        moved: asyncio.Queue[ChildAddress] = asyncio.Queue()
        child = ModelChild(
            embeddings_spec(SETTINGS, data_dir=tmp_path),
            data_dir=tmp_path,
            on_address_changed=moved.put_nowait,
        )
        body = json.dumps({"model": "any", "input": "cat"}).encode()
        try:
            first = await asyncio.to_thread(_send, await child.start(), body)
            killed = child.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            address = await asyncio.wait_for(moved.get(), 60)
            await child.wait_ready(60)
            assert (child.restarts, child.address) == (1, address)
            assert await asyncio.to_thread(_send, address, body) == first
        finally:
            last = child.pid
            await child.stop()
        assert last is not None
        assert not Path(f"/proc/{last}").exists()

    asyncio.run(story())
    assert (tmp_path / EMBEDDINGS_LOG_NAME).stat().st_mode & 0o077 == 0
    verified = json.loads((tmp_path / MEMORY_NAME).read_bytes())
    assert set(verified) == {EMBEDDINGS_WEIGHTS.package, EMBEDDINGS_TOKENIZER.package}


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    weights, _ = find_embeddings_files(data_dir=tmp_path)
    changed = tmp_path / "model.onnx"
    changed.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelUnavailable, match="damaged"):
        verify_packaged(changed, EMBEDDINGS_WEIGHTS, data_dir=tmp_path)
