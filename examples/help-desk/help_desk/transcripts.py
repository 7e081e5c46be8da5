"""What visitors asked and got, for the business to read, and to see which page it lacks."""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import dataclass

CONVERSATIONS_PER_PAGE = 25
LINES_PER_CONVERSATION_MAX = 100
DAY_S = 24 * 3600
_TABLES = """
CREATE TABLE IF NOT EXISTS conversations (
  id TEXT PRIMARY KEY,
  started_s INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS conversations_by_time ON conversations (started_s);
CREATE TABLE IF NOT EXISTS lines (
  number INTEGER PRIMARY KEY,
  conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
  at_s INTEGER NOT NULL,
  who TEXT NOT NULL CHECK (who IN ('visitor', 'desk')),
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  link TEXT NOT NULL,
  similarity REAL NOT NULL,
  cost_nanos INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS lines_of_a_conversation ON lines (conversation);
"""


@dataclass(frozen=True)
class Line:
    """One thing said. ``kind`` is question, answered, quoted, unknown, failed or handed_over."""

    who: str
    kind: str
    text: str
    link: str = ""
    similarity: float = 0.0
    cost_nanos: int = 0
    at_s: int = 0


@dataclass(frozen=True)
class Summary:
    """A conversation in the list."""

    id: str
    started_s: int
    first_question: str
    questions: int
    unknown: int
    handed_over: int
    cost_nanos: int


class Transcripts:
    """The conversations, in SQLite. Nothing tells who a visitor is, unless he wrote it."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        conn.executescript(_TABLES)

    def open(self, conversation: str) -> str:
        """The conversation's id: this one if it exists and has room, else a new one."""
        found = self._conn.execute(
            "SELECT count(*) FROM conversations JOIN lines ON conversation = id WHERE id = ?",
            (conversation,),
        ).fetchone()[0]
        if 0 < found < LINES_PER_CONVERSATION_MAX:
            return conversation
        fresh = secrets.token_urlsafe(16)
        with self._conn:
            self._conn.execute("INSERT INTO conversations VALUES (?, ?)", (fresh, _now_s()))
        return fresh

    def add(self, conversation: str, *lines: Line) -> None:
        """Write lines to a conversation's end."""
        rows = [
            (conversation, _now_s(), x.who, x.kind, x.text, x.link, x.similarity, x.cost_nanos)
            for x in lines
        ]
        with self._conn:
            self._conn.executemany(
                "INSERT INTO lines (conversation, at_s, who, kind, text, link, similarity,"
                " cost_nanos) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def lines(self, conversation: str) -> list[Line]:
        """All that was said in a conversation."""
        rows = self._conn.execute(
            "SELECT who, kind, text, link, similarity, cost_nanos, at_s FROM lines"
            " WHERE conversation = ? ORDER BY number",
            (conversation,),
        )
        return [Line(*row) for row in rows]

    def list_newest(self, *, page: int, only_unknown: bool) -> list[Summary]:
        """A page of conversations, newest first; one more than a page means that there are more."""
        rows = self._conn.execute(
            "SELECT c.id, c.started_s,"
            " (SELECT text FROM lines WHERE conversation = c.id ORDER BY number LIMIT 1),"
            " sum(kind = 'question'), sum(kind = 'unknown') AS unknown, sum(kind = 'handed_over'),"
            " sum(cost_nanos)"
            " FROM conversations c JOIN lines l ON l.conversation = c.id GROUP BY c.id"
            " HAVING unknown >= ? ORDER BY c.started_s DESC, c.rowid DESC LIMIT ? OFFSET ?",
            (int(only_unknown), CONVERSATIONS_PER_PAGE + 1, page * CONVERSATIONS_PER_PAGE),
        )
        return [Summary(*row) for row in rows]

    def forget_older_than(self, days: int) -> None:
        """Delete conversations that began longer ago."""
        before_s = _now_s() - days * DAY_S
        with self._conn:
            self._conn.execute("DELETE FROM conversations WHERE started_s < ?", (before_s,))


def _now_s() -> int:
    return int(time.time())


def open_database(path: str) -> sqlite3.Connection:
    """The desk's database. Its statements take under a millisecond, so they run in the loop."""
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = NORMAL")
    conn.execute("PRAGMA foreign_keys = ON")
    return conn
