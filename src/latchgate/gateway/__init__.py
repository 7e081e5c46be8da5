"""The data plane: a call with a key, from its first byte to its last.

    client ─► protocol ─ peek ─ admit ─ relay ─ settle ─► the last byte leaves

Nothing here asks the database on a call's path while a lease is warm and the key is known.
"""
