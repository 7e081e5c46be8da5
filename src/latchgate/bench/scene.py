"""The processes of a run: a model server, the gateway in front of it, and a plain proxy beside."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latchgate.bench.mock_upstream import MODEL
from latchgate.bench.processes import BenchFailed, Crew, clean_environment, read_line

GATEWAY, PLAIN = "gateway", "plain proxy"
#: Credit that no run uses up, and the price of a usual small model, in USD.
CREDIT, INPUT_PRICE, OUTPUT_PRICE = "100000.00", "0.15", "0.60"
#: Bounds that one account alone would meet, though a platform's many users do not. They are so high
#: that nothing meets them, but not off: what it takes to keep to them is measured too.
LIMITS = {
    "LATCHGATE_GATEWAY_STREAMS_PER_KEY_MAX": "100000",
    "LATCHGATE_GATEWAY_UPSTREAM_CONNECTIONS_MAX": "100000",
    "LATCHGATE_RATES_REQUESTS_PER_MINUTE": "100000000",
    "LATCHGATE_RATES_TOKENS_PER_MINUTE": "1000000000000",
}
CLI_TIMEOUT_S = 120


@dataclass(slots=True)
class Subject:
    """Something that is measured: it answers chat completions on a port of loopback."""

    name: str
    port: int
    pids: list[int]
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"
    #: Where it takes calls that are streamed, if elsewhere.
    stream_path: str = ""


@dataclass(slots=True)
class Scene:
    """Everything that runs."""

    crew: Crew
    data: Path
    gateway: Subject
    plain: Subject
    #: The secret of an account without credit.
    poor_secret: str
    #: What measures: its processor time is not somebody else's.
    pids: list[int]
    upstream_port: int
    _server: subprocess.Popen[bytes]

    def audit(self) -> dict[str, Any]:
        """Stop the gateway, and have every balance derived again from its rows."""
        self.crew.end(self._server)
        self.pids.remove(self._server.pid)
        return cli(self.data, "audit", may_disagree=True)


def build(folder: Path, crew: Crew, *, subject_core: int | None, load_core: int | None) -> Scene:
    """Start everything, with an account, a key and a priced model in a new data directory."""
    mock = crew.start("mock", _module("mock_upstream"), core=load_core)
    upstream_port = int(read_line(mock))
    plain_command = [*_module("plain_proxy"), "--upstream-port", str(upstream_port)]
    plain = crew.start("plain", plain_command, core=subject_core)
    plain_port = int(read_line(plain))
    data = folder / "data"
    rich, poor = (
        _make_account(data, f"{name}@example.com", credit)
        for name, credit in (("rich", CREDIT), ("poor", "0.00"))
    )
    _make_model(data, upstream_port)
    # Not before: its memory at rest is measured, and to make accounts takes some of it.
    command = [*_cli("serve", data), "--no-embedded-model", "--port", "0"]
    server = crew.start("gateway", command, core=subject_core, environment=LIMITS)
    gateway_port = _port(crew, server)
    return Scene(
        crew=crew,
        data=data,
        gateway=Subject(GATEWAY, gateway_port, [server.pid], bearer(rich)),
        plain=Subject(PLAIN, plain_port, [plain.pid], bearer(rich)),
        poor_secret=poor,
        pids=[mock.pid, plain.pid, server.pid],
        upstream_port=upstream_port,
        _server=server,
    )


def bearer(secret: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"authorization": f"Bearer {secret}"}


def cli(data: Path, *words: str, stdin: str = "", may_disagree: bool = False) -> dict[str, Any]:
    """Run a command as an operator would; its JSON."""
    done = subprocess.run(  # noqa: S603 - our own command
        [*_cli(words[0], data), *words[1:], "--json"],
        input=stdin,
        capture_output=True,
        text=True,
        env=clean_environment({}),
        timeout=CLI_TIMEOUT_S,
        check=False,
    )
    if done.returncode and not (may_disagree and done.stdout):
        raise BenchFailed(f"latchgate {words[0]} failed: {done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"latchgate.bench.{name}"]


def _cli(command: str, data: Path) -> list[str]:
    return [sys.executable, "-m", "latchgate.cli", *command.split(), "--data", str(data)]


def _port(crew: Crew, server: subprocess.Popen[bytes]) -> int:
    try:
        found = re.search(r"https?://[^/\s]+:(\d+)", read_line(server))
    except BenchFailed as error:
        raise BenchFailed(f"the gateway did not start: {crew.said('gateway')}") from error
    if found is None:
        raise BenchFailed("the gateway did not say its address")
    return int(found[1])


def _make_account(data: Path, email: str, credit: str) -> str:
    password = f"{secrets.token_urlsafe(24)}\n"
    words = ("account create", email, "--password-stdin", "--credit", credit)
    cli(data, *words, stdin=password)
    secret: str = cli(data, "key create", email, "--name", "bench")["secret"]
    return secret


def _make_model(data: Path, upstream_port: int) -> None:
    base_url = f"http://127.0.0.1:{upstream_port}/v1"
    cli(data, "upstream add", "mock", "--base-url", base_url)
    prices = ("--input-price", INPUT_PRICE, "--output-price", OUTPUT_PRICE)
    context = ("--context", "1000000", "--max-output", "16384")
    cli(data, "model add", MODEL, "--upstream", "mock", *prices, *context)
