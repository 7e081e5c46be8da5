"""The texts of the mails that people get."""

from __future__ import annotations

from latchgate.services.mail import Letter

RESET_MINUTES = 60
EMAIL_CHANGE_HOURS = 4


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


def email_change_old(to: str, new: str, link: str, facts: str) -> Letter:
    """To the address that somebody wants to leave; it is also the notice that he does."""
    return Letter(
        to,
        "Your e-mail address is about to change",
        f"""Somebody, probably you, asked for another e-mail address for your Latchgate account:
{new}

{facts}

It changes when the links in two mails are opened within {EMAIL_CHANGE_HOURS} hours: this one,
and one that we sent to the new address.

{link}

If it was not you, do not open the link: then nothing changes. But somebody is logged in to
your account: choose a new password.
""",
    )


def email_change_new(to: str, link: str) -> Letter:
    """To the address that somebody wants to move to."""
    return Letter(
        to,
        "Confirm your new e-mail address",
        f"""Somebody, probably you, wants to use this address for his Latchgate account.

Within {EMAIL_CHANGE_HOURS} hours: {link}

It changes when the link in the mail to the old address was opened, too. If it was not you, do
nothing.
""",
    )


def address_in_use(to: str, forgot_link: str) -> Letter:
    """For the owner of an address to which somebody wanted to move another account."""
    return Letter(
        to,
        "You already have an account",
        f"""Somebody, probably you, wanted to use this address for another Latchgate account, but it
has one already. Nothing was changed.

Forgotten the password? {forgot_link}
""",
    )


def card_refused(to: str, page: str) -> Letter:
    """The notice that credit could not be topped up."""
    return Letter(
        to,
        "Your credit could not be topped up",
        f"""Your bank refused the payment that should have topped up your Latchgate credit, so
it is not tried again. Your apps go on as long as there is credit.

Pay by hand, or confirm a card anew: {page}
""",
    )
