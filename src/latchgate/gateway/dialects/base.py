"""What a dialect is: how one endpoint's calls are written to a model server, and its answers read.

An upstream that speaks an endpoint gets its bytes, and gives ours: ``Dialect`` reads the usage on
the way, and changes only what must change (the model's name, and what the call cost). Where an
upstream speaks only chat completions, an adapter is a ``Dialect`` too: it says the call in that
language, and its answer in ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from latchgate.gateway.call import Call
    from latchgate.gateway.prompt import Prompt
    from latchgate.upstream.answers import Plain


class Events(Protocol):
    """Reads one stream of an upstream's, event by event, and writes it for the client.

    What it learns it tells the call: ``call.usage``, and ``note`` for each piece of output. What
    says the usage or the end is kept back until the charge is durable. Every method raises
    UpstreamFailed for what makes no sense.
    """

    def plain(self, chunk: bytes) -> Plain | None:
        """What a chunk of whole events carries, if they are nothing but text that may pass."""

    def rename(self, chunk: bytes) -> bytes:
        """A plain chunk, under the model's public name."""

    def event(self, event: bytes) -> bytes:
        """What the client gets for one event, its empty line included; nothing for most of them."""

    def last(self) -> bytes:
        """What was kept back, once the call is settled."""

    def early(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its bound; the call is settled."""


class Dialect(Protocol):
    """One way of speaking with a model server about one endpoint. Stateless."""

    #: Where calls go, behind the upstream's base URL.
    path: str

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream."""

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call what a whole answer says: its usage, and its text where that is not sane.

        Raises UpstreamFailed for what is no answer.
        """

    def answer(self, call: Call, data: bytes) -> bytes:
        """The client's whole answer, with what it cost; the call is settled."""

    def events(self, call: Call) -> Events:
        """A reader for one stream."""
