"""LangChain's own standard tests of a chat model, over a server that the environment names.

They run in the client's environment: ``pytest drivers/langchain_standard.py``.
"""

from __future__ import annotations

import os
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

SERVER = {"base_url": os.environ.get("CLIENT_URL"), "api_key": os.environ.get("CLIENT_KEY")}


class TestChatOpenAI(ChatModelIntegrationTests):
    """ChatOpenAI with a server of one's own.

    Without the tests of images and documents: they fetch theirs from the network.
    """

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """What is tested."""
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """How it is made: with the usage of streams, which it leaves off for such a server."""
        return {**SERVER, "model": "player", "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        """``response_format`` json_object."""
        return True

    @property
    def has_tool_choice(self) -> bool:
        """A tool may be demanded."""
        return True

    @property
    def supports_model_override(self) -> bool:
        """Another model may be named with a call."""
        return True

    @property
    def model_override_value(self) -> str:
        """The other model."""
        return "thinker"


class TestOpenAIEmbeddings(EmbeddingsIntegrationTests):
    """OpenAIEmbeddings with a server of one's own."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        """What is tested."""
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        """How it is made."""
        return {**SERVER, "model": "vectors", "check_embedding_ctx_length": False}
