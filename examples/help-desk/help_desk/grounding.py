"""Whether an answer says only what a passage says.

A small model asked to use only a text will still now and then make a number up, or leave a "not"
out. So its answer is not believed but compared, sentence by sentence, with the passage; one that
fails is dropped, and the visitor gets the passage itself. The check is strict rather than clever:
it may drop a good answer, which costs style, and lets few bad ones through, which would cost trust.
"""

from __future__ import annotations

import re

#: The share of a sentence's words that the passage must have too.
SHARED_WORDS_MIN = 0.75
_STEM_CHARS = 5
_WORD_CHARS_MIN = 4
#: Words that turn or narrow what a sentence says.
_TURNS = frozenset(
    {
        "no",
        "not",
        "never",
        "none",
        "nor",
        "neither",
        "cannot",
        "without",
        "unless",
        "except",
        "only",
    }
)


def is_grounded(answer: str, passage: str) -> bool:
    """Whether every sentence of the answer can be found in the passage."""
    sentences = _sentences(answer)
    return bool(sentences) and all(_is_in(sentence, passage) for sentence in sentences)


def _is_in(sentence: str, passage: str) -> bool:
    stems = _stems(sentence)
    if not stems or len(stems & _stems(passage)) < SHARED_WORDS_MIN * len(stems):
        return False
    # Numbers and negations must be those of the passage's sentence that this one repeats.
    origin = max(_sentences(passage), key=lambda each: len(stems & _stems(each)))
    return _numbers(sentence) <= _numbers(origin) and _is_turned(sentence) == _is_turned(origin)


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?;:])\s+|\n{2,}", text.strip()) if part.strip()]


def _stems(text: str) -> set[str]:
    words = re.findall(r"[^\W\d_]+", text.lower())
    return {word[:_STEM_CHARS] for word in words if len(word) >= _WORD_CHARS_MIN}


def _numbers(text: str) -> set[str]:
    return {found.rstrip(".,:") for found in re.findall(r"\d[\d.,:]*", text)}


def _is_turned(text: str) -> bool:
    words = re.findall(r"[\w']+", text.lower().replace("’", "'"))
    return any(word in _TURNS or word.endswith("n't") for word in words)
