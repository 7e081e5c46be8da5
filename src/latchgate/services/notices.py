"""Security notices: a mail to the owner for whatever changes who can get in; none is optional.

They say what happened, when, and from where, so that he can tell his own doing from a stranger's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latchgate.clock import SECOND_US
from latchgate.services.devices import browser_name
from latchgate.services.mail import Letter

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.mail import Mail

#: Subject and first sentence of each.
WORDS = {
    "new_device": (
        "A new device has logged in",
        "Somebody logged in to your Latchgate account on a device that was not used before.",
    ),
    "code_guessed": (
        "Somebody knows your password",
        (
            "Somebody gave your password, and then several wrong codes of your second factor. "
            "He was not let in. If it was not you, choose a new password."
        ),
    ),
    "totp_on": (
        "Codes from an app are on",
        (
            "Your Latchgate account now asks for a code from an app when you log in with your "
            "password."
        ),
    ),
    "totp_off": (
        "Codes from an app are off",
        "Your Latchgate account no longer asks for a code from an app: the password is enough.",
    ),
    "codes_renewed": (
        "You have new recovery codes",
        "Ten new recovery codes were made for your Latchgate account. The old ones work no more.",
    ),
    "code_used": (
        "A recovery code was used",
        "One of the recovery codes of your Latchgate account was used. It works no more.",
    ),
    "passkey_added": (
        "A passkey was added",
        "A passkey was added to your Latchgate account. Whoever has its device can log in.",
    ),
    "passkey_removed": (
        "A passkey was removed",
        "A passkey was removed from your Latchgate account. It opens nothing any more.",
    ),
    "factors_reset": (
        "Your second factors were reset",
        (
            "The operator of this Latchgate took away the codes from an app and the passkeys "
            "of your account, and logged out all your devices. The password alone opens it "
            "until you set them up again."
        ),
    ),
    "key_replaced": (
        "Your API key was replaced",
        (
            "A fresh API key took the place of the one before it in your Latchgate account. Apps "
            "that still have that one are refused."
        ),
    ),
    "admin_key_made": (
        "An admin key was made in your name",
        (
            "A key to the admin API was made that acts for you as an operator of this Latchgate. "
            "If it was not you, revoke it at once in the console, under API."
        ),
    ),
    "email_left": (
        "Your e-mail address was changed",
        (
            "The e-mail address of your Latchgate account was changed. This one no longer logs in, "
            "and gets no more mail from it."
        ),
    ),
    "email_changed": (
        "Your e-mail address was changed",
        "This is now the e-mail address of your Latchgate account: log in with it.",
    ),
    "account_closed": (
        "Your account is closed",
        "Your Latchgate account is closed: its keys are refused, and nobody can log in to it.",
    ),
}


#: After these a new password would help nobody: this address opens nothing any more.
FINAL = frozenset({"email_left", "account_closed"})


class Notices:
    """Posts security notices; whoever causes one never waits for it."""

    def __init__(self, mail: Mail, clock: Clock, base_url: str) -> None:
        self._mail = mail
        self._clock = clock
        self._base_url = base_url

    def tell(self, to: str, what: str, caller: Caller, *, about: str = "") -> None:
        """Tell an account's owner what happened to it; ``about`` names what it happened to."""
        subject, sentence = WORDS[what]
        lines = self.facts(caller, about)
        if what in FINAL:
            advice = "If it was not you, write to the operator of this Latchgate at once."
        else:
            advice = (
                "If it was you, there is nothing to do. If not, choose a new password at once,\n"
                f"which logs out every device: {self._base_url}/forgot"
            )
        self._mail.post(Letter(to, subject, f"{sentence}\n\n{lines}\n\n{advice}\n"))

    def facts(self, caller: Caller, about: str = "") -> str:
        """When, from where and by what, a line each."""
        at = datetime.fromtimestamp(self._clock.now_us() // SECOND_US, UTC)
        facts = [f"What: {about}"] if about else []
        facts.append(f"When: {at:%Y-%m-%d %H:%M:%S} UTC")
        if caller.ip:
            facts.append(f"Network address: {caller.ip}")
        if caller.user_agent:
            device = browser_name(caller.user_agent) or "a program that is no browser"
            facts.append(f"Device, as it says of itself: {device}")
        return "\n".join(facts)
