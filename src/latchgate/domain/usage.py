"""The counters of one call."""

from __future__ import annotations

import msgspec

#: More tokens than any model of today takes or gives in one call; above it a count is absurd.
TOKENS_MAX = 100_000_000


class Usage(msgspec.Struct, frozen=True):
    """Model tokens of one call. ``cached_tokens`` are part of ``input_tokens``."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int

    @property
    def is_sane(self) -> bool:
        """Whether a server that says this can be believed."""
        return (
            0 <= self.cached_tokens <= self.input_tokens <= TOKENS_MAX
            and 0 <= self.output_tokens <= TOKENS_MAX
        )


NOTHING = Usage(0, 0, 0)
