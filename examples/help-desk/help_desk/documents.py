"""The business's pages: Markdown files, shown as HTML and cut into passages to search."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import wrap

from markdown_it import MarkdownIt
from markdown_it.token import Token

#: Longer sections are cut, between paragraphs where they can be: the embeddings model reads 256
#: tokens, and a token of dense text is two characters.
PASSAGE_CHARS_MAX = 450
PAGES_MAX = 500
_MARKDOWN = MarkdownIt("commonmark", {"html": False})


@dataclass(frozen=True)
class Passage:
    """A section of a page: what is found, quoted and cited."""

    page: str
    title: str
    heading: str
    text: str

    @property
    def searched(self) -> str:
        """What is embedded: the headings say what the text is about."""
        return f"{self.title}. {self.heading}\n{self.text}"

    @property
    def link(self) -> str:
        """Where the visitor can read it."""
        return f"/pages/{self.page}#{_slug(self.heading)}"


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    name: str
    title: str
    html: str
    passages: tuple[Passage, ...]


def load_pages(folder: Path) -> list[Page]:
    """Every ``.md`` file of the folder, by name."""
    return [_load(path) for path in sorted(folder.glob("*.md"))[:PAGES_MAX]]


def _load(path: Path) -> Page:
    tokens = _MARKDOWN.parse(path.read_text())
    title = path.stem
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", _slug(_plain(inline)))
            title = _plain(inline) if opening.tag == "h1" else title
    passages = tuple(
        Passage(path.stem, title, heading, text)
        for heading, blocks in _sections(tokens, title)
        for text in _pieces(blocks)
    )
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return Page(path.stem, title, html, passages)


def _sections(tokens: list[Token], title: str) -> Iterator[tuple[str, list[str]]]:
    """Each heading with the plain text of the blocks below it."""
    heading, blocks, is_heading = title, list[str](), False
    for token in tokens:
        if token.type == "heading_open":
            yield heading, blocks
            blocks, is_heading = [], True
        elif token.type == "inline" and is_heading:
            heading, is_heading = _plain(token), False
        elif token.type in {"inline", "fence", "code_block"}:
            blocks.append(_plain(token))
    yield heading, blocks


def _pieces(blocks: list[str]) -> Iterator[str]:
    """The blocks joined into passages that are not too long."""
    piece = ""
    for block in blocks:
        for part in _cut(block):
            if piece and len(piece) + len(part) >= PASSAGE_CHARS_MAX:
                yield piece
                piece = ""
            piece = f"{piece}\n{part}".strip()
    if piece:
        yield piece


def _cut(block: str) -> list[str]:
    """A block that is too long for a passage, in parts."""
    return [block] if len(block) <= PASSAGE_CHARS_MAX else wrap(block, PASSAGE_CHARS_MAX)


def _plain(token: Token) -> str:
    """A block's text without its markup."""
    if token.children is None:
        return token.content.strip()
    parts = (" " if "break" in child.type else child.content for child in token.children)
    return "".join(parts).strip()


def _slug(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")
