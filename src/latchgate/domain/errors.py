"""Every way in which Latchgate says no, in one tree.

LatchgateError
├── InvalidRequest        400  something in the request is wrong; ``param`` names it
│   ├── TooLarge          413
│   └── Unsupported       415
├── InvalidKey            401  the API key is missing, malformed, unknown, revoked or expired
├── LoginFailed           401  the console's login: wrong credentials, or no session
├── Forbidden             403  known who, but not allowed (cross-site, not an operator, …)
├── NotFound              404  missing, or somebody else's: the two look the same
├── MethodNotAllowed      405
├── Conflict              409  the state of things forbids it (a live key exists, e-mail taken, …)
├── QuotaExceeded         429  money: credit or a limit cannot carry the call
├── RateLimited           429  too many in too short a time; ``retry_after_s`` says when
├── LedgerUnavailable     503  charges cannot be made durable just now
└── UpstreamFailed        502, 503 or 504: the model server refused us, broke, or was too slow

A public sentence says no more than the caller may know, and what to do next; ``internal`` is for
the operator's log and never leaves the server.
"""

from __future__ import annotations


class LatchgateError(Exception):
    """An expected refusal: rendered for the caller, never a traceback."""

    status = 500
    type = "server_error"
    code = "internal_error"
    #: Whether an SDK should try again (sent as ``x-should-retry``); None: by its own rule.
    should_retry: bool | None = None

    def __init__(
        self,
        public: str,
        *,
        code: str | None = None,
        param: str | None = None,
        internal: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(public)
        self.public = public
        self.code = code or self.code
        self.param = param
        self.internal = internal
        self.headers = headers or {}

    def envelope(self) -> dict[str, object]:
        """The wire shape: all four keys, always (OpenAI's error object)."""
        return {
            "error": {
                "message": self.public,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class InvalidRequest(LatchgateError):
    """Something in the request is wrong; ``param`` names the field."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class TooLarge(InvalidRequest):
    """The request is larger than a stated limit."""

    status = 413
    code = "request_too_large"


class Unsupported(InvalidRequest):
    """A content type or encoding that is not taken."""

    status = 415
    code = "unsupported_content_type"


class InvalidKey(LatchgateError):
    """No usable API key: the same answer for unknown, revoked and expired."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    should_retry = False


class LoginFailed(LatchgateError):
    """The console or the management API does not know who is asking."""

    status = 401
    type = "authentication_error"
    code = "invalid_credentials"


class Forbidden(LatchgateError):
    """Known who, but not allowed."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(LatchgateError):
    """Missing, or another tenant's: the two look the same."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(LatchgateError):
    """The path exists, the method does not."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_supported"


class Conflict(LatchgateError):
    """The present state forbids it; the sentence says what to do first."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class QuotaExceeded(LatchgateError):
    """Money says no. ``code`` says which budget binds."""

    status = 429
    type = "insufficient_quota"
    code = "credit_balance_exhausted"
    should_retry = False


class RateLimited(LatchgateError):
    """Too many in too short a time.

    ``retry_after_s`` is whole seconds, rounded up, also sent as ``retry-after``.
    """

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, public: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(public, code=code, headers={"retry-after": str(retry_after_s)})
        self.retry_after_s = retry_after_s


class LedgerUnavailable(LatchgateError):
    """Charges cannot be made durable just now: nothing is answered that could not be charged."""

    status = 503
    type = "server_error"
    code = "ledger_unavailable"

    def __init__(self, public: str, *, internal: str = "") -> None:
        super().__init__(public, internal=internal, headers={"retry-after": "5"})


class UpstreamFailed(LatchgateError):
    """The model server failed. The public sentence never carries its text or our credential."""

    status = 502
    type = "server_error"
    code = "upstream_error"

    def __init__(
        self,
        public: str,
        *,
        status: int = 502,
        code: str | None = None,
        internal: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        headers = None if retry_after_s is None else {"retry-after": str(retry_after_s)}
        super().__init__(public, code=code, internal=internal, headers=headers)
        self.status = status
