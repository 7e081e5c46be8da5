"""The texts of the mails that people get."""

from __future__ import annotations

from latchgate.services.mail import Letter

RESET_MINUTES = 60


def reset_password(to: str, link: str) -> Letter:
    """The way back for somebody who has forgotten his password."""
    return Letter(
        to,
        "Choose a new password",
        f"""Somebody, probably you, asked for a new password for Latchgate.

Choose it here within {RESET_MINUTES} minutes:

{link}

If it was not you, do nothing: your password stays as it is.
""",
    )


def already_signed_up(to: str, login_link: str, forgot_link: str) -> Letter:
    """For the owner of an address with which somebody tried to sign up again."""
    return Letter(
        to,
        "You already have an account",
        f"""Somebody, probably you, tried to sign up for Latchgate with this address, which has
an account already. Nothing was changed.

Log in: {login_link}
Forgotten the password? {forgot_link}
""",
    )


def password_changed(to: str, forgot_link: str) -> Letter:
    """The notice that a password was changed."""
    return Letter(
        to,
        "Your password was changed",
        f"""The password of your Latchgate account was just changed, and other devices were logged
out.

If it was not you, choose a new one at once: {forgot_link}
""",
    )


def invitation(to: str, link: str, days: int) -> Letter:
    """The way in where sign-up is by invitation."""
    return Letter(
        to,
        "You are invited",
        f"""You are invited to make an account at this Latchgate.

Within {days} days: {link}
""",
    )
