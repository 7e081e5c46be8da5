"""The terms of API keys, as columns of their rows."""

from __future__ import annotations

import json
from ipaddress import ip_network

from sqlalchemy import Connection, update

from latchgate.domain.key_terms import OPEN, KeyTerms, parse_scope
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import api_keys

Columns = dict[str, object]


def columns_of(terms: KeyTerms) -> Columns:
    """What a row's columns hold."""
    return {
        "expires_us": terms.expires_us,
        "models": json.dumps(sorted(terms.models), ensure_ascii=False),
        "scope": terms.scope,
        "addresses": json.dumps([str(network) for network in terms.addresses]),
    }


def terms_of(row: AnyRow) -> KeyTerms:
    """The terms that a row of ``api_keys`` holds."""
    if (row.expires_us, row.models, row.scope, row.addresses) == (None, "[]", "all", "[]"):
        return OPEN
    return KeyTerms(
        expires_us=row.expires_us,
        models=frozenset(json.loads(row.models)),
        scope=parse_scope(row.scope),
        addresses=tuple(ip_network(text) for text in json.loads(row.addresses)),
    )


def set_terms(conn: Connection, key_id: str, terms: KeyTerms) -> None:
    """Give a key other terms."""
    conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(**columns_of(terms)))
