"""What an upstream can speak and what a model can be, by the names that the catalog writes."""

from __future__ import annotations

#: The API's endpoints that an upstream may answer itself.
ENDPOINTS = ("chat", "completions", "responses", "messages", "embeddings")
#: What a server that speaks the OpenAI API is taken to answer, unless the operator says otherwise.
SPEAKS_DEFAULT = ("chat", "completions", "embeddings")
#: What the embedded model's server is asked for, and the embedded embeddings model's. The former
#: answers responses too, but drops their schema and does not say when it has reached the bound.
SPEAKS_EMBEDDED = ("chat", "completions", "messages")
SPEAKS_EMBEDDINGS = ("embeddings",)

CHAT = "chat"
EMBEDDINGS = "embeddings"
#: A model of the first kind writes; one of the second turns text into vectors.
KINDS = (CHAT, EMBEDDINGS)
