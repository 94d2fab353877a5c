"""A split becomes parts of the item, waits for a person's approval, or goes to a person with the reason why not.

A split comes from the item's own structure (tasks/decompose/structure.py, prd.py), from a model (recipe `split`) or
from a person (a plan that was edited). All go through the same checks and the same statements, here, written once as
generators of statements: decompose runs them on a plain connection, execute and review on an asynchronous one.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, TypeVar

import orjson
import psycopg

from models.enums import ErrorType, Status
from models.errors import InputError
from models.settings import settings
from sql.statements import statement
from tasks.decompose.duplicates import fingerprint
from tasks.decompose.plan import plan_text, split_problem
from tasks.decompose.structure import LONGEST_TITLE, Outline, read_outline
from tasks.ingest.identity import derived_key
from tasks.ingest.rows import content_hash, length, normalised

__all__ = [
    "apply_plan",
    "apply_split",
    "outline_split",
    "run",
    "split_item",
    "split_problem",
    "split_problems",
]

MAX_LEVEL = 3
PART_KIND = "task"
PART_RECIPE = "task"
FEWEST = 2

Ask = tuple[str, dict[str, Any]]
Rows = Sequence[tuple[Any, ...]]
T = TypeVar("T")
Steps = Generator[Ask, Rows, T]


def run(connection: psycopg.Connection[Any], steps: Steps[T]) -> T:
    """Execute the statements that `steps` asks for, one by one, and give what it returns."""
    try:
        name, parameters = next(steps)
        while True:
            cursor = connection.execute(statement(name), parameters)
            name, parameters = steps.send(cursor.fetchall() if cursor.description else ())
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _arun(connection: psycopg.AsyncConnection[Any], steps: Steps[T]) -> T:
    try:
        name, parameters = next(steps)
        while True:
            cursor = await connection.execute(statement(name), parameters)
            name, parameters = steps.send(await cursor.fetchall() if cursor.description else ())
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def outline_split(outline: Outline, *, certain: bool = True) -> dict[str, Any] | None:
    """The split that a body's own list is; None where it is none. `certain=False`: also one that is only likely.

    Criteria of the whole stay with the item: its parts together must meet them, not each of them. The item's text,
    which the roll-up is told, has them.
    """
    if certain and not outline.certain:
        return None
    steps = outline.steps if certain else [step for step in outline.steps if step.is_one]
    if len(steps) < FEWEST:
        return None
    data = {"subtasks": [step.part() for step in steps]}
    return data if split_problem(data) is None else None


async def split_problems(
    connection: psycopg.AsyncConnection[Any], splits: Mapping[int, Mapping[str, Any]]
) -> dict[int, str]:
    """Of models' splits, by item, those that can't be used, with the reason: before they are accepted."""
    problems: dict[int, str] = {}
    for item_id, data in splits.items():
        if (problem := split_problem(data)) is None:
            problem = await _arun(connection, _stored_problem(item_id, data))
        if problem is not None:
            problems[item_id] = problem
    return problems


def _stored_problem(item_id: int, data: Mapping[str, Any]) -> Steps[str | None]:
    rows = yield "decompose.parent_of_split", {"item": item_id}
    if not rows:
        return None
    return (yield from _misfit(item_id, data, _Parent(*rows[0])))


class _Parent:
    """A row of the statement `decompose.parent_of_split`."""

    def __init__(self, *row: Any) -> None:
        (self.board, self.position, self.priority, self.status, self.key, self.line, self.depth) = row[:7]
        (self.title, self.body, self.level, self.has_parts, self.recipe, self.approve, self.origin) = row[7:]


async def apply_split(
    connection: psycopg.AsyncConnection[Any],
    item_id: int,
    data: Mapping[str, Any] | None,
    *,
    approving: Collection[str] = (),
) -> int:
    """Make the subtasks of a model's split the item's parts; gives how many there are.

    For the transaction that settled the item, before its frontier is advanced: the item becomes a container that is
    pending until its parts are settled. The parts need what it needed, and each other as they say, and are ready at
    once where that is settled. 0: there are no parts. Then the item waits for a person: with the reason where the split
    can't be used, with the plan where somebody must approve it first (the board's latest run asked for that, or the
    item's recipe is in `approving`). `data` None: the model gave up, and the item waits already; where its own text
    is a list, that is the split after all. An item that moved on meanwhile is left alone.
    """
    async with connection.transaction():
        return await _arun(connection, _apply(item_id, data, approving))


def _apply(item_id: int, data: Mapping[str, Any] | None, approving: Collection[str]) -> Steps[int]:
    yield "decompose.lock_items", {"ids": [item_id]}
    rows = yield "decompose.parent_of_split", {"item": item_id}
    parent = _Parent(*rows[0]) if rows else None
    expected = Status.WAITING if data is None else Status.DONE
    if parent is None or parent.status != expected:
        return 0
    approve = parent.approve or parent.recipe in approving
    if data is None:
        return (yield from _by_structure_after_all(item_id, parent, approve))
    problem = split_problem(data)
    if problem is None:
        problem = yield from _misfit(item_id, data, parent)
    if problem is not None or approve:
        yield from _to_person(item_id, data, problem)
        return 0
    return (yield from split_item(item_id, data, parent))


def _by_structure_after_all(item_id: int, parent: _Parent, approve: bool) -> Steps[int]:
    data = None if parent.has_parts else outline_split(read_outline(parent.body), certain=False)
    if data is None or parent.level >= MAX_LEVEL:
        yield "decompose.call_it_a_plan", {"item": item_id, "proposal": None, "data": None, "reason": None}
        return 0
    if approve:
        reason = (
            "No split of a model could be used; this one follows the item's own list. Nothing of it has run."
        )
        yield "decompose.call_it_a_plan", _shown(data) | {"item": item_id, "reason": reason}
        return 0
    yield "decompose.close_plan", {"item": item_id, "note": "split by its own list"}
    return (yield from split_item(item_id, data, parent))


def _to_person(item_id: int, data: Mapping[str, Any], problem: str | None) -> Steps[None]:
    """What was accepted by the checks waits: for a better plan, or for approval."""
    error = ErrorType.PLAN if problem is None else ErrorType.RULE
    shown = {"proposal": None, "data": None} if problem and split_problem(data) else _shown(data)
    reason = problem or "Nothing of this plan has run. It does when it is accepted."
    yield "decompose.refuse_split", {"item": item_id, "reason": reason, "error": str(error), **shown}


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "proposal": _plain(plan_text(data)),
        "data": orjson.dumps({"subtasks": data["subtasks"]}).decode(),
    }


async def apply_plan(connection: psycopg.AsyncConnection[Any], item_id: int, data: Mapping[str, Any]) -> int:
    """Make a plan that a person accepted or wrote the item's parts; gives how many became ready.

    Within the decision's transaction. Raises InputError with the reason for a plan that can't be used, or an item that
    no longer waits; then roll back.
    """
    return await _arun(connection, _apply_plan(item_id, data))


def _apply_plan(item_id: int, data: Mapping[str, Any]) -> Steps[int]:
    yield "decompose.lock_items", {"ids": [item_id]}
    rows = yield "decompose.parent_of_split", {"item": item_id}
    parent = _Parent(*rows[0]) if rows else None
    if parent is None or parent.status != Status.WAITING:
        raise InputError("The item is no longer waiting: its board changed since. Nothing was changed.")
    problem = split_problem(data)
    if problem is None:
        problem = yield from _misfit(item_id, data, parent)
    if problem is not None:
        raise InputError(
            f"The plan can't be used: {problem} Nothing was changed; correct it and decide again."
        )
    yield from split_item(item_id, data, parent)
    rows = yield "decompose.ready_parts", {"item": item_id}
    return int(rows[0][0])


def _misfit(item_id: int, data: Mapping[str, Any], parent: _Parent) -> Steps[str | None]:
    """What speaks against a split that is in order by itself: where the item stands, what is on its board."""
    if parent.has_parts:
        return "The item has parts already."
    if parent.level >= MAX_LEVEL:
        return f"The item is itself a part of a part, {parent.level} splits deep; it should be done, not split again."
    titles = {
        normalised(part["title"]): (number, part["title"]) for number, part in enumerate(data["subtasks"], 1)
    }
    if own := titles.get(normalised(parent.title)):
        return f"Subtask {own[0]} ({own[1][:80]!r}) is the item itself."
    rows = yield "decompose.same_titles", {"item": item_id, "board": parent.board, "titles": list(titles)}
    for title, line in rows:
        if same := titles.get(normalised(title)):
            where = f"on line {line} of the board" if line else "on the board"
            return (
                f"Subtask {same[0]} ({same[1][:80]!r}) is an item already, {where}: it would be done twice."
            )
    return None


def split_item(
    item_id: int, data: Mapping[str, Any], parent: _Parent | None = None, *, keep: bool = False
) -> Steps[int]:
    """Make the checked subtasks the item's parts, whatever its state; gives how many.

    `keep`: a part that was done before, with the same words, stays done (only some of a text was edited); a part that a
    person rejected stays so in any case. Recipes are given and the frontier is advanced, except where the caller does
    it (`keep`).
    """
    if parent is None:
        yield "decompose.lock_items", {"ids": [item_id]}
        rows = yield "decompose.parent_of_split", {"item": item_id}
        parent = _Parent(*rows[0])
    parts = data["subtasks"]
    titles = [_plain(part["title"].strip())[:LONGEST_TITLE] for part in parts]
    bodies = [_plain(_body(part)) for part in parts]
    keys = [derived_key(f"split\0{parent.key}\0{normalised(title)}") for title in titles]
    yield "decompose.open_parent", {"item": item_id}
    added = yield (
        "decompose.add_parts",
        {
            "board": parent.board,
            "item": item_id,
            "position": parent.position,
            "priority": parent.priority,
            "kind": PART_KIND,
            "depth": parent.depth + 1,
            "labels": [orjson.dumps(_labels(part, parent.level + 1)).decode() for part in parts],
            "keys": keys,
            "titles": titles,
            "bodies": bodies,
            "lengths": [length(title, body) for title, body in zip(titles, bodies, strict=True)],
            "lines": [int(part.get("line") or parent.line) for part in parts],
            "hashes": [
                content_hash(title, body, PART_KIND) for title, body in zip(titles, bodies, strict=True)
            ],
            "keep": keep,
        },
    )
    ids: dict[uuid.UUID, int] = {key: number for number, key in added}
    edges = [
        (ids[keys[place]], ids[keys[need - 1]])
        for place, part in enumerate(parts)
        for need in dict.fromkeys(part.get("needs") or ())
    ]
    if edges:
        items, needs = zip(*edges, strict=True)
        yield "decompose.link_parts", {"items": list(items), "needs": list(needs)}
    if not keep:
        works = {
            ids[key]: (title, body)
            for key, title, body in zip(keys, titles, bodies, strict=True)
            if key in ids
        }
        yield from _claim_parts(parent.board, item_id, works)
        yield "decompose.advance", {"items": list(ids.values())}
    return len(ids)


def _claim_parts(board_id: int, item_id: int, parts: Mapping[int, tuple[str, str]]) -> Steps[None]:
    """Give the parts their recipe. One whose work another item does waits until the board is decomposed again: there it
    is refused, with a finding, and what needs it gets the other item's need."""
    days = settings().duplicate_days
    given = set(parts)
    if days:
        rows = yield "decompose.titles_above", {"item": item_id}
        above = [row[0] for row in rows]
        works = [fingerprint(PART_RECIPE, title, body, above) for title, body in parts.values()]
        claim = {"items": list(parts), "fingerprints": works, "days": days}
        rows = yield "decompose.claim_works", claim
        given = {row[0] for row in rows}
    yield "decompose.give_recipe", {"ids": sorted(given), "recipe": PART_RECIPE}
    if len(given) < len(parts):
        yield "decompose.mark", {"board": board_id}


def _labels(part: Mapping[str, Any], level: int) -> dict[str, str]:
    own = {"acceptance": "its own text: no criterion is given"} if part.get("criteria") == "title" else {}
    return {"split_level": str(level), **own}


def _body(part: Mapping[str, Any]) -> str:
    """What the part says beyond its title. A criterion that is the title again would only be in the way of a search."""
    criteria = [] if part.get("criteria") == "title" else part["acceptance"]
    lines = [f"- {' '.join(text.split())}" for text in criteria if isinstance(text, str) and text.strip()]
    head = ["Acceptance criteria:"] if lines else []
    return "\n".join(filter(None, (str(part.get("body") or "").strip(), *head, *lines)))


def _plain(text: str) -> str:
    return text.replace("\0", "")
