"""Checks for the fields of a request's body: what each may be, and the error when it is not.

A check takes the decoded value and the field's name and raises InvalidRequest with OpenAI's code
and the name as ``param``; the allowlist of an endpoint is a table of these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from latchgate.domain.errors import InvalidRequest

Check = Callable[[Any, str], None]

#: How deep values may nest: model servers parse them recursively.
DEPTH_MAX = 32


def refuse(message: str, code: str, param: str) -> InvalidRequest:
    """The error of a field."""
    return InvalidRequest(message, code=code, param=param)


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    names = {bool: "boolean", int: "integer", float: "decimal", str: "string", list: "array"}
    return "null" if value is None else names.get(type(value), "object")


def wrong_type(value: object, param: str, expected: str) -> InvalidRequest:
    """The error of a value of another type."""
    return refuse(
        f"Invalid type for '{param}': expected {expected}, but got {kind_of(value)} instead.",
        "invalid_type",
        param,
    )


def boolean(value: Any, param: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong_type(value, param, "a boolean")


def string(chars_max: int) -> Check:
    """A text of bounded length."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(value, param, "a string")
        if len(value) > chars_max:
            raise refuse(
                f"Invalid '{param}': at most {chars_max} characters.",
                "string_above_max_length",
                param,
            )

    return check


def one_of(*allowed: str) -> Check:
    """One of a few words."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(value, param, "a string")
        if value not in allowed:
            raise refuse(
                f"Invalid value for '{param}': it is one of {', '.join(allowed)}.",
                "invalid_value",
                param,
            )

    return check


def integer(low: int, high: int) -> Check:
    """A whole number within bounds."""
    return _bounded("integer", low, high, lambda value: isinstance(value, int))


def decimal(low: float, high: float, *, above_low: bool = False) -> Check:
    """A number within bounds; ``above_low`` excludes the lower one."""
    return _bounded(
        "decimal", low, high, lambda value: isinstance(value, int | float), above_low=above_low
    )


def _bounded(
    kind: str,
    low: float,
    high: float,
    is_kind: Callable[[Any], bool],
    *,
    above_low: bool = False,
) -> Check:
    article = "an" if kind == "integer" else "a"

    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not is_kind(value):
            raise wrong_type(value, param, f"{article} {kind}")
        if value < low or (above_low and value == low):
            bound = f"above {low}" if above_low else f"at least {low}"
            raise refuse(
                f"Invalid '{param}': it must be {bound}.", f"{kind}_below_min_value", param
            )
        if value > high:
            raise refuse(
                f"Invalid '{param}': it must be at most {high}.", f"{kind}_above_max_value", param
            )

    return check


def missing(param: str) -> InvalidRequest:
    """The refusal for a body without a field that it needs."""
    return refuse(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)


def array(value: Any, param: str, *, length_max: int) -> None:
    """A list of bounded length."""
    if not isinstance(value, list):
        raise wrong_type(value, param, "an array")
    if len(value) > length_max:
        raise refuse(
            f"Invalid '{param}': at most {length_max} items.", "array_above_max_length", param
        )


def mapping(value: Any, param: str, *, size_max: int = 64) -> None:
    """An object with a bounded number of keys."""
    if not isinstance(value, dict):
        raise wrong_type(value, param, "an object")
    if len(value) > size_max:
        raise refuse(f"Invalid '{param}': at most {size_max} keys.", "object_too_large", param)


def known_keys(value: dict[str, Any], allowed: Collection[str], param: str) -> None:
    """Only keys of the allowlist."""
    for key in value:
        if key not in allowed:
            name = f"{param}.{key}" if param else key
            raise refuse(f"Unknown parameter: '{name[:100]}'.", "unknown_parameter", name[:100])


def shallow(value: Any, param: str, *, depth_max: int = DEPTH_MAX) -> None:
    """No deeper than model servers can parse."""
    level = [value]
    for _ in range(depth_max):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise refuse(f"Invalid '{param}': nested too deeply.", "invalid_value", param)


def _children(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
