"""Latchgate: an API-key platform for language models that anybody can host."""

__version__ = "0.1.0"
