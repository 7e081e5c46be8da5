"""The table of settings, as a page for people and as rows for ``latchgate config show``."""

from __future__ import annotations

from typing import Any

from latchgate.config.declare import Setting
from latchgate.config.reading import Reading
from latchgate.config.settings import ALL, SECTIONS
from latchgate.domain.money import format_usd

_OPENING = """\
# Configuration

Every setting has a default, so an empty configuration is a working one. A setting is taken, the
later over the earlier, from its default, from `latchgate.toml` in the data directory (or the file
that `--config` or `LATCHGATE_CONFIG` names), from its `LATCHGATE_…` variable, and from the command
line. Everything is checked before anything starts; every mistake is told at once, and a name that
is not in this list is a mistake.

The data directory itself is chosen by `--data` or `LATCHGATE_DATA`, and is `./data` otherwise.
`latchgate config show` prints every setting with its value and where it came from.

```toml
[server]
port = 9000
public_url = "https://keys.example.com"

[signup]
mode = "invite"
gift = "2.50"
```

In a variable, a list is separated by commas: `LATCHGATE_SERVER_ALLOWED_HOSTS=a.example,b.example`.
"""


def markdown() -> str:
    """The text of docs/configuration.md; a tidy test holds the file to it."""
    return "\n".join([_OPENING, *(_section(name) for name in SECTIONS)])


def shown(reading: Reading) -> list[dict[str, Any]]:
    """One row for each setting: its value, source and unit; secrets are masked."""
    return [_row(row, reading) for row in ALL]


def _row(row: Setting, reading: Reading) -> dict[str, Any]:
    value = getattr(getattr(reading.settings, row.section), row.attribute)
    return {
        "setting": row.path,
        "value": row.kind.mask(value) if row.is_secret and value else _written(row, value),
        "source": reading.sources.get(row.path, "default"),
        "unit": row.unit,
        "default": row.default_text,
        "is_default": value == row.default,
    }


def _written(row: Setting, value: object) -> object:
    if row.attribute.endswith("_nanos") and isinstance(value, int):
        return format_usd(value)
    return list(value) if isinstance(value, tuple) else value


def _section(name: str) -> str:
    opening = (SECTIONS[name].__doc__ or "").strip().splitlines()[0]
    lines = [f"## [{name}]", "", opening, ""]
    for row in (row for row in ALL if row.section == name):
        lines += [f"### `{row.path}`", "", row.description, ""]
        lines += [f"* Default: `{row.default_text}`", f"* Allowed: {row.kind.name}"]
        lines += [f"* Unit: {row.unit}"] if row.unit else []
        lines += [f"* Variable: `{row.variable}`", ""]
    return "\n".join(lines)
