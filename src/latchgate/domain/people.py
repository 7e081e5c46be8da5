"""Who asks, and who a session belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a change, as the audit log keeps it.

    ``actor`` is a user's id, an API key's or an admin key's id, ``cli`` for the operator's command
    line, or ``anonymous`` before anybody has logged in.
    """

    actor: str
    ip: str = ""
    user_agent: str = ""

    def as_user(self, user_id: str) -> Caller:
        """The same caller, now that a password has shown who he is."""
        return replace(self, actor=user_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """The user, and the account he acts for, behind one open session."""

    user_id: str
    email: str
    is_operator: bool
    account_id: str
    account_state: str
    session_id: str
    #: When he last showed, in this session, that it is he: by logging in, or when asked again.
    confirmed_us: int = 0
    #: What he can show it by, beside his password.
    has_second_factor: bool = False
    has_passkey: bool = False


#: What an admin key's id begins with.
ADMIN_KEY = "adm"

CLI = Caller(actor="cli")
