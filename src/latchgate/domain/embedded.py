"""The names and sizes by which the embedded models are known to the catalog."""

from __future__ import annotations

#: How the address begins that stands for a model server of our own: the real one changes with
#: every start. Nothing that an operator may write begins so.
EMBEDDED_SCHEME = "embedded:"
#: The upstream that stands for the embedded model that writes.
EMBEDDED_NAME = "embedded"
EMBEDDED_URL = EMBEDDED_SCHEME
#: The upstream that stands for the embedded embeddings model.
EMBEDDINGS_NAME = "embedded-embeddings"
EMBEDDINGS_URL = f"{EMBEDDED_SCHEME}embeddings"
#: The longest text that the embeddings model takes, the two tokens around it included. Its card
#: says so: it has places for 512, but was not trained to use them.
EMBEDDINGS_WINDOW_TOKENS = 256
#: What a text costs beyond its bytes: the two tokens around it.
EMBEDDINGS_MESSAGE_TOKENS = 2
