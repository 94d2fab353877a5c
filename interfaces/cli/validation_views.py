"""How `penstock validation` shows things in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import clean, printable, shorten
from models.words import counted
from tasks.places import shown

if TYPE_CHECKING:
    from models.items import ItemRow
    from tasks.validate.explain import Explanation, Tried
    from tasks.validate.rerun import Change, Recheck, Superseded
    from tasks.validate.statistics import Statistics

MOST = 50
"""Rows of a table; the rest is counted, --json has all."""


def explanation_view(item: ItemRow, found: Explanation) -> Group:
    """Every try at an item, and what became of it."""
    parts: list[RenderableType] = [
        Text.assemble((f"{item.id}  ", "bright_black"), (clean(item.name), "bold")),
        Text(f"{item.state}  {clean(shown(item.source))}:{item.line}", "bright_black"),
    ]
    if not found.tries:
        parts.append(Text("\nNobody has tried it yet, so nothing was checked."))
    for one in found.tries:
        parts += _try(one)
    if found.after:
        parts.append(Text("\nSince then", "bold"))
        parts += [Padding(Text(clean(each)), (0, 0, 0, 2)) for each in found.after]
    return Group(*parts)


def _try(one: Tried) -> list[RenderableType]:
    simulated = " (SIMULATED)" if one.simulated else ""
    head = Text.assemble(
        (f"\nTry {one.number}", "bold"),
        (f"  {_when(one.at)}  recipe {clean(one.recipe)} ({one.recipe_hash[:12]}), ", "bright_black"),
        (f"{clean(one.model)} on {clean(one.backend)}{simulated}, {one.seconds:.1f} s, ", "bright_black"),
        (f"in batch {one.batch} with {counted(one.rows, 'item')}", "bright_black"),
    )
    parts: list[RenderableType] = [head]
    failed = [layer for layer in one.layers if layer.failed]
    if not failed:
        passed = "Not checked." if one.outcome in ("returned", "failed") else "Passed every check."
        parts.append(Padding(Text(passed, "green" if passed.startswith("Passed") else ""), (0, 0, 0, 2)))
    for layer in one.layers:
        about = f": {layer.about}" if layer.about else ""
        parts.append(
            Padding(Text(f"{layer.name}{about}", "yellow" if layer.failed else "cyan"), (0, 0, 0, 2))
        )
        for said in layer.failed:
            line = Text.assemble((f"{said.error_type} ", "red"), clean(said.message))
            if said.check and said.check != said.error_type:
                line.append(f"  [{clean(said.check)}]", "bright_black")
            parts.append(Padding(line, (0, 0, 0, 4)))
        for said in layer.noted:
            put_right = "put right: " if said.check == "repaired" else ""
            parts.append(Padding(Text(f"{put_right}{clean(said.message)}", "bright_black"), (0, 0, 0, 4)))
    if one.excerpt:
        more = f" … and {counted(one.longer, 'character')} more" if one.longer else ""
        parts.append(Padding(Text("the answer:", "bright_black"), (0, 0, 0, 2)))
        parts.append(Padding(Text(printable(one.excerpt) + more), (0, 0, 0, 4)))
    parts.append(Padding(Text(one.followed), (0, 0, 0, 2)))
    return parts


def recheck_view(found: Recheck, moved: Superseded | None) -> Group:
    """What checking again found, and what was done about it."""
    parts: list[RenderableType] = [Text(found.sentence, "bold")]
    parts += _changes("Would not pass today" if moved is None else "Do not pass today", found.failing)
    parts += _changes("Could not be checked, and stay as they are", found.unchecked)
    if found.passing:
        parts += _changes("Wait for a person, and their answers would pass today", found.passing)
        numbers = " ".join(str(each.id) for each in found.passing[:10])
        parts.append(Text(f"A person decides: penstock review accept {numbers}", "bright_black"))
    if moved is not None and found.failing:
        done = (
            f"\n{counted(len(moved.items), 'result')} no longer stand{'s' if len(moved.items) == 1 else ''}, "
            "and the items wait for a person: penstock review list"
        )
        parts.append(Text(done, "yellow"))
        if moved.left:
            parts.append(Text(f"{moved.left} changed in the meantime and stay as they are."))
    elif found.failing:
        parts.append(Text("\nNothing was changed. With --apply these go to a person.", "yellow"))
    return Group(*parts)


def _changes(title: str, changes: Sequence[Change]) -> list[RenderableType]:
    if not changes:
        return []
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Item", justify="right")
    table.add_column("Place", overflow="fold")
    table.add_column("Recipe")
    table.add_column("Why", overflow="fold")
    for each in changes[:MOST]:
        why = f"{each.error_type}: {each.why}" if each.error_type else each.why or each.title
        table.add_row(
            str(each.item_id),
            Text(f"{clean(shown(each.source))}:{each.line}"),
            Text(clean(each.recipe)),
            Text(shorten(why, 240)),
        )
    rest = len(changes) - MOST
    more = [Text(f"and {rest} more; --json has all", "bright_black")] if rest > 0 else []
    return [Text(f"\n{title}", "bold"), table, *more]


def statistics_view(found: Statistics, days: int) -> Group:
    """The figures: answers per recipe and model, then the rules that failed."""
    if not found.answers:
        return Group(
            Text(
                f"No answer was checked in the last {counted(days, 'day')}. `penstock run PATH` runs boards."
            )
        )
    answers = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    answers.add_column("Recipe")
    answers.add_column("Model", overflow="fold")
    for name in ("Checked", "Failed", "Passed"):
        answers.add_column(name, justify="right")
    for each in found.answers:
        model = f"{each.model} (simulated)" if each.simulated else each.model
        answers.add_row(
            Text(clean(each.recipe)),
            Text(clean(model)),
            str(each.checked),
            str(each.failed),
            f"{1 - each.failed / each.checked:.1%}",
        )
    parts: list[RenderableType] = [answers]
    if not found.rules:
        return Group(*parts, Text("\nNo check failed.", "green"))
    rules = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("Layer", "Rule", "Recipe", "Model"):
        rules.add_column(name, overflow="fold")
    for name in ("Failed", "Of", "Share"):
        rules.add_column(name, justify="right")
    for rule in found.rules[:MOST]:
        rules.add_row(
            rule.layer,
            Text(clean(rule.check)),
            Text(clean(rule.recipe)),
            Text(clean(rule.model)),
            str(rule.failed),
            str(rule.checked),
            f"{rule.share:.1%}",
        )
    parts += [Text("\nRules that failed", "bold"), rules]
    if len(found.rules) > MOST:
        parts.append(Text(f"and {len(found.rules) - MOST} more; --json has all", "bright_black"))
    return Group(*parts)


def _when(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"
