"""How good the checks are: false accepts and false rejects over the labelled answers of tests/answers, and what a check
costs. `python -m bench.validators` prints every answer that is judged otherwise than its label says.

The labels were written from templates by hand (tests/answers/make.py), not by a validator. No model is asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import Figure, at_most, told, under
from models.calls import ModelAnswer, Passage
from models.recipe import Recipe
from models.settings import Settings
from models.verdict import AnswerRow, Verdict
from tasks.recipes import load_recipes
from tasks.validate import close, validate_batch

ANSWERS = Path(__file__).parents[1] / "tests" / "answers"
SETS = ("labelled.jsonl", "second.jsonl")
UNSEEN = "third.jsonl"
"""The checks were mended by the first ones. By this one they were not: it is told, and has no goal."""
BATCH = 64
STRICT = ("transport", "shape", "grounding")
OWN = {
    "plain": "grounding: none",
    "evidence": "grounding: none\nverify: [quotes, files, urls, ids, code]",
    "patch": "grounding: none\nverify: [patches]",
}


@dataclass(frozen=True, slots=True)
class Judged:
    label: dict[str, Any]
    verdict: Verdict

    @property
    def right(self) -> bool:
        return self.verdict.passed is not bool(self.label["bad"])

    @property
    def layer(self) -> str:
        return self.verdict.failures[0].layer if self.verdict.failures else "passed"


def labelled(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ANSWERS / name).read_text(encoding="utf-8").splitlines()]


def recipes() -> dict[str, Recipe]:
    """The built-in `task`, and recipes for free text."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "recipes")
        folder.mkdir()
        for name, header in OWN.items():
            front = f"---\nname: {name}\nabout: For a benchmark.\n{header}\n---\n"
            (folder / f"{name}.md").write_text(f"{front}# System\nx\n# Prompt\nx\n", encoding="utf-8")
        return dict(load_recipes(Settings(home=Path(home))))


def row_of(label: dict[str, Any]) -> AnswerRow:
    passages = tuple(Passage(cite, text) for cite, text in label["passages"].items())
    return AnswerRow(
        label["id"], label["question"], ModelAnswer(label["answer"], "m", label["finish_reason"]), passages
    )


async def judged(labels: Sequence[dict[str, Any]]) -> list[Judged]:
    """Packs as they are, the other answers of a class in batches of one recipe."""
    known = recipes()
    batches: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for label in labels:
        batches[label["recipe"], label["pack"] or label["class"]].append(label)
    found = []
    for (name, _), members in batches.items():
        for start in range(0, len(members), BATCH):
            some = members[start : start + BATCH]
            batch = await validate_batch(known[name], [row_of(label) for label in some])
            found += [Judged(label, batch.verdicts[label["id"]]) for label in some]
    return found


async def cost(labels: Sequence[dict[str, Any]], rounds: int) -> float:
    """Milliseconds of CPU for each answer, at batches of 64, with six passages each: the least of some rounds."""
    recipe = recipes()["task"]
    good = [label for label in labels if label["class"] == "good" and label["recipe"] == "task"]
    rest = {cite: text * 12 for label in good for cite, text in label["passages"].items()}
    rows = []
    for number in range(BATCH):
        label = good[number % len(good)]
        passages = dict(list(rest.items())[:5]) | label["passages"]
        rows.append(row_of(label | {"id": number, "passages": passages}))
    best = float("inf")
    for _ in range(rounds + 1):  # the first one makes the suite
        began = time.process_time()
        await validate_batch(recipe, rows)
        best = min(best, (time.process_time() - began) / BATCH * 1000)
    return best


def run(quick: bool) -> list[Figure]:
    sets = [labelled(name) for name in SETS]
    labels = [label for one in sets for label in one]

    async def measured() -> tuple[list[Judged], list[Judged], float]:
        found = [one for each in sets for one in await judged(each)]
        return found, await judged(labelled(UNSEEN)), await cost(sets[0], 5 if quick else 30)

    try:
        found, unseen, milliseconds = asyncio.run(measured())
    finally:
        close()
    languages = {label["lang"] for label in labels}
    figures = [told("labelled answers", len(labels), f"in {len(languages)} languages")]
    for layer in STRICT:
        members = [one for one in found if one.label["layer"] == layer]
        figures.append(
            at_most(f"accepted wrongly, {layer}: all", _percent(members), f"% of {len(members)}", 0.0)
        )
        figures += [
            at_most(f"accepted wrongly, {layer}: {name}", _percent(some), f"% of {len(some)}", 0.0)
            for name, some in _by_class(members)
        ]
    others = [one for one in found if one.label["layer"] not in (*STRICT, "-")]
    figures += [
        told(f"accepted wrongly: {name}", _percent(some), f"% of {len(some)}")
        for name, some in _by_class(others)
    ]
    good = [one for one in found if not one.label["bad"]]
    figures.append(at_most("rejected wrongly: all good answers", _percent(good), f"% of {len(good)}", 1.0))
    figures += [
        at_most(f"rejected wrongly: {name}", _percent(some), f"% of {len(some)}", 1.0)
        for name, some in _by_class(good)
    ]
    for layer, name in (
        *((layer, f"accepted wrongly, {layer}") for layer in STRICT),
        ("words", "accepted wrongly: wrong member of a pack, the same or no passages"),
        ("judge", "accepted wrongly: irrelevant"),
        ("-", "rejected wrongly: all good answers"),
    ):
        members = [one for one in unseen if one.label["layer"] == layer]
        figures.append(told(f"third lot, {name}", _percent(members), f"% of {len(members)}"))
    figures.append(
        under(f"CPU of a check, batches of {BATCH}, six passages each", milliseconds, "ms/item", 1.0)
    )
    return figures


def _by_class(found: Sequence[Judged]) -> list[tuple[str, list[Judged]]]:
    classes: dict[str, list[Judged]] = defaultdict(list)
    for one in found:
        classes[one.label["class"]].append(one)
    return sorted(classes.items())


def _percent(members: Sequence[Judged]) -> float:
    return 100.0 * sum(not one.right for one in members) / len(members)


def main(names: Sequence[str]) -> int:
    try:
        found = [one for name in names or (*SETS, UNSEEN) for one in asyncio.run(judged(labelled(name)))]
    finally:
        close()
    for one in found:
        if not one.right:
            why = "; ".join(failure.message for failure in one.verdict.failures) or "passed"
            print(f"{one.label['id']} {one.label['class']} {one.label['recipe']} {one.label['lang']}: {why}")
            print(f"    {one.label['question']!r}\n    {one.label['answer']!r}")
    strays = [
        one
        for one in found
        if one.label["bad"] and one.right and one.layer not in (one.label["layer"], "grounding")
    ]
    for one in strays:
        print(f"{one.label['id']} {one.label['class']}: caught by {one.layer}, labelled {one.label['layer']}")
    wrong = sum(not one.right for one in found)
    print(
        f"{len(found)} answers, {wrong} judged wrongly, {len(strays)} caught by another layer than labelled"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
