"""A playground's call as code to take along. A key is never in it: it says where the key goes."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from textwrap import indent
from typing import Any

LAST_OF_FOUR_DIGITS = 0xFFFF
#: What stands where the key goes.
KEY_PLACEHOLDER = "sk-lg-…"


@dataclass(frozen=True, slots=True)
class Sample:
    """One language's code."""

    id: str
    name: str
    title: str
    text: str


def samples_of(fields: dict[str, Any], base_url: str) -> list[Sample]:
    """The chat call with these fields in each language."""
    return [
        Sample("curl", "curl", "Shell", _curl(fields, base_url)),
        Sample("python", "Python", "pip install openai", _python(fields, base_url)),
        Sample("javascript", "JavaScript", "npm install openai", _javascript(fields, base_url)),
    ]


def _json(value: object) -> str:
    """JSON that is a literal in Python and in JavaScript, too: no ``null``, ``true`` or ``false``.

    What an editor might not show as it is (controls, U+2028) is written as an escape, where that
    means the same in all of them.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(char if _is_plain(char) else json.dumps(char)[1:-1] for char in text)


def _is_plain(char: str) -> bool:
    return char.isprintable() or char == "\n" or ord(char) > LAST_OF_FOUR_DIGITS


def _curl(fields: dict[str, Any], base_url: str) -> str:
    return (
        f'export LATCHGATE_KEY="{KEY_PLACEHOLDER}"\n\n'
        f"curl {shlex.quote(base_url + '/chat/completions')} \\\n"
        '  -H "Authorization: Bearer $LATCHGATE_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  --data-raw {shlex.quote(_json(fields))}"
    )


def _python(fields: dict[str, Any], base_url: str) -> str:
    arguments = "".join(f"    {name}={_inside(value, '    ')},\n" for name, value in fields.items())
    return (
        "import os\nfrom openai import OpenAI\n\n"
        "client = OpenAI(\n"
        f"    base_url={_json(base_url)},\n"
        '    api_key=os.environ["LATCHGATE_KEY"],\n)\n\n'
        f"stream = client.chat.completions.create(\n{arguments}    stream=True,\n)\n"
        "for chunk in stream:\n    if chunk.choices:\n"
        '        print(chunk.choices[0].delta.content or "", end="", flush=True)'
    )


def _javascript(fields: dict[str, Any], base_url: str) -> str:
    arguments = "".join(f"  {name}: {_inside(value, '  ')},\n" for name, value in fields.items())
    return (
        'import OpenAI from "openai";\n\n'
        "const client = new OpenAI({\n"
        f"  baseURL: {_json(base_url)},\n"
        "  apiKey: process.env.LATCHGATE_KEY,\n});\n\n"
        "const stream = await client.chat.completions.create({\n"
        f"{arguments}  stream: true,\n}});\n"
        "for await (const chunk of stream) {\n"
        '  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n}'
    )


def _inside(value: object, margin: str) -> str:
    """A value as an argument, its further lines as far in as its first."""
    return indent(_json(value), margin).lstrip()
