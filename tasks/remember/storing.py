"""What enters memory, what leaves it, and when it moves into the vector index.

A cite is `<name>:12-18`. The name is fixed when a board first enters memory and kept for all its later versions:
the path relative to the working directory of that moment if it is below it, else the source as stored. So cites
do not change with the folder that a later run is started in. An accepted answer is cited as `item:<id>`; its lines
are those of the item on its board.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psycopg
from pgvector import HalfVector

from models.board import ParsedBoard
from models.errors import SettingsError
from models.tables.knowledge import EMBEDDING_DIMENSIONS
from sql.statements import statement
from tasks.decompose.prd import document_split
from tasks.ingest.rows import PRD
from tasks.remember.chunking import Chunk, chunk
from tasks.remember.embedding import Encoder, default_encoder

__all__ = ["merge_recent", "printable", "remember_board", "remember_results"]

LOCK_BOARD = statement("remember.lock_board")
BOARD_NODES = statement("remember.board_nodes")
SUPERSEDE = statement("remember.supersede")
MOVE = statement("remember.move")
MOVE_ANSWERS = statement("remember.move_answers")
REMEMBERED_BOARD = statement("remember.remembered_board")
INSERT = statement("remember.insert")
TO_REMEMBER = statement("remember.to_remember")
REMEMBERED_RESULTS = statement("remember.remembered_results")
FORGET_RESULTS = statement("remember.forget_results")
UNINDEXED = statement("remember.unindexed")
INDEX_SOME = statement("remember.index_some")

BULK = 500
"""Nodes per insert: 1.5 MB of vectors and texts."""
RECENT = 10_000
"""Nodes that are searched exactly (3 ms of a CPU); above it the index pays."""
LONGEST_HEADING = 300

_LINES = re.compile(r":\d+(-\d+)?$")
_UNFIT = re.compile(r"[\[\]\x00-\x1f\x7f\u2028\u2029]")  # would break out of a prompt's line "[[cite]]"


@dataclass(frozen=True, slots=True)
class _Node:
    kind: str
    source: str
    cite: str
    heading: str
    text: str
    board_id: int | None
    result_id: int | None
    line_start: int
    line_end: int

    @property
    def content_hash(self) -> str:
        return hashlib.sha256("\0".join((self.kind, self.heading, self.text)).encode()).hexdigest()


def remember_board(
    connection: psycopg.Connection, board_id: int, board: ParsedBoard, *, encoder: Encoder | None = None
) -> int:
    """Bring memory in step with a board's text; gives the number of new nodes.

    Does nothing when this version is remembered already. Unchanged chunks stay (their lines and cite follow the
    text), those that are gone are superseded, never deleted. One transaction. A board that isn't stored: nothing.
    """
    encoder = _fitting(encoder)
    with connection.transaction():
        row = connection.execute(LOCK_BOARD, {"board": board_id}).fetchone()
        if row is None:
            return 0
        remembered, source = row
        known = connection.execute(BOARD_NODES, {"board": board_id}).fetchall()
        if remembered == board.sha256 and all(made_by == encoder.name for _, _, made_by, *_ in known):
            return 0
        name = _LINES.sub("", known[0][3]) if known else _name(source)
        same: dict[str, list[tuple[int, str, int, int]]] = defaultdict(list)
        for node_id, content_hash, made_by, cite, start, end in known:
            if made_by == encoder.name:
                same[content_hash].append((node_id, cite, start, end))
        kept: set[int] = set()
        moved: list[tuple[int, int, int, str]] = []
        fresh: list[_Node] = []
        for node in _of_board(board_id, source, board, name):
            if not (twins := same[node.content_hash]):
                fresh.append(node)
                continue
            node_id, cite, start, end = twins.pop(0)
            kept.add(node_id)
            if (cite, start, end) != (node.cite, node.line_start, node.line_end):
                moved.append((node_id, node.line_start, node.line_end, node.cite))
        gone = [node_id for node_id, *_ in known if node_id not in kept]
        if gone:
            connection.execute(SUPERSEDE, {"ids": gone})
        if moved:
            ids, starts, ends, cites = (list(column) for column in zip(*moved, strict=True))
            connection.execute(MOVE, {"ids": ids, "starts": starts, "ends": ends, "cites": cites})
        connection.execute(MOVE_ANSWERS, {"board": board_id})
        _insert(connection, fresh, encoder)
        connection.execute(REMEMBERED_BOARD, {"board": board_id, "sha256": board.sha256})
        return len(fresh)


def remember_results(
    connection: psycopg.Connection, limit: int = 1000, *, encoder: Encoder | None = None
) -> int:
    """Turn up to `limit` accepted answers into nodes; gives the number of answers. 0: none is left.

    Simulated answers never enter, nor what single members of a council say. Answers that no longer stand (superseded)
    leave memory, all of them. One transaction; several processes may call it at once, each takes other answers.
    """
    encoder = _fitting(encoder)
    with connection.transaction():
        connection.execute(FORGET_RESULTS)
        rows = connection.execute(TO_REMEMBER, {"limit": limit}).fetchall()
        if not rows:
            return 0
        nodes = [
            _Node(
                "answer",
                f"item:{item_id}",
                f"item:{item_id}",
                " > ".join(part for part in (title[:LONGEST_HEADING], piece.heading) if part),
                piece.text,
                board_id,
                result_id,
                line,
                line,
            )
            for result_id, item_id, text, board_id, line, title, opinion in rows
            if not opinion
            for piece in chunk(text)
        ]
        _insert(connection, nodes, encoder)
        connection.execute(REMEMBERED_RESULTS, {"results": [row[0] for row in rows]})
        return len(rows)


def merge_recent(connection: psycopg.Connection, threshold: int = RECENT) -> int:
    """Move recent nodes into the vector index when more than `threshold` wait for it; gives how many moved.

    About 5 ms of a CPU each: upkeep's work, not a drain's. Commits every BULK nodes (in a transaction of the
    caller's: at its end), so that it can be stopped at any time.
    """
    with connection.transaction():
        row = connection.execute(UNINDEXED).fetchone()
    if row is None or row[0] <= threshold:
        return 0
    moved = 0
    while True:
        with connection.transaction():
            count = connection.execute(INDEX_SOME, {"limit": BULK}).rowcount
        if count == 0:
            return moved
        moved += count


def printable(source: str) -> str:
    """A source as the name of a cite: on one line, without brackets."""
    return _UNFIT.sub("_", source)


def _of_board(board_id: int, source: str, board: ParsedBoard, name: str) -> Iterator[_Node]:
    items = {item.line for item in board.items}
    if board.dialect == PRD and not board.items:
        # What a document asks for is work, no evidence that it is so.
        asked = document_split(board.text) or {"subtasks": []}
        items = {part["line"] for part in asked["subtasks"]}
    for piece in chunk(board.text.replace("\0", "\ufffd")):
        kind = "document" if items.isdisjoint(range(piece.line_start, piece.line_end + 1)) else "plan"
        cite = _cite(name, piece)
        yield _Node(
            kind,
            source,
            cite,
            piece.heading,
            piece.text,
            board_id,
            None,
            piece.line_start,
            piece.line_end,
        )


def _cite(name: str, piece: Chunk) -> str:
    if piece.line_start == piece.line_end:
        return f"{name}:{piece.line_start}"
    return f"{name}:{piece.line_start}-{piece.line_end}"


def _name(source: str) -> str:
    path = Path(source)
    if path.is_absolute() and path.is_relative_to(here := Path.cwd()):
        source = path.relative_to(here).as_posix()
    return printable(source)


def _insert(connection: psycopg.Connection, nodes: Sequence[_Node], encoder: Encoder) -> None:
    remaining = iter(nodes)
    while some := list(islice(remaining, BULK)):
        vectors = encoder.encode([f"{node.heading}\n{node.text}" for node in some])
        connection.execute(
            INSERT,
            {
                "encoder": encoder.name,
                "kinds": [node.kind for node in some],
                "sources": [node.source for node in some],
                "cites": [node.cite for node in some],
                "headings": [node.heading for node in some],
                "texts": [node.text for node in some],
                "embeddings": [HalfVector(vector) for vector in vectors],
                "boards": [node.board_id for node in some],
                "results": [node.result_id for node in some],
                "starts": [node.line_start for node in some],
                "ends": [node.line_end for node in some],
                "hashes": [node.content_hash for node in some],
            },
        )


def _fitting(encoder: Encoder | None) -> Encoder:
    encoder = encoder or default_encoder()
    if encoder.dimensions != EMBEDDING_DIMENSIONS:
        raise SettingsError(
            f"The encoder {encoder.name!r} makes vectors of {encoder.dimensions} dimensions; the database keeps "
            f"{EMBEDDING_DIMENSIONS}. Choose an encoder of {EMBEDDING_DIMENSIONS} dimensions."
        )
    return encoder
