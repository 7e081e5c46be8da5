"""The console: one module a page, drawn on the server, complete without JavaScript.

rendering.py   templates, filters and what every page is given
forms.py       what browsers post
pages          landing access home playground usage quickstart api_keys api_key billing limits
               alerts prices profile security second_factor passkeys activity
               payments monthly_statements
               operator_accounts operator_billing operator_books operator_models operator_plans
               operator_price_import operator_price_corrections operator_upstreams admin_keys;
               operators.py says who may open them
               (playground_answers and playground_code are parts of the playground)
confirmation.py   asks who it is between what was asked for and its being done
errors.py      any refusal as a page
templates/     one a page, over base.html and shell.html, with components.html between them
static/        our own style sheet, modules and icon; nothing comes from elsewhere
"""

from __future__ import annotations

from fastapi import APIRouter

from latchgate.console import (
    access,
    activity,
    admin_keys,
    alerts,
    api_key,
    api_keys,
    billing,
    confirmation,
    home,
    landing,
    limits,
    monthly_statements,
    operator_accounts,
    operator_billing,
    operator_books,
    operator_models,
    operator_plans,
    operator_price_corrections,
    operator_price_import,
    operator_upstreams,
    passkeys,
    payments,
    playground,
    prices,
    profile,
    quickstart,
    second_factor,
    security,
    usage,
)
from latchgate.console.errors import render_error
from latchgate.console.rendering import STATIC


def build_routers() -> list[APIRouter]:
    """The routes of every page."""
    pages = (
        *(landing, access, home, playground, usage, quickstart, api_keys, api_key),
        *(billing, limits, alerts, prices),
        *(payments, monthly_statements),
        *(operator_accounts, operator_plans, operator_billing, operator_books),
        *(operator_models, operator_price_import, operator_price_corrections),
        *(operator_upstreams, admin_keys),
        *(profile, security, second_factor, passkeys, activity, confirmation),
    )
    return [page.router for page in pages]


__all__ = ["STATIC", "build_routers", "render_error"]
