"""The verbs of ``credit``, ``code``, ``payment`` and ``statement``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.accounts import find, find_open, with_balances
from latchgate.commands.answers import Answer
from latchgate.commands.arguments import ROWS_SHOWN
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import parse_usd
from latchgate.domain.redemption_codes import end_of_day_us
from latchgate.services.statement_csv import csv_of

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World
    from latchgate.services.accounts import AccountView
    from latchgate.services.auto_top_ups import TopUpView
    from latchgate.services.billing import PostingView


async def _posted(world: World, account: AccountView, posting: PostingView) -> Answer:
    return {**await with_balances(world, account), "posting": answers.posting(posting)}


async def _credit_add(world: World, args: Arguments) -> Answer:
    whose, amount_nanos = args.whose(), parse_usd(args.text("amount"))
    note, posting_id = args.find_text("note") or "", args.find_once("pst")
    args.close()
    account = await find_open(world, whose)
    posting = await world.services.billing.add_credit(
        account.account_id, amount_nanos, note=note, caller=args.caller, posting_id=posting_id
    )
    return await _posted(world, account, posting)


async def _credit_refund(world: World, args: Arguments) -> Answer:
    whose, amount_nanos = args.whose(), parse_usd(args.text("amount"))
    reason, posting_id = args.text("reason"), args.find_once("pst")
    args.close()
    account = await find_open(world, whose)
    posting = await world.services.billing.refund(
        account.account_id, amount_nanos, reason=reason, caller=args.caller, posting_id=posting_id
    )
    return await _posted(world, account, posting)


async def _credit_correct(world: World, args: Arguments) -> Answer:
    whose, reason = args.whose(), args.text("reason")
    add, take = args.find_text("add"), args.find_text("take")
    posting_id = args.find_once("pst")
    args.close()
    if (add is None) == (take is None):
        raise InvalidRequest("A correction adds an amount or takes one: say which.", param="add")
    if add is not None:
        amount_nanos = parse_usd(add, param="add")
    else:
        amount_nanos = -parse_usd(take or "", param="take")
    account = await find_open(world, whose)
    posting = await world.services.billing.correct(
        account.account_id, amount_nanos, reason=reason, caller=args.caller, posting_id=posting_id
    )
    return await _posted(world, account, posting)


async def _credit_history(world: World, args: Arguments) -> Answer:
    whose, before, limit = args.whose(), args.find_text("before"), args.rows()
    args.close()
    account = await find(world, whose)
    postings, following = await world.services.billing.list_postings(
        account.account_id, before=before, limit=limit
    )
    return {"postings": [answers.posting(posting) for posting in postings], "next": following}


async def _credit_line(world: World, args: Arguments) -> Answer:
    whose, amount_nanos = args.whose(), parse_usd(args.text("amount"), allow_zero=True)
    args.close()
    account = await find_open(world, whose)
    await world.services.limits.set_credit_line(account.account_id, amount_nanos, args.caller)
    return await with_balances(world, account)


async def _code_create(world: World, args: Arguments) -> Answer:
    amount_nanos, number = parse_usd(args.text("amount")), args.count("number")
    expires, note = args.find_text("expires"), args.find_text("note") or ""
    batch_id = args.find_once("cbt")
    args.close()
    made = await world.services.redemption_codes.create(
        amount_nanos,
        number,
        expires_us=None if expires is None else end_of_day_us(expires),
        note=note,
        caller=args.caller,
        batch_id=batch_id,
    )
    return {**answers.batch(made.view), "secrets": list(made.codes)}


async def _code_list(world: World, args: Arguments) -> Answer:
    before, limit = args.find_text("before"), args.rows()
    args.close()
    found, following = await world.services.redemption_codes.list_batches(
        before=before, limit=limit
    )
    return {"batches": [answers.batch(view) for view in found], "next": following}


async def _code_withdraw(world: World, args: Arguments) -> Answer:
    batch_id = args.text("id")
    args.close()
    return answers.batch(await world.services.redemption_codes.withdraw(batch_id, args.caller))


async def _statement_list(world: World, args: Arguments) -> Answer:
    whose, before, limit = args.whose(), args.find_text("before"), args.rows()
    args.close()
    account = await find(world, whose)
    found, following = await world.services.monthly_statements.list_statements(
        account.account_id, before=before, limit=limit
    )
    return {"statements": [answers.statement(one) for one in found], "next": following}


async def _statement_show(world: World, args: Arguments) -> Answer:
    whose, statement_id = args.whose(), args.text("id")
    args.close()
    account = await find(world, whose)
    full = await world.services.monthly_statements.get(account.account_id, statement_id)
    return {
        **answers.statement(full.statement),
        **answers.money("credit", full.credit_nanos),
        **answers.money("usage", full.used.charge_nanos),
        "csv": csv_of(full),
    }


async def _statement_close(world: World, args: Arguments) -> Answer:
    args.close()
    return {"closed": await world.services.monthly_statements.close_all()}


async def _payment_list(world: World, args: Arguments) -> Answer:
    whose, before, limit = args.whose(), args.find_text("before"), args.rows()
    args.close()
    account = await find(world, whose)
    found, following = await world.services.payments.list_payments(
        account.account_id, before=before, limit=limit
    )
    return {"payments": [answers.payment(view) for view in found], "next": following}


async def _payment_auto(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    args.close()
    account = await find(world, whose)
    return {"email": account.email, **answers.top_up(await _top_up(world, account))}


async def _payment_auto_off(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    args.close()
    account = await find_open(world, whose)
    await world.services.auto_top_ups.switch_off(account.account_id, args.caller)
    return {"email": account.email, **answers.top_up(await _top_up(world, account))}


async def _top_up(world: World, account: AccountView) -> TopUpView | None:
    return await world.services.auto_top_ups.find(account.account_id)


async def _payment_held(world: World, args: Arguments) -> Answer:
    args.close()
    found = await world.services.payments.list_held(limit=ROWS_SHOWN)
    return {"payments": [answers.payment(view) for view in found]}


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "credit.add": _credit_add,
    "credit.refund": _credit_refund,
    "credit.correct": _credit_correct,
    "credit.history": _credit_history,
    "credit.line": _credit_line,
    "code.create": _code_create,
    "code.list": _code_list,
    "code.withdraw": _code_withdraw,
    "payment.list": _payment_list,
    "payment.held": _payment_held,
    "payment.auto": _payment_auto,
    "payment.auto-off": _payment_auto_off,
    "statement.list": _statement_list,
    "statement.show": _statement_show,
    "statement.close": _statement_close,
}
