"""Stored results checked again, under the recipes as they are now. Never asks a model.

    done --its result no longer passes--> waiting (the result is superseded, a person is asked)

`recheck` reads and says what would change; `supersede` does it, and is the only owner of that transition. What a person
accepted is left alone. What can't be checked again (the recipe is gone, a check can't run, a passage is no longer
stored) stays as it is and is named: it was checked once, and a mistyped check must not undo a thousand results.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import psycopg

from models.calls import ModelAnswer, Passage
from models.enums import ErrorType
from models.recipe import Recipe
from models.verdict import AnswerRow, Failure, Verdict
from models.words import counted
from sql.deadlocks import again_after_deadlock
from sql.statements import statement
from tasks.foreign import cut
from tasks.prompts import as_shown
from tasks.validate.batch import validate_batch

PAGE = 1_000
"""Answers in one table: the more, the cheaper each (docs/validation.md)."""

RECHECKED = (
    ErrorType.EMPTY,
    ErrorType.ECHO,
    ErrorType.MALFORMED,
    ErrorType.SCHEMA,
    ErrorType.RULE,
    ErrorType.GROUNDING,
    ErrorType.CHECK_CRASHED,
)
"""What an answer that waits for a person may be cured of by another recipe."""

NOT_KEPT = frozenset({"quotations", "files", "urls", "ids", "patches"})
"""Checks of `verify` that compare with all that the prompt had. Of that only what the answer cites is kept."""

OF_ITS_BATCH = frozenset({"own_item"})
"""Checks that compare an answer with the others of its batch. What is checked together here never was one."""

LONGEST_REASON = 1_000


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as it was kept: an accepted result, or the proposal of a review."""

    id: int  # of the result; of the review where it is a proposal
    item_id: int
    board_id: int
    source: str
    line: int
    title: str
    cites: tuple[str, ...]
    at: datetime
    body: str
    answer: ModelAnswer
    review: int | None = None
    judged: bool = False  # a judge did not let it pass, or could not be asked


@dataclass(frozen=True, slots=True)
class Change:
    """A result that would fail today, or one that can't be checked, or a proposal that would pass."""

    id: int  # of the result, or of the review
    item_id: int
    board_id: int
    source: str
    line: int
    title: str
    recipe: str
    recipe_hash: str = ""
    error_type: str = ""
    why: str = ""
    checks: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "item": self.item_id,
            "place": f"{self.source}:{self.line}",
            "title": self.title,
            "recipe": self.recipe,
            "error_type": self.error_type,
            "why": self.why,
        }


@dataclass(slots=True)
class Recheck:
    """What checking again found. Nothing was changed."""

    checked: int = 0
    judged: int = 0  # of them, those whose recipe has a judge: it was not asked again
    failing: list[Change] = field(default_factory=list)
    unchecked: list[Change] = field(default_factory=list)
    passing: list[Change] = field(default_factory=list)  # `id`: the open review whose answer would pass

    @property
    def sentence(self) -> str:
        said = f"{counted(self.checked, 'stored result')} checked again: {len(self.failing)} would not pass today"
        if self.unchecked:
            said += f", {len(self.unchecked)} could not be checked"
        if self.judged:
            said += f". {self.judged} of a recipe with a judge, which was not asked again"
        return said + "."

    def as_json(self) -> dict[str, Any]:
        return {
            "checked": self.checked,
            "judge_not_asked": self.judged,
            "would_fail": len(self.failing),
            "could_not_be_checked": len(self.unchecked),
            "failing": [each.as_json() for each in self.failing],
            "unchecked": [each.as_json() for each in self.unchecked],
            "would_pass": [each.as_json() | {"review": each.id} for each in self.passing],
        }


@dataclass(frozen=True, slots=True)
class Superseded:
    """What `supersede` did. `left`: results that changed since they were looked at, and stayed as they are."""

    items: tuple[int, ...]
    left: int


async def recheck(
    connection: psycopg.AsyncConnection,
    recipes: Mapping[str, Recipe],
    *,
    boards: Sequence[int] | None = None,
    recipe: str | None = None,
) -> Recheck:
    """Check the accepted results of these boards (all when None) again, and the answers that wait for a person."""
    found = Recheck()
    scope = {"boards": None if boards is None else list(boards)}
    cursor = await connection.execute(statement("validate.recipes_of_results"), scope)
    for (name,) in await cursor.fetchall():
        if recipe is not None and name != recipe:
            continue
        now = recipes.get(name)
        async for page in _pages(connection, "validate.results", scope | {"recipe": name}):
            if now is None:
                why = f"There is no recipe {name!r} any more."
                found.unchecked += [_change(each, name, why=why) for each in page]
                continue
            await _recheck_page(connection, now, page, found)
        if now is None:
            continue
        parameters = scope | {"recipe": name, "types": [str(each) for each in RECHECKED]}
        async for page in _pages(connection, "validate.waiting", parameters):
            verdicts, _ = await _verdicts(connection, now, page)
            found.passing += [
                _change(each, name, now.hash)
                for each in page
                if (verdict := verdicts.get(each.item_id)) is not None
                and verdict.passed
                and not (each.judged and now.header.judge)  # what its judge would say today, nobody knows
            ]
    return found


async def _recheck_page(
    connection: psycopg.AsyncConnection, recipe: Recipe, page: Sequence[Stored], found: Recheck
) -> None:
    verdicts, missing = await _verdicts(connection, recipe, page)
    for each in page:
        verdict = verdicts.get(each.item_id)
        if each.id in missing:
            cites = ", ".join(missing[each.id][:3])
            why = f"It cites {cites}, which is no longer stored."
            found.unchecked.append(_change(each, recipe.name, recipe.hash, why=why))
        elif verdict is None or _crashed(verdict):
            why = _words(verdict.failures) if verdict else "The checks said nothing about this answer."
            found.unchecked.append(_change(each, recipe.name, recipe.hash, ErrorType.CHECK_CRASHED, why))
        elif not verdict.passed and all(failure.check in NOT_KEPT for failure in verdict.failures):
            why = f"Of what it was given only the passages that it cites are kept: {_words(verdict.failures)}"
            found.unchecked.append(_change(each, recipe.name, recipe.hash, why=why))
        else:
            found.checked += 1
            found.judged += recipe.header.judge is not None
            if not verdict.passed:
                found.failing.append(
                    _change(
                        each,
                        recipe.name,
                        recipe.hash,
                        verdict.failures[0].error_type,
                        _words(verdict.failures),
                        tuple(failure.as_json() for failure in verdict.failures),
                    )
                )


async def supersede(connection: psycopg.AsyncConnection, found: Recheck) -> Superseded:
    """Supersede the results that fail and ask a person about each, in one transaction.

    Only where the result is the one that was checked and still stands. What contains an item is open again, what
    needs it and has not begun waits again; what was done with it stays. Memory forgets it with the next
    `tasks.remember.remember_results`.
    """
    if not found.failing:
        return Superseded((), 0)
    moved = await _supersede(connection, found.failing)
    return Superseded(tuple(sorted(moved)), len(found.failing) - len(moved))


@again_after_deadlock
async def _supersede(connection: psycopg.AsyncConnection, failing: Sequence[Change]) -> list[int]:
    parameters = {
        "results": [each.id for each in failing],
        "reasons": [
            cut(
                f"Its result no longer passes the recipe {each.recipe} as it is now: {each.why}",
                LONGEST_REASON,
            )
            for each in failing
        ],
        "error_types": [each.error_type for each in failing],
        "checks": [orjson.dumps(list(each.checks)).decode() for each in failing],
        "recipe_hashes": [each.recipe_hash for each in failing],
    }
    async with connection.transaction():
        await connection.execute(statement("validate.hold"), {"items": [each.item_id for each in failing]})
        cursor = await connection.execute(statement("validate.reopen"), parameters)
        moved = await cursor.fetchall()
        boards = {"boards": sorted({board for _, _, board in moved})}
        await connection.execute(statement("validate.lock_frontiers"), boards)
        await connection.execute(statement("validate.follow"), boards)
    return [item for _, item, _ in moved]


async def _pages(
    connection: psycopg.AsyncConnection, name: str, parameters: dict[str, Any]
) -> AsyncIterator[list[Stored]]:
    """The answers in pages, each a list of Stored."""
    after = 0
    while True:
        cursor = await connection.execute(statement(name), parameters | {"after": after, "limit": PAGE})
        rows = await cursor.fetchall()
        if rows:
            yield [_stored(row) for row in rows]
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def _stored(row: Sequence[Any]) -> Stored:
    (number, item_id, board_id, source, line, title, body, text, data, citations) = row[:10]
    simulated, at, model, raw, prompt_tokens, completion_tokens, seconds, review, judged = row[10:]
    said = raw if raw is not None else orjson.dumps(data).decode() if data is not None else text
    answer = ModelAnswer(
        text=said,
        model=model,
        finish_reason="stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        seconds=seconds,
        simulated=bool(simulated),
    )
    cites = dict.fromkeys(_cites(citations))
    if review is not None and isinstance(data, dict):
        cites |= dict.fromkeys(_cites(data.get("citations")))  # it failed before they were looked at
    return Stored(
        number, item_id, board_id, source, line, title, tuple(cites), at, body, answer, review, judged
    )


def _cites(citations: Any) -> Iterable[str]:
    for each in citations if isinstance(citations, list) else []:
        if isinstance(each, dict) and isinstance(each.get("cite"), str):
            yield each["cite"]


async def _verdicts(
    connection: psycopg.AsyncConnection, recipe: Recipe, page: Sequence[Stored]
) -> tuple[Mapping[int, Verdict], dict[int, list[str]]]:
    """By item what the checks say today, and by answer the cites whose passage is not there any more.

    All checks but the recipe's judge: that is a model. Of an accepted answer its votes of then count.
    """
    recipe = replace(recipe, header=recipe.header.model_copy(update={"judge": None}))
    pairs = [(each.id, cite, each.at) for each in page for cite in each.cites]
    cursor = await connection.execute(
        statement("validate.cited"),
        {
            "keys": [key for key, _, _ in pairs],
            "cites": [cite for _, cite, _ in pairs],
            "times": [at for _, _, at in pairs],
        },
    )
    passages = {(key, cite): Passage(cite, text) for key, cite, text in await cursor.fetchall()}
    rows = []
    missing: dict[int, list[str]] = {}
    for each in page:
        known = [passages[each.id, cite] for cite in each.cites if (each.id, cite) in passages]
        if absent := [cite for cite in each.cites if (each.id, cite) not in passages]:
            missing[each.id] = absent
        question, shown = as_shown(each.title, each.body, known)
        rows.append(AnswerRow(each.item_id, question, each.answer, shown))
    verdicts = (await validate_batch(recipe, rows)).verdicts
    return {item: _alone(verdict) for item, verdict in verdicts.items()}, missing


def _alone(verdict: Verdict) -> Verdict:
    failures = tuple(failure for failure in verdict.failures if failure.check not in OF_ITS_BATCH)
    return verdict if failures == verdict.failures else replace(verdict, failures=failures)


def _crashed(verdict: Verdict) -> bool:
    return any(failure.error_type is ErrorType.CHECK_CRASHED for failure in verdict.failures)


def _words(failures: Sequence[Failure]) -> str:
    return "; ".join(failure.message for failure in failures)


def _change(
    stored: Stored,
    recipe: str,
    recipe_hash: str = "",
    error_type: str = "",
    why: str = "",
    checks: tuple[dict[str, Any], ...] = (),
) -> Change:
    return Change(
        stored.id,
        stored.item_id,
        stored.board_id,
        stored.source,
        stored.line,
        stored.title,
        recipe,
        recipe_hash,
        str(error_type),
        why,
        checks,
    )
