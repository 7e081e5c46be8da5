"""The names by which the embedded model is known in the catalog."""

from __future__ import annotations

#: The upstream that stands for the embedded model.
EMBEDDED_NAME = "embedded"
#: Stands for its address, which changes with every start.
EMBEDDED_URL = "embedded:"
