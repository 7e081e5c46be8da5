"""Runs a client in an environment of its own: one process, jobs and results as lines of JSON."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

JOB_TIMEOUT_S = 120.0
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Refused:
    """What a client makes of a refusal."""

    kind: str
    status: int | None = None
    code: str | None = None
    message: str = ""
    retry_after: str | None = None


@dataclass(frozen=True)
class Result:
    """What a client got: every driver gives the same, and None for what its client hides."""

    text: str | None = None
    usage: tuple[int, int] | None = None
    models: tuple[str, ...] = ()
    tool: str | None = None
    reasoning: str | None = None
    vectors: tuple[int, ...] = ()
    refused: Refused | None = None


def environment(folder: Path) -> dict[str, str]:
    """Nobody's keys, nobody's settings, and a home of its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "LLM_USER_PATH": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGCHAIN_TRACING_V2": "false",
        "AI_SDK_LOG_WARNINGS": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@dataclass
class Driver:
    """A client's process, started when it first has something to do."""

    command: tuple[str, ...]
    folder: Path
    _process: subprocess.Popen[str] | None = None
    _lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def ask(self, do: str, **job: Any) -> Result:
        """Have the client do one thing."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"do": do, **job}) + "\n")
        process.stdin.flush()
        told = json.loads(self._next_line(f"{self.command[-1]} does {do}"))
        assert "crash" not in told, told["crash"]
        refused = told.pop("refused", None)
        for name in ("usage", "models", "vectors"):
            if told.get(name) is not None:
                told[name] = tuple(told[name])
        return Result(**told, refused=Refused(**refused) if refused else None)

    def _start(self) -> subprocess.Popen[str]:
        self.folder.mkdir(parents=True)
        log = (self.folder / "log").open("w")
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(self.folder),
            cwd=HERE,
        )
        log.close()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()
        return self._process

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self._lines.put(line)
        self._lines.put("")

    def _next_line(self, what: str) -> str:
        try:
            line = self._lines.get(timeout=JOB_TIMEOUT_S)
        except queue.Empty:
            line = ""
        assert line, f"no answer while {what}:\n{(self.folder / 'log').read_text()[-3000:]}"
        return line

    def close(self) -> None:
        """Let it end."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            assert self._process.stdout is not None
            self._reader.join(10)
            self._process.stdout.close()
