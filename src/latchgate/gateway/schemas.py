"""Bounds for JSON schemas that callers send: model servers turn them into grammars."""

from __future__ import annotations

import re
from typing import Any

from latchgate.domain.errors import InvalidRequest
from latchgate.gateway.fields import DEPTH_MAX, kind_of, refuse, shallow

PATTERN_CHARS_MAX = 256
REPEAT_MAX = 1000
NODES_MAX = 2000
REFERENCES_DEEP_MAX = 64

_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_NESTED_REPEAT = re.compile(r"[*+}]\)+[*+{]")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")


def check_schema(schema: Any, param: str, code: str) -> None:
    """Raise unless a schema is an object whose size, references and patterns are bounded."""
    if not isinstance(schema, dict):
        raise _refused(f"a schema is an object, not {kind_of(schema)}", param, code)
    shallow(schema, param, depth_max=DEPTH_MAX)
    nodes = _nodes(schema)
    if len(nodes) > NODES_MAX:
        raise _refused(f"a schema has at most {NODES_MAX} parts", param, code)
    for node in nodes:
        _check_node(node, param, code)
    _check_references(schema, param, code)


def _refused(problem: str, param: str, code: str) -> InvalidRequest:
    return refuse(f"Invalid schema in '{param}': {problem}.", code, param)


def _nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found.append(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _check_node(node: dict[str, Any], param: str, code: str) -> None:
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#/"):
        raise _refused("$ref may only point into the schema itself (#/…)", param, code)
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        _check_pattern(pattern, param, code)
    for name in _COUNTS:
        count = node.get(name)
        if isinstance(count, int) and count > 100 * REPEAT_MAX:
            raise _refused(f"{name} is at most {100 * REPEAT_MAX}", param, code)


def _check_pattern(pattern: str, param: str, code: str) -> None:
    if len(pattern) > PATTERN_CHARS_MAX:
        raise _refused(f"a pattern has at most {PATTERN_CHARS_MAX} characters", param, code)
    if _NESTED_REPEAT.search(pattern):
        raise _refused("a pattern may not repeat a repetition", param, code)
    for low, high in _REPEAT.findall(pattern):
        if int(low) > REPEAT_MAX or (high and int(high) > REPEAT_MAX):
            raise _refused(f"a pattern repeats at most {REPEAT_MAX} times", param, code)


def _check_references(schema: dict[str, Any], param: str, code: str) -> None:
    """Follow every ``$ref``; one that comes back to itself would be an endless grammar."""

    def visit(reference: str, trail: tuple[str, ...]) -> None:
        if len(trail) > REFERENCES_DEEP_MAX:
            raise _refused("its references go too deep", param, code)
        if reference in trail:
            raise _refused("it refers to itself", param, code)
        target = _resolve(schema, reference)
        if target is None:
            raise _refused("a $ref points at nothing", param, code)
        if reference not in checked:
            for inner in _references(target):
                visit(inner, (*trail, reference))
            checked.add(reference)

    checked: set[str] = set()
    for reference in _references(schema):
        visit(reference, ())


def _references(value: Any) -> list[str]:
    nodes = _nodes(value) if isinstance(value, dict) else []
    return [node["$ref"] for node in nodes if isinstance(node.get("$ref"), str)]


def _resolve(schema: dict[str, Any], reference: str) -> Any:
    value: Any = schema
    for step in reference.removeprefix("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value
