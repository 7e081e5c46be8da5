"""From the table of routes to routes that answer, and to the OpenAPI document of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from inspect import Parameter, Signature
from types import GenericAlias
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, create_model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from latchgate import __version__
from latchgate.domain.errors import LatchgateError
from latchgate.domain.ids import ONCE_CHARS_MAX
from latchgate.http.admin import answered
from latchgate.http.admin.asked import NAME_CHARS_MAX
from latchgate.http.admin.keys import SCHEME, caller_of, identify, needs, secured
from latchgate.http.admin.routes import ADMIN_PREFIX, ROUTES, Route, Run
from latchgate.http.api.shapes import Refusal, at, at_or_none, require_json
from latchgate.http.sessions import services_of
from latchgate.services.admin_keys import AdminKeyView
from latchgate.services.health_checks import FAILED, FINE, WARNING, kept, live

_USD = "_usd"

OnceHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=ONCE_CHARS_MAX,
        description="Your own name for this: sent again with the same key, it is done once.",
    ),
]
_Name = Annotated[str, Path(max_length=NAME_CHARS_MAX)]


def admin_api(run: Run) -> APIRouter:
    """Every route below ``/api/admin``; ``run`` does what a verb says."""
    router = APIRouter(
        prefix=ADMIN_PREFIX,
        dependencies=[Depends(require_json)],
        responses={"4XX": {"model": Refusal, "description": "Refused; the envelope says why."}},
    )
    _add_own(router)
    for route in ROUTES:
        router.add_api_route(
            route.path,
            _endpoint(route, run),
            methods=[route.method],
            status_code=route.status,
            response_model=_shape(route),
            operation_id=_operation_id(route),
            summary=route.says.partition(".")[0],
            description=f"{route.says}\n\nScope: `{route.scope}`. As `latchgate "
            f"{route.verb.replace('.', ' ')}`.",
            tags=[route.verb.partition(".")[0]],
            openapi_extra=secured(route.scope),
        )
    _add_document(router)
    return router


def _add_document(router: APIRouter) -> None:
    """What describes all routes; it is made when it is first asked for."""

    @cache
    def document() -> dict[str, Any]:
        made = get_openapi(
            title="Latchgate admin API",
            version=__version__,
            description="What operators do in the console and on the command line.",
            routes=router.routes,
        )
        made.setdefault("components", {})["securitySchemes"] = SCHEME
        return made

    @router.get("/openapi.json", include_in_schema=False)
    async def show_document() -> Response:
        return JSONResponse(document())


def _add_own(router: APIRouter) -> None:
    """What is no verb: the key that asks, and what the doctor finds of this server."""

    @router.get("/key", operation_id="showAdminKey", tags=["admin-key"], openapi_extra=secured())
    async def show_key(
        key: Annotated[AdminKeyView, Depends(identify)],
    ) -> answered.AdminKeyShown:
        """Show the admin key that asks. It needs no scope."""
        return answered.AdminKeyShown(
            id=key.id,
            name=key.name,
            masked=key.masked,
            email=key.email,
            scopes=list(key.scopes),
            created_at=at(key.created_us),
            expires_at=at_or_none(key.expires_us),
        )

    @router.get(
        "/health",
        operation_id="showHealth",
        tags=["health"],
        openapi_extra=secured("read"),
    )
    async def show_health(
        request: Request, key: Annotated[AdminKeyView, Depends(needs("read"))]
    ) -> answered.HealthShown:
        """Show what `latchgate doctor` finds of this server.

        Scope: `read`.
        """
        services = services_of(request)
        services.admin_keys.count_slow(key.id)
        condition = await services.operations.condition()
        serves = "journal_failure" in condition
        found = [*(live(condition) if serves else ()), *kept(condition)]
        outcomes = {check.outcome for check in found}
        worst = next((one for one in (FAILED, WARNING) if one in outcomes), FINE)
        checks = [
            answered.HealthCheck(name=check.name, outcome=check.outcome, says=check.says)
            for check in found
        ]
        return answered.HealthShown(version=__version__, outcome=worst, checks=checks)


def _endpoint(route: Route, run: Run) -> Callable[..., Awaitable[dict[str, Any]]]:
    """What answers a route; its signature is made of the row, and FastAPI reads it there."""

    async def answer(request: Request, key: AdminKeyView, **given: Any) -> dict[str, Any]:
        args: dict[str, Any] = {name: given[name] for name in route.params}
        carried: BaseModel | None = given.get("asked")
        if carried is not None:
            fields = carried.model_dump(exclude_none=True).items()
            args |= {name.removesuffix(_USD): value for name, value in fields}
        if given.get("once") is not None:
            args["once"] = given["once"]
        if route.is_slow:
            services_of(request).admin_keys.count_slow(key.id)
        try:
            found = await run(route.verb, args, caller_of(request, key))
        except LatchgateError as refusal:
            _name_field(refusal, route)
            raise
        if route.rows:
            found["data"] = found.pop(route.rows)
        return found

    answer.__signature__ = Signature(_parameters(route))  # type: ignore[attr-defined]
    return answer


def _parameters(route: Route) -> list[Parameter]:
    kind = Parameter.KEYWORD_ONLY
    found = [
        Parameter("request", kind, annotation=Request),
        Parameter("key", kind, annotation=Annotated[AdminKeyView, Depends(needs(route.scope))]),
        *(Parameter(name, kind, annotation=_Name) for name in route.params),
    ]
    if route.asked is not None:
        where = Query() if route.method == "GET" else Body()
        found.append(Parameter("asked", kind, annotation=Annotated[route.asked, where]))
    if route.is_once:
        found.append(Parameter("once", kind, annotation=OnceHeader, default=None))
    return found


def _name_field(refusal: LatchgateError, route: Route) -> None:
    """Let a refusal name the field by its name here."""
    if refusal.param == "once":
        refusal.param = "Idempotency-Key"
    elif route.asked is not None and f"{refusal.param}{_USD}" in route.asked.model_fields:
        refusal.param = f"{refusal.param}{_USD}"


def _shape(route: Route) -> type[BaseModel]:
    if not route.rows:
        return route.answered
    return _listed(route.answered, is_paged=route.asked is not None)


@cache
def _listed(row: type[BaseModel], *, is_paged: bool) -> type[BaseModel]:
    """A list of rows, with the cursor of the next page where there are pages."""
    noun = row.__name__.removesuffix("Line").removesuffix("Shown")
    fields: dict[str, Any] = {"data": (GenericAlias(list, (row,)), ...)}
    if is_paged:
        fields["next"] = (str | None, ...)
    name = f"{'PageOf' if is_paged else 'ListOf'}{noun}"
    return create_model(name, __base__=answered.Shown, **fields)


def _operation_id(route: Route) -> str:
    """``account.log-out`` is ``accountLogOut``."""
    first, *others = route.verb.replace("-", ".").split(".")
    return first + "".join(word.capitalize() for word in others)
