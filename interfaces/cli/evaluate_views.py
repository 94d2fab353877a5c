"""How `penstock eval` looks: a table of variants, how they compare, and what does not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import clean, shorten
from interfaces.cli.routing import percent, span
from models.words import counted

if TYPE_CHECKING:
    from tasks.evaluate import Comparison, Evaluation, VariantResult

MOST = 20
"""Cases that are named."""

BY_CHANCE = 0.05


def evaluation_view(
    found: Evaluation, compared: Sequence[Comparison], held: Sequence[Comparison], threshold: float
) -> Group:
    parts: list[Table | Text] = [_variants(found), Text()]
    parts += [_compared(each, f"{each.second} against {each.first}") for each in compared]
    for each in held:
        line = _compared(each, f"{each.second} against the baseline's {each.first}")
        if each.regressed(threshold):
            line.append(f" A regression: more than {threshold:g} below it.", "bold red")
        parts.append(line)
    if compared or held:
        parts.append(Text())
    cases = list(_missed(found))
    parts += cases[:MOST]
    if len(cases) > MOST:
        parts.append(Text(f"and {len(cases) - MOST} more; --json has all.", "bright_black"))
    return Group(*parts)


def _variants(found: Evaluation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Variant", overflow="fold")
    for name in ("Cases", "Unknown", "Passed", "95 %", "Score", "95 %", "Time", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.variants:
        figures, known = each.figures(), len(each.known)
        table.add_row(
            _name(each),
            str(len(each.cases)),
            Text(str(each.unknown or ""), "yellow"),
            percent(each.passed / known if known else None),
            span(figures["passed_interval"]),
            "?" if each.score is None else f"{each.score:.2f}",
            _between(figures["score_interval"]),
            "?" if each.seconds is None else f"{each.seconds:.1f} s",
            "?" if each.cost is None else f"{each.cost:.4f}",
        )
    return table


def _name(each: VariantResult) -> Text:
    name = Text(clean(each.name), "bold")
    if each.simulated:
        name.append(" (simulated)", "yellow")
    return name


def _between(interval: tuple[float, float] | None) -> str:
    return "?" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}"


def _compared(each: Comparison, who: str) -> Text:
    line = Text(clean(who), "bold")
    if each.simulated:
        line.append(" (simulated)", "yellow")
    if each.difference is None:
        line.append(": unknown, no case has a score on both sides.")
        return line
    line.append(f": score {each.difference:+.2f}")
    if each.interval is not None:
        line.append(f" ({each.interval[0]:+.2f} to {each.interval[1]:+.2f})")
    only = f"{each.only_first} passed only before, {each.only_second} only now"
    line.append(f" over {counted(each.cases, 'case')}; {only}")
    if each.by_chance is not None:
        sure = "" if each.by_chance > BY_CHANCE else "green" if each.only_second > each.only_first else "red"
        line.append(", ")
        line.append(f"by chance {each.by_chance:.0%}", sure)
    line.append(".")
    if each.left_out:
        line.append(f" {counted(each.left_out, 'case')} can't be compared.", "yellow")
    return line


def _missed(found: Evaluation) -> Iterator[Text]:
    for variant in found.variants:
        for each in variant.cases:
            if each.passed:
                continue
            known = "unknown" if each.score is None else f"{each.score:.2f}"
            line = Text(f"{known:>7}  ", "yellow" if each.score is None else "red")
            line.append(clean(f"{each.golden}/{each.case}"), "bold")
            if len(found.variants) > 1:
                line.append(f"  {clean(variant.name)}", "cyan")
            line.append(f"  {shorten(' '.join(each.missed), 200)}")
            yield line
