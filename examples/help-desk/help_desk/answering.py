"""Answers a question from one passage of the business's pages, or says that it can't."""

from __future__ import annotations

from dataclasses import dataclass

import openai

from help_desk.documents import Passage
from help_desk.grounding import is_grounded
from help_desk.search import Index
from help_desk.settings import Latchgate

OUTPUT_TOKENS_MAX = 120
#: A visitor waits no longer for a wording: then he gets the page's own.
WORDING_TIMEOUT_S = 20
#: The passage that the answer is from, and others that the visitor may have meant.
PASSAGES_CITED_MAX = 3
UNKNOWN = (
    "I can't find that in our pages, and I don't want to guess. "
    "Shall I pass your question on to a person?"
)
_INSTRUCTION = (
    "You are the help desk of {business}. Answer the customer in one or two short sentences. "
    "Use only this text, word for word where you can:\n\n{passage}"
)


@dataclass(frozen=True)
class Reply:
    """What the visitor gets. Without a passage the desk doesn't know."""

    text: str
    passage: Passage | None
    also: tuple[Passage, ...]
    is_quote: bool
    similarity: float
    cost_nanos: int
    trouble: openai.APIError | None = None


class Answerer:
    """The desk's judgement: what counts as known, and what a model may say about it."""

    def __init__(
        self, sdk: openai.AsyncOpenAI, index: Index, business: str, terms: Latchgate
    ) -> None:
        self._sdk = sdk
        self._index = index
        self._business = business
        self._terms = terms

    async def answer(self, question: str) -> Reply:
        """Find the passage, have it put into words, and check the words against it."""
        matches, cost_nanos = await self._index.find(question, PASSAGES_CITED_MAX)
        near = [each for each in matches if each.similarity >= self._terms.similarity_min]
        if not near:
            similarity = matches[0].similarity if matches else 0.0
            return Reply(UNKNOWN, None, (), False, similarity, cost_nanos)
        best, *others = (each.passage for each in near)
        worded, wording_nanos, trouble = "", 0, None
        try:
            worded, wording_nanos = await self._word(question, best.text)
        except openai.APIError as error:  # the page itself is an answer, too
            trouble = error
        is_quote = not is_grounded(worded, best.text)
        text = best.text if is_quote else worded
        cost_nanos += wording_nanos
        return Reply(text, best, tuple(others), is_quote, near[0].similarity, cost_nanos, trouble)

    async def _word(self, question: str, passage: str) -> tuple[str, int]:
        """The model's wording, or nothing if it did not come to an end; and what it cost."""
        instruction = _INSTRUCTION.format(business=self._business, passage=passage)
        sdk = self._sdk.with_options(timeout=WORDING_TIMEOUT_S)
        answer = await sdk.chat.completions.create(
            model=self._terms.chat_model,
            messages=[
                {"role": "system", "content": instruction},
                {"role": "user", "content": question},
            ],
            max_tokens=OUTPUT_TOKENS_MAX,
            temperature=0.0,
        )
        choice = answer.choices[0]
        extra = (answer.usage.model_extra or {}) if answer.usage else {}
        text = (choice.message.content or "").strip() if choice.finish_reason == "stop" else ""
        return text, extra.get("cost_nanos", 0)
