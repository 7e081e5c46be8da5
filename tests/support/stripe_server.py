"""Stripe, as far as we ask it: its documented HTTP on loopback, and events as it signs them.

Shapes: https://docs.stripe.com/api/checkout/sessions, /api/events, /webhooks#verify-manually.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

SECRET_KEY = "sk_test_" + "k" * 24
WEBHOOK_SECRET = "whsec_" + "w" * 32
_numbers = itertools.count(1)


class StripeServer:
    """Checkout sessions, setup intents and payment intents.

    ``failing`` are statuses to answer first; ``declines`` is why cards are refused; with
    ``loses_answers`` a payment is made, and whoever asked for it never hears so.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.failing: list[int] = []
        self.declines = ""
        self.loses_answers = False
        self.charges: dict[str, dict[str, Any]] = {}
        self._by_key: dict[str, dict[str, Any]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def create(self, fields: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """A session, or why there is none."""
        key = headers.get("idempotency-key", "")
        if key in self._by_key:
            return 200, self._by_key[key]
        try:
            if fields["mode"] == "setup":
                session = self._setup(fields)
                self.sessions[session["id"]] = self._by_key[key] = session
                return 200, session
            cents = int(fields["line_items[0][price_data][unit_amount]"])
            number = next(_numbers)
            session = {
                "id": f"cs_test_{number}",
                "object": "checkout.session",
                "amount_total": cents * int(fields["line_items[0][quantity]"]),
                "currency": fields["line_items[0][price_data][currency]"],
                "client_reference_id": fields["client_reference_id"],
                "mode": fields["mode"],
                "payment_intent": None,
                "payment_status": "unpaid",
                "status": "open",
                "success_url": fields["success_url"],
                "cancel_url": fields["cancel_url"],
                "url": f"{self.url}/pay/cs_test_{number}",
            }
        except (KeyError, ValueError) as missing:
            return 400, {
                "error": {"type": "invalid_request_error", "message": f"Missing: {missing}"}
            }
        self.sessions[session["id"]] = self._by_key[key] = session
        return 200, session

    def answer(
        self, method: str, path: str, fields: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """What a request gets."""
        self.asked.append(fields)
        self.headers.append(headers)
        if self.failing:
            status = self.failing.pop(0)
            return status, {"error": {"type": "api_error", "message": "sk_test_secret inside"}}
        if headers.get("authorization") != f"Bearer {SECRET_KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key"}}
        match method, path.split("/")[2:]:
            case "POST", ["checkout", "sessions"]:
                return self.create(fields, headers)
            case "POST", ["payment_intents"]:
                return self._charge(fields, headers)
            case "GET", ["setup_intents", name]:
                kept = {"id": name, "object": "setup_intent", "status": "succeeded"}
                return 200, {**kept, "payment_method": f"pm_of_{name}"}
        return 404, {"error": {"type": "invalid_request_error", "message": "No"}}

    def _setup(self, fields: dict[str, str]) -> dict[str, Any]:
        number = next(_numbers)
        return {
            "id": f"cs_test_{number}",
            "object": "checkout.session",
            "mode": "setup",
            "client_reference_id": fields["client_reference_id"],
            "customer": None,
            "setup_intent": f"seti_{number}",
            "payment_status": "no_payment_required",
            "url": f"{self.url}/pay/cs_test_{number}",
        }

    def _charge(
        self, fields: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        key = headers["idempotency-key"]
        if self.declines:
            error = {"type": "card_error", "code": self.declines, "message": "No"}
            return 402, {"error": error}
        assert fields["off_session"] == fields["confirm"] == "true"
        intent = self.charges.setdefault(
            key,
            {
                "id": f"pi_{next(_numbers)}",
                "object": "payment_intent",
                "amount": int(fields["amount"]),
                "amount_received": int(fields["amount"]),
                "currency": fields["currency"],
                "customer": fields["customer"],
                "payment_method": fields["payment_method"],
                "metadata": {"payment": fields["metadata[payment]"]},
                "status": "succeeded",
            },
        )
        if self.loses_answers:
            return 503, {"error": {"type": "api_error", "message": "lost"}}
        return 200, intent

    def confirm(self, session_id: str) -> dict[str, Any]:
        """A session in which a card was kept."""
        return {**self.sessions[session_id], "customer": "cus_ada", "status": "complete"}

    def pay(self, payment_id: str) -> dict[str, Any]:
        """The session of a payment, as it is once it was paid."""
        (session,) = (
            found for found in self.sessions.values() if found["client_reference_id"] == payment_id
        )
        intent = session["payment_intent"] or f"pi_{next(_numbers)}"
        session.update(payment_intent=intent, payment_status="paid", status="complete")
        return dict(session)


def _handler(stripe: StripeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            fields = dict(parse_qsl(body, keep_blank_values=True))
            status, answer = stripe.answer("POST", self.path, fields, headers)
            self._answer(status, json.dumps(answer).encode(), "application/json")

        def do_GET(self) -> None:
            if self.path.startswith("/v1/"):
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, answer = stripe.answer("GET", self.path, {}, headers)
                self._answer(status, json.dumps(answer).encode(), "application/json")
                return
            page = b"<!doctype html><title>Pay</title><h1>Stripe's page</h1>"
            self._answer(200, page, "text/html")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("request-id", f"req_{next(_numbers)}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    return Handler


def event(type_: str, of: dict[str, Any], *, id_: str = "") -> dict[str, Any]:
    """An event about an object."""
    return {
        "id": id_ or f"evt_{next(_numbers)}",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": int(time.time()),
        "type": type_,
        "livemode": False,
        "data": {"object": of},
    }


def refund(payment_intent: str, cents: int, status: str, *, id_: str = "") -> dict[str, Any]:
    """A refund object."""
    return {
        "id": id_ or f"re_{next(_numbers)}",
        "object": "refund",
        "amount": cents,
        "currency": "usd",
        "payment_intent": payment_intent,
        "status": status,
    }


def dispute(payment_intent: str, cents: int, *, id_: str = "") -> dict[str, Any]:
    """A dispute object."""
    return {
        "id": id_ or f"dp_{next(_numbers)}",
        "object": "dispute",
        "amount": cents,
        "currency": "usd",
        "payment_intent": payment_intent,
        "status": "needs_response",
    }


def signed(
    body: bytes, *, secret: str = WEBHOOK_SECRET, at_s: int | None = None, scheme: str = "v1"
) -> dict[str, str]:
    """The headers under which Stripe delivers a body."""
    at_s = int(time.time()) if at_s is None else at_s
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json; charset=utf-8",
        "stripe-signature": f"t={at_s},{scheme}={mac},v0={'0' * 64}",
    }
