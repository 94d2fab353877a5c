"""What memory knows about a question: passages for a prompt, hits for a person. One statement: sql/remember.sql.

Nothing is evidence for itself: an item gets no passage that holds its own lines, nor its own earlier answer. Nor
does it get parts of plans (chunks with items in them): another line of a to-do list is a claim, not evidence. Where
no item asks, they weigh half.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from pgvector import HalfVector

from models.calls import Passage
from sql.statements import statement
from tasks.foreign import storable
from tasks.remember.embedding import Encoder, default_encoder
from tasks.remember.storing import printable

__all__ = ["Hit", "Question", "recall", "recall_for_items", "recall_many", "search"]

ANY = statement("remember.any")
RECALL = statement("remember.recall")
TOGETHER = statement("remember.together")

CANDIDATES = 40
"""Of each of the searches, before they are fused. Equal to hnsw.ef_search's default: fewer would waste its work."""
ENOUGH = 5
"""Nodes with every word; with fewer, nodes with some of the words are looked for too."""
MOST_WORDS = 12
CAP = 1000
"""Nodes per word at most. Ranking is linear in them."""
LEAST_SIMILARITY = 0.1
"""Cosine below which a vector is no neighbour: nine of ten pairs of unrelated texts (a task, a chunk) stay below."""
PLAN_WEIGHT = 0.5
LONGEST_QUERY = 1000
SPARE = 4  # nodes beyond the limit, in place of those that share a cite


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and by whom: `board_id` with its lines, and `item_id`, are no source for the answer.

    Lines are 1-based and inclusive; give all three of the board or none.
    """

    text: str
    item_id: int | None = None
    board_id: int | None = None
    line_start: int | None = None
    line_end: int | None = None


class Asking(Protocol):
    """An item as a drain holds it (tasks.execute.work.ClaimedItem)."""

    @property
    def id(self) -> int: ...
    @property
    def board_id(self) -> int: ...
    @property
    def line(self) -> int: ...
    @property
    def body(self) -> str: ...
    @property
    def question(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Hit:
    """One found node with its provenance and why it was found."""

    node_id: int
    kind: str  # document, plan, answer
    cite: str
    source: str  # the board's source; for an answer that of the item's board; else the node's own
    heading: str
    text: str
    line_start: int | None  # in `source`, 1-based, inclusive; for an answer the item's line
    line_end: int | None
    since: datetime  # known since
    score: float  # 1/(60+near_rank) + 1/(60+word_rank)
    similarity: float | None  # cosine of the vectors; None: not among the nearest
    near_rank: int | None
    word_rank: int | None


def recall(
    connection: psycopg.Connection,
    question: Question | str,
    limit: int = 6,
    *,
    board_ids: Sequence[int] | None = None,
    encoder: Encoder | None = None,
) -> list[Passage]:
    """Up to `limit` passages for one question, best first; each cite once. `board_ids`: only from these boards."""
    asked = Question(question) if isinstance(question, str) else question
    encoder = encoder or default_encoder()
    with connection.transaction():
        if limit < 1 or not asked.text.strip() or not _anything(connection):
            return []
        vectors = _vectors([asked], encoder)
        rows = connection.execute(
            RECALL, _parameters([asked], vectors, limit + SPARE, board_ids, encoder)
        ).fetchall()
    return _passages(rows, 1, limit)[0]


async def recall_many(
    connection: psycopg.AsyncConnection,
    questions: Sequence[Question],
    limit: int = 6,
    *,
    board_ids: Sequence[int] | None = None,
    encoder: Encoder | None = None,
) -> list[list[Passage]]:
    """`recall` for a batch: one list per question, in their order. One statement; encodes off the event loop.

    An empty memory costs one short round trip and loads no encoder.
    """
    nothing: list[list[Passage]] = [[] for _ in questions]
    if limit < 1 or not questions:
        return nothing
    encoder = encoder or default_encoder()
    async with connection.transaction():
        row = await (await connection.execute(ANY)).fetchone()
    if row is None or not row[0]:
        return nothing
    vectors = await asyncio.to_thread(_vectors, questions, encoder)
    async with connection.transaction():
        parameters = _parameters(questions, vectors, limit + SPARE, board_ids, encoder)
        rows = await (await connection.execute(RECALL, parameters)).fetchall()
    return _passages(rows, len(questions), limit)


async def recall_for_items(
    connection: psycopg.AsyncConnection, items: Sequence[Asking], limit: int
) -> list[list[Passage]]:
    """`recall_many` for claimed items: each without its own lines on the board and its own earlier answers.

    An item sees the documents and answers of the boards that were in a run together with its own, and no others:
    one project's papers are no evidence in another.
    """
    boards = sorted({item.board_id for item in items})
    rows = await (await connection.execute(TOGETHER, {"boards": boards})).fetchall()
    seen = {board: tuple(sorted({board, *others})) for board, others in rows}
    found: list[list[Passage]] = [[] for _ in items]
    for scope in sorted(set(seen.values())):
        asking = [number for number, item in enumerate(items) if seen[item.board_id] == scope]
        questions = [_question(items[number]) for number in asking]
        passages = await recall_many(connection, questions, limit, board_ids=scope)
        for number, some in zip(asking, passages, strict=True):
            found[number] = some
    return found


def search(
    connection: psycopg.Connection,
    query: str,
    limit: int = 10,
    *,
    board_ids: Sequence[int] | None = None,
    encoder: Encoder | None = None,
) -> list[Hit]:
    """What a person looks for, best first. Quoted phrases and a minus before a word are taken at their word:
    then only nodes that satisfy the query are given, found by words alone.
    """
    encoder = encoder or default_encoder()
    asked = Question(query)
    with connection.transaction():
        if limit < 1 or not query.strip() or not _anything(connection):
            return []
        parameters = _parameters([asked], _vectors([asked], encoder), limit, board_ids, encoder)
        parameters["exact"] = [re.search(r'"|(?:^|\s)-\w', query) is not None]
        parameters["plan_weight"] = 1.0
        rows = connection.execute(RECALL, parameters).fetchall()
    return [_hit(row) for row in rows]


def _question(item: Asking) -> Question:
    # The board's own words for the item go on below its line: its details would be found first.
    details = sum(1 for line in item.body.split("\n") if line.strip())
    return Question(item.question, item.id, item.board_id, item.line, item.line + details)


def _anything(connection: psycopg.Connection) -> bool:
    row = connection.execute(ANY).fetchone()
    return row is not None and bool(row[0])


def _vectors(questions: Sequence[Question], encoder: Encoder) -> list[HalfVector]:
    return [HalfVector(row) for row in encoder.encode([_clean(question.text) for question in questions])]


def _parameters(
    questions: Sequence[Question],
    vectors: Sequence[HalfVector],
    limit: int,
    board_ids: Sequence[int] | None,
    encoder: Encoder,
) -> dict[str, Any]:
    return {
        "words": [_clean(question.text) for question in questions],
        "vectors": list(vectors),
        "exact": [False] * len(questions),
        "sources": [None if each.item_id is None else f"item:{each.item_id}" for each in questions],
        "boards": [each.board_id for each in questions],
        "starts": [each.line_start for each in questions],
        "ends": [each.line_end for each in questions],
        "only_boards": None if board_ids is None else list(board_ids),
        "encoder": encoder.name,
        "candidates": max(CANDIDATES, limit),
        "enough": ENOUGH,
        "most_words": MOST_WORDS,
        "cap": CAP,
        "least_similarity": LEAST_SIMILARITY,
        "plan_weight": PLAN_WEIGHT,
        "limit": limit,
    }


def _clean(text: str) -> str:
    # Postgres takes no NUL, no lone surrogate (from undecodable input) and no word of 2 KB or more in a query.
    return re.sub(
        r"\S{400,}", lambda word: word[0][:400], storable(text[:LONGEST_QUERY]).replace("\ufffd", " ")
    )


def _passages(rows: Sequence[Sequence[Any]], questions: int, limit: int) -> list[list[Passage]]:
    found: list[dict[str, tuple[str, Passage]]] = [{} for _ in range(questions)]
    for row in rows:
        number, _, _, source, cite, _, text, *_, score = row
        seen = found[number - 1]
        if cite in seen and seen[cite][0] != source:
            cite = f"{printable(source)}:{cite.rpartition(':')[2]}"  # two folders' files of the same relative name
        if cite not in seen and len(seen) < limit:
            seen[cite] = (source, Passage(cite, text, score))
    return [[passage for _, passage in seen.values()] for seen in found]


def _hit(row: Sequence[Any]) -> Hit:
    _, node_id, kind, source, cite, heading, text, start, end, since, board_source, *ranks = row
    similarity, near_rank, word_rank, score = ranks
    return Hit(
        node_id=node_id,
        kind=kind,
        cite=cite,
        source=board_source or source,
        heading=heading,
        text=text,
        line_start=start,
        line_end=end,
        since=since,
        score=score,
        similarity=similarity,
        near_rank=near_rank,
        word_rank=word_rank,
    )
