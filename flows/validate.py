"""Validate: check stored results again under the recipes as they are now. Calls no model and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import orjson
from prefect import flow
from prefect.artifacts import acreate_table_artifact

from flows.opening import opened
from models.calls import ModelAnswer, Passage
from models.verdict import AnswerRow
from sql.statements import statement
from tasks.recipes import load_recipes
from tasks.validate import validate_batch

__all__ = ["validate"]


@flow(name="validate", flow_run_name="check stored results")
async def validate(boards: list[int] | None = None) -> dict[str, Any]:
    """Check the accepted results of `boards` (all when None) again; those a person accepted are left alone.

    Returns counts and, per result that would not pass today, its item and why. Shows it as a table artifact.
    """
    async with opened() as (config, db):
        connection = await db.aconnect(autocommit=True)
        try:
            rows = await (
                await connection.execute(statement("validate.results"), {"boards": boards})
            ).fetchall()
            cites = sorted({citation["cite"] for row in rows for citation in row[7] if "cite" in citation})
            cited: dict[str, str] = dict(
                await (await connection.execute(statement("validate.cited"), {"cites": cites})).fetchall()
            )
        finally:
            await connection.close()
        recipes = load_recipes(config)
        by_recipe: dict[str, list[AnswerRow]] = defaultdict(list)
        places: dict[int, str] = {}
        unknown = 0
        for item_id, _, recipe, title, body, text, data, citations, simulated, model, source, line in rows:
            places[item_id] = f"{source}:{line}"
            if recipe not in recipes:
                unknown += 1
                continue
            answer = ModelAnswer(
                text=orjson.dumps(data).decode() if data is not None else text,
                model=model,
                finish_reason="stop",
                simulated=simulated,
            )
            passages = tuple(
                Passage(citation["cite"], cited[citation["cite"]])
                for citation in citations
                if citation.get("cite") in cited
            )
            by_recipe[recipe].append(AnswerRow(item_id, f"{title}\n{body}".strip(), answer, passages))
        failing: list[dict[str, Any]] = []
        for name, answers in by_recipe.items():
            checked = await validate_batch(recipes[name], answers)
            failing += [
                {
                    "item": verdict.item_id,
                    "place": places[verdict.item_id],
                    "recipe": name,
                    "why": "; ".join(failure.message for failure in verdict.failures),
                }
                for verdict in checked.verdicts.values()
                if not verdict.passed
            ]
    summary = {"checked": len(rows) - unknown, "would_fail": len(failing), "recipe_unknown": unknown}
    await acreate_table_artifact(
        failing or [{"item": "-", "place": "-", "recipe": "-", "why": "every stored result passes today"}],
        key="validation-of-results",
        description=f"{summary['checked']} stored results checked again, {len(failing)} would not pass today",
    )
    return summary | {"failing": failing}
