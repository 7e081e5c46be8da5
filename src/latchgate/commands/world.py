"""What a verb is given: a world, in as much as verbs need of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from latchgate.config import Settings
    from latchgate.services.bundle import Services


class Report(Protocol):
    """What an audit found."""

    @property
    def findings(self) -> Sequence[str]:
        """One sentence for each disagreement."""
        ...

    @property
    def checked(self) -> Mapping[str, int]:
        """How many of what were checked."""
        ...


class Copy(Protocol):
    """A copy of the database, which lies in the data directory."""

    @property
    def engine(self) -> str:
        """Of which engine it is."""
        ...

    @property
    def revision(self) -> str:
        """Its schema's revision."""
        ...

    @property
    def epochs(self) -> Sequence[str]:
        """The epochs that it knows."""
        ...


class World(Protocol):
    """What a verb is given: the services, and the audit that needs more than they."""

    @property
    def settings(self) -> Settings:
        """The settings that the world was built from."""
        ...

    @property
    def services(self) -> Services:
        """The use cases."""
        ...

    async def audit(self) -> Report:
        """Derive every balance again from its rows, and compare."""
        ...

    async def condition(self) -> dict[str, Any]:
        """How the installation is, for the doctor."""
        ...

    async def copy_database(self) -> Copy:
        """Copy the database into the data directory, for a backup."""
        ...
