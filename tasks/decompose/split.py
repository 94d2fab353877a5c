"""A model's accepted split becomes parts of the item, or goes to a person with the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import psycopg

from models.enums import Status
from sql.statements import statement
from tasks.ingest.identity import derived_key
from tasks.ingest.rows import content_hash, normalised

MAX_LEVEL = 3
MAX_PARTS = 50
PART_KIND = "task"
PART_RECIPE = "task"


def split_problem(data: Mapping[str, Any]) -> str | None:
    """Why this split can't be used, as a sentence for a person; None when it can.

    `data` is {"subtasks": [{"title": str, "acceptance": [str, ...]}, ...]}.
    """
    parts = data.get("subtasks")
    if not isinstance(parts, list) or not parts:
        return "The split has no subtasks."
    if len(parts) > MAX_PARTS:
        return f"The split has {len(parts)} subtasks; at most {MAX_PARTS} can be looked over by a person."
    seen: set[str] = set()
    for number, part in enumerate(parts, 1):
        title = part.get("title") if isinstance(part, dict) else None
        if not isinstance(title, str) or not title.strip():
            return f"Subtask {number} has no title."
        criteria = part.get("acceptance")
        if not isinstance(criteria, list) or not any(
            isinstance(text, str) and text.strip() for text in criteria
        ):
            return f"Subtask {number} ({title[:80]!r}) has no acceptance criteria: nobody could tell when it is done."
        if normalised(title) in seen:
            return f"Subtask {number} ({title[:80]!r}) is there twice."
        seen.add(normalised(title))
    return None


async def apply_split(connection: psycopg.AsyncConnection[Any], item_id: int, data: Mapping[str, Any]) -> int:
    """Make the subtasks of an accepted split the item's parts; gives how many there are.

    For the transaction that settled the item as done, before its frontier is advanced: the item becomes a
    container that is pending until its parts are settled. The parts need what it needed and are ready at once
    where that is settled. A split that can't be used makes no parts: the item goes to a person with the reason,
    and 0 is returned. So does an item that is no longer done, unchanged.
    """
    async with connection.transaction():
        cursor = await connection.execute(statement("decompose.parent_of_split"), {"item": item_id})
        row = await cursor.fetchone()
        if row is None or row[3] != Status.DONE:
            return 0
        board_id, position, priority, _, key, line, depth, title, level, has_parts = row
        problem = split_problem(data) or _misfit(data, title, level, has_parts)
        if problem is not None:
            await connection.execute(
                statement("decompose.refuse_split"), {"item": item_id, "reason": problem}
            )
            return 0
        titles = [_plain(part["title"].strip()) for part in data["subtasks"]]
        bodies = [_body(part["acceptance"]) for part in data["subtasks"]]
        await connection.execute(statement("decompose.open_parent"), {"item": item_id})
        added = await connection.execute(
            statement("decompose.add_parts"),
            {
                "board": board_id,
                "item": item_id,
                "position": position,
                "priority": priority,
                "recipe": PART_RECIPE,
                "kind": PART_KIND,
                "line": line,
                "depth": depth + 1,
                "labels": orjson.dumps({"split_level": str(level + 1)}).decode(),
                "keys": [derived_key(f"split\0{key}\0{normalised(title)}") for title in titles],
                "titles": titles,
                "bodies": bodies,
                "hashes": [
                    content_hash(title, body, PART_KIND) for title, body in zip(titles, bodies, strict=True)
                ],
            },
        )
        parts = [part[0] for part in await added.fetchall()]
        await connection.execute(statement("decompose.advance"), {"items": parts})
        return len(parts)


def _misfit(data: Mapping[str, Any], title: str, level: int, has_parts: bool) -> str | None:
    if has_parts:
        return "The item has parts already."
    if level >= MAX_LEVEL:
        return (
            f"The item is itself a part of a part, {level} splits deep; it should be done, not split again."
        )
    if [normalised(part["title"]) for part in data["subtasks"]] == [normalised(title)]:
        return "The only subtask is the item itself."
    return None


def _body(criteria: list[Any]) -> str:
    lines = [f"- {' '.join(text.split())}" for text in criteria if isinstance(text, str) and text.strip()]
    return _plain("\n".join(["Acceptance criteria:", *lines]))


def _plain(text: str) -> str:
    return text.replace("\0", "")
