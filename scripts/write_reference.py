"""Write the pages that are made from the code: docs/configuration.md and docs/cli.md."""

from __future__ import annotations

from pathlib import Path

from latchgate.cli import document as cli_document
from latchgate.config import document as config_document

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write both pages."""
    (DOCS / "configuration.md").write_text(config_document.markdown())
    (DOCS / "cli.md").write_text(cli_document.markdown())


if __name__ == "__main__":
    main()
