"""Structured logs on stderr, with no secret in any line.

Every line, ours or a library's, runs through the same processors, and the last one before it is
written redacts: what has the shape of a key, a token or an Authorization header, what stands
under a name such as ``password``, and every query string. A key keeps its public id, by which it
can be found. Of an exception only its type and its place are written: its text may quote what
somebody has typed, such as a prompt.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, ExcInfo, Processor, WrappedLogger

REDACTED = "[redacted]"
#: Deeper values are not looked into, and so not written.
DEPTH_MAX = 6
#: A line's text beyond this is cut: a log is no place for a body.
TEXT_CHARS_MAX = 16_384

#: An exception's lines beyond this are not written.
FRAMES_MAX = 200

_SECRET_NAME = re.compile(
    r"password|passwd|secret|cookie|authorization|api[_-]?key$|(?:^|_)token$|pepper|credential",
    re.IGNORECASE,
)
#: Libraries whose everyday lines say nothing that ours do not.
_QUIET_LOGGERS = (
    "uvicorn.error",
    "alembic",
    "httpx",
    "httpcore",
    "asyncio",
    "urllib3",
    "stripe",
    "multipart",
    "python_multipart",
)
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Our keys: the public id stays.
    (re.compile(r"((?:sk-lg|lg-admin)-[0-9A-Za-z]{0,12})[0-9A-Za-z_\-]*"), r"\1…"),
    # Other services' keys.
    (re.compile(r"\bsk-(?!lg-)[0-9A-Za-z_\-]{12,}"), "sk-…"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s\"',;]+", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\b((?:Set-)?Cookie)\s*[:=]\s*[^\r\n]+", re.IGNORECASE), rf"\1: {REDACTED}"),
    (
        re.compile(
            r"\b(\w*(?:password|passwd|secret|api_?key|token))\b([\"']?\s*[=:]\s*)[^\s,;&]+",
            re.IGNORECASE,
        ),
        rf"\1\2{REDACTED}",
    ),
    # Sessions, resets and invitations: 256 bits, URL-safe.
    (re.compile(r"(?<![0-9A-Za-z_\-])[0-9A-Za-z_\-]{43}(?![0-9A-Za-z_\-])"), REDACTED),
    # Query strings.
    (re.compile(r"(?<=[\w/.\-])\?[^\s\"'?=]*=[^\s\"']*"), "?…"),
)


def configure(level: str, line_format: str, *, stream: TextIO | None = None) -> None:
    """Send every log line of the process to ``stream`` (stderr) from now on.

    ``line_format`` is ``console`` or ``json``. Start uvicorn with ``log_config=None``, so that its
    loggers arrive here as well.
    """
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    renderer = _renderer(line_format, is_terminal=out.isatty())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_colour_twin,
                structlog.processors.ExceptionRenderer(_places),
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def bind_request_id(request_id: str) -> Mapping[str, Any]:
    """Put the request's id on every line from here on in this task; ``release`` takes it off."""
    return structlog.contextvars.bind_contextvars(request_id=request_id)


def release(bound: Mapping[str, Any]) -> None:
    """Undo what ``bind_request_id`` did."""
    structlog.contextvars.reset_contextvars(**bound)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last processor before a line is written: take out every secret."""
    return _clean_mapping(event, depth=0)


def redact_text(text: str) -> str:
    """Take out of a text whatever has the shape of a secret, and every query string."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[:TEXT_CHARS_MAX] + "…"
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def _places(exc_info: ExcInfo) -> str:
    """Which exceptions came after each other, each with where it was raised, and no text of it."""
    lines: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(lines) < FRAMES_MAX:
        # Of the system's failures the text is the system's: a file's name and what it said.
        said = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        lines.append(f"{type(error).__module__}.{type(error).__qualname__}{said}")
        lines += [
            f"  {frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden
    return "\n".join(lines[:FRAMES_MAX])


def _without_colour_twin(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Uvicorn gives every line a second time, in colour."""
    event.pop("color_message", None)
    return event


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderer(line_format: str, *, is_terminal: bool) -> Processor:
    if line_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
    )


def _clean_mapping(values: Mapping[str, Any], depth: int) -> MutableMapping[str, Any]:
    return {
        name: REDACTED if _SECRET_NAME.search(str(name)) else _clean(value, depth)
        for name, value in values.items()
    }


def _clean(value: object, depth: int) -> object:
    if depth > DEPTH_MAX:
        return "…"
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact_text(value)
        case bytes():
            return redact_text(value[:TEXT_CHARS_MAX].decode("utf-8", "replace"))
        case Mapping():
            return _clean_mapping(value, depth + 1)
        case list() | tuple() | set() | frozenset():
            return [_clean(item, depth + 1) for item in value]
        case _:
            return redact_text(str(value))
