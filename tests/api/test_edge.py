"""The edge on the way in: names, other sites, sizes. No account is needed for these."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from latchgate.config.settings import ServerSettings
from latchgate.http.edge import BODY_BYTES_MAX
from tests.support.http_application import TOKEN, application, client_of

FORM = {"content-type": "application/x-www-form-urlencoded"}
pytestmark = pytest.mark.anyio


# ── who is asked for ────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:1",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "keys.example.com",
        "gate.lan:8443",
        "[fd00::1]:80",
    ],
)
async def test_a_name_of_ours_is_answered_at_any_port(host: str) -> None:
    server = ServerSettings(
        public_url="https://keys.example.com", allowed_hosts=("gate.lan", "fd00::1")
    )
    async with client_of(application(server)) as client:
        assert (await client.get("/page", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "localhost:port",
        "[::2]",
        "localhost/x",
        "localhost,evil.example",
        "127.0.0.1.evil.example:8000",
    ],
)
async def test_a_foreign_name_is_refused_so_that_dns_rebinding_gains_nothing(host: str) -> None:
    async with client_of(application()) as client:
        answer = await client.get("/api/session", headers={"host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_host")
        page = await client.get("/page", headers={"host": host})
        assert (page.status_code, page.text[:18]) == (400, "PAGE invalid_host:")


async def test_two_host_headers_are_refused() -> None:
    async with client_of(application()) as client:
        answer = await client.get("/page", headers=[("host", "localhost"), ("host", "localhost")])
        assert answer.status_code == 400


async def test_a_probe_may_ask_for_health_by_any_name() -> None:
    async with client_of(application()) as client:
        answer = await client.get("/healthz", headers={"host": "10.0.0.3:8000"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    async with client_of(application(health=lambda: False)) as client:
        assert (await client.get("/healthz")).status_code == 503


# ── row 99: another site's page ─────────────────────────────────────────────────────────────────
CROSS_SITE = {
    "form": {**FORM, "sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    "fetch": {"sec-fetch-site": "cross-site", "content-type": "application/json"},
    "text/plain JSON": {"sec-fetch-site": "cross-site", "content-type": "text/plain"},
    "sibling host": {**FORM, "sec-fetch-site": "same-site"},
    "unknown word": {**FORM, "sec-fetch-site": "same-origin, cross-site"},
    "old browser": {**FORM, "origin": "https://evil.example"},
    "other port": {**FORM, "origin": "http://localhost:9000"},
    "other scheme": {**FORM, "origin": "https://localhost:8000"},
    "sandboxed frame": {**FORM, "origin": "null"},
    "no word of origin, form": FORM,
    "no word of origin, multipart": {"content-type": "multipart/form-data; boundary=x"},
    "no word of origin, text": {"content-type": "Text/Plain;charset=UTF-8"},
}


@pytest.mark.parametrize("headers", CROSS_SITE.values(), ids=CROSS_SITE.keys())
@pytest.mark.parametrize("path", ["/page", "/api/keys", "/api/session"])
async def test_a_cross_site_post_with_the_cookie_is_refused(
    headers: dict[str, str], path: str
) -> None:
    async with client_of(application()) as client:
        answer = await client.post(
            path, headers={**headers, "cookie": f"latchgate={TOKEN}"}, content=b'{"name":"x"}'
        )
        assert answer.status_code == 403
        if path.startswith("/api"):
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("permission_error", "cross_site_request")
        else:
            assert answer.text.startswith("PAGE cross_site_request:")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost:8000"},
        {"content-type": "application/json"},
        {},
    ],
)
async def test_our_own_pages_and_clients_that_are_no_browsers_may_post(
    headers: dict[str, str],
) -> None:
    async with client_of(application()) as client:
        sent = {**headers, "cookie": f"latchgate={TOKEN}"}
        assert (await client.post("/page", headers=sent)).status_code == 200


async def test_a_form_without_a_session_and_without_an_origin_is_taken() -> None:
    async with client_of(application()) as client:
        assert (await client.post("/page", headers=FORM, content=b"a=b")).status_code == 200


async def test_the_usual_port_may_be_left_out_of_an_origin() -> None:
    async with client_of(application(), url="http://localhost") as client:
        sent = {"host": "localhost:80", "origin": "http://localhost"}
        assert (await client.post("/page", headers=sent)).status_code == 200


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_413() -> None:
    async with client_of(application()) as client:
        taken = await client.post("/page", content=b"x" * BODY_BYTES_MAX)
        assert taken.json()["body_bytes"] == BODY_BYTES_MAX
        refused = await client.post("/api/session", content=b"x" * (BODY_BYTES_MAX + 1))
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "request_too_large"


async def test_a_body_that_does_not_say_its_length_is_counted() -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1024
            yield b"x" * 1024

    async with client_of(application()) as client:
        answer = await client.post("/page", content=chunks())
        assert answer.status_code == 413
    assert read <= BODY_BYTES_MAX + 2 * 1024


async def test_a_length_of_a_million_digits_is_not_counted_to() -> None:
    async with client_of(application()) as client:
        answer = await client.post("/page", headers={"content-length": "9" * 10_000}, content=b"")
        assert answer.status_code == 413
