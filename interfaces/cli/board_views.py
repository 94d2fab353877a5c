"""How boards look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import SEVERITIES, clean, findings_table, short_names
from models.enums import Lane
from models.items import BoardCase, BoardRow, State, delta_words
from models.words import counted
from tasks.graph.states import LOOKS
from tasks.places import shown

WIDE = 110  # columns from which dialect and time have room


def board_table(rows: Sequence[BoardRow], width: int) -> Table:
    wide = width >= WIDE
    names = short_names([shown(row.source) for row in rows])
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    longest = max(len("Board"), *(len(name) for name in names.values()))
    table.add_column("Board", overflow="ellipsis", no_wrap=True, width=min(longest, width * 3 // 10))
    if wide:
        table.add_column("Dialect", no_wrap=True)
    for head in ("Items", "Settled", "Person", "Findings"):
        table.add_column(head, justify="right", no_wrap=True, min_width=len(head))
    table.add_column("Checks", no_wrap=True, min_width=6)
    if wide:
        table.add_column("Read", no_wrap=True)
    table.add_column("Latest change", overflow="fold")
    for row in rows:
        cells: list[RenderableType] = [Text(names[shown(row.source)])]
        if wide:
            cells.append(Text(clean(row.dialect), "bright_black"))
        cells += [
            f"{row.items}+{row.steps}" if row.steps else str(row.items),
            Text(str(row.settled), "green"),
            Text(str(row.waiting), "yellow" if row.waiting else ""),
            _findings(row),
            _verdict(row.passed),
        ]
        if wide:
            cells.append(Text(f"{row.ingested_at.astimezone():%m-%d %H:%M}", "bright_black"))
        table.add_row(*cells, Text(delta_words(row.delta) if row.delta else ""))
    return table


def board_view(case: BoardCase) -> Group:
    row = case.row
    steps = f" and {row.steps} steps" if row.steps else ""
    parts: list[RenderableType] = [
        Text(clean(row.title) or clean(shown(row.source)), "bold"),
        Text(clean(shown(row.source)), "cyan"),
        Text(
            f"{clean(row.dialect)}, {clean(row.encoding)}, read {row.ingested_at.astimezone():%Y-%m-%d %H:%M}",
            "bright_black",
        ),
        Text(
            f"\n{counted(row.items, 'item')}{steps}: {_statuses(case.statuses)}"
            if row.items
            else "\nNo items: knowledge."
        ),
    ]
    if row.lane != Lane.NORMAL or row.wip is not None:
        most = f", at most {row.wip} at once" if row.wip is not None else ""
        parts.append(Text(f"Lane {Lane(row.lane).label}{most}.", "cyan"))
    if row.delta:
        parts.append(Text(f"Its latest version: {delta_words(row.delta)}."))
    parts += _validation(case.validation)
    if case.findings:
        table = findings_table(case.findings)
        table.title = f"\nFindings ({len(case.findings)})"
        parts.append(table)
    else:
        parts.append(Text("\nNo findings.", "green"))
    if row.items:
        parts.append(Text(f"\npenstock items {clean(shown(row.source))}", "bright_black"))
    return Group(*parts)


def _statuses(statuses: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in statuses.items() if number)


def _findings(row: BoardRow) -> Text:
    worst = "error" if row.errors else "warning" if row.warnings else "info" if row.infos else ""
    text = Text(str(row.findings), SEVERITIES.get(worst, ""))
    if row.errors:
        text.append(f" ({row.errors} bad)", SEVERITIES["error"])
    return text


def _verdict(passed: bool | None) -> Text:
    if passed is None:
        return Text("not run", "bright_black")
    look = LOOKS[State.DONE if passed else State.FAILED]
    return Text(f"{look.sign} pass" if passed else f"{look.sign} fail", look.ansi)


def _validation(validation: dict[str, Any] | None) -> list[RenderableType]:
    """Great Expectations' verdict on the table of items, check by check."""
    if validation is None:
        return [Text("\nChecks of its table: never run.", "yellow")]
    checks = validation.get("expectations") or []
    held = sum(bool(check.get("success")) for check in checks)
    head = Text("\nChecks of its table: ", "bold")
    if crash := validation.get("crash"):
        return [head.append(f"could not run: {clean(str(crash))}", "red")]
    if not checks:
        return [head.append("nothing to check, it has no rows.", "bright_black")]
    colour = "green" if held == len(checks) else "red"
    head.append(f"{held} of {len(checks)} hold over {validation.get('rows')} rows", colour)
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        holds = bool(check.get("success"))
        said = Text(clean(str(check.get("says", check.get("expectation")))))
        table.add_row(_verdict(holds), said, Text() if holds else Text(_failure(check), "red"))
    return [head, table]


def _failure(check: dict[str, Any]) -> str:
    if check.get("crash"):
        return f"could not run: {clean(str(check['crash']))}"
    return f"{check['unexpected']} rows do not" if check.get("unexpected") else "the table does not"
