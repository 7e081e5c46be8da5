"""The configuration: what in it is dangerous, and what it names that is not there."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import stat
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from latchgate.cli.doctor.check import FAILED, FINE, WARNING, Check
from latchgate.config.settings import ALL
from latchgate.domain.errors import LatchgateError

if TYPE_CHECKING:
    from latchgate.config import MailSettings, ServerSettings, Settings, TraceSettings

CERTIFICATE_DAYS_MIN = 14
CONNECT_TIMEOUT_S = 5
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


def examine(settings: Settings, file: Path) -> Iterator[Check]:
    """Every check of valid settings, and of the file that they are in."""
    if file.is_file():
        yield _secrets_in(file)
    yield _exposure(settings.server)
    if settings.server.tls_certificate:
        yield _certificate(settings.server)
    yield from _dangers(settings)
    if settings.mail.mode == "smtp":
        yield _mail(settings.mail)
    if settings.traces.endpoint:
        yield _traces(settings.traces)
    if settings.embedded.enabled:
        yield _weights(settings)
    if settings.embedded.enabled and settings.embedded.embeddings_enabled:
        yield _embeddings(settings)


def _secrets_in(file: Path) -> Check:
    written = tomllib.loads(file.read_text())
    secret = [
        row.path
        for row in ALL
        if row.is_secret and written.get(row.section, {}).get(row.path.partition(".")[2])
    ]
    mode = stat.S_IMODE(file.stat().st_mode)
    if secret and mode & OTHERS_MAY:
        says = f"{file} has {', '.join(secret)}, and other users may read it: chmod 0600 {file}"
        return Check("configuration file", FAILED, says)
    return Check("configuration file", FINE, str(file))


def _exposure(server: ServerSettings) -> Check:
    if server.is_loopback or server.tls_certificate:
        return Check("exposure", FINE, f"listens on {server.host}")
    says = (
        f"{server.host} is reachable from other machines without TLS: set server.tls_certificate"
        " and tls_key, or listen on 127.0.0.1 behind a proxy that has TLS"
    )
    return Check("exposure", WARNING if server.insecure_http else FAILED, says)


def _certificate(server: ServerSettings) -> Check:
    name = "certificate"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            server.tls_certificate, server.tls_key or None
        )
    except (ssl.SSLError, OSError) as error:
        said = getattr(error, "reason", None) or error.strerror or error
        says = f"{server.tls_certificate} and server.tls_key do not go together: {said}"
        return Check(name, FAILED, f"{says}; set both to the files of one certificate")
    from cryptography import x509  # noqa: PLC0415 - where there is a certificate only

    chain = x509.load_pem_x509_certificates(Path(server.tls_certificate).read_bytes())
    ends = chain[0].not_valid_after_utc
    left = ends - datetime.now(UTC)
    says = f"{server.tls_certificate} is valid until {ends:%Y-%m-%d}"
    if left < timedelta(0):
        return Check(name, FAILED, f"{says}, which is over: renew it")
    if left < timedelta(days=CERTIFICATE_DAYS_MIN):
        return Check(name, WARNING, f"{says}: renew it")
    return Check(name, FINE, says)


def _dangers(settings: Settings) -> Iterator[Check]:
    """Settings that are allowed, and that somebody may regret."""
    server = settings.server
    public = urlsplit(server.public_url)
    is_public = not server.is_loopback or bool(public.hostname and not _is_local(public.hostname))
    if public.scheme == "http" and is_public:
        says = "server.public_url begins with http://: links in mails lead past TLS; make it https"
        yield Check("public address", WARNING, says)
    if is_public and settings.signup.mode == "open" and settings.signup.gift_nanos:
        says = (
            'anybody may sign up and is given credit: set signup.gift to "0", or signup.mode to'
            " invite"
        )
        yield Check("sign-up", WARNING, says)
    if is_public and settings.mail.mode == "outbox":
        says = "mails stay in the folder outbox, so nobody gets his new password: set mail.mode"
        yield Check("mail", WARNING, says)
    if settings.journal.sync == "interval":
        says = (
            f"a power cut loses the charges of up to {settings.journal.interval_ms} ms, whose"
            " answers are out: set journal.sync to always"
        )
        yield Check("journal.sync", WARNING, says)
    if settings.log.level == "debug":
        yield Check("log.level", WARNING, "debug writes much and helps little: set it to info")


def _is_local(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _mail(mail: MailSettings) -> Check:
    where = f"{mail.smtp_host}:{mail.smtp_port}"
    try:
        socket.create_connection((mail.smtp_host, mail.smtp_port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        says = f"{where} cannot be reached: {error.strerror or error}; see mail.smtp_host"
        return Check("mail", FAILED, says)
    if mail.smtp_security == "none":
        says = f"{where} gets mails in the clear, with the links in them: set mail.smtp_security"
        return Check("mail", WARNING, says)
    return Check("mail", FINE, f"{where} listens")


def _traces(traces: TraceSettings) -> Check:
    url = urlsplit(traces.endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        says = f"{url.hostname}:{port} cannot be reached: {error.strerror or error}"
        return Check("traces", WARNING, f"{says}; spans are lost: see traces.endpoint")
    return Check("traces", FINE, f"{url.hostname}:{port} listens")


def _weights(settings: Settings) -> Check:
    from latchgate.runtime.weights import find_weights, verify_weights  # noqa: PLC0415

    is_packaged = not settings.embedded.model_path
    try:
        path = find_weights(settings.embedded.model_path)
        verify_weights(path, is_packaged=is_packaged, data_dir=settings.data_dir)
    except LatchgateError as refusal:
        return Check("embedded model", FAILED, refusal.public)
    return Check("embedded model", FINE, f"{path.name}, {path.stat().st_size / 1e6:.0f} MB")


def _embeddings(settings: Settings) -> Check:
    from latchgate.runtime.embedded import find_embeddings_files  # noqa: PLC0415

    name = "embeddings model"
    try:
        weights, _ = find_embeddings_files(data_dir=settings.data_dir)
    except LatchgateError as refusal:
        return Check(name, FAILED, refusal.public)
    for module in ("onnxruntime", "tokenizers"):
        if importlib.util.find_spec(module) is None:
            return Check(name, FAILED, f"{module} is not installed: run make setup")
    return Check(name, FINE, f"{weights.name}, {weights.stat().st_size / 1e6:.0f} MB")
