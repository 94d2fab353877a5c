"""What became of each try, and what follows: a reply and its verdict in, a `Report` out. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.calls import ModelAnswer, ModelCallError
from models.enums import ErrorType
from models.errors import PenstockError
from models.recipe import Recipe, Rendered
from models.settings import Settings
from models.verdict import Verdict
from tasks.execute import policy
from tasks.execute.again import Past, longest_answer
from tasks.execute.packing import Packed
from tasks.execute.work import ClaimedItem, Report
from tasks.validate.members import OWN_ITEM


@dataclass(frozen=True, slots=True)
class Reporter:
    """`past`: by item, its tries before this one; not of those that were tried for the first time."""

    recipes: Mapping[str, Recipe]
    settings: Settings
    past: Mapping[int, Past]
    context_tokens: int = 8192  # of the endpoint
    packed: Mapping[int, Packed] = field(
        default_factory=dict
    )  # by item, of those that were asked with others
    deterministic: bool = False  # the same question gets the same answer: asking again is pointless

    def report(
        self,
        recipe: Recipe,
        item: ClaimedItem,
        rendered: Rendered,
        reply: ModelAnswer | ModelCallError,
        verdict: Verdict | None,
        seconds: float | None = None,
    ) -> Report:
        """With what was done to the prompt among the checks. `seconds`: that the call took; None: as the server said.

        Raises PenstockError where the recipe falls back to one that does not exist.
        """
        answer = reply if isinstance(reply, ModelAnswer) else reply.partial
        if seconds is None:
            seconds = answer.seconds if answer else 0.0
        report = self._report(recipe, item, rendered, reply, verdict, seconds)
        report.checks += [note.as_json() for note in rendered.notes]
        report.seconds, report.tried = seconds, rendered.tried
        if (packed := self.packed.get(item.id)) is not None:
            report.members = packed.members
            report.checks.append(
                {"layer": "call", "check": "packed", "error_type": None, "message": packed.words}
            )
        elif (past := self.past.get(item.id)) is not None and verdict is not None and verdict.passed:
            report.mends = past.failed_packed
        if report.next.why:
            report.error = f"{report.error} {report.next.why}"
        return report

    def _report(
        self,
        recipe: Recipe,
        item: ClaimedItem,
        rendered: Rendered,
        reply: ModelAnswer | ModelCallError,
        verdict: Verdict | None,
        seconds: float,
    ) -> Report:
        def after(error_type: ErrorType, retry_after: float | None = None) -> policy.Next:
            return self._after(error_type, recipe, item, rendered, seconds, retry_after)

        if isinstance(reply, ModelCallError):
            report = Report(
                item,
                rendered.prompt_hash,
                after(reply.error_type, reply.retry_after),
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
                after(error_type),
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
            if item.id in self.packed and any(failure.check == OWN_ITEM for failure in verdict.failures):
                error_type = ErrorType.PACKED  # mixed up with another member's
            report = Report(
                item,
                rendered.prompt_hash,
                after(error_type),
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
        self,
        error_type: ErrorType,
        recipe: Recipe,
        item: ClaimedItem,
        rendered: Rendered,
        seconds: float,
        retry_after: float | None,
    ) -> policy.Next:
        past = self.past.get(item.id) or Past(elapsed=seconds)
        tokens = rendered.max_tokens or recipe.header.max_tokens
        longer = longest_answer(recipe, rendered, self.context_tokens, 2 * past.growth)
        then = policy.after_failure(
            error_type,
            recipe,
            self.settings,
            attempts=item.attempts,
            past=past,
            model=item.model,
            room=policy.Room(longer=longer > tokens, shorter=rendered.can_shrink),
            limit=policy.time_limit(recipe, past, self.recipes, self.settings),
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
