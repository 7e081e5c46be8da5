"""The page docs/cli.md, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from latchgate.cli.main import build

_OPENING = """\
# The command line

`latchgate` acts on a data directory: `--data DIR`, or `LATCHGATE_DATA`, or else `./data`. When a
server runs on that directory, the command goes to it by the socket `control.sock`, which only the
directory's owner may open, and the server acts on it at once; when none runs, the command opens
the directory itself. Both do the same.

With `--json` every command prints one JSON document. Amounts are decimal US dollars going in, and
come out twice: exact integers of nano-USD (`credit_nanos`) and decimal text (`credit_usd`). Prices
are US dollars per million tokens.

Secrets never stand on the command line, where every user of the machine can read them: passwords
and upstream keys are read from standard input.

```sh
printf '%s\\n' "$PASSWORD" | latchgate account create ada@example.com --password-stdin --credit 5.00
latchgate key create ada@example.com --name laptop --json
latchgate credit history ada@example.com
```

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | refused: not there, forbidden by the present state, or `audit` or `doctor` found something |
| 2 | the input is wrong; one line on stderr says what, and what to do |
| 6 | what answers on the control socket is not a server of ours |
| 130 | interrupted by Ctrl-C |
| 141 | nobody reads what is printed |
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name: ``account create``."""
    yield from _walk(typer.main.get_command(build()), "")


def markdown() -> str:
    """The text of docs/cli.md; a tidy test holds the file to it."""
    return "\n".join([_OPENING, *(_entry(name, command) for name, command in commands())])


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _walk(child, f"{path} {name}".strip())


def _entry(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    usage = " ".join(["latchgate", name, *(param.metavar for param in arguments)])
    lines = [f"## `{usage}`", "", (command.help or "").strip(), ""]
    lines += [f"* `{param.metavar}`: {param.help}" for param in arguments]
    lines += [_option(param) for param in options if param.name != "help"]
    return "\n".join([*lines, ""])


def _option(param: Any) -> str:
    value = "" if param.is_flag else f" {param.metavar}"
    required = " Required." if param.required else ""
    return f"* `{param.opts[0]}{value}`: {param.help}{required}"
