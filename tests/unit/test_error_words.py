"""What a model server's error leaves in our log: names, and nothing that somebody said."""

from __future__ import annotations

import json

import pytest

from latchgate.upstream.error_words import error_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"error": {"message": "no: hello", "code": "bad_role"}}, "code bad_role, "),
        ({"error": {"type": "invalid_request_error", "param": "messages[0].content"}},
         "type invalid_request_error, param messages[0].content, "),
        ({"object": "error", "message": "hello", "code": 400}, "code 400, "),
        ({"error": {"code": "two words", "type": ["hello"], "param": "x" * 49}}, ""),
        ({"error": "hello"}, ""),
        (["hello"], ""),
        ({"error": {"code": True, "type": None, "param": 10**12}}, ""),
    ],
)  # fmt: skip
def test_an_errors_names_are_told_and_its_text_is_not(error: object, words: str) -> None:
    body = json.dumps(error).encode()
    assert error_words(422, body) == f"upstream status 422: {words}{len(body)} bytes"


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff", b"[" * 5000, b'{"code":"a"}' * 2000])
def test_what_is_no_error_is_told_by_its_size(body: bytes) -> None:
    assert error_words(500, body) == f"upstream status 500: {len(body)} bytes"
