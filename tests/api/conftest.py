"""What the API's tests share: each operation that is fuzzed is a test with a name of its own."""

from __future__ import annotations

import pytest
from schemathesis.pytest.plugin import SchemathesisFunction


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the operation in the test's id.

    All of a document's operations come with the same id, and workers that share tests by their ids
    would run the first alone.
    """
    for item in items:
        if isinstance(item, SchemathesisFunction):
            item._id = item.id.with_params(item.operation_label)
