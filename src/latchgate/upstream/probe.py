"""Asks an upstream whether it is there and takes our key, at no cost: ``GET …/models``."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latchgate.upstream.target import Target

TIMEOUT_S = 5.0
_LINE_BYTES_MAX = 4096
_REFUSED = frozenset({401, 403})


def probe(target: Target) -> str:
    """What is wrong with an upstream and what to do, in a sentence; empty when nothing is.

    Blocks for some seconds at most.
    """
    where = f"{target.host}:{target.port}"
    try:
        status = _status(target)
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {where} is not accepted: {error.verify_message}; renew it there"
    except ssl.SSLError as error:
        return f"{where} does not speak TLS: {error.reason}; give it with http:// if that is meant"
    except TimeoutError:
        return f"{where} does not answer within {TIMEOUT_S:.0f} s: start it, or mend its address"
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        return f"{where} can't be reached: {said}; start it, or remove it and add it anew"
    if status in _REFUSED:
        return f"{where} refuses its key ({status}): remove the upstream and add it with another"
    if status >= 500:  # noqa: PLR2004 - a server's own failure
        return f"{where} answers {status}: look at its log"
    return ""


def _status(target: Target) -> int:
    with socket.create_connection((target.host, target.port), TIMEOUT_S) as plain:
        if not target.is_tls:
            return _ask(target, plain)
        context = ssl.create_default_context()
        with context.wrap_socket(plain, server_hostname=target.host) as secure:
            return _ask(target, secure)


def _ask(target: Target, connection: socket.socket) -> int:
    head = f"GET {target.path}/models HTTP/1.1\r\n".encode() + target.head
    connection.sendall(head + b"user-agent: latchgate\r\nconnection: close\r\n\r\n")
    with connection.makefile("rb") as answer:
        line = answer.readline(_LINE_BYTES_MAX)
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError("it does not speak HTTP")
    return int(rest[:3])
