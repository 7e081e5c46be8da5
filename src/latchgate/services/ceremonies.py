"""WebAuthn's two ceremonies: making a passkey, and showing that one has it.

By the specification (https://www.w3.org/TR/webauthn-3/, 7.1 and 7.2), which the library checks: the
challenge, the origin, the relying party, the signature, its count, and that the authenticator has
verified its user by a finger, a face or a PIN. A passkey is two factors by itself for that.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from latchgate.domain.errors import LoginFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    from latchgate.storage.statements import AnyRow

log = structlog.get_logger()

RP_NAME = "Latchgate"
TIMEOUT_MS = 5 * 60 * 1000
CREDENTIAL_ID_BYTES_MAX = 1023  # WebAuthn, 7.1, step 25
#: What a browser may say of how a passkey is reached (``AuthenticatorTransport``).
_TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "internal", "cable", "hybrid"})


@dataclass(frozen=True, slots=True)
class Attested:
    """A passkey that was just made."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: tuple[str, ...]
    is_backed_up: bool


class Ceremonies:
    """The relying party: this server, under the address at which people reach it."""

    def __init__(self, base_url: str) -> None:
        self._origin = base_url
        self._rp_id = urlsplit(base_url).hostname or ""

    @property
    def are_possible(self) -> bool:
        """Whether browsers make passkeys here: for names only, not for bare addresses."""
        try:
            ipaddress.ip_address(self._rp_id)
        except ValueError:
            return True
        return False

    def options_to_make(
        self, user_id: str, email: str, has_already: Sequence[AnyRow]
    ) -> tuple[dict[str, Any], str]:
        """What a browser is asked to make, and the challenge that is in it."""
        import webauthn  # noqa: PLC0415 - a tenth of a server's memory, which few need
        from webauthn.helpers import structs  # noqa: PLC0415

        options = webauthn.generate_registration_options(
            rp_id=self._rp_id,
            rp_name=RP_NAME,
            user_id=user_id.encode(),
            user_name=email,
            timeout=TIMEOUT_MS,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_descriptors(has_already),
        )
        return _with_challenge(webauthn.options_to_json(options))

    def options_to_show(self, allowed: Sequence[AnyRow] = ()) -> tuple[dict[str, Any], str]:
        """What a browser is asked to sign, and the challenge, with any passkey or one of some."""
        import webauthn  # noqa: PLC0415 - a tenth of a server's memory, which few need
        from webauthn.helpers import structs  # noqa: PLC0415

        options = webauthn.generate_authentication_options(
            rp_id=self._rp_id,
            timeout=TIMEOUT_MS,
            allow_credentials=_descriptors(allowed),
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return _with_challenge(webauthn.options_to_json(options))

    def check_made(self, credential: dict[str, Any], challenge: str) -> Attested:
        """Check a passkey that was just made. Raises LoginFailed ``invalid_passkey``."""
        import webauthn  # noqa: PLC0415 - a tenth of a server's memory, which few need

        try:
            made = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=_decode(challenge),
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 - what a stranger sent may break anything
            raise refused(error) from None
        if len(made.credential_id) > CREDENTIAL_ID_BYTES_MAX:
            raise refused(ValueError("the credential's id is too long"))
        return Attested(
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            transports=_transports(credential),
            is_backed_up=made.credential_backed_up,
        )

    def check_shown(self, credential: dict[str, Any], challenge: str, passkey: AnyRow) -> int:
        """Check what a passkey has signed; its count. Raises LoginFailed ``invalid_passkey``."""
        import webauthn  # noqa: PLC0415 - a tenth of a server's memory, which few need

        try:
            shown = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=_decode(challenge),
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 - what a stranger sent may break anything
            raise refused(error) from None
        return shown.new_sign_count


def credential_id_of(credential: dict[str, Any]) -> bytes:
    """Which passkey an answer says that it is of. Raises LoginFailed ``invalid_passkey``."""
    text = credential.get("rawId")
    if not isinstance(text, str) or len(text) > 2 * CREDENTIAL_ID_BYTES_MAX:
        raise refused(ValueError("no credential id"))
    try:
        return _decode(text)
    except ValueError as error:
        raise refused(error) from None


def user_handle_of(credential: dict[str, Any]) -> str | None:
    """Whose the authenticator says that the passkey is; None when it does not say."""
    response = credential.get("response")
    handle = response.get("userHandle") if isinstance(response, dict) else None
    if not isinstance(handle, str):
        return None
    try:
        return _decode(handle).decode()
    except ValueError as error:
        raise refused(error) from None


def refused(error: Exception) -> LoginFailed:
    """The one refusal of every passkey that is not right; the log says why."""
    return LoginFailed(
        "This passkey was not taken. Try again, or use another way in.",
        code="invalid_passkey",
        internal=f"{type(error).__name__}: {error}"[:300],
    )


def _decode(text: str) -> bytes:
    """Bytes that are written as browsers write them: base64url, without what fills it up."""
    return base64.urlsafe_b64decode(f"{text}===")


def _descriptors(passkeys: Sequence[AnyRow]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers import structs  # noqa: PLC0415 - as above

    return [
        structs.PublicKeyCredentialDescriptor(
            id=passkey.credential_id,
            transports=[
                structs.AuthenticatorTransport(name) for name in json.loads(passkey.transports)
            ],
        )
        for passkey in passkeys
    ]


def _transports(credential: dict[str, Any]) -> tuple[str, ...]:
    """How the browser says that it can be reached: a hint, of which only known words are kept."""
    said = credential["response"].get("transports")
    named = {name for name in said if isinstance(name, str)} if isinstance(said, list) else set()
    return tuple(sorted(named & _TRANSPORTS))


def _with_challenge(text: str) -> tuple[dict[str, Any], str]:
    options: dict[str, Any] = json.loads(text)
    return options, options["challenge"]
