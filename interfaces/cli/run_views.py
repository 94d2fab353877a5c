"""How runs look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import clean, shorten
from models.run import RESUMABLE, RunRow, RunState
from models.words import counted
from tasks.places import shown

COLOURS = {
    RunState.RUNNING: "cyan",
    RunState.SETTLED: "green",
    RunState.WAITING: "yellow",
    RunState.FAILED: "red",
    RunState.PAUSED: "yellow",
    RunState.CANCELLED: "bright_black",
    RunState.INTERRUPTED: "red",
}
MOST_BOARDS = 20
WIDE = 110  # columns from which the year and the backend have room


def runs_table(rows: Sequence[RunRow], width: int) -> Table:
    """The list, `width` columns wide: a narrow one has no year and leaves the backend to `runs show`."""
    wide = width >= WIDE
    table = Table(show_edge=False, pad_edge=False)
    for name in ("Run", "State", "Begun"):
        table.add_column(name, no_wrap=True)
    table.add_column("Boards", overflow="fold")
    for name in ("Done", "Person", "Open"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("Backend", no_wrap=True)
    for row in rows:
        begun = row.started_at.astimezone()
        table.add_row(
            row.short,
            Text(_state(row), COLOURS[row.state]),
            f"{begun:%Y-%m-%d %H:%M}" if wide else f"{begun:%m-%d %H:%M}",
            Text(_boards(row)),
            str(row.done),
            str(row.waiting),
            str(row.open),
            *([Text(clean(row.backend or ""))] if wide else []),
        )
    return table


def run_view(row: RunRow) -> Group:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bright_black")
    table.add_column(overflow="fold")
    state = Text(_state(row), COLOURS[row.state])
    if row.wished_by and row.state in (RunState.PAUSED, RunState.CANCELLED):
        state.append(f" by {clean(row.wished_by)}")
    table.add_row("run", str(row.id))
    table.add_row("state", state)
    table.add_row("stage", str(row.stage))
    table.add_row("begun", f"{row.started_at.astimezone():%Y-%m-%d %H:%M:%S}")
    if row.finished_at is not None:
        table.add_row("ended", f"{row.finished_at.astimezone():%Y-%m-%d %H:%M:%S}")
    if row.backend:
        table.add_row("by", Text(clean(f"{row.backend} at {row.endpoint}, model {row.model or ''}")))
    said = ", ".join(f"{number} {name}" for name, number in sorted(row.counts.items()))
    table.add_row("items now", said or "none")
    names = [Text(clean(shown(source))) for source in row.sources[:MOST_BOARDS]]
    for number, name in enumerate(names):
        table.add_row("boards" if number == 0 else "", name)
    if len(row.sources) > MOST_BOARDS:
        table.add_row("", f"and {len(row.sources) - MOST_BOARDS} more")
    given = [
        f"{name} {value}"
        for name, value in sorted(row.params.items())
        if name in _GIVEN and value is not None
    ]
    table.add_row("given", Text(clean(" ".join([*row.given, *(f"--{each}" for each in given)]))))
    if row.flow_run_id:
        table.add_row("flow run", row.flow_run_id)
    if row.error:
        table.add_row("error", Text(clean(row.error), "red"))
    return Group(table, Text(""), Text(_next(row), "bright_black"))


_GIVEN = ("dialect", "backend", "lane", "out")


def _state(row: RunRow) -> str:
    if row.state is RunState.RUNNING and row.wish is not None:
        return f"running, to be {row.wish.state}"
    return str(row.state)


def _boards(row: RunRow) -> str:
    names = [clean(shown(source)).rpartition("/")[2] for source in row.sources] or [
        clean(each).rpartition("/")[2] for each in row.given
    ]
    if len(names) > 2:
        return f"{shorten(names[0], 40)} and {counted(len(names) - 1, 'other')}"
    return ", ".join(shorten(name, 40) for name in names)


def _next(row: RunRow) -> str:
    if row.state is RunState.RUNNING:
        return f"penstock runs pause {row.short}   penstock runs cancel {row.short}"
    if row.state in RESUMABLE:
        return f"penstock runs resume {row.short}"
    again = f"penstock runs rerun {row.short} --from execute"
    if row.waiting:
        return f"penstock review list   {again} --deferred --dry-run"
    return again if row.open else f"{again} --all --dry-run"
