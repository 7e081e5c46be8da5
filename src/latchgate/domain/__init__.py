"""The rules: pure, synchronous, standard library only. Nothing here knows a socket or a table."""
