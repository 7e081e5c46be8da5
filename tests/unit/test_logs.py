"""No secret reaches a log line, whoever wrote the line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from latchgate.domain.secrets import ADMIN_PREFIX, mint_key, mint_token
from latchgate.observe import logs


@pytest.fixture(autouse=True)
def _undo_configuration() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _configured(line_format: str = "json") -> io.StringIO:
    stream = io.StringIO()
    logs.configure("debug", line_format, stream=stream)
    return stream


@pytest.mark.parametrize("line_format", ["json", "console"])
def test_no_secret_is_written_wherever_it_stands(line_format: str) -> None:
    stream = _configured(line_format)
    key, token = mint_key(), mint_token()
    log = structlog.get_logger("latchgate.test")
    log.info(f"key {key.text} was refused")
    log.info("call", authorization=f"Bearer {key.text}", password="hunter2-hunter2")
    log.info("nested", headers=[{"cookie": f"session={token}"}], raw=f"x {token} y".encode())
    log.info(f"Cookie: session={token}; Authorization: Bearer opaque-value")
    log.info("GET /reset?token=" + token)
    logging.getLogger("some.library").warning("password=%s", "hunter2-hunter2")
    try:
        raise ValueError(f"bad key {key.text}")  # noqa: TRY301 (the traceback is the point)
    except ValueError:
        log.exception("broke")
    written = stream.getvalue()
    assert key.text not in written
    assert key.text[-20:] not in written
    assert token not in written
    assert "hunter2" not in written
    assert "opaque-value" not in written
    assert key.public_id in written, "the public id is how an operator finds the key"


def test_an_admin_keys_public_id_is_all_that_is_written_of_it() -> None:
    stream, key = _configured(), mint_key(ADMIN_PREFIX)
    structlog.get_logger("latchgate.test").info(f"key {key.text} was refused")
    assert f"lg-admin-{key.public_id}…" in stream.getvalue()
    assert key.text[21:41] not in stream.getvalue()


@pytest.mark.parametrize("line_format", ["json", "console"])
def test_an_exception_is_written_by_its_type_and_place_and_never_by_its_text(
    line_format: str,
) -> None:
    stream = _configured(line_format)
    try:
        try:
            raise KeyError("what somebody has typed")  # noqa: TRY301 (as above)
        except KeyError as first:
            raise ValueError(f"could not read {first}") from first
    except ValueError:
        structlog.get_logger("a").exception("broke")
        logging.getLogger("some.library").exception("broke there")
    written = stream.getvalue()
    assert "somebody" not in written
    for part in ("KeyError", "ValueError", "test_logs.py", "test_an_exception_is_written"):
        assert written.count(part) >= 2, part


def test_what_the_system_says_of_a_failure_is_written() -> None:
    stream = _configured()
    try:
        raise OSError(28, "No space left on device", "/data/journal")  # noqa: TRY301
    except OSError:
        structlog.get_logger("a").exception("broke")
    assert "No space left on device" in stream.getvalue()


def test_access_lines_of_the_server_lose_their_query_strings() -> None:
    stream = _configured()
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", "/usage?before=x&api_key=y", "1.1", 200
    )
    (line,) = _lines(stream)
    assert line["event"] == '127.0.0.1:5 - "GET /usage?… HTTP/1.1" 200'


def test_the_request_id_is_on_every_line_until_released() -> None:
    stream = _configured()
    bound = logs.bind_request_id("req_1")
    structlog.get_logger("a").info("inside")
    logging.getLogger("b").info("a library inside")
    logs.release(bound)
    structlog.get_logger("a").info("outside")
    assert [line.get("request_id") for line in _lines(stream)] == ["req_1", "req_1", None]


def test_plain_words_stay_readable() -> None:
    sentence = "Settled 3 calls for acct_01hv4z0000000000000000000a in 2 ms; is that all? yes"
    assert logs.redact_text(sentence) == sentence


def test_an_endless_text_is_cut() -> None:
    assert len(logs.redact_text("a " * logs.TEXT_CHARS_MAX)) <= logs.TEXT_CHARS_MAX + 1
