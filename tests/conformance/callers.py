"""A client with an account of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conformance.clients import Client
from tests.conformance.driving import Driver, Result
from tests.conformance.house import Customer, House


class Caller:
    """Has its client do things, and looks at what its account was charged for them."""

    def __init__(self, house: House, client: Client, driver: Driver) -> None:
        self.house = house
        self.client = client
        self._driver = driver
        self.customer: Customer = house.customer(client.id)

    @property
    def home(self) -> Path:
        """A folder for what the client writes."""
        return self._driver.folder

    def ask(self, word: str, model: str, *, key: str | None = None, **job: Any) -> Result:
        """Have the client do something, with the account's key or another."""
        job |= {"base_url": self.house.base_url, "key": key or self.customer.secret}
        return self._driver.ask(word, model=model, **job)

    def charged(
        self, word: str, model: str, *, calls: int = 1
    ) -> tuple[Result, list[dict[str, Any]]]:
        """Have the client do something; what it got, and what the account was charged for it."""
        known = self.calls_known()
        result = self.ask(word, model)
        assert result.refused is None, result.refused
        return result, self.house.calls_after(self.customer, known, calls)

    def calls_known(self) -> int:
        """How many calls the account was charged so far."""
        return len(self.house.calls(self.customer))
