"""Checks of images in prompts. Nothing is ever fetched here: a model's server does that, or not.

An address that points into somebody's own network would make that server fetch what only it can
reach, so addresses that are no public host's are refused, and so is whatever a URL can be besides.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import struct
from typing import Any
from urllib.parse import urlsplit

from latchgate.domain.errors import InvalidRequest
from latchgate.gateway.fields import known_keys, mapping, refuse

URL_CHARS_MAX = 2048
PIXELS_MAX = 50_000_000
_DETAILS = ("auto", "low", "high")
_DATA = re.compile(r"data:image/(png|jpeg|webp|gif);base64,", re.ASCII)
#: How the formats begin.
_MAGIC = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "webp": (b"RIFF",),
    "gif": (b"GIF87a", b"GIF89a"),
}
#: A public name: labels with a dot between, the last one of letters.
_PUBLIC_NAME = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", re.ASCII)
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")


def check_image(value: Any, param: str) -> None:
    """Raise unless it is an image by value, or the address of one on a public host."""
    mapping(value, param)
    known_keys(value, ("url", "detail"), param)
    if value.get("detail") not in (None, *_DETAILS):
        raise refuse(
            f"Invalid value for '{param}.detail': one of {', '.join(_DETAILS)}.",
            "invalid_value",
            f"{param}.detail",
        )
    url = value.get("url")
    if not isinstance(url, str):
        raise _bad_address(param)
    if url.startswith("data:"):
        check_image_data(url, param)
    else:
        check_image_address(url, param)


def check_image_data(url: str, param: str) -> None:
    """Raise unless a ``data:`` URL holds a PNG, JPEG, WebP or GIF of sane dimensions."""
    match = _DATA.match(url)
    if match is None:
        raise _bad_image("it must be a PNG, JPEG, WebP or GIF as data:image/…;base64,…", param)
    kind = match[1]
    try:
        head = base64.b64decode(url[match.end() : match.end() + 64], validate=True)
        binascii.a2b_base64(url[match.end() :], strict_mode=True)
    except (binascii.Error, ValueError):
        raise _bad_image("its base64 is broken", param) from None
    if not head.startswith(_MAGIC[kind]):
        raise _bad_image(f"its bytes are no {kind}", param)
    width, height = _dimensions(kind, head)
    if width * height > PIXELS_MAX:
        raise _bad_image(f"it has more than {PIXELS_MAX} pixels", param)


def check_image_address(url: str, param: str) -> None:
    """Raise unless an address is https on a public host's usual port."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        raise _bad_address(param) from None
    if (
        len(url) > URL_CHARS_MAX
        or not url.isascii()
        or parts.scheme != "https"
        or parts.username is not None
        or port not in (None, 443)
        or not _is_public(host)
    ):
        raise _bad_address(param)


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global and ":" not in host
    except ValueError:
        return _PUBLIC_NAME.fullmatch(host) is not None and not host.endswith(_PRIVATE_NAMES)


def _dimensions(kind: str, head: bytes) -> tuple[int, int]:
    """Width and height where the format says them at its beginning; else nothing."""
    if kind == "png" and len(head) >= 24:  # noqa: PLR2004 - signature, IHDR's length and name
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if kind == "gif" and len(head) >= 10:  # noqa: PLR2004 - behind the signature
        width, height = struct.unpack("<HH", head[6:10])
        return width, height
    return 0, 0


def _bad_address(param: str) -> InvalidRequest:
    return refuse(
        f"Invalid '{param}': an image is a data: URL, or an https address on a public host.",
        "invalid_image_url",
        param,
    )


def _bad_image(why: str, param: str) -> InvalidRequest:
    return refuse(f"Invalid '{param}': {why}.", "invalid_image", param)
