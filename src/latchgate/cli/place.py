"""Where the data is, and how a command reaches it.

A running server answers on its control socket; when none runs, the command opens the data
directory itself, and does the same.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latchgate.domain.errors import InvalidRequest, LatchgateError

if TYPE_CHECKING:
    from latchgate.config import Reading, Settings

SOCKET_NAME = "control.sock"
DATA_DEFAULT = Path("data")
SECRET_BYTES_MAX = 4096
#: How long to wait for a data directory that another process holds without answering yet.
BUSY_WAIT_S = 10.0
#: Verbs that may begin a new data directory; on the others a missing one is a typing mistake.
BEGINNERS = frozenset({"account.create", "invite.create", "upstream.add", "model.add"})

Data = Annotated[
    Path,
    typer.Option("--data", envvar="LATCHGATE_DATA", help="The data directory.", metavar="DIR"),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="LATCHGATE_CONFIG",
        help="The configuration file, in place of latchgate.toml in the data directory.",
        metavar="FILE",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]


@dataclass(frozen=True, slots=True)
class Place:
    """One command's surroundings."""

    data_dir: Path
    config_file: Path | None
    as_json: bool

    @property
    def socket(self) -> Path:
        """Where a running server listens for commands."""
        return self.data_dir / SOCKET_NAME

    def read_settings(self, overrides: dict[str, object] | None = None) -> Reading:
        """All settings and their sources. Raises ConfigError."""
        from latchgate import config  # noqa: PLC0415 (most commands never need it)

        return config.read(
            self.data_dir, environ=os.environ, overrides=overrides, file=self.config_file
        )

    def perform(self, verb: str, **args: object) -> dict[str, Any]:
        """Do what ``verb`` says, through the running server or directly."""
        return self.reach(verb, args, lambda: self._perform_directly(verb, args))

    def reach(
        self, verb: str, args: dict[str, object], directly: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Have a running server do what ``verb`` says, or do ``directly`` when none runs."""
        from latchgate.http.control_client import NobodyListens, ask  # noqa: PLC0415

        deadline_s = time.monotonic() + BUSY_WAIT_S
        while True:
            try:
                return ask(self.socket, verb, args)
            except NobodyListens:
                pass
            try:
                return directly()
            except LatchgateError as refusal:
                # Another process holds the directory: a server that starts or stops, or a command.
                if refusal.code != "data_dir_in_use" or time.monotonic() > deadline_s:
                    raise
            time.sleep(0.1)

    def must_exist(self) -> None:
        """Raise InvalidRequest when there is no such data directory."""
        if not self.data_dir.is_dir():
            raise InvalidRequest(
                f"There is no data directory {self.data_dir}. Name it with --data.", param="data"
            )

    def _perform_directly(self, verb: str, args: dict[str, object]) -> dict[str, Any]:
        if verb not in BEGINNERS:
            self.must_exist()
        return asyncio.run(_run_once(self.settings_and_logs(), verb, args))

    def settings_and_logs(self) -> Settings:
        """All settings, for a command that does by itself what a server would; it logs as one."""
        from latchgate.observe import logs  # noqa: PLC0415

        settings = self.read_settings().settings
        logs.configure("warning", settings.log.format)
        return settings


async def _run_once(settings: Settings, verb: str, args: dict[str, object]) -> dict[str, Any]:
    from latchgate import commands  # noqa: PLC0415
    from latchgate.app import open_world  # noqa: PLC0415

    world = await open_world(settings)
    try:
        return await commands.run(world, verb, args)
    finally:
        await world.close()


def read_secret(what: str, *, from_stdin: bool) -> str:
    """One line from standard input, or asked for on the terminal without showing it."""
    if not from_stdin:
        if not sys.stdin.isatty():
            raise InvalidRequest(f"Give the {what} on standard input, with --{what}-stdin.")
        return getpass.getpass(f"{what.capitalize()}: ")
    line = sys.stdin.buffer.readline(SECRET_BYTES_MAX + 1)
    try:
        secret = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequest(f"The {what} on standard input is not UTF-8 text.") from None
    if len(line) > SECRET_BYTES_MAX:
        raise InvalidRequest(f"The {what} is longer than {SECRET_BYTES_MAX} bytes.")
    if not secret:
        raise InvalidRequest(f"There is no {what} on standard input: give it in one line.")
    return secret
