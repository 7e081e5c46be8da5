"""All tests but those of the clients run with ``make test``."""
