"""The edge on the way out: headers, caching, cookies behind TLS, refusals in the right shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from latchgate.config.settings import ServerSettings
from tests.support.http_application import DEVICE, TOKEN, application, client_of

PROXY = "10.9.8.7"
pytestmark = pytest.mark.anyio


# ── what every answer carries ───────────────────────────────────────────────────────────────────
EVERY_KIND = ["/page", "/nowhere", "/api/nowhere", "/bug", "/busy", "/healthz", "/static/app.css"]


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A folder with one file, and one beside it that nobody may have."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "app.css").write_text("body{}")
    (tmp_path / "pepper").write_text("secret")
    return folder


@pytest.mark.parametrize("path", EVERY_KIND)
async def test_no_page_can_be_framed_by_another_origin(path: str, static: Path) -> None:
    """Row 106: by the policy of new browsers, and by the header that old ones know."""
    async with client_of(application(static=static)) as client:
        headers = (await client.get(path)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", EVERY_KIND)
async def test_every_answer_has_the_security_headers_and_an_id(path: str, static: Path) -> None:
    async with client_of(application(static=static)) as client:
        headers = (await client.get(path)).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'; manifest-src 'self'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["x-request-id"].startswith("req_")
    assert "strict-transport-security" not in headers
    assert "access-control-allow-origin" not in headers


async def test_the_address_of_a_reset_page_is_told_to_nobody() -> None:
    async with client_of(application()) as client:
        answer = await client.get("/reset?token=x")
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_nothing_dynamic_is_stored_even_if_a_handler_says_so() -> None:
    async with client_of(application()) as client:
        for path in ("/page", "/nowhere", "/bug", "/api/openapi.json", "/static/nothing"):
            assert (await client.get(path)).headers["cache-control"] == "no-store"


async def test_a_static_file_is_kept_for_ever_only_where_its_url_has_a_version(
    static: Path,
) -> None:
    async with client_of(application(static=static)) as client:
        bare = await client.get("/static/app.css")
        assert bare.headers["cache-control"] == "public, max-age=0, must-revalidate"
        versioned = await client.get("/static/app.css?v=1f3c")
        assert versioned.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = await client.get("/static/app.css", headers={"if-none-match": bare.headers["etag"]})
        assert again.status_code == 304
        missing = await client.get("/static/gone.css?v=1f3c")
        assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize("path", ["/static/../pepper", "/static/%2e%2e/pepper", "/static//etc"])
async def test_there_is_no_way_out_of_the_folder_of_static_files(path: str, static: Path) -> None:
    async with client_of(application(static=static)) as client:
        answer = await client.get(path)
        assert (answer.status_code, "secret" in answer.text) == (404, False)


# ── TLS, proxies and the cookie ─────────────────────────────────────────────────────────────────
async def test_behind_tls_the_cookie_is_bound_to_the_host_and_to_tls() -> None:
    async with client_of(application(), url="https://localhost") as client:
        answer = await client.get("/cookies")
        cookie, device = answer.headers.get_list("set-cookie")
        assert device.startswith(f"__Host-latchgate-device={DEVICE}; HttpOnly; ")
        assert device.endswith("; Secure")
        assert cookie.startswith(f"__Host-latchgate={TOKEN}; ")
        parts = set(cookie.split("; ")[1:])
        assert parts == {"HttpOnly", "Max-Age=7776000", "Path=/", "SameSite=lax", "Secure"}
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        cleared = (await client.get("/cookies?clear=1")).headers["set-cookie"]
        assert cleared.startswith('__Host-latchgate=""; ')
        assert "Max-Age=0" in cleared
        assert cleared.endswith("; Secure")


async def test_without_tls_the_cookie_has_its_plain_name() -> None:
    async with client_of(application()) as client:
        cookie, _device = (await client.get("/cookies")).headers.get_list("set-cookie")
        assert cookie.startswith(f"latchgate={TOKEN}; HttpOnly; ")
        assert "Secure" not in cookie


@pytest.mark.parametrize(
    ("url", "name", "is_read"),
    [
        ("http://localhost", "latchgate", True),
        ("http://localhost", "__Host-latchgate", False),
        ("https://localhost", "__Host-latchgate", True),
        ("https://localhost", "latchgate", False),
    ],
)
async def test_behind_tls_a_cookie_that_plain_http_could_have_set_is_not_read(
    url: str, name: str, *, is_read: bool
) -> None:
    async with client_of(application(), url=url) as client:
        answer = await client.get("/page", headers={"cookie": f"{name}={TOKEN}"})
        assert (answer.json()["token"] == TOKEN) is is_read


async def test_a_trusted_proxy_is_believed_about_tls_and_the_last_address() -> None:
    server = ServerSettings(trusted_proxies=(PROXY,))
    sent = {"x-forwarded-for": "6.6.6.6, 203.0.113.5", "x-forwarded-proto": "https"}
    async with client_of(application(server), peer=PROXY) as client:
        answer = await client.get("/page", headers=sent)
        assert answer.json()["ip"] == "203.0.113.5"
        assert "strict-transport-security" in answer.headers
        junk = await client.get("/page", headers={"x-forwarded-for": "6.6.6.6, <script>"})
        assert junk.json()["ip"] == PROXY
        post = await client.post("/page", headers={**sent, "origin": "https://localhost:8000"})
        assert post.status_code == 200


async def test_anybody_else_is_not_believed_about_his_address_or_tls() -> None:
    sent = {"x-forwarded-for": "203.0.113.5", "x-forwarded-proto": "https"}
    async with client_of(application(), peer=PROXY) as client:
        answer = await client.get("/page", headers=sent)
        assert answer.json()["ip"] == PROXY
        assert "strict-transport-security" not in answer.headers


# ── refusals ────────────────────────────────────────────────────────────────────────────────────
async def test_a_missing_page_is_a_page_and_a_missing_route_is_an_envelope() -> None:
    async with client_of(application()) as client:
        page = await client.get("/nowhere")
        assert (page.status_code, page.text[:15]) == (404, "PAGE not_found:")
        route = await client.get("/api/nowhere")
        assert route.status_code == 404
        assert set(route.json()["error"]) == {"message", "type", "param", "code"}
        assert route.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/keys", "GET, POST"),
        ("GET", "/api/signup", "POST"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("POST", "/static/app.css", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_every_right_one(
    method: str, path: str, allowed: str, static: Path
) -> None:
    async with client_of(application(static=static)) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert "method_not_supported" in answer.text


async def test_a_bug_is_a_500_with_an_id_and_says_nothing_of_its_cause(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with client_of(application()) as client:
        answer = await client.get("/bug")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    logged = "".join(capsys.readouterr())
    assert "ZeroDivisionError" in logged
    assert answer.headers["x-request-id"] in logged
    assert "hunter2" not in answer.text + logged


async def test_a_refusal_keeps_its_headers_on_pages_too() -> None:
    async with client_of(application()) as client:
        answer = await client.get("/busy")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_a_page_that_needs_a_login_leads_to_it_and_back() -> None:
    async with client_of(application()) as client:
        answer = await client.get("/private?tab=1&x=y")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=/private%3Ftab%3D1%26x%3Dy"
        api = await client.get("/api/keys")
        assert (api.status_code, api.json()["error"]["code"]) == (401, "session_expired")
