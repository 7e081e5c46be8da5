"""Guards that ChatOpenAI passes LangChain's own tests when a Latchgate answers it."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conformance.callers import Caller
from tests.conformance.clients import CLIENTS, PYTHON, Client
from tests.conformance.driving import HERE, environment
from tests.conformance.house import NANOS

CHAT_OPENAI = next(client for client in CLIENTS if client.mode == "ChatOpenAI")
TIMEOUT_S = 400
PASSED_MIN = 40


@pytest.mark.column("its own tests")
@pytest.mark.parametrize("client", [CHAT_OPENAI], ids=["langchain"])
def test_its_own_standard_tests_pass(caller: Caller, client: Client) -> None:
    house = caller.house
    tester = house.customer("langchains-own-tests")
    done = subprocess.run(
        [*(PYTHON, "-m", "pytest", "drivers/langchain_standard.py", "-q", "-rfE"),
         *("-p", "no:cacheprovider", "--asyncio-mode=auto"),
         *("--noconftest", "-c", os.devnull, "--rootdir", str(HERE))],
        env={
            **environment(caller.home),
            "CLIENT_URL": f"{house.base_url}/v1",
            "CLIENT_KEY": tester.secret,
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=HERE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= PASSED_MIN, done.stdout[-2000:]
    after = house.totals(tester)
    assert after["calls"] >= PASSED_MIN
    fresh = after["input_tokens"] - after["cached_tokens"]
    counts = (fresh, after["cached_tokens"], after["output_tokens"])
    assert after["charge_nanos"] == sum(
        count * price for count, price in zip(counts, NANOS, strict=True)
    ), "the sum of all calls is the price of all tokens"
