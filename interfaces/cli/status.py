"""How `penstock status` looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from interfaces.cli.pause import pause_lines
from interfaces.cli.render import clean, shorten

if TYPE_CHECKING:
    from deployments.status import Status


def status_view(found: Status) -> Group:
    """What runs, then what waits."""
    parts = Table(show_edge=False, pad_edge=False)
    for name in ("What", "Runs", "Where"):
        parts.add_column(name, overflow="fold")
    for name, part in (
        ("penstock up", found.up),
        ("Postgres", found.postgres),
        ("Prefect server", found.prefect),
        ("HTTP door", found.door),
    ):
        parts.add_row(
            name, Text("yes", "green") if part.running else Text("no", "yellow"), Text(clean(part.detail))
        )
    shown: list[Table | Text] = [parts]
    if found.pools:
        shown += [Text(), _pools(found)]
    if found.items is not None:
        counts = ", ".join(f"{count} {status}" for status, count in found.items.items() if count) or "none"
        shown += [Text(f"\nItems: {counts}"), Text(f"Waiting for a person: {found.reviews or 0}")]
    for lease in found.leases:
        shown.append(
            Text(f"Lease: {lease.resource} ({lease.model or 'any model'}) until {lease.until:%H:%M:%S}")
        )
    for words in pause_lines(found.pauses):
        shown.append(Text(words, "yellow"))
    if found.runs:
        shown += [Text(), _runs(found)]
    return Group(*shown)


def _pools(found: Status) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Work pool")
    table.add_column("Limit", justify="right")
    table.add_column("Workers", justify="right")
    for pool in found.pools:
        table.add_row(
            pool.name, str(pool.limit), Text(str(pool.workers), "green" if pool.workers else "yellow")
        )
    return table


def _runs(found: Status) -> Table:
    table = Table(title="Recent runs", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("Run", "Pool", "State", "Started"):
        table.add_column(name, overflow="fold")
    table.add_column("Seconds", justify="right")
    for run in found.runs:
        started = f"{run.started.astimezone():%Y-%m-%d %H:%M:%S}" if run.started else ""
        table.add_row(Text(shorten(run.name, 50)), run.pool or "", run.state, started, f"{run.seconds:.1f}")
    return table
