"""Read the settings: defaults, then the file, then the environment, then the command line.

The whole is checked before anything starts, and every mistake is told at once, so that an
operator does not mend his file line by line.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latchgate.config.declare import BadValue, Setting, plain
from latchgate.config.settings import ALL, SECTIONS, Settings
from latchgate.domain.errors import LatchgateError

FILE_NAME = "latchgate.toml"
FILE_BYTES_MAX = 1024 * 1024
VARIABLE_PREFIX = "LATCHGATE_"
#: Variables that choose where things are, and so are not settings of their own.
PLACE_VARIABLES = ("LATCHGATE_DATA", "LATCHGATE_CONFIG")


class ConfigError(LatchgateError):
    """The configuration is wrong; ``problems`` has one sentence for each mistake."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_configuration"

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Reading:
    """The settings, and where each that is not a default came from (by path)."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    data_dir: Path,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    file: Path | None = None,
) -> Settings:
    """Read and check every setting. Raises ConfigError naming all mistakes.

    ``overrides`` are by path (``{"server.port": 8001}``); a None among them says nothing.
    ``file`` takes the place of ``latchgate.toml`` in the data directory, and must exist.
    """
    return read(data_dir, environ=environ, overrides=overrides, file=file).settings


def read(
    data_dir: Path,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    file: Path | None = None,
) -> Reading:
    """As ``load``, and says where each setting came from."""
    problems: list[str] = []
    said: dict[str, tuple[object, str]] = {}
    said.update(_from_file(data_dir, file, problems))
    said.update(_from_environment(environ, problems))
    for path, value in (overrides or {}).items():
        if value is not None:
            said[path] = (value, "command line")
    values = _checked(said, problems)
    settings = _build(data_dir, values)
    if not problems:
        problems.extend(_contradictions(settings))
    if problems:
        raise ConfigError(problems)
    return Reading(settings, {path: source for path, (_, source) in said.items()})


def _from_file(
    data_dir: Path, file: Path | None, problems: list[str]
) -> dict[str, tuple[object, str]]:
    path = file or data_dir / FILE_NAME
    if file is None and not path.exists():
        return {}
    try:
        with path.open("rb") as opened:
            written = opened.read(FILE_BYTES_MAX + 1)
        if len(written) > FILE_BYTES_MAX:
            problems.append(f"{path} is larger than {FILE_BYTES_MAX} bytes.")
            return {}
        tables = tomllib.loads(written.decode())
    except OSError as failure:
        problems.append(f"{path} cannot be read: {failure.strerror or failure}.")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        problems.append(f"{path} is not TOML: {failure}.")
        return {}
    return _flat(tables, path, problems)


def _flat(tables: dict[str, Any], file: Path, problems: list[str]) -> dict[str, tuple[object, str]]:
    said: dict[str, tuple[object, str]] = {}
    for section, table in tables.items():
        if section not in SECTIONS:
            near = _nearest(section, SECTIONS)
            problems.append(f"{file.name}: there is no section [{section}].{near}")
        elif not isinstance(table, dict):
            problems.append(f"{file.name}: {section} must be a table: write [{section}].")
        else:
            said.update({f"{section}.{key}": (value, file.name) for key, value in table.items()})
    return said


def _from_environment(
    environ: Mapping[str, str], problems: list[str]
) -> dict[str, tuple[object, str]]:
    by_variable = {row.variable: row for row in ALL}
    said: dict[str, tuple[object, str]] = {}
    for variable, value in sorted(environ.items()):
        if not variable.startswith(VARIABLE_PREFIX) or variable in PLACE_VARIABLES:
            continue
        row = by_variable.get(variable)
        if row is None:
            near = _nearest(variable, [*by_variable, *PLACE_VARIABLES])
            problems.append(f"There is no setting for the variable {variable}.{near}")
        else:
            said[row.path] = (value, variable)
    return said


def _checked(said: Mapping[str, tuple[object, str]], problems: list[str]) -> dict[str, Any]:
    by_path = {row.path: row for row in ALL}
    values: dict[str, Any] = {}
    for path, (raw, source) in said.items():
        row = by_path.get(path)
        if row is None:
            near = _nearest(path, by_path)
            problems.append(f"{source}: there is no setting {path}.{near}")
            continue
        try:
            values[path] = row.kind.parse(raw)
        except BadValue as wrong:
            problems.append(_sentence(row, raw, source, wrong))
    return values


def _sentence(row: Setting, raw: object, source: str, wrong: BadValue) -> str:
    shown = "" if row.is_secret else f" = {_short(raw)}"
    unit = f" (unit: {row.unit})" if row.unit else ""
    return f"{source}: {row.path}{shown} {wrong}{unit}."


def _short(raw: object) -> str:
    chars_max = 80
    written = plain(raw) if isinstance(raw, bool | int | str) else repr(raw)
    return written if len(written) <= chars_max else written[:chars_max] + "…"


def _build(data_dir: Path, values: Mapping[str, Any]) -> Settings:
    sections: dict[str, Any] = {}
    for section, settings_type in SECTIONS.items():
        chosen = {
            row.attribute: values[row.path]
            for row in ALL
            if row.section == section and row.path in values
        }
        sections[section] = settings_type(**chosen)
    return Settings(data_dir=data_dir, **sections)


def _contradictions(settings: Settings) -> list[str]:
    """What no single value shows: settings that do not go together."""
    server, mail, sessions = settings.server, settings.mail, settings.sessions
    found = []
    if bool(server.tls_certificate) != bool(server.tls_key):
        found.append("server.tls_certificate and server.tls_key go together: set both or neither.")
    if mail.mode == "smtp" and not mail.smtp_host:
        found.append('mail.mode = "smtp" needs mail.smtp_host.')
    if mail.smtp_password and not mail.smtp_user:
        found.append("mail.smtp_password needs mail.smtp_user.")
    stripe = settings.stripe
    if bool(stripe.secret_key) != bool(stripe.webhook_secret):
        found.append(
            "stripe.secret_key and stripe.webhook_secret go together: set both or neither."
        )
    if stripe.amount_min_nanos > stripe.amount_max_nanos:
        found.append("stripe.amount_min (unit: USD) must not be more than stripe.amount_max.")
    if sessions.idle_days > sessions.absolute_days:
        found.append(
            "sessions.idle_days (unit: days) must not be more than sessions.absolute_days."
        )
    return found


def _nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
