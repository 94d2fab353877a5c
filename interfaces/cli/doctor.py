"""`penstock doctor`: what is wrong with the description of the machines, and with the rest of the installation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from models.words import counted

if TYPE_CHECKING:
    from rich.text import Text

    from deployments.doctor import Diagnosis, Seen

TROUBLE_SEEN = 1
"""Exit code. Settings that can't be used at all are 2, as everywhere (models.errors)."""


def doctor(
    ask: Annotated[
        bool,
        typer.Option(
            "--ask",
            help="Ask the model of each endpoint for one token: loads it, and may cost a fraction of a cent.",
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 for warnings, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check what is declared against the machines that answer, and say what is wrong.

    Model servers, their models, context and slots; devices, memory and budgets; who can reach the servers; the
    database, the Prefect server, disk and clocks. It changes nothing and starts no server.

    Ends with 0 when nothing is wrong, with 1 when something is, and with 2 when the settings can't be used.
    """
    import orjson

    from deployments.doctor import diagnose
    from models.enums import Severity
    from models.settings import settings

    with _progress() as tell:
        found = diagnose(settings(), ask=ask, tell=tell)
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _show(found)
    if found.count(Severity.ERROR) or (strict and found.count(Severity.WARNING)):
        raise typer.Exit(TROUBLE_SEEN)


def _show(found: Diagnosis) -> None:
    """On a terminal with an edge to look along; elsewhere each finding is one line, whatever its length: for grep."""
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import console

    out = console()
    if out.is_terminal:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for word, text in _lines(found):
            table.add_row(word, text)
        out.print(table)
    else:
        for word, text in _lines(found):
            out.print(Text(" ").join([word, text]), soft_wrap=True)
    out.print(_sum(found))


def _lines(found: Diagnosis) -> Iterator[tuple[Text, Text]]:
    from rich.text import Text

    from interfaces.cli.render import SEVERITIES, clean
    from models.enums import Severity

    ill = {trouble.place for trouble in found.troubles if trouble.severity is not Severity.INFO}
    for seen in found.facts.seen:
        if seen.place not in ill and (seen.declared or not found.facts.settings.endpoints):
            yield Text("ok", "green"), Text.assemble((f"{clean(seen.place)}: ", "bold"), f"{_well(seen)}.")
    for each in found.troubles:
        text = Text.assemble(
            (f"{clean(each.place)}: ", "bold"),
            f"{clean(each.what)} {clean(each.do)} ",
            (f"[{each.code}]", "bright_black"),
        )
        yield Text(each.severity.value, SEVERITIES[each.severity]), text


def _sum(found: Diagnosis) -> Text:
    from rich.text import Text

    from models.enums import Severity

    settings = found.facts.settings
    errors, warnings = found.count(Severity.ERROR), found.count(Severity.WARNING)
    wrong = [counted(errors, "error")] * bool(errors) + [counted(warnings, "warning")] * bool(warnings)
    declared = (
        f"{counted(len(settings.endpoints), 'endpoint')} and {counted(len(settings.devices), 'device')}"
    )
    colour = "red" if errors else "yellow" if warnings else "green"
    return Text(f"Declared are {declared}: {' and '.join(wrong) or 'nothing is wrong'}.", colour)


def _well(seen: Seen) -> str:
    from interfaces.cli.render import clean

    said = seen.probe.detail.removeprefix(seen.endpoint.url).strip()
    if (asked := seen.asked) is not None and not asked.error:
        first = asked.first_seconds if asked.first_seconds is not None else asked.seconds
        load = f", {asked.load_seconds:.1f} s of them to load it" if asked.load_seconds else ""
        said = f"{said}; {asked.model} gave its first token after {first:.1f} s{load}"
    return clean(said)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """On a terminal, what is waited for; on standard error, so that it is no part of what is printed."""
    from rich.console import Console

    from interfaces.cli.render import clean

    err = Console(stderr=True, highlight=False)
    if not err.is_terminal:
        yield lambda words: None
        return
    with err.status("Looking") as status:
        yield lambda words: status.update(f"Waiting for {clean(words)}".replace("[", r"\["))
