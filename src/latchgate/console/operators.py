"""Who may open the operator's pages: to everybody else they are addresses that nobody has."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from latchgate.console.confirmation import Confirmed
from latchgate.domain.people import Identity
from latchgate.http.refusals import nothing_here
from latchgate.http.sessions import LoggedIn


async def _require_operator(identity: LoggedIn) -> Identity:
    if not identity.is_operator:
        raise nothing_here()
    return identity


#: What the operator's pages write in their signatures.
Operator = Annotated[Identity, Depends(_require_operator)]


async def _require_confirmed(_operator: Operator, identity: Confirmed) -> Identity:
    return identity


#: … for what moves money, or opens a way to it.
ConfirmedOperator = Annotated[Identity, Depends(_require_confirmed)]
