"""Refusals as Anthropic's API writes them (https://platform.claude.com/docs/en/api/errors).

A client of that API decides by ``error.type`` and the status; our own code goes along where its
SDKs look for one, in ``error.details.error_code``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from latchgate.domain.errors import LatchgateError, QuotaExceeded

if TYPE_CHECKING:
    from latchgate.gateway.request import GatewayRequest

PAYMENT_REQUIRED = 402
#: Anthropic's own status: a number that HTTP does not know.
OVERLOADED = 529
_SERVER_ERRORS = 500
_TYPES = {
    401: "authentication_error",
    PAYMENT_REQUIRED: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def speak_messages(request: GatewayRequest) -> None:
    """Let every answer and refusal to a request be of Anthropic's kind."""
    request.error_status = error_status
    request.error_body = partial(error_body, request.request_id)
    request.error_event = partial(error_event, request.request_id)
    request.own_lines = b"request-id: %b\r\n" % request.request_id.encode("ascii")


def error_status(error: LatchgateError) -> int:
    """The status that says there what ours says here: money is 402, and a full server 529."""
    if isinstance(error, QuotaExceeded):
        return PAYMENT_REQUIRED
    return OVERLOADED if error.code == "server_is_overloaded" else error.status


def error_body(request_id: str, error: LatchgateError) -> bytes:
    """The error envelope as JSON."""
    status = error_status(error)
    usual = "api_error" if status >= _SERVER_ERRORS else "invalid_request_error"
    details = {"error_code": error.code}
    if error.param is not None:
        details["param"] = error.param
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {
                "type": _TYPES.get(status, usual),
                "message": error.public.encode("utf-8", "replace").decode(),
                "details": details,
            },
            "request_id": request_id,
        }
    )


def error_event(request_id: str, error: LatchgateError) -> bytes:
    """The error envelope as an event in mid-stream."""
    return b"event: error\ndata: %b\n\n" % error_body(request_id, error)
