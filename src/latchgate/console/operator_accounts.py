"""Other people's accounts: found, read, suspended and resumed, with their rates and credit line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.activity import CURSOR_CHARS_MAX, EVENTS_SHOWN, what_was_done
from latchgate.console.forms import read_form
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.errors import Conflict, InvalidRequest, LatchgateError
from latchgate.domain.money import format_usd, parse_usd
from latchgate.domain.people import ADMIN_KEY, CLI, Identity
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.audit_log import AuditEventView
from latchgate.services.devices import device_name
from latchgate.services.statement_words import KINDS

if TYPE_CHECKING:
    from latchgate.config import Settings
    from latchgate.services.operator_accounts import AccountFile, AccountLine

router = APIRouter()

PATH = "/operator/accounts"
ACCOUNTS_PER_PAGE = 50
ROWS_SHOWN = 10
RATES = {
    "requests_per_minute": "Requests in a minute",
    "tokens_per_minute": "Tokens in a minute",
    "calls_at_once": "Calls at once, of one key",
}
_RATE_DIGITS_MAX = 12
_SEE_OTHER = 303


@router.get(PATH)
async def show_all(request: Request, identity: Operator) -> Response:
    """Find accounts, or list all of them."""
    asked, before = request.query_params.get("q", ""), request.query_params.get("before")
    accounts: list[AccountLine] = []
    next_page, refusal = None, None
    try:
        accounts, next_page = await services_of(request).operator_accounts.list_page(
            asked=asked, before=before, limit=ACCOUNTS_PER_PAGE
        )
    except InvalidRequest as error:
        refusal = error
    return page(
        request,
        "operator_accounts.html",
        identity=identity,
        status=refusal.status if refusal else 200,
        accounts=accounts,
        asked=asked,
        before=before,
        next_page=next_page,
        error=refusal,
    )


@router.get(PATH + "/{account_id}")
async def show(request: Request, account_id: str, identity: Operator) -> Response:
    """One account."""
    return await _account_page(request, identity, account_id)


async def _account_page(
    request: Request,
    identity: Identity,
    account_id: str,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    file = await services.operator_accounts.get(account_id)
    balances = await services.billing.balances(account_id)
    postings, _ = await services.billing.list_postings(account_id, limit=ROWS_SHOWN)
    events, _ = await services.audit_log.list_page(
        account_id, limit=ROWS_SHOWN, is_for_operator=True
    )
    return page(
        request,
        "operator_account.html",
        identity=identity,
        status=error.status if error else 200,
        file=file,
        account=file.view,
        balances=balances,
        standing=await services.limits.standing(account_id),
        months=await services.usage.months(account_id),
        plan=await services.plans.get_of(account_id),
        plans=await services.plans.list_plans(),
        keys=await services.api_keys.list_keys(account_id),
        postings=postings,
        kinds=KINDS,
        events=events,
        typed={**_written(file, balances.credit_line_nanos), **(typed or {})},
        rate_names=RATES,
        configured=configured_rates(services.settings),
        error=error,
        notice=request.query_params.get("notice", ""),
        **_words(file),
    )


def _words(file: AccountFile) -> dict[str, Any]:
    """How the log's lines are said to an operator."""

    def who_did_it(event: AuditEventView, _reader: str) -> str:
        return _who(event, file.view.user_id)

    return {
        "what_was_done": what_was_done,
        "device_name": device_name,
        "who_did_it": who_did_it,
    }


def _who(event: AuditEventView, owner: str) -> str:
    if event.actor == owner:
        return "The owner"
    if event.actor == CLI.actor:
        return "The command line"
    if event.actor.startswith("key_"):
        return "The key"
    if event.actor.startswith(f"{ADMIN_KEY}_"):
        return "An admin key"
    return "An operator" if event.actor.startswith("usr_") else "Somebody not logged in"


def _written(file: AccountFile, line_nanos: int) -> dict[str, str]:
    """What the forms hold: everything as it is."""
    rates = {name: getattr(file, name) for name in RATES}
    fields = {name: "" if rate is None else str(rate) for name, rate in rates.items()}
    return {**fields, "credit_line": format_usd(line_nanos)}


def configured_rates(settings: Settings) -> dict[str, int]:
    """What the configuration says of each rate."""
    return {
        "requests_per_minute": settings.rates.requests_per_minute,
        "tokens_per_minute": settings.rates.tokens_per_minute,
        "calls_at_once": settings.gateway.streams_per_key_max,
    }


@router.get(PATH + "/{account_id}/postings")
async def show_postings(request: Request, account_id: str, identity: Operator) -> Response:
    """Every posting of an account."""
    services, before = services_of(request), request.query_params.get("before")
    file = await services.operator_accounts.get(account_id)
    postings, next_page = await services.billing.list_postings(
        account_id, before=before, limit=EVENTS_SHOWN
    )
    return page(
        request,
        "operator_account_more.html",
        identity=identity,
        title="Postings",
        account=file.view,
        postings=postings,
        kinds=KINDS,
        events=(),
        before=before,
        next_page=next_page,
        **_words(file),
    )


@router.get(PATH + "/{account_id}/activity")
async def show_activity(request: Request, account_id: str, identity: Operator) -> Response:
    """Everything that was done with an account."""
    services = services_of(request)
    before = request.query_params.get("before", "")[:CURSOR_CHARS_MAX] or None
    file = await services.operator_accounts.get(account_id)
    events, next_page = await services.audit_log.list_page(
        account_id, before=before, limit=EVENTS_SHOWN, is_for_operator=True
    )
    return page(
        request,
        "operator_account_more.html",
        identity=identity,
        title="What was done",
        account=file.view,
        postings=(),
        kinds=KINDS,
        events=events,
        before=before,
        next_page=next_page,
        **_words(file),
    )


@router.get(PATH + "/{account_id}/suspend")
async def show_suspend(request: Request, account_id: str, identity: Operator) -> Response:
    """Ask before an account is suspended."""
    file = await find_open_account(request, account_id)
    return page(request, "operator_suspend.html", identity=identity, account=file.view)


@router.post(PATH + "/{account_id}/suspend")
async def suspend(request: Request, account_id: str, identity: Operator) -> Response:
    """Refuse an account's calls from now on. It lowers a risk, so a login is enough."""
    email = (await find_open_account(request, account_id)).view.email
    await services_of(request).accounts.suspend(email, caller_of(request, identity))
    return _back(account_id, "suspended")


@router.post(PATH + "/{account_id}/resume")
async def resume(request: Request, account_id: str, identity: ConfirmedOperator) -> Response:
    """Take an account's calls again."""
    email = (await find_open_account(request, account_id)).view.email
    await services_of(request).accounts.resume(email, caller_of(request, identity))
    return _back(account_id, "resumed")


@router.post(PATH + "/{account_id}/rates")
async def set_rates(request: Request, account_id: str, identity: ConfirmedOperator) -> Response:
    """Say how much an account may do at once and in a minute."""
    form = await read_form(request)
    await find_open_account(request, account_id)
    try:
        await services_of(request).limits.set_rates(
            account_id,
            requests_per_minute=read_rate(form, "requests_per_minute"),
            tokens_per_minute=read_rate(form, "tokens_per_minute"),
            calls_at_once=read_rate(form, "calls_at_once") or None,
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _account_page(request, identity, account_id, form, error)
    return _back(account_id, "rates")


@router.post(PATH + "/{account_id}/credit-line")
async def set_credit_line(
    request: Request, account_id: str, identity: ConfirmedOperator
) -> Response:
    """Let an account go so far below zero."""
    form = await read_form(request)
    await find_open_account(request, account_id)
    try:
        written = form.get("credit_line", "").strip().removeprefix("$")
        amount_nanos = parse_usd(written, param="credit_line", allow_zero=True)
        await services_of(request).limits.set_credit_line(
            account_id, amount_nanos, caller_of(request, identity)
        )
    except LatchgateError as error:
        error.param = "credit_line"
        return await _account_page(request, identity, account_id, form, error)
    return _back(account_id, "credit_line")


async def find_open_account(request: Request, account_id: str) -> AccountFile:
    """An account that can be changed. Raises NotFound, or Conflict when it is closed."""
    file = await services_of(request).operator_accounts.get(account_id)
    if file.view.state == "closed":
        raise Conflict("This account is closed for good. Nothing of it can be changed.")
    return file


def read_rate(form: Mapping[str, str], name: str) -> int | None:
    """A rate of a form, None where nothing is written. Raises InvalidRequest."""
    written = form.get(name, "").strip()
    if not written:
        return None
    if not (written.isascii() and written.isdecimal() and len(written) <= _RATE_DIGITS_MAX):
        raise InvalidRequest(
            f"A rate is a whole number of at most {_RATE_DIGITS_MAX} digits, or nothing.",
            param=name,
        )
    return int(written)


def _back(account_id: str, notice: str) -> Response:
    return RedirectResponse(f"{PATH}/{account_id}?notice={notice}", _SEE_OTHER)
