"""`python -m interfaces.cli.reference`: docs/cli.md, made from the commands themselves.

With `docs/boards.md` as argument it writes the table of findings into that page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from interfaces.cli import commands
from models.findings import FINDINGS

FINDINGS_PLACE = re.compile(r"(<!-- findings -->\n).*?(<!-- /findings -->)", re.DOTALL)
LIST_ITEM = re.compile(r"\n\s*(?=- )")
"""Where a line of a list begins: each keeps a line of its own."""
HEAD = """\
# The command line

Made by `python -m interfaces.cli.reference > docs/cli.md`; a test keeps it true. Each command has `--help` too. What
the exit codes mean is in [running Penstock](operations.md#exit-codes).
"""


def tree() -> Any:
    """The whole command tree, as Typer builds it for the console script."""
    app = typer.Typer(add_completion=False)
    commands.register(app)
    return typer.main.get_command(app)


def leaves(command: Any, words: tuple[str, ...] = ("penstock",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be run, with the words that run it, in the order of `--help`."""
    below: dict[str, Any] = getattr(command, "commands", {})
    if not below:
        yield words, command
    for name, inner in below.items():
        yield from leaves(inner, (*words, name))


def markdown() -> str:
    """The page."""
    return HEAD + "".join(_section(words, command) for words, command in leaves(tree()))


def _section(words: tuple[str, ...], command: Any) -> str:
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    table = "".join(["\n| | default | meaning |\n| --- | --- | --- |\n", *rows]) if rows else ""
    return f"\n## `{' '.join(words)}`\n\n{_paragraphs(command.help)}\n{table}"


def _paragraphs(text: str) -> str:
    return "\n\n".join(
        "\n".join(" ".join(line.split()) for line in LIST_ITEM.split(part))
        for part in text.strip().split("\n\n")
    )


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"{parameter.name.upper().rstrip('S')}{'...' if parameter.nargs == -1 else ''}"
    else:
        name = "`, `".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.required:
        default = "required"
    elif isinstance(parameter.default, bool):
        default = f"`{parameter.opts[0]}`" if parameter.default else ""
    else:
        default = "" if parameter.default is None else f"`{parameter.default}`"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| `{name}` | {default} | {meaning} |\n"


def findings_table() -> str:
    """Every finding with what it means and what to do."""
    rows = [
        f"| `{rule.code}` | {rule.severity} | {rule.title}. {rule.meaning} | {rule.remedy} | {', '.join(rule.by)} |"
        for rule in FINDINGS.values()
    ]
    head = ["| code | severity | what it means | what to do | found by |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *(row.replace("<", "\\<") for row in rows)]) + "\n"


def fill_in(page: Path) -> None:
    """Write the table where the page has room for it."""
    text = page.read_text(encoding="utf-8")
    page.write_text(
        FINDINGS_PLACE.sub(lambda place: place[1] + findings_table() + place[2], text), encoding="utf-8"
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        fill_in(Path(sys.argv[1]))
    else:
        sys.stdout.write(markdown())
