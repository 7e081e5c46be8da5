"""The settings: one TOML file, and secrets from the environment."""

from __future__ import annotations

import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SettingsError(Exception):
    """A sentence for whoever starts the desk."""


@dataclass(frozen=True)
class Latchgate:
    """The platform, and the business's key for it, which never leaves this server."""

    key: str
    base_url: str
    chat_model: str
    embedding_model: str
    similarity_min: float


@dataclass(frozen=True)
class VisitorTerms:
    """What one visitor may ask for."""

    questions_per_minute: int
    questions_per_day: int
    letters_per_day: int


@dataclass(frozen=True)
class MailTerms:
    """Where letters to a person go; without a host, into a folder."""

    to: str
    sender: str
    smtp_host: str
    smtp_port: int
    smtp_security: str
    smtp_user: str
    smtp_password: str


@dataclass(frozen=True)
class Settings:
    """Everything that a business chooses."""

    business: str
    greeting: str
    starters: tuple[str, ...]
    documents: Path
    data: Path
    sites: tuple[str, ...]
    transcript_days_max: int
    password: str
    latchgate: Latchgate
    visitors: VisitorTerms
    mail: MailTerms


def load_settings(path: Path) -> Settings:
    """Read the file and the environment; raises `SettingsError` with what to do."""
    key = os.environ.get("LATCHGATE_KEY", "").strip()
    if not key:
        raise SettingsError(
            "The desk needs your business's Latchgate key in the environment:\n"
            "  LATCHGATE_KEY=sk-lg-… (create one in the console, under API keys)"
        )
    try:
        file = tomllib.loads(path.read_text())
        here = path.parent
        data = here / file["data"]
        data.mkdir(parents=True, exist_ok=True)
        return Settings(
            business=file["business"],
            greeting=file["greeting"],
            starters=tuple(file["starters"]),
            documents=here / file["documents"],
            data=data,
            sites=tuple(file["sites"]),
            transcript_days_max=file["transcript_days_max"],
            password=os.environ.get("HELP_DESK_PASSWORD") or _own_password(data),
            latchgate=Latchgate(key=key, **file["latchgate"]),
            visitors=VisitorTerms(**file["visitors"]),
            mail=_mail(file["mail"]),
        )
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except KeyError as error:
        raise SettingsError(f"{path}: {error} is missing") from error


def _mail(table: dict[str, Any]) -> MailTerms:
    password = os.environ.get("HELP_DESK_SMTP_PASSWORD", "")
    rest = {name: value for name, value in table.items() if name != "from"}
    return MailTerms(sender=table["from"], smtp_password=password, **rest)


def _own_password(data: Path) -> str:
    """A password of the desk's own, kept beside its data, where none was chosen."""
    path = data / "password"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(18))
    return path.read_text()
