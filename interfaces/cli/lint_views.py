"""How findings look: in a terminal, in a file, as JSON. Foreign text is printed as text.

Thousands of lines are put together here without rich, which would take seconds for them.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

import typer
from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import SEVERITIES, clean, console, shorten
from models.board import Finding
from models.enums import Severity
from models.findings import FINDINGS, Rule, described
from models.lint import LintedFile, LintReport

WORST = 5
NARROWEST = 40
"""Columns that a message needs to stand beside its place; with fewer it goes below."""
NAMES = {
    Severity.ERROR: ("error", "errors"),
    Severity.WARNING: ("warning", "warnings"),
    Severity.INFO: ("info", "info"),
}


def lines(report: LintReport, *, terminal: bool) -> str:
    """`file:line: severity code message`, file by file, in columns.

    On a terminal in colours and wrapped to its width; else one finding is one line.
    """
    screen = console() if terminal and console().is_terminal else None
    width = screen.width if screen is not None else None
    colours = screen is not None and screen.color_system is not None
    groups = [_group(file, width, colours) for file in report.files if file.findings]
    return "\n".join(groups)


def _group(file: LintedFile, width: int | None, colours: bool) -> str:
    findings = [each.finding for each in file.findings]
    name = clean(file.name)
    places = [f"{name}:{max(finding.line, 1)}:" for finding in findings]
    widest = max(map(len, places))
    longest = max(len(finding.code) for finding in findings)
    level = max(len(str(finding.severity)) for finding in findings)
    begin = cell_len(name) - len(name) + widest + level + longest + 4  # column of the messages
    shown: list[str] = []
    for place, finding in zip(places, findings, strict=True):
        severity = str(finding.severity)
        head = (
            f"{_dim(place, colours)}{' ' * (widest - len(place))} "
            f"{_colour(severity, SEVERITIES[severity], colours)}{' ' * (level - len(severity))} "
            f"{_colour(finding.code, 'bright_white', colours)}{' ' * (longest - len(finding.code))}"
        )
        message = clean(finding.message)
        if width is None or begin + cell_len(message) <= width:
            shown.append(f"{head}  {message}\n")
        elif width - begin >= NARROWEST:
            parts = list(_wrapped(message, width - begin))
            shown.append(f"{head}  " + f"\n{' ' * begin}".join(parts) + "\n")
        else:
            parts = list(_wrapped(message, max(width - 4, 20)))
            shown.append(f"{head.rstrip()}\n    " + "\n    ".join(parts) + "\n")
    return "".join(shown)


def _wrapped(message: str, width: int) -> Iterator[str]:
    """The message in parts of at most `width` columns; signs of Chinese and Japanese take two."""
    if message.isascii():
        yield from textwrap.wrap(message, width, break_on_hyphens=False)
        return
    line, used = "", 0
    for word in message.split(" "):
        taken = cell_len(word)
        if used and used + 1 + taken > width:
            yield line
            line, used = "", 0
        while taken > width:  # no spaces to break at
            head = _fitting(word, width)
            yield head
            word = word[len(head) :]
            taken = cell_len(word)
        line, used = (f"{line} {word}", used + 1 + taken) if used else (word, taken)
    if line:
        yield line


def _fitting(word: str, width: int) -> str:
    used = 0
    for index, sign in enumerate(word):
        used += cell_len(sign)
        if used > width:
            return word[: max(index, 1)]
    return word


def _colour(text: str, colour: str, wanted: bool) -> str:
    return typer.style(text, fg=colour) if wanted else text


def _dim(text: str, wanted: bool) -> str:
    return typer.style(text, bold=True) if wanted else text


def summary(report: LintReport) -> None:
    """What was read and how much was found, in a screenful."""
    facts = report.summary()
    show = console().print
    if report.findings:
        show()
    with_items = Counter(file.dialect for file in report.files if file.items)
    boards = sum(with_items.values())
    texts = facts["files"] - boards
    if boards:
        dialects = ", ".join(f"{count:,} {name}" for name, count in with_items.most_common())
        items = f"{_count(facts['items'], 'item', 'items')}, {facts['open']:,} open, {facts['done']:,} done."
        show(Text(f"{_count(boards, 'board', 'boards')} read: {dialects}.\n{items}"))
    if texts:
        show(Text(f"{_count(texts, 'text', 'texts')} without items.", "bright_black"))
    if not report.findings:
        show(Text("Nothing was found.", "green"))
        return
    counts = [
        _count(facts["severities"][level], *NAMES[level]) for level in NAMES if facts["severities"][level]
    ]
    where = _count(facts["files_with_findings"], "file", "files")
    show(Text(f"{_count(facts['findings'], 'finding', 'findings')} in {where}: {', '.join(counts)}.", "bold"))
    if len(facts["codes"]) > 1 and facts["findings"] > WORST:
        show()
        show(_code_table(report))
    if facts["files_with_findings"] > WORST:
        show()
        show(_worst_table(facts["worst_files"]))
    if facts["unreadable"]:
        show()
        show(Text(f"{_count(len(facts['unreadable']), 'file', 'files')} could not be read:", "red"))
        for file in report.unreadable[:WORST]:
            reason = next((each.finding.message for each in file.findings), "")
            show(Text(f"  {shorten(f'{file.name}: {reason}', max(console().width - 2, NARROWEST))}"))
        if len(facts["unreadable"]) > WORST:
            show(Text(f"  and {len(facts['unreadable']) - WORST} more"))


def _code_table(report: LintReport) -> Table:
    def order(pair: tuple[LintedFile, Finding]) -> tuple[int, str]:
        return -pair[1].severity.rank, pair[1].code

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("Findings", "Files"):
        table.add_column(name, justify="right")
    table.add_column("Code")
    table.add_column("What", overflow="fold")
    groups = [
        (rank, code, list(group))
        for (rank, code), group in groupby(sorted(report.findings, key=order), order)
    ]
    for _, code, group in sorted(groups, key=lambda each: (each[0], -len(each[2]), each[1])):
        severity = str(group[0][1].severity)
        table.add_row(
            f"{len(group):,}",
            f"{len({id(file) for file, _ in group}):,}",
            Text(code, SEVERITIES[severity]),
            Text(described(code).title),
        )
    return table


def _worst_table(worst: dict[str, int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Findings", justify="right")
    table.add_column("The files with most", overflow="fold")
    for name, count in list(worst.items())[:WORST]:
        table.add_row(f"{count:,}", Text(clean(name)))
    return table


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def as_json(report: LintReport) -> str:
    """One object: tool version, summary, findings. `line` is 0 where it is about the whole file."""
    from importlib.metadata import version

    import orjson

    findings = [{"file": file.name, **finding.as_json()} for file, finding in report.findings]
    data = {"version": version("penstock"), "summary": report.summary(), "findings": findings}
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n"


def catalogue() -> str:
    """Every code with what it means and what to do, wrapped to the terminal."""
    screen = console()
    colours = screen.is_terminal and screen.color_system is not None
    width = max(min(screen.width, 100), NARROWEST)
    shown: list[str] = []
    for rule in FINDINGS.values():
        head = f"{typer.style(rule.code, bold=True) if colours else rule.code} "
        head += f"({_colour(str(rule.severity), SEVERITIES[rule.severity], colours)}; {', '.join(rule.by)})"
        text = f"{rule.title}. {rule.meaning} {rule.remedy}"
        shown += [head, *(f"    {line}" for line in textwrap.wrap(text, width - 4)), ""]
    return "\n".join(shown)


def catalogue_json() -> str:
    import orjson

    rules = [_rule_json(rule) for rule in FINDINGS.values()]
    return orjson.dumps(rules, option=orjson.OPT_INDENT_2).decode() + "\n"


def _rule_json(rule: Rule) -> dict[str, object]:
    return {**rule._asdict(), "severity": str(rule.severity), "by": list(rule.by)}
