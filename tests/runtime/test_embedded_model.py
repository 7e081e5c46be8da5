"""The embedded model is real, comes back when it dies, and never outlives its parent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from latchgate.config import EmbeddedSettings
from latchgate.runtime.child import ChildAddress, ModelChild
from latchgate.runtime.embedded import LOG_NAME, chat_spec
from latchgate.runtime.weights import (
    MEMORY_NAME,
    ModelUnavailable,
    find_weights,
    verify_weights,
)

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("only_model")]

SETTINGS = EmbeddedSettings(parallel=2, context_tokens=512, threads=1)


def _ask(address: ChildAddress, *, api_key: str | None = None) -> dict[str, object]:
    body = {
        "model": SETTINGS.model_name,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
    }
    request = urllib.request.Request(
        f"{address.base_url}/chat/completions",
        json.dumps(body).encode(),
        {
            "content-type": "application/json",
            "authorization": f"Bearer {api_key or address.api_key}",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_gone(pid: int, timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _is_alive(pid)


def test_it_answers_dies_and_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        moved: asyncio.Queue[ChildAddress] = asyncio.Queue()
        model = ModelChild(
            chat_spec(SETTINGS, data_dir=tmp_path),
            data_dir=tmp_path,
            on_address_changed=moved.put_nowait,
        )
        first = await model.start()
        try:
            await model.wait_ready(30)
            answer = await asyncio.to_thread(_ask, first)
            usage = answer["usage"]
            assert isinstance(usage, dict)
            assert usage["prompt_tokens"] > 0
            assert 0 < usage["completion_tokens"] <= 8
            with pytest.raises(urllib.error.HTTPError, match="401"):
                await asyncio.to_thread(_ask, first, api_key="wrong")

            killed = model.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            second = await asyncio.wait_for(moved.get(), 30)
            await model.wait_ready(30)
            assert model.restarts == 1
            assert model.address == second
            await asyncio.to_thread(_ask, second)
        finally:
            last = model.pid
            await model.stop()
        assert last is not None
        assert not _is_alive(last)

    asyncio.run(story())
    assert (tmp_path / LOG_NAME).stat().st_mode & 0o077 == 0
    assert (tmp_path / MEMORY_NAME).exists(), "the hash was computed, and need not be again"


def test_it_is_gone_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent_code = textwrap.dedent(
        """
        import asyncio, pathlib, sys
        from latchgate.config import EmbeddedSettings
        from latchgate.runtime.child import ModelChild
        from latchgate.runtime.embedded import chat_spec

        async def main():
            data_dir = pathlib.Path(sys.argv[1])
            settings = EmbeddedSettings(parallel=1, context_tokens=256, threads=1)
            model = ModelChild(chat_spec(settings, data_dir=data_dir), data_dir=data_dir)
            await model.start()
            print(model.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    source = str(Path(__file__).parents[2] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", parent_code, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": source},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _is_alive(child)
        parent.kill()
    gone = _wait_gone(child)
    if not gone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    assert gone


def test_a_file_that_is_no_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"hello")
    settings = EmbeddedSettings(model_path=str(junk))
    model = ModelChild(chat_spec(settings, data_dir=tmp_path), data_dir=tmp_path)
    with pytest.raises(ModelUnavailable, match="not a GGUF file"):
        asyncio.run(model.start())
    asyncio.run(model.stop())


def test_a_broken_model_is_one_clear_refusal(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    settings = EmbeddedSettings(model_path=str(broken))

    async def story() -> None:
        model = ModelChild(chat_spec(settings, data_dir=tmp_path), data_dir=tmp_path)
        try:
            with pytest.raises(ModelUnavailable, match=LOG_NAME):
                await model.start()
        finally:
            await model.stop()

    asyncio.run(story())


def test_packaged_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(b"GGUF and something else")
    with pytest.raises(ModelUnavailable, match="damaged"):
        verify_weights(changed, is_packaged=True, data_dir=tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"embedded\.model_path"):
        find_weights(str(tmp_path / "none.gguf"))
