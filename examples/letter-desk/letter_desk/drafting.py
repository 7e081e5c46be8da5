"""Asks the model for a letter, or for a change to one, and passes the text on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from letter_desk.troubles import Trouble, trouble_of

APP_NAME = "Letter desk"
ABOUT_CHARS_MAX = 2_000
DRAFT_CHARS_MAX = 6_000
CHANGE_CHARS_MAX = 500

TONES = {
    "friendly": "warm and friendly",
    "neutral": "plain and matter-of-fact",
    "formal": "formal and polite",
}
#: For each length: how it is asked for, and how many tokens of output it may cost at most.
LENGTHS = {
    "short": ("two or three sentences", 160),
    "medium": ("two short paragraphs", 320),
    "long": ("four paragraphs", 640),
}
_INSTRUCTION = (
    "You write e-mails for the user, in his name. The first line of your answer is 'Subject: ' "
    "and a short subject. Then an empty line, then the e-mail. Write nothing else."
)


@dataclass(frozen=True)
class Wish:
    """What the user wants written; with a draft and a change, what he wants changed."""

    about: str
    tone: str
    length: str
    draft: str
    change: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check what the page sent; raises a `Trouble` that names the field."""
        fields = data if isinstance(data, dict) else {}
        wish = cls(
            about=_text(fields, "about", ABOUT_CHARS_MAX),
            tone=_choice(fields, "tone", TONES),
            length=_choice(fields, "length", LENGTHS),
            draft=_text(fields, "draft", DRAFT_CHARS_MAX),
            change=_text(fields, "change", CHANGE_CHARS_MAX),
        )
        if not wish.about:
            raise Trouble("missing", "Say what the letter is about.", field="about", status=400)
        return wish

    def messages(self) -> list[ChatCompletionMessageParam]:
        """The conversation to send: the wish; then, for a change, the draft and the change."""
        asked = (
            f"Write an e-mail about this:\n{self.about}\n\n"
            f"Tone: {TONES[self.tone]}. Length: {LENGTHS[self.length][0]}."
        )
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": _INSTRUCTION},
            {"role": "user", "content": asked},
        ]
        if self.change:
            messages += [
                {"role": "assistant", "content": self.draft},
                {"role": "user", "content": f"Change it: {self.change}\nSend the whole e-mail."},
            ]
        return messages


def _text(fields: dict[str, Any], name: str, chars_max: int) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise Trouble("invalid", "That is not text.", field=name, status=400)
    if len(value) > chars_max:
        raise Trouble("too_long", f"At most {chars_max:,} characters.", field=name, status=400)
    return value.strip()


def _choice(fields: dict[str, Any], name: str, choices: dict[str, Any]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or value not in choices:
        raise Trouble("invalid", f"Choose one of {', '.join(choices)}.", field=name, status=400)
    return value


def open_sdk(api: str) -> openai.AsyncOpenAI:
    """One client for all users, so that they share its connections; it has nobody's key."""
    return openai.AsyncOpenAI(
        base_url=api,
        api_key="set for each request",
        timeout=openai.Timeout(60.0, connect=5.0),
        # A retry would first wait, silently, as long as retry-after says. A person sits here: he is
        # told at once, and tries again himself.
        max_retries=0,
        # The name under which the user finds these calls on his usage page.
        default_headers={"X-Title": APP_NAME},
    )


class Secretary:
    """Writes with one user's key. Made for each request: keys are not kept."""

    def __init__(self, sdk: openai.AsyncOpenAI, api: str, model: str, key: str) -> None:
        self._sdk = sdk.with_options(api_key=key)
        self._api = api
        self._model = model

    async def balance(self) -> dict[str, Any]:
        """What the key is called and may still spend; raises a `Trouble` when it is refused."""
        try:
            answer: dict[str, Any] = await self._sdk.get("/key", cast_to=dict[str, Any])
        except openai.APIError as error:
            raise trouble_of(error, self._api) from error
        key = answer["data"]
        return {"label": key["label"], "remaining_nanos": key["limit_remaining_nanos"]}

    async def begin(self, wish: Wish) -> AsyncIterator[dict[str, Any]]:
        """Start a draft: refusals are raised here, before the first event is sent."""
        try:
            answer = await self._sdk.chat.completions.with_raw_response.create(
                model=self._model,
                messages=wish.messages(),
                max_tokens=LENGTHS[wish.length][1],
                temperature=0.4,
                stream=True,
                stream_options={"include_usage": True},
            )
        except openai.APIError as error:
            raise trouble_of(error, self._api) from error
        return self._events(answer.parse(), is_clamped="x-latchgate-clamped" in answer.headers)

    async def _events(
        self, stream: openai.AsyncStream[ChatCompletionChunk], *, is_clamped: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """Pieces of text, then what they cost; or, in mid-draft, the trouble.

        When the reader goes away this is closed, and the stream with it: Latchgate then stops the
        model at once, and the user pays only for what had been written.
        """
        usage, ended = None, ""
        try:
            async with stream:
                async for chunk in stream:
                    usage = chunk.usage or usage
                    for choice in chunk.choices:
                        ended = choice.finish_reason or ended
                        if choice.delta.content:
                            yield {"text": choice.delta.content}
        except openai.APIError as error:
            yield {"trouble": trouble_of(error, self._api).as_json()}
            return
        if usage is None:
            yield {"trouble": Trouble("broken_off", "The draft broke off. Try again.").as_json()}
            return
        yield {
            "done": {
                "cost_nanos": (usage.model_extra or {}).get("cost_nanos", 0),
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "ended": "credit" if ended == "length" and is_clamped else ended,
            }
        }
