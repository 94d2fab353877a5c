"""What became of each try, and what follows: a reply and its verdict in, a `Report` out. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.calls import ModelAnswer, ModelCallError
from models.enums import ErrorType
from models.errors import PenstockError
from models.recipe import Recipe, Rendered
from models.settings import Settings
from models.verdict import Verdict
from tasks.execute import policy
from tasks.execute.work import ClaimedItem, Report


@dataclass(frozen=True, slots=True)
class Reporter:
    """`returns`: by item, how often in a row the server was at fault before this try."""

    recipes: Mapping[str, Recipe]
    settings: Settings
    returns: Mapping[int, int]
    deterministic: bool = False  # the same question gets the same answer: asking again is pointless

    def report(
        self,
        recipe: Recipe,
        item: ClaimedItem,
        rendered: Rendered,
        reply: ModelAnswer | ModelCallError,
        verdict: Verdict | None,
    ) -> Report:
        """Raises PenstockError where the recipe falls back to one that does not exist."""
        if isinstance(reply, ModelCallError):
            report = Report(
                item,
                rendered.prompt_hash,
                self._after(reply.error_type, recipe, item, reply.retry_after),
                reply.partial,
                reply.error_type,
                str(reply),
            )
        elif verdict is None:
            # The checks gave no verdict for this row: an answer that was not checked is not a pass.
            error_type = ErrorType.CHECK_CRASHED
            report = Report(
                item,
                rendered.prompt_hash,
                self._after(error_type, recipe, item),
                reply,
                error_type,
                "The checks said nothing about this answer.",
            )
        elif verdict.passed:
            then = policy.after_success(recipe)
            asks_person = then.outcome == "deferred"
            report = Report(
                item,
                rendered.prompt_hash,
                then,
                reply,
                ErrorType.HUMAN_ONLY if asks_person else None,
                f"The recipe {recipe.name} always asks a person; the answer passed every check."
                if asks_person
                else None,
                _repairs(verdict),
                text=verdict.text,
                data=verdict.data,
                citations=verdict.citations,
            )
        else:
            error_type = verdict.failures[0].error_type
            report = Report(
                item,
                rendered.prompt_hash,
                self._after(error_type, recipe, item),
                reply,
                error_type,
                "; ".join(failure.message for failure in verdict.failures),
                [failure.as_json() for failure in verdict.failures] + _repairs(verdict),
                text=verdict.text,
                data=verdict.data,
                citations=verdict.citations,
            )
        return report

    def _after(
        self, error_type: ErrorType, recipe: Recipe, item: ClaimedItem, retry_after: float | None = None
    ) -> policy.Next:
        then = policy.after_failure(
            error_type,
            recipe,
            self.settings,
            attempts=item.attempts,
            returns=self.returns.get(item.id, 0),
            retry_after=retry_after,
            deterministic=self.deterministic,
        )
        if then.next_recipe is not None and then.next_recipe not in self.recipes:
            raise PenstockError(
                f"The recipe {recipe.name} falls back to {then.next_recipe!r}, which does not exist. "
                f"Write that recipe, or correct `fallback` in {recipe.path}."
            )
        return then


def _repairs(verdict: Verdict) -> list[dict[str, Any]]:
    """What was put right before the checks, beside them: no failure, so it has no error type."""
    return [
        {"layer": "shape", "check": "repaired", "error_type": None, "message": repair}
        for repair in verdict.repairs
    ]
