"""Write the pages that are made from the code: configuration.md, cli.md and metrics.md."""

from __future__ import annotations

from pathlib import Path

from latchgate.cli import document as cli_document
from latchgate.config import document as config_document
from latchgate.observe import metrics

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write all of them."""
    (DOCS / "configuration.md").write_text(config_document.markdown())
    (DOCS / "cli.md").write_text(cli_document.markdown())
    (DOCS / "metrics.md").write_text(metrics.markdown())


if __name__ == "__main__":
    main()
