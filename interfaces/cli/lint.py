"""`penstock lint`: the findings of boards alone. Needs no database, no model and no network."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from models.enums import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FINDINGS_SEEN = 1
"""Exit code. What can't be used at all is 2, as everywhere (models.errors)."""


class FailOn(StrEnum):
    """The least severity that makes the command end with 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


def lint(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, globs, or - for standard input.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    sarif: Annotated[
        bool, typer.Option("--sarif", help="Print SARIF 2.1.0, which code hosts show beside the lines.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(help="Write the findings to this file; the summary is printed.")
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only these codes; several with commas.", show_default=False)
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Not these codes; several with commas.", show_default=False)
    ] = None,
    severity: Annotated[Severity, typer.Option(help="The least that is shown.")] = Severity.INFO,
    fail_on: Annotated[
        FailOn, typer.Option(help="End with 1 when a finding that is shown is at least this.")
    ] = FailOn.WARNING,
    dialect: Annotated[
        str | None, typer.Option(help="Read as this dialect instead of the best match.")
    ] = None,
    codes: Annotated[
        bool, typer.Option("--codes", help="List every code: its severity, what it means, what to do.")
    ] = False,
) -> None:
    """Show what is wrong or odd in boards, and nothing else.

    Ends with 0 when there is nothing at or above --fail-on, with 1 when there is, and with 2 when the input can't be
    used.
    """
    from interfaces.cli import lint_views
    from models.errors import InputError
    from models.settings import settings

    if json and sarif:
        raise InputError("--json and --sarif are two forms of one output. Take one of them.")
    chosen, left_out = _codes(select, "--select"), _codes(ignore, "--ignore")
    if codes:
        sys.stdout.write(lint_views.catalogue_json() if json else lint_views.catalogue())
        return
    from tasks.lint import lint as findings_of

    with _progress() as progress:
        report = findings_of(
            paths or [], max_bytes=settings().max_source_bytes, dialect=dialect, progress=progress
        )
    report = report.filtered(severity, chosen, left_out)
    if sarif:
        from interfaces.cli.sarif import log

        shown = log(report)
    elif json:
        shown = lint_views.as_json(report)
    else:
        shown = lint_views.lines(report, terminal=out is None)
    if out is not None:
        _write(out, shown)
    else:
        sys.stdout.write(shown)
    if out is not None or not (json or sarif):
        lint_views.summary(report)
    worst = report.worst()
    if fail_on is not FailOn.NEVER and worst is not None and worst.rank >= Severity(fail_on).rank:
        raise typer.Exit(FINDINGS_SEEN)


def _codes(given: Iterable[str] | None, option: str) -> frozenset[str]:
    from difflib import get_close_matches

    from models.errors import InputError
    from models.findings import FINDINGS

    codes = frozenset(code.strip() for each in given or () for code in each.split(",") if code.strip())
    for code in sorted(codes - FINDINGS.keys()):
        close = get_close_matches(code, FINDINGS, 1)
        hint = f"Is it {close[0]}? " if close else ""
        raise InputError(f"{option}: there is no code {code!r}. {hint}`penstock lint --codes` lists them.")
    return codes


def _write(out: str, text: str) -> None:
    from pathlib import Path

    from models.errors import InputError

    try:
        Path(out).expanduser().write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}. Give --out a file that can be written.") from error


class _progress:
    """Says on standard error how far it is: on a terminal, and when it takes more than a second."""

    FIRST, EVERY = 1.0, 0.1

    def __enter__(self) -> Callable[[int, int], None]:
        from time import monotonic

        self._clock = monotonic
        self._next = monotonic() + self.FIRST
        self._shown = False
        self._wanted = sys.stderr.isatty()
        return self._tell

    def _tell(self, done: int, of: int) -> None:
        if self._wanted and self._clock() >= self._next:
            self._next = self._clock() + self.EVERY
            self._shown = True
            sys.stderr.write(f"\r{done:,} of {of:,} files read")
            sys.stderr.flush()

    def __exit__(self, *error: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
